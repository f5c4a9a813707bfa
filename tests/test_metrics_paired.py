"""Target ratio, drift, class flips, and the distribution of a measured feature."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from unfeature.artifacts import Distribution, Score
from unfeature.errors import BadOption, ShapeError
from unfeature.intervals import wilson
from unfeature.metrics.collateral import ClassFlips, Drift
from unfeature.metrics.distribution import distribution
from unfeature.metrics.edits import EditMade
from unfeature.metrics.ratio import TargetRatio, corrected, declares_rates
from unfeature.protocols import Look, Paired, Reference
from unfeature.reports.words import interval

REFERENCE = Reference("tiny", torch.zeros(2, 2), torch.zeros(2, 2))


def look(values: list[float], shows: list[bool], classes: list[int]) -> Look:
    """Images of one grey each."""
    images = torch.tensor(values)[:, None, None, None].expand(-1, 1, 2, 2)
    logits = torch.nn.functional.one_hot(torch.tensor(classes), 3).float()
    return Look(images, torch.tensor(shows), torch.zeros(len(values), 2), logits)


BATCH = Paired(
    after=look([0.5, 0.5, 0.5, 0.5], [False, False, True, False], [0, 1, 2, 0]),
    before=look([0.1, 0.3, 0.5, 0.4], [True, True, False, False], [0, 0, 0, 0]),
    rewritten=torch.tensor([True, False, True, False]),
)


def test_target_ratio_counts_over_batches() -> None:
    metric = TargetRatio(REFERENCE)
    metric.update(BATCH)
    metric.update(BATCH)
    (score,) = metric.compute()
    assert (score.name, score.value, score.n) == ("target_ratio", 0.25, 8)
    assert (score.low, score.high) == wilson(2, 8)


def test_corrected_ratio_is_rogan_gladens() -> None:
    score = Score.share("target_ratio", 100, 1000)
    about = {"name": "net", "true_positive_rate": 0.9, "false_positive_rate": 0.05}
    better = corrected(score, about)
    assert better.name == "target_ratio_corrected"
    assert better.value == pytest.approx((0.1 - 0.05) / 0.85)
    assert better.low < better.value < better.high
    assert "0.9" in better.note


def test_a_ratio_is_not_corrected_without_rates() -> None:
    assert not declares_rates({"name": "net"})
    with pytest.raises(BadOption, match='judge "net" declares no true_positive_rate and false_positive_rate'):
        corrected(Score.share("target_ratio", 1, 10), {"name": "net"})


@pytest.mark.parametrize(
    ("hit", "false"), [(0.1, 0.2), (0.5, 0.5), ("high", 0.1), (95, 2), (float("nan"), 0.1), (0.9, -0.1), ([0.9], 0.1)]
)
def test_rates_that_are_none_are_refused(hit: object, false: object) -> None:
    about = {"name": "net", "true_positive_rate": hit, "false_positive_rate": false}
    with pytest.raises(BadOption, match='judge "net" declares true_positive_rate .* expected shares from 0 to 1'):
        corrected(Score.share("target_ratio", 1, 10), about)


def test_a_share_below_the_declared_errors_has_no_interval_and_says_why() -> None:
    about = {"name": "net", "true_positive_rate": 0.9, "false_positive_rate": 0.05}
    told = corrected(Score.share("target_ratio", 10, 1000), about)
    assert (told.value, told.low, told.high) == (0.0, 0.0, 0.0) and "it sees less than it errs" in told.note
    assert interval(told.name, told) == "no interval: it sees less than it errs"
    assert "errs" not in corrected(Score.share("target_ratio", 45, 1000), about).note, "0.05 is within its interval"


def test_drift_by_group() -> None:
    metric = Drift(REFERENCE)
    metric.update(BATCH)
    had, never, untouched = metric.compute()
    assert (had.name, had.n) == ("drift_had", 2)
    assert had.value == pytest.approx(0.3, abs=1e-7)
    assert (never.name, never.n) == ("drift_never_had", 2)
    assert never.value == pytest.approx(0.05, abs=1e-7)
    assert (untouched.name, untouched.n) == ("drift_untouched", 1)
    assert untouched.value == pytest.approx(0.1, abs=1e-7)
    # two values 0.4 and 0.2: standard deviation 0.1414, of the mean 0.1
    assert had.high == pytest.approx(0.3 + 1.959964 * 0.1, abs=1e-6)


def test_flips_by_group() -> None:
    metric = ClassFlips(REFERENCE)
    metric.update(BATCH)
    scores = {score.name: (score.value, score.n) for score in metric.compute()}
    assert scores == {
        "flips_had": (0.5, 2),
        "flips_never_had": (0.5, 2),
        "flips_untouched": (0.0, 1),
        "flips_edited": (0.5, 2),
    }


def test_edit_made_is_the_share_of_the_teachers_along_it() -> None:
    """Two edited pictures: 0.1 -> 0.5 wanted and made; 0.5 -> 0.1 wanted, nothing done. Large edits count for more."""
    teacher = look([0.5, 0.9, 0.3, 0.9], [False] * 4, [0] * 4).images
    metric = EditMade(REFERENCE)
    metric.update(Paired(BATCH.after, BATCH.before, BATCH.rewritten, teacher))
    (score,) = metric.compute()
    assert (score.name, score.n) == ("edit_made", 2)
    assert score.value == pytest.approx(0.4**2 / (0.4**2 + 0.2**2))
    assert score.low < score.value < score.high
    for share in (0.0, 0.3, 1.0, 1.2):
        metric = EditMade(REFERENCE)
        assert BATCH.before is not None
        before = BATCH.before.images
        moved = look([0.0] * 4, [False] * 4, [0] * 4)
        object.__setattr__(moved, "images", before + share * (teacher - before))
        metric.update(Paired(moved, BATCH.before, BATCH.rewritten, teacher))
        (score,) = metric.compute()
        assert score.value == pytest.approx(share, abs=1e-6) and score.high - score.low < 1e-6


@pytest.mark.parametrize("metric", [Drift, ClassFlips])
def test_an_empty_group_could_be_anything(metric: type[Drift] | type[ClassFlips]) -> None:
    for score in metric(REFERENCE).compute():
        assert (score.value, score.low, score.high, score.n) == (0.0, 0.0, 1.0, 0)
        assert "no such image" in score.note


@pytest.mark.parametrize("metric", [Drift, ClassFlips])
def test_before_and_after_must_be_pairs(metric: type[Drift] | type[ClassFlips]) -> None:
    short = look([0.1], [True], [0])
    with pytest.raises(ShapeError, match="got 1 images from before and 4 from after"):
        metric(REFERENCE).update(Paired(BATCH.after, short, BATCH.rewritten))


VALUES = st.lists(st.floats(-50, 50, allow_nan=False, width=32), min_size=1, max_size=60)


@given(VALUES, VALUES)
def test_counts_sum_to_n_on_its_own_and_on_common_bins(original: list[float], other: list[float]) -> None:
    first = distribution(torch.tensor(original), "px", 1.0)
    second = distribution(torch.tensor(other), "px", 1.0, edges=first.edges)
    assert (sum(first.counts), sum(second.counts)) == (len(original), len(other))
    assert len(first.counts) == 40
    assert first.edges == second.edges
    assert list(first.quantiles) == ["0.01", "0.10", "0.50", "0.90", "0.99"]
    assert sorted(first.quantiles.values()) == list(first.quantiles.values())
    assert Distribution.from_json(first.to_json()) == first


def test_values_outside_the_bins_count_in_the_end_bins() -> None:
    found = distribution(torch.tensor([-9.0, 0.5, 1.5, 9.0, 9.0]), "px", 1.0, edges=[0.0, 1.0, 2.0])
    assert found.counts == (2, 3)
    assert found.quantiles["0.50"] == 1.5


@pytest.mark.parametrize("values", [torch.empty(0), torch.tensor([1.0, float("nan")]), torch.zeros(2, 2)])
def test_values_that_are_no_distribution(values: Tensor) -> None:
    with pytest.raises(BadOption, match="expected \\(n,\\) finite numbers"):
        distribution(values, "px", 1.0)


def test_edges_must_rise() -> None:
    with pytest.raises(BadOption, match="at least 2 rising numbers"):
        distribution(torch.tensor([1.0]), "px", 1.0, edges=[1.0, 0.0])
