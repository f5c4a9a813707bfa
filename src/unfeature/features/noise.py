"""How many marks are wrong, which are to be doubted, and what unsure ones count.

Marks are (n,) bool beside a held-out score of each, the larger the likelier; `Probe.held_out` is one, a projection
by a vector found without that mark another. With e+ and e- the shares of wrong marks among those that say yes and no,
and P and N the scores of pictures that truly show it or do not, whoever marks wrongly at random mixes the two sides:

    F+ = (1 - e+) P + e+ N        F- = (1 - e-) N + e- P        (Scott, Blanchard, Handy 2013)

so marks do not say where P and N lie; those of pictures that are surely of either side say how many are wrong.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from unfeature.artifacts import Score
from unfeature.errors import ShapeError, TooFewMarks
from unfeature.intervals import wilson

Values = NDArray[np.float64]
Flags = NDArray[np.bool_]
Indices = NDArray[np.int64]

SURE = 0.4
"""Of a side: its most extreme held-out pictures, taken to be what they look like. On mnist-vae and mnist-gan 0.2, 0.3,
0.4, 0.5, 0.6 gave a mean error of 0.023, 0.018, 0.015, 0.014, 0.014 from 500 marks a side and intervals that held the
truth in 0.90, 0.92, 0.89, 0.83, 0.79 of the cases: larger shares take in pictures that are wrong by being hard."""

LEAST = 5
"""Pictures looked at for either rate, at least, and marks of a side below which nothing is said."""

MOST = 0.9
"""Both rates of wrong marks together, at most: beyond, marks tell next to nothing of the truth."""

SURELY_WRONG = 0.03
"""Lower ends of both rates, on average, from which on doubted marks are left out of a fit."""


@dataclass(frozen=True)
class NoiseRates:
    """Shares of wrong marks, in [0, 1], each with an interval, and as n the pictures that the interval is of."""

    positives: Score
    """e+: of the marks that say the feature is there."""
    negatives: Score
    """e-: of those that say it is not."""
    marks: tuple[int, int]
    """How many say either."""

    @property
    def significant(self) -> bool:
        """Whether some of the marks are wrong beyond what chance makes of right ones."""
        return (self.positives.low + self.negatives.low) / 2 > SURELY_WRONG

    @property
    def share(self) -> tuple[float, float, float]:
        """Of all marks, those that are wrong, and its interval: both sides' by how many marks they have."""
        sides, n = tuple(zip((self.positives, self.negatives), self.marks, strict=True)), sum(self.marks)
        value, low, high = (
            sum(getattr(side, end) * count for side, count in sides) / n for end in ("value", "low", "high")
        )
        return value, low, high

    @property
    def told(self) -> str:
        """The share, in words without a full stop."""
        value, low, high = self.share
        return f"about {100 * value:.0f} % of the marks look wrong ({100 * low:.0f} to {100 * high:.0f} %)"


def noise_rates(labels: Flags, held_out: Values) -> NoiseRates:
    """(n,) marks and (n,) held-out scores -> the shares of wrong ones among both sides. TooFewMarks, ShapeError.

    Of the SURE share of pictures that look most like one side, those with the other side's mark are wrong: an anchor
    set (Liu, Tao 2016), counted. Right for marks wrong at random. Pictures near the cut, which people confuse most, are
    not among them: such errors are hardly seen, and change little. Intervals are Wilson's of the counts, so that 5 to
    15 % of them miss, most where the probe itself errs (its AUC without wrong marks below 0.95 adds up to 0.03).
    """
    labels = _checked(labels, held_out)
    shows, without = int(labels.sum()), int((~labels).sum())
    order = np.argsort(-np.asarray(held_out), kind="stable")
    top, bottom = (max(LEAST, round(SURE * count)) for count in (shows, without))
    missed, false_alarms = int((~labels[order[:top]]).sum()), int(labels[order[-bottom:]].sum())
    value = _shares(missed / top, false_alarms / bottom, shows, without)
    ends = [
        _shares(*rates, shows, without) for rates in zip(wilson(missed, top), wilson(false_alarms, bottom), strict=True)
    ]
    names = "wrong_positives", "wrong_negatives"
    positives, negatives = (
        Score(name, value[i], min(value[i], ends[0][i]), max(value[i], ends[1][i]), n, higher_is_better=False)
        for i, (name, n) in enumerate(zip(names, (bottom, top), strict=True))
    )
    return NoiseRates(positives, negatives, (shows, without))


