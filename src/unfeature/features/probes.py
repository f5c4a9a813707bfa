"""A probe of the marks: what it takes to show the feature, and which marks to look at again.

Learnt from the marks themselves, so it only guides whoever marks. It NEVER judges a result: whatever guides is never
what judges, and a copy that fools the probe may still show the feature.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.linalg import eigh
from scipy.special import expit
from scipy.stats import rankdata
from torch import Tensor

from unfeature.artifacts import Score
from unfeature.errors import ShapeError, TooFewMarks
from unfeature.features.views import Space, rows_of, spaces_of
from unfeature.protocols import Extractor

Rows = NDArray[np.float32]
Values = NDArray[np.float64]
Flags = NDArray[np.bool_]
Indices = NDArray[np.int64]

LEAST = 3
"""Marks of a side below which nothing is learnt."""

FOLDS = 5
"""At most; never more than the smaller side has marks."""

STRENGTHS = (0.001, 0.01, 0.1)
"""scikit-learn's C of the logistic regressions tried: all small, since marks are few and some are wrong."""

COMPONENTS = 50
"""Pixels are looked at in at most this many principal components."""

BASIS_ROWS = 500
"""Pictures that the components are taken from, at most: more would cost seconds and change little."""

LEAST_SLOPE = 1e-3
"""Of the calibrated log odds on one deviation of the held-out scores: a probe that learnt nothing still keeps order."""


@dataclass(frozen=True)
class Probe:
    """How likely a picture shows the feature, going by the marks.

    A score of 0.5 means even odds where the feature is as frequent as among the marks: scores are calibrated to the
    marks' own prevalence, not to the generator's.
    """

    space: Space
    """What it looks at: the one in which it did better."""
    weights: Values
    """(d,), (c h w,) of the reduced picture or (k,) of the network's; with `offset`, of the calibrated log odds."""
    offset: float
    held_out: Values
    """(n,) in [0, 1]: the scores of the marked pictures, each by a probe that never saw its mark."""
    auc: float
    """Of those scores before calibration. The best of those tried: marks made at random get 0.55 instead of 0.5, and
    what right marks got was at most 0.02 too high on the shipped generators, from 20 a side on."""
    precision: Score
    """Share of the marks scored 0.5 or more, held out, that show it; `n` is 0 where none is. Wrong marks lower it."""
    recall: Score
    """Share of the marks that show it which score 0.5 or more, held out."""

    extractor: Extractor | None = None
    """The network it looks through, in the two spaces that have one."""

    def score(self, latents: Tensor | None, images: Tensor | None = None) -> Values:
        """(n, d), (n, c, h, w) in [0, 1] -> (n,) in [0, 1]; latents are needed in their space alone, as are images.

        ShapeError.
        """
        with torch.no_grad():
            rows = self._rows(latents, images).double()
            return np.asarray(expit(rows.numpy() @ self.weights + self.offset), dtype=np.float64)

    def log_odds(self, images: Tensor) -> Tensor:
        """(n, c, h, w) in [0, 1] -> (n,): of `score`, differentiable; ShapeError for a probe of latents."""
        rows = self._rows(None, images)
        return rows @ torch.from_numpy(self.weights).to(rows) + self.offset

    def _rows(self, latents: Tensor | None, images: Tensor | None) -> Tensor:
        rows = rows_of(self.space, latents, images, self.extractor).flatten(1).float()
        if rows.shape[1] != len(self.weights):
            raise ShapeError(
                f"the probe was given {self.space} of {rows.shape[1]} values; expected {len(self.weights)}. "
                "Give what the generator of the marks makes."
            )
        return rows


def values_of(rows: Tensor) -> Rows:
    """(n, ...) -> (n, k)."""
    return np.asarray(rows.detach().flatten(1).float().cpu().numpy(), dtype=np.float32)


@dataclass(frozen=True)
class _Line:
    """A linear score of raw rows."""

    weights: Values
    offset: float

    def __call__(self, rows: Rows) -> Values:
        return np.asarray(rows @ self.weights + self.offset, dtype=np.float64)


def fit_probe(
    latents: Tensor,
    images: Tensor,
    labels: Flags,
    *,
    seed: int,
    spaces: tuple[Space, ...] | None = None,
    extractor: Extractor | None = None,
) -> Probe:
    """Marked latents (n, d), their pictures (n, c, h, w) in [0, 1], and (n,) whether each shows it -> their probe.

    Logistic regressions in each of `spaces`, by default all that the extractor gives, and of each strength; the one
    whose held-out scores have the best AUC is taken, the first of equals. The same arguments give the same probe.
    TooFewMarks where a side has fewer than LEAST marks, ShapeError.
    """
    labels = np.asarray(labels, dtype=np.bool_)
    if not len(latents) == len(images) == len(labels):
        raise ShapeError(
            f"{len(labels)} marks were given with {len(latents)} latents and {len(images)} pictures; expected as many."
        )
    _check_sides(int(labels.sum()), int((~labels).sum()))
    looked_at = spaces_of(extractor) if spaces is None else spaces
    with torch.no_grad():
        rows = {space: values_of(rows_of(space, latents, images, extractor)) for space in looked_at}
    held = {
        (space, strength): values
        for space in looked_at
        for strength, values in zip(STRENGTHS, _held_out(rows[space], labels, space, seed), strict=True)
    }
    aucs = {choice: _auc(labels, values) for choice, values in held.items()}
    best = max(aucs, key=lambda choice: aucs[choice])
    space, strength = best
    slope, shift = _calibration(held[best], labels)
    line = _lines(rows[space], labels, space, (strength,), seed)[0]
    scores = np.asarray(expit(slope * held[best] + shift), dtype=np.float64)
    found = scores >= 0.5
    hits = int((found & labels).sum())
    precision = Score.share("probe_precision", hits, int(found.sum()), higher_is_better=True)
    recall = Score.share("probe_recall", hits, int(labels.sum()), higher_is_better=True)
    weights, offset = slope * line.weights, slope * line.offset + shift
    network = extractor if space in ("texture", "embedding") else None
    return Probe(space, weights, offset, scores, aucs[best], precision, recall, network)


