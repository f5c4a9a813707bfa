"""Lines through a space of a probe: logistic regressions, their held-out scores, and how spaces are put together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh
from scipy.optimize import minimize
from scipy.special import expit
from scipy.stats import rankdata
from torch import Tensor

from unfeature.features.noise import Flags, Indices, Values, soft_rows
from unfeature.features.views import Space

Rows = NDArray[np.float32]

FOLDS = 5
"""At most; never more than the smaller side has marks."""

STRENGTHS = (0.001, 0.01, 0.1)
"""scikit-learn's C of the logistic regressions tried: all small, since marks are few and some are wrong."""

COMPONENTS = 50
"""Pixels are looked at in at most this many principal components."""

BASIS_ROWS = 500
"""Pictures that the components are taken from, at most: more would cost seconds and change little."""

LEAST_DEVIATION = 0.01
"""Of the median column's: what varies less among the marks is made no larger than that (docs/explanation/probes.md)."""

LEAST_SLOPE = 1e-3
"""Of the calibrated log odds on one deviation of the held-out scores: a probe that learnt nothing still keeps order."""

RIDGE = 0.3
"""Of a stack's weights. 0.001, 0.3, 3, 30 gave a mean AUC of 0.962, 0.963, 0.961, 0.955 from 20 marks a side."""


def values_of(rows: Tensor) -> Rows:
    """(n, ...) -> (n, k)."""
    return np.asarray(rows.detach().flatten(1).float().cpu().numpy(), dtype=np.float32)


@dataclass(frozen=True)
class Line:
    """A linear score of raw rows."""

    weights: Values
    offset: float

    def __call__(self, rows: Rows) -> Values:
        return np.asarray(rows @ self.weights + self.offset, dtype=np.float64)


@dataclass(frozen=True)
class Marks:
    """What lines are fitted to."""

    labels: Flags
    """(n,): the marks."""
    left_out: Flags
    """(n,): those that are scored, but not learnt from."""
    unsure: int
    """Rows after the n that are half a mark of each side: learnt from in every fold, never scored."""

    def learnt(self, among: Indices) -> tuple[Indices, Values]:
        """Of the rows among the n, those learnt from and the unsure: their indices and targets in [0, 1]."""
        sure = among[~self.left_out[among]]
        extra = np.arange(len(self.labels), len(self.labels) + self.unsure)
        return np.concatenate([sure, extra]), np.concatenate([self.labels[sure], np.full(self.unsure, 0.5)])


def best_line(rows: Rows, marks: Marks, space: Space, seed: int) -> tuple[Line, Values]:
    """(n + unsure, k) -> the line of the strength whose held-out scores have the best AUC, and those scores (n,)."""
    held = _held_out(rows, marks, space, seed)
    best = max(range(len(STRENGTHS)), key=lambda i: auc(marks.labels, held[i]))
    which, targets = marks.learnt(np.arange(len(marks.labels)))
    return _lines(rows[which], targets, space, STRENGTHS[best : best + 1], seed)[0], held[best]


def auc(labels: Flags, values: Values) -> float:
    """Chance that one that shows it has the larger value of two, ties counting half (Mann, Whitney 1947)."""
    shows, without = int(labels.sum()), int((~labels).sum())
    return (float(rankdata(values)[labels].sum()) - shows * (shows + 1) / 2) / (shows * without)


def _held_out(rows: Rows, marks: Marks, space: Space, seed: int) -> Values:
    """(n + unsure, k) -> (strengths, n): rows scored by lines fitted without their fold, each with both sides in it."""
    from sklearn.model_selection import StratifiedKFold

    labels = marks.labels
    count = min(FOLDS, int(labels.sum()), int((~labels).sum()))
    split: Any = StratifiedKFold(count, shuffle=True, random_state=seed)
    values = np.zeros((len(STRENGTHS), len(labels)))
    for train, test in split.split(labels, labels):
        which, targets = marks.learnt(train)
        for i, line in enumerate(_lines(rows[which], targets, space, STRENGTHS, seed)):
            values[i, test] = line(rows[test])
    return values


