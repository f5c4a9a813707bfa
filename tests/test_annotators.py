"""Agreement and consensus against known values, by hand and by simulation."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest

from unfeature.annotators import MISSING, alpha, consensus

TEXTBOOK = """
1 2 3 3 2 1 4 1 2 . . .
1 2 3 3 2 2 4 1 2 5 . 3
. 3 3 3 2 3 4 2 2 5 1 .
1 2 3 3 2 4 4 1 2 5 1 .
"""
"""Krippendorff, Computing Krippendorff's Alpha-Reliability (2011), section C: 4 observers, 12 units."""


def textbook() -> np.ndarray:
    rows = [[MISSING if mark == "." else int(mark) for mark in row.split()] for row in TEXTBOOK.split("\n") if row]
    return np.array(rows)


def by_hand(marks: np.ndarray) -> float:
    """Alpha from pairs of marks, one after the other: no formula shared with the module."""
    coincidences: dict[tuple[int, int], float] = {}
    for unit in marks.T.tolist():
        present = [mark for mark in unit if mark != MISSING]
        for one, other in permutations(range(len(present)), 2):
            pair = present[one], present[other]
            coincidences[pair] = coincidences.get(pair, 0.0) + 1 / (len(present) - 1)
    n = sum(coincidences.values())
    totals: dict[int, float] = {}
    for (value, _), often in coincidences.items():
        totals[value] = totals.get(value, 0.0) + often
    observed = sum(often for (a, b), often in coincidences.items() if a != b) / n
    expected = sum(totals[a] * totals[b] for a in totals for b in totals if a != b) / (n * (n - 1))
    return 1 - observed / expected


def simulated(
    items: int, share: float, errors: list[tuple[float, float]], missing: float = 0.0, seed: int = 5
) -> tuple[np.ndarray, np.ndarray]:
    """Truth (items,) and marks (annotators, items); `errors` are misses and false alarms."""
    rng = np.random.default_rng(seed)
    truth = rng.random(items) < share
    marks = []
    for miss, false_alarm in errors:
        wrong = rng.random(items) < np.where(truth, miss, false_alarm)
        marks.append(np.where(rng.random(items) < missing, MISSING, truth ^ wrong))
    return truth, np.array(marks)


def test_alpha_of_the_textbook() -> None:
    found = alpha(textbook())
    assert found is not None
    assert found.value == pytest.approx(0.743, abs=5e-4)
    assert found.value == pytest.approx(by_hand(textbook()), abs=1e-12)
    assert found.n == 11, "unit 12 has one mark only"
    assert found.low < found.value < found.high <= 1


@pytest.mark.parametrize("seed", range(4))
def test_alpha_is_the_same_by_hand(seed: int) -> None:
    _, marks = simulated(40, 0.3, [(0.3, 0.2)] * 4, missing=0.4, seed=seed)
    found = alpha(marks)
    assert found is not None
    assert found.value == pytest.approx(by_hand(marks), abs=1e-12)


def test_alpha_of_agreement_and_of_chance() -> None:
    rng = np.random.default_rng(0)
    same = alpha(np.tile(rng.integers(0, 2, 300), (5, 1)))
    assert same is not None
    assert (same.value, same.low, same.high) == (1.0, 1.0, 1.0)
    chance = alpha(rng.integers(0, 2, (6, 3000)))
    assert chance is not None
    assert chance.low < 0 < chance.high
    assert abs(chance.value) < 0.02
    opposed = alpha(np.array([[0, 1, 0, 1], [1, 0, 1, 0]]))
    assert opposed is not None and opposed.value < 0


def test_alpha_does_not_depend_on_order_and_is_seeded() -> None:
    _, marks = simulated(200, 0.2, [(0.2, 0.1), (0.4, 0.05), (0.1, 0.3)], missing=0.2)
    assert alpha(marks) == alpha(marks[::-1]) == alpha(marks[:, ::-1])
    assert alpha(marks) != alpha(marks, seed=1)


@pytest.mark.parametrize(
    "marks",
    [
        np.full((3, 10), MISSING),
        np.array([[0, 1, MISSING], [MISSING, MISSING, 1]]),
        np.zeros((3, 10), dtype=np.int64),
        np.zeros((0, 10), dtype=np.int64),
        np.zeros((3, 0), dtype=np.int64),
    ],
)
def test_alpha_is_not_made_up(marks: np.ndarray) -> None:
    assert alpha(marks) is None


def test_alphas_interval_covers() -> None:
    """The interval of 60 small samples holds the value of a large one about 19 times in 20."""
    errors = [(0.2, 0.05)] * 3
    _, large = simulated(200_000, 0.3, errors, seed=1)
    true = alpha(large, resamples=1)
    assert true is not None
    found = [alpha(simulated(200, 0.3, errors, seed=seed)[1], resamples=500) for seed in range(100, 160)]
    covered = sum(a is not None and a.low <= true.value <= a.high for a in found)
    assert covered >= 51


def test_consensus_recovers_error_rates() -> None:
    errors = [(0.05, 0.02), (0.20, 0.05), (0.10, 0.10), (0.35, 0.01), (0.15, 0.03)]
    truth, marks = simulated(4000, 0.15, errors, missing=0.1)
    found = consensus(marks)
    misses = [(row == 0)[truth].sum() / (row != MISSING)[truth].sum() for row in marks]  # as drawn, without its noise
    false_alarms = [(row == 1)[~truth].sum() / (row != MISSING)[~truth].sum() for row in marks]
    np.testing.assert_allclose(found.misses, misses, atol=0.015)
    np.testing.assert_allclose(found.false_alarms, false_alarms, atol=0.005)
    assert found.prior == pytest.approx(truth.mean(), abs=0.01)
    assert ((found.posterior > 0.5) == truth).mean() > 0.985


def test_consensus_beats_the_majority_with_a_bad_annotator() -> None:
    truth, marks = simulated(1000, 0.2, [(0.1, 0.05), (0.1, 0.05), (0.7, 0.6)])
    majority = (marks == 1).sum(axis=0) >= 2
    together = consensus(marks).posterior > 0.5
    assert (together == truth).mean() > (majority == truth).mean() + 0.02


def test_consensus_never_goes_downhill_and_converges() -> None:
    for seed in range(5):
        _, marks = simulated(300, 0.1, [(0.3, 0.2)] * 4, missing=0.5, seed=seed)
        objective = np.array(consensus(marks).objective)
        assert (np.diff(objective) >= -1e-9).all()
        assert len(objective) < 1000


def test_consensus_does_not_depend_on_order() -> None:
    _, marks = simulated(300, 0.2, [(0.1, 0.1), (0.3, 0.05), (0.2, 0.2), (0.05, 0.3)], missing=0.2)
    one, order, items = consensus(marks), np.array([2, 0, 3, 1]), np.random.default_rng(0).permutation(300)
    other = consensus(marks[order][:, items])
    np.testing.assert_allclose(other.posterior, one.posterior[items], atol=1e-9)
    np.testing.assert_allclose(other.misses, one.misses[order], atol=1e-9)
    np.testing.assert_allclose(other.false_alarms, one.false_alarms[order], atol=1e-9)


def test_consensus_of_little() -> None:
    one = consensus(np.array([[1, 1, 0, 0, MISSING]]))
    assert (one.posterior[:2] > 0.5).all()
    assert (one.posterior[2:4] < 0.5).all()
    assert one.posterior[4] == one.prior
    nothing = consensus(np.full((3, 4), MISSING))
    np.testing.assert_allclose(nothing.posterior, 0.5)
    assert consensus(np.zeros((0, 3), dtype=np.int64)).prior == 0.5