def _check_sides(shows: int, without: int) -> None:
    if min(shows, without) >= LEAST:
        return
    missing = [f"{LEAST - n} more that {s}" for n, s in ((shows, "show it"), (without, "do not")) if n < LEAST]
    raise TooFewMarks(
        f"{shows} pictures are marked as showing it and {without} as not; suggestions need at least {LEAST} of each. "
        f"Mark {' and '.join(missing)}."
    )


def _auc(labels: Flags, values: Values) -> float:
    """Chance that one that shows it has the larger value of two, ties counting half (Mann, Whitney 1947)."""
    shows, without = int(labels.sum()), int((~labels).sum())
    return (float(rankdata(values)[labels].sum()) - shows * (shows + 1) / 2) / (shows * without)


def _held_out(rows: Rows, labels: Flags, space: Space, seed: int) -> Values:
    """(n, k) -> (strengths, n): each row scored by lines fitted without its fold, both sides being in every fold."""
    from sklearn.model_selection import StratifiedKFold

    count = min(FOLDS, int(labels.sum()), int((~labels).sum()))
    split: Any = StratifiedKFold(count, shuffle=True, random_state=seed)
    values = np.zeros((len(STRENGTHS), len(rows)))
    for train, test in split.split(rows, labels):
        for i, line in enumerate(_lines(rows[train], labels[train], space, STRENGTHS, seed)):
            values[i, test] = line(rows[test])
    return values


def _lines(rows: Rows, labels: Flags, space: Space, strengths: tuple[float, ...], seed: int) -> list[_Line]:
    """(n, k) -> logistic regressions of those strengths, both sides weighing the same."""
    from sklearn.linear_model import LogisticRegression

    mean, basis = _principal(rows, seed) if space == "pixels" else standard(rows)
    features = _seen(np.asarray(rows - mean, dtype=np.float64), basis)
    lines = []
    for strength in strengths:
        model: Any = LogisticRegression(C=strength, class_weight="balanced", max_iter=1000).fit(features, labels)
        weights = basis @ model.coef_[0] if basis.ndim == 2 else basis * model.coef_[0]
        lines.append(_Line(weights, float(model.intercept_[0] - mean @ weights)))
    return lines


def _seen(rows: Values, basis: Values) -> Values:
    """(n, k) centred, and a basis (k, m) or the scale of each column (k,) -> what is regressed on."""
    return np.asarray(rows @ basis if basis.ndim == 2 else rows * basis, dtype=np.float64)


def standard(rows: Rows) -> tuple[Values, Values]:
    """(n, k) -> mean (k,) and what makes each column's deviation 1, (k,); constant columns count for nothing."""
    deviation = rows.std(axis=0)
    scale = np.where(deviation > 1e-9, 1 / np.maximum(deviation, 1e-9), 0.0)
    return rows.mean(axis=0), scale


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


def _calibration(values: Values, labels: Flags) -> tuple[float, float]:
    """Held-out values (n,) -> slope and shift of their log odds (Platt 1999), the slope positive.

    Fitted without weights, so that the marks' prevalence stays in. Platt's targets just short of 0 and 1 keep the slope
    finite where a side is told apart without error.
    """
    from sklearn.linear_model import LogisticRegression

    scale = float(values.std()) or 1.0
    shows, without = int(labels.sum()), int((~labels).sum())
    target = np.where(labels, (shows + 1) / (shows + 2), 1 / (without + 2))
    twice, sides = np.tile(values / scale, 2)[:, None], np.repeat([1, 0], len(values))
    model: Any = LogisticRegression(C=1e3, max_iter=1000)
    model.fit(twice, sides, sample_weight=np.concatenate([target, 1 - target]))
    slope = float(model.coef_[0, 0])
    if slope < LEAST_SLOPE:  # held-out marks came out in no order: then all pictures score their prevalence
        odds = float(target.mean() / (1 - target.mean()))
        return LEAST_SLOPE / scale, float(np.log(odds)) - LEAST_SLOPE * float(values.mean()) / scale
    return slope / scale, float(model.intercept_[0])


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