def _lines(rows: Rows, targets: Values, space: Space, strengths: tuple[float, ...], seed: int) -> list[Line]:
    """(n, k) and targets (n,) in [0, 1] -> logistic regressions of those strengths, both sides weighing the same."""
    from sklearn.linear_model import LogisticRegression

    mean, basis = _principal(rows, seed) if space == "pixels" else standard(rows)
    which, sides, weights = soft_rows(targets)
    features = _seen(np.asarray(rows - mean, dtype=np.float64), basis)[which]
    for side in (True, False):
        weights[sides == side] *= len(rows) / (2 * weights[sides == side].sum())
    lines = []
    for strength in strengths:
        model: Any = LogisticRegression(C=strength, max_iter=1000).fit(features, sides, sample_weight=weights)
        along = basis @ model.coef_[0] if basis.ndim == 2 else basis * model.coef_[0]
        lines.append(Line(along, float(model.intercept_[0] - mean @ along)))
    return lines


def _seen(rows: Values, basis: Values) -> Values:
    """(n, k) centred, and a basis (k, m) or the scale of each column (k,) -> what is regressed on."""
    return np.asarray(rows @ basis if basis.ndim == 2 else rows * basis, dtype=np.float64)


def standard(rows: Rows) -> tuple[Values, Values]:
    """(n, k) -> mean (k,) and what makes each column's deviation 1, (k,), or less where it hardly varies, 0 if never.

    Two patterns that hardly ever meet are next to constant among a few hundred marks; made as large as the others, the
    one picture where they do meet would score tens of deviations.
    """
    deviation = rows.std(axis=0)
    varies = deviation > 1e-9
    least = LEAST_DEVIATION * np.median(deviation[varies]) if varies.any() else 1.0
    return rows.mean(axis=0), np.where(varies, 1 / np.maximum(deviation, least), 0.0)


def _principal(rows: Rows, seed: int) -> tuple[Values, Values]:
    """(n, k) -> mean (k,) and the principal directions (k, m), by one factor for a median deviation of 1.

    Components keep their proportions. With each at deviation 1, 20 marks a side of which a fifth were wrong gave an AUC
    of 0.79 instead of 0.92 for slant on mnist-gan: what varies little is then mostly noise made large.
    """
    some = rows[np.random.default_rng(seed).permutation(len(rows))[:BASIS_ROWS]].astype(np.float64)
    mean = some.mean(axis=0)
    some -= mean
    n = len(some)
    squares, sides = eigh(some @ some.T, subset_by_index=(max(0, n - COMPONENTS), n - 1))
    kept = squares > 1e-6 * float(squares[-1])
    if not kept.any():  # the same picture again and again
        return mean, np.zeros((rows.shape[1], 1))
    lengths = np.sqrt(squares[kept])
    return mean, some.T @ (sides[:, kept] / lengths) * (np.sqrt(n - 1) / np.median(lengths))


def stacked(held_out: Values, marks: Marks) -> tuple[Values, float]:
    """Held-out scores (spaces, n) -> the weight of each, none negative, and the offset of their sum's log odds.

    Stacking (Wolpert 1992) without negative weights (Breiman 1996): a space that tells nothing gets none. Fitted
    without balancing the sides, so that the marks' prevalence stays in. Platt's targets just short of 0 and 1 (1999)
    keep weights finite where a side is told apart without error.
    """
    scale = held_out.std(axis=1)
    scale = np.where(scale > 0, scale, 1.0)
    mean, used = held_out.mean(axis=1), ~marks.left_out
    x, labels = ((held_out - mean[:, None]) / scale[:, None]).T[used], marks.labels[used]
    shows, without = int(labels.sum()), int((~labels).sum())
    target = np.where(labels, (shows + 1) / (shows + 2), 1 / (without + 2))

    def loss(given: Values) -> tuple[float, Values]:
        odds, weights = x @ given[:-1] + given[-1], given[:-1]
        missed = expit(odds) - target
        total = np.logaddexp(0, odds) - target * odds
        gradient = np.append(x.T @ missed + RIDGE * weights, missed.sum())
        return float(total.sum() + RIDGE / 2 * weights @ weights), gradient

    k = len(held_out)
    start = np.append(np.full(k, 1 / k), 0.0)
    found: Values = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=[(0, None)] * k + [(None, None)]).x
    weights, offset = np.where(found[:-1] < LEAST_SLOPE, 0.0, found[:-1]), float(found[-1])
    if not weights.any():  # held-out marks came out in no order: then all pictures score their prevalence
        weights[int(np.argmax([auc(marks.labels, values) for values in held_out]))] = LEAST_SLOPE
        offset = float(np.log(target.mean() / (1 - target.mean())))
    return weights / scale, offset - float(mean @ (weights / scale))
