"""Wrong marks: how many, which are doubted, and what unsure ones count."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit, ndtri

from unfeature.drawing import drawn
from unfeature.errors import ShapeError, TooFewMarks
from unfeature.features.fresh import MISSED, Marked
from unfeature.features.noise import (
    LEAST,
    SURE,
    noise_rates,
    robust_weights,
    soft_rows,
)
from unfeature.features.probes import fit_probe
from unfeature.generators.loading import load_generator
from unfeature.metrics.judges import load_measurement
from unfeature.seeds import stream

GAP = 3.0


def marks(
    seed: int, shows: int, without: int, wrong: float, missed: float, gap: float = GAP
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Marks of both sides, of which exactly those shares are wrong; scores of two Gaussians; the truth."""
    source = np.random.default_rng(seed)
    labels = np.arange(shows + without) < shows
    truth = labels.copy()
    truth[: round(wrong * shows)] = False
    truth[shows : shows + round(missed * without)] = True
    return labels, source.standard_normal(len(labels)) + gap * truth, truth


@pytest.mark.parametrize(("wrong", "missed"), [(0.0, 0.0), (0.2, 0.2), (0.3, 0.05), (0.0, 0.15)])
@pytest.mark.parametrize(("shows", "without"), [(2000, 2000), (400, 3000)])
def test_rates_of_many_marks(wrong: float, missed: float, shows: int, without: int) -> None:
    labels, scores, _ = marks(0, shows, without, wrong, missed)
    rates = noise_rates(labels, scores)
    for told, true in ((rates.positives, wrong), (rates.negatives, missed)):
        assert told.value == pytest.approx(true, abs=0.045)
        assert told.low - 0.01 <= true <= told.high + 0.01
    assert (rates.positives.n, rates.negatives.n) == (SURE * without, SURE * shows), "yes is counted among the noes"
    assert rates.marks == (shows, without)


def test_rates_by_hand() -> None:
    """Ten of each; the four largest scores have one no, the four smallest no yes: of 10.7 true ones 0.25 are missed."""
    labels = np.array([1, 1, 0, 1] + [1] * 7 + [0] * 9, dtype=bool)
    labels[10] = False
    labels[11:13] = [True, False]
    scores = np.arange(20, 0, -1.0)
    assert int(labels.sum()) == 10
    rates = noise_rates(labels, scores)
    missed = 1 / LEAST if round(SURE * 10) < LEAST else 1 / round(SURE * 10)
    assert rates.negatives.value == pytest.approx(10 / (1 - missed) * missed / 10)
    assert rates.positives.value == 0.0


def test_intervals_hold_the_truth() -> None:
    """Of 200 sets of 100 marks a side with a tenth wrong: at least 0.88 of the intervals, 0.95 being their aim."""
    held = []
    for seed in range(200):
        labels, scores, _ = marks(seed, 100, 100, 0.1, 0.1)
        rates = noise_rates(labels, scores)
        held += [told.low <= 0.1 <= told.high for told in (rates.positives, rates.negatives)]
    assert np.mean(held) >= 0.88


@settings(max_examples=60, deadline=None)
@given(st.integers(LEAST, 60), st.integers(LEAST, 60), st.floats(0, 0.5), st.floats(0, 0.5), st.integers(0, 10**6))
def test_any_marks(shows: int, without: int, wrong: float, missed: float, seed: int) -> None:
    labels, scores, _ = marks(seed, shows, without, wrong, missed, gap=1.0)
    rates = noise_rates(labels, scores)
    for told in (rates.positives, rates.negatives):
        assert 0 <= told.low <= told.value <= told.high <= 1
    assert rates == noise_rates(labels, 5 * scores - 2)  # the order of scores is all that counts
    found = noise_rates(~labels, -scores)
    assert found.positives.value == pytest.approx(rates.negatives.value)