def _checked(labels: Flags, scores: Values) -> Flags:
    labels = np.asarray(labels, dtype=np.bool_)
    if labels.shape != np.shape(scores):
        raise ShapeError(f"{labels.shape} marks were given with {np.shape(scores)} scores; expected one score a mark.")
    shows, without = int(labels.sum()), int((~labels).sum())
    if min(shows, without) < LEAST:
        raise TooFewMarks(
            f"{shows} pictures are marked as showing it and {without} as not; how many are wrong can be told from "
            f"{LEAST} of each on. Mark more."
        )
    return labels


def _shares(missed: float, false_alarms: float, shows: int, without: int) -> tuple[float, float]:
    """How often what shows it is marked no, and what does not yes -> e+, e-, given how many are marked so."""
    spread, n = 1 - (missed + false_alarms), shows + without
    if spread < 1 - MOST:
        return MOST / 2, MOST / 2
    true = min(float(n), max(0.0, (shows - n * false_alarms) / spread))
    wrong, missing = (n - true) * false_alarms / shows, true * missed / without
    scale = min(1.0, MOST / max(MOST, wrong + missing))
    return scale * wrong, scale * missing


def doubtful(labels: Flags, held_out: Values, most: int = 24) -> Indices:
    """(n,) marks and (n,) held-out scores -> indices of at most so many marks that look mis-clicked, worst first.

    Confident learning (Northcutt, Jiang, Chuang 2021): a mark is doubted where the probe gives its picture at least the
    score that marks of the other side have on average, and, for its own side, less than half of what that one has.
    """
    labels = np.asarray(labels, dtype=np.bool_)
    if labels.all() or not labels.any():
        return np.zeros(0, dtype=np.int64)
    own = np.where(labels, held_out, 1 - held_out)
    usual = {side: float(own[labels == side].mean()) for side in (True, False)}
    expected = np.where(labels, usual[True], usual[False])
    other = np.where(labels, usual[False], usual[True])
    share = own / np.maximum(expected, 1e-12)
    doubted = np.flatnonzero((1 - own >= other) & (share < 0.5))
    return np.asarray(doubted[np.argsort(share[doubted], kind="stable")][:most], dtype=np.int64)


def robust_weights(labels: Flags, held_out: Values, rates: NoiseRates) -> Values:
    """(n,) marks, held-out scores in [0, 1] and the rates -> (n,) weights: 0 for doubted marks where some are wrong.

    With a fifth of the marks wrong the AUC of a probe of pixels on fresh pictures, four cells of 10 sets, grew by 0.003
    (standard error 0.004), 0.005 (0.002) and 0.004 (0.001) from 20, 50 and 100 marks a side; with a tenth wrong it
    changed by -0.003 (0.003), -0.001 and 0.001, with none by at most 0.0004. Leaving doubted marks out always costs
    0.007, 0.004 and 0.001 there. Flipped marks, the posteriors of a mixture, bootstrapped or smoothed targets and a
    generalised cross entropy were no better. A second look at 24 doubted marks brings 0.016, 0.010 and 0.006: ask for
    it first.
    """
    labels = _checked(labels, held_out)
    weights = np.ones(len(labels))
    if rates.significant:
        weights[doubtful(labels, held_out, most=len(labels))] = 0.0
    return weights


def soft_rows(targets: Values) -> tuple[Indices, Flags, Values]:
    """Targets (n,) in [0, 1], 0.5 for unsure -> rows (m,), their sides (m,) and weights (m,) in (0, 1] for a fit.

    The cross entropy of a soft target is that of both sides, weighted: any fit that takes weights takes these. Beside
    20, 50 and 100 sure marks a side, half as many unsure ones again, from near the cut, gave a probe's AUC on fresh
    pictures 0.004, 0.002 and 0.002 more than leaving them out, and a guess at their side 0.010, 0.008 and 0.002 less.
    Unsure marks on pictures from anywhere cost 0.009, 0.006 and 0.004: leave those out.
    """
    targets = np.asarray(targets, dtype=np.float64)
    rows = np.tile(np.arange(len(targets), dtype=np.int64), 2)
    sides = np.repeat([True, False], len(targets))
    weights = np.concatenate([targets, 1 - targets])
    kept = weights > 0
    return rows[kept], sides[kept], weights[kept]
