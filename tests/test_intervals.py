"""The intervals beside every figure, against independent computations."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from unfeature.intervals import Z95, mcnemar, mean_interval, rogan_gladen, samples_for, samples_under, wilson


def test_z95() -> None:
    assert pytest.approx(stats.norm.ppf(0.975), abs=1e-14) == Z95


@given(st.integers(1, 20_000), st.floats(0, 1))
def test_wilson_is_scipys(n: int, share: float) -> None:
    hits = round(n * share)
    theirs = stats.binomtest(hits, n).proportion_ci(0.95, method="wilson")
    assert wilson(hits, n) == pytest.approx((theirs.low, theirs.high), abs=1e-12)


def test_wilson_at_the_edges() -> None:
    assert wilson(0, 0) == (0.0, 1.0)
    assert all(wilson(0, n)[0] == 0.0 and wilson(n, n)[1] == 1.0 for n in range(1, 2000))
    assert wilson(0, 10)[1] == pytest.approx(Z95**2 / (10 + Z95**2))  # closed form for no hits


@given(st.integers(0, 500), st.integers(0, 500))
def test_wilson_contains_the_share_and_stays_in_range(hits: int, misses: int) -> None:
    n = hits + misses
    low, high = wilson(hits, n)
    assert 0 <= low <= (hits / n if n else 0.5) <= high <= 1


@pytest.mark.parametrize(("share", "n"), [(0.1, 500), (0.3, 100), (0.004, 10_000)])
def test_wilson_covers_in_95_percent(share: float, n: int) -> None:
    """Exact coverage: the chance of every count, where its interval holds the true share."""
    counts = np.arange(n + 1)
    chances = stats.binom.pmf(counts, n, share)
    held = [low <= share <= high for low, high in (wilson(int(k), n) for k in counts)]
    assert chances[held].sum() == pytest.approx(0.95, abs=0.02)


@given(st.floats(0, 1), st.floats(0.5, 1), st.floats(0, 0.4))
def test_rogan_gladen_undoes_a_judges_errors(true: float, hit: float, false: float) -> None:
    seen = true * hit + (1 - true) * false
    assert rogan_gladen(seen, hit, false) == pytest.approx(true, abs=1e-9)


def test_rogan_gladen_is_clipped_and_refuses_a_useless_judge() -> None:
    assert rogan_gladen(0.01, 0.9, 0.05) == 0.0
    assert rogan_gladen(0.95, 0.9, 0.05) == 1.0
    with pytest.raises(ValueError, match=r"true-positive rate 0\.5, false-positive rate 0\.5\) cannot be corrected"):
        rogan_gladen(0.5, 0.5, 0.5)


def half_width(ratio: float, n: int) -> float:
    """Of Wilson's interval, from its definition: the shares p for which |ratio - p| = z sqrt(p (1 - p) / n)."""
    low, high = sorted(np.roots([1 + Z95**2 / n, -(2 * ratio + Z95**2 / n), ratio**2]).real)
    return float(high - low) / 2


@given(st.floats(0, 1), st.floats(0.001, 0.4))
def test_planned_samples_are_the_fewest_that_do(ratio: float, within: float) -> None:
    n = samples_for(ratio, within)
    assert half_width(ratio, n) <= within * (1 + 1e-6)
    assert n == 1 or half_width(ratio, n - 1) >= within * (1 - 1e-6)


def test_planned_samples_of_the_published_claim() -> None:
    """The normal approximation says 11,490; Wilson's interval, which holds near 0 too, is a little wider."""
    normal = Z95**2 * 0.003 * 0.997 / 0.001**2
    assert normal < samples_for(0.003, 0.001) == 11_795 < 1.03 * normal


@given(st.floats(0, 1), st.floats(0.6, 1), st.floats(0, 0.4), st.floats(0.005, 0.2))
def test_planned_samples_hold_after_the_correction(ratio: float, hit: float, false: float, within: float) -> None:
    told = hit - false
    n = samples_for(ratio, within, hit, false)
    assert half_width(false + ratio * told, n) / told <= within * (1 + 1e-6)
    assert n >= samples_for(false + ratio * told, within)  # errors cost samples


@pytest.mark.parametrize("wrong", [(-0.1, 0.1), (1.1, 0.1), (0.1, 0.0), (0.1, 0.5), (0.1, 0.1, 0.5, 0.5)])
def test_what_cannot_be_planned_is_told(wrong: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="expected a ratio and rates in"):
        samples_for(*wrong)


@given(st.integers(0, 3000), st.integers(0, 3000))
def test_mcnemar_is_scipys_exact_test(first: int, second: int) -> None:
    theirs = stats.binomtest(first, first + second).pvalue if first + second else 1.0
    # Below 1e-280 scipy underflows to 0.
    assert mcnemar(first, second) == pytest.approx(theirs, rel=1e-7, abs=1e-280)


@given(st.lists(st.floats(-100, 100), min_size=2, max_size=50))
def test_mean_interval_is_students(values: list[float]) -> None:
    mean, low, high = mean_interval(values)
    assert mean == pytest.approx(np.mean(values), abs=1e-9)
    spread = stats.sem(values)
    half = stats.t.ppf(0.975, len(values) - 1) * spread
    assert (low, high) == pytest.approx((mean - half, mean + half), abs=1e-8)


def test_mean_of_a_single_value_has_no_width() -> None:
    assert mean_interval([3.0]) == (3.0, 3.0, 3.0)


@pytest.mark.parametrize(("ratio", "bound"), [(0.004, 0.0042), (0.0, 0.0042), (0.02, 0.05)])
def test_samples_under_brings_the_upper_end_to_the_bound(ratio: float, bound: float) -> None:
    def upper(n: int) -> float:
        share = stats.norm.ppf(0.975) ** 2 / n
        return (ratio + share / 2 + np.sqrt(share * ratio * (1 - ratio) + share**2 / 4)) / (1 + share)

    n = samples_under(ratio, bound)
    assert n is not None
    assert upper(n) <= bound < upper(n - 1)


def test_no_number_of_samples_proves_a_bound_that_is_not_above_the_share() -> None:
    assert samples_under(0.0042, 0.0042) is None
    assert samples_under(0.01, 0.0042) is None