@pytest.mark.parametrize("wrong", [0.0, 0.1, 0.2])
def test_the_cut_passes_by_wrong_marks(wrong: float) -> None:
    """0.99 of what truly shows it; the marked positives' own quantile would flag nearly all of the rest."""
    labels, scores, _ = marks(2, 1500, 1500, wrong, wrong)
    log_odds = GAP * (scores - GAP / 2)
    cut = Marked(None, labels, log_odds, noise_rates(labels, log_odds)).threshold()  # type: ignore[arg-type]
    assert cut / GAP + GAP / 2 == pytest.approx(GAP + ndtri(MISSED), abs=0.35)
    if wrong == 0.2:
        assert np.quantile(scores[labels], MISSED) < -1


def test_scores_that_say_nothing() -> None:
    rates = noise_rates(np.arange(40) < 20, np.random.default_rng(0).random(40))
    assert rates.positives.value + rates.negatives.value >= 0.25


def test_too_few_and_wrong_shapes() -> None:
    with pytest.raises(TooFewMarks, match=f"4 pictures are marked as showing it and 20 as not.*{LEAST} of each"):
        noise_rates(np.arange(24) < 4, np.zeros(24))
    with pytest.raises(ShapeError, match="one score a mark"):
        noise_rates(np.arange(24) < 12, np.zeros(23))


def test_doubted_marks_weigh_nothing_where_some_are_wrong() -> None:
    labels, scores, truth = marks(5, 200, 200, 0.2, 0.2)
    held_out = expit(2 * (scores - GAP / 2))
    weights = robust_weights(labels, held_out, noise_rates(labels, held_out))
    assert set(weights) == {0.0, 1.0}
    left_out = weights == 0
    assert (labels != truth)[left_out].mean() > 0.9 and left_out.sum() > 0.7 * (labels != truth).sum()
    labels, scores, _ = marks(5, 200, 200, 0.0, 0.0)
    held_out = expit(2 * (scores - GAP / 2))
    assert set(robust_weights(labels, held_out, noise_rates(labels, held_out))) == {1.0}


@settings(max_examples=40, deadline=None)
@given(st.lists(st.sampled_from([0.0, 0.3, 0.5, 1.0]), min_size=1, max_size=12), st.integers(0, 10**6))
def test_soft_rows_are_the_soft_cross_entropy(targets: list[float], seed: int) -> None:
    score = np.random.default_rng(seed).standard_normal(len(targets))
    rows, sides, weights = soft_rows(np.array(targets))
    assert np.all(weights > 0) and np.bincount(rows, weights, len(targets)) == pytest.approx(np.ones(len(targets)))
    chance = expit(score[rows])
    entropy = -(weights * np.log(np.where(sides, chance, 1 - chance))).sum()
    whole = np.array(targets)
    assert entropy == pytest.approx(-(whole * np.log(expit(score)) + (1 - whole) * np.log(expit(-score))).sum())


def test_sure_marks_are_rows_as_they_are() -> None:
    rows, sides, weights = soft_rows(np.array([1.0, 0.0, 1.0]))
    assert sorted(rows) == [0, 1, 2] and dict(zip(rows, sides, strict=True)) == {0: True, 1: False, 2: True}
    assert set(weights) == {1.0}


def test_slant_on_mnist_vae_with_a_fifth_wrong() -> None:
    """150 marks a side by a probe's own held-out scores: rates within 0.1."""
    latents, images = drawn(load_generator("mnist-vae"), stream("gallery", 0, 0, 1800))
    values = load_measurement("slant").measure(images)
    shows = (values >= values.quantile(0.9)).numpy()
    with_it, without = np.flatnonzero(shows)[:150], np.flatnonzero(~shows)[:150]
    rows = np.concatenate([with_it[:120], without[:30], without[30:], with_it[120:]])
    labels = np.arange(300) < 150
    probe = fit_probe(latents[rows], images[rows], labels, seed=0, spaces=("pixels",))
    rates = noise_rates(labels, probe.held_out)
    assert [rates.positives.value, rates.negatives.value] == pytest.approx([0.2, 0.2], abs=0.1)
