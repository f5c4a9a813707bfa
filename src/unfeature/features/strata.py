"""Features that go together with one to keep: directions that hold it fixed, and a warning where marks mix the two.

Three ways to leave a kept feature out of a direction; A are k readouts a of kept features, w that of the feature, so
that what changes in z is told by <w, z> and <a, z>:

    stratified     z_e inside each stratum of the kept marks, averaged: the marks as they are, no probe
    residualised   cov(z, s_perp), s_perp the scores without what the kept scores say (Frisch, Waugh 1933; Lovell 1963)
    orthogonal     w - A^T (A A^T)^-1 A w (Shen, Gu, Tang, Zhou: InterFaceGAN, CVPR 2020, section 3.2)

Marks say on which side of a cut the kept feature lies, not how far: inside a stratum it still goes with the feature.
Where the two correlate at 0.8, strata halve the leak (0.80 to 0.51) however many the marks; `readouts` from many scored
latents, residualised on or kept at right angles, bring it to 0.00. The direction to move along then no longer tells
where the feature is: `translate_along` finds with one and moves along the other. The measurements stand in
docs/explanation/correlated-features.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unfeature import paper
from unfeature.artifacts import Score
from unfeature.errors import BadOption, NothingLeft, ShapeError, TooFewMarks
from unfeature.features.noise import Flags, Values
from unfeature.intervals import holm, newcombe

Codes = NDArray[np.int64]

PARALLEL = 1e-6
"""Singular values of unit kept vectors below this, relative to the largest, are rounding."""

CHANCE, SERIOUS = 0.05, 0.10
"""Holm's p below which, and least difference of shares (the near end of its interval) from which on, marks are called
confounded. In 80 Gaussian worlds of two features that correlate at 0 to 0.9, the paper's teacher moved the kept one's
share by 0.13 to 0.28 of that difference, which unlike phi does not depend on how many of each side are marked. From 100
marks a side this rule warns in 1 % of the worlds without correlation, 9 % of those where the share moves by less than
0.02, 91 % where by more than 0.05 and all where by more than 0.1; from 500 in 0, 9, 100 and 100 %. The p value alone
warns in half of the harmless worlds from 500 marks."""

LEFT = 1e-4
"""Share of a direction's length below which what is left of it, or of scores, is rounding."""


def stratum_codes(kept: Flags) -> Codes:
    """(n, k) whether each latent shows each kept feature -> (n,) in [0, 2^k): one whole number for each combination."""
    powers = 2 ** np.arange(kept.shape[1], dtype=np.int64)
    return np.asarray(kept.astype(np.int64) @ powers, dtype=np.int64)


def stratified_vector(positives: Tensor, negatives: Tensor, strata_positives: Codes, strata_negatives: Codes) -> Tensor:
    """Equation (1) inside each stratum, averaged: (p, d), (q, d) and their strata (p,), (q,) -> (d,).

    A stratum with p_s and q_s marks weighs p_s q_s / (p_s + q_s): the inverse variance of its difference of means, the
    spread within strata being alike, and the same as regressing latents on marks and one constant per stratum. Strata
    that have one side alone say nothing. ShapeError; TooFewMarks where no stratum has both.
    """
    sides = (positives, np.asarray(strata_positives)), (negatives, np.asarray(strata_negatives))
    for latents, codes in sides:
        if codes.shape != (len(latents),):
            raise ShapeError(f"{len(latents)} latents were given with strata {codes.shape}; expected one stratum each.")
    shared = np.intersect1d(sides[0][1], sides[1][1])
    if not len(shared):
        raise TooFewMarks(
            f"none of the {len(np.union1d(sides[0][1], sides[1][1]))} strata of the kept features has marks of both "
            f"sides ({len(positives)} show it, {len(negatives)} do not); expected at least one with both. Mark "
            "pictures that show the feature and differ in the kept ones, or keep fewer features."
        )
    vectors, weights = [], []
    for code in shared:
        shows, without = (latents[torch.from_numpy(codes == code)] for latents, codes in sides)
        vectors.append(paper.target_vector(shows, without))
        weights.append(len(shows) * len(without) / (len(shows) + len(without)))
    share = torch.tensor(weights, dtype=torch.float64) / sum(weights)
    return share.to(vectors[0]) @ torch.stack(vectors)


def residualised_vector(latents: Tensor, scores: Values, kept: Values) -> Tensor:
    """Latents (n, d) regressed on scores (n,) once kept scores (n, k) are partialled out of them -> (d,).

    The change of each latent per unit of score at fixed kept scores, whatever the latents' covariance. Kept scores with
    noise of their own leak, and marks are such: give `latents @ readouts(many latents, their kept scores).T` in their
    place. ShapeError; NothingLeft where the kept scores say all that the scores do.
    """
    scores = np.asarray(scores, dtype=np.float64)
    beside = np.asarray(kept, dtype=np.float64).reshape(len(scores), -1)
    if len(latents) != len(scores):
        raise ShapeError(f"{len(latents)} latents were given with {len(scores)} scores; expected as many.")
    design = np.column_stack([np.ones(len(scores)), beside - beside.mean(axis=0)])
    rest = scores - design @ np.linalg.lstsq(design, scores, rcond=None)[0]
    length = float(np.linalg.norm(rest))
    if length <= LEFT * float(np.linalg.norm(scores - scores.mean())):
        raise NothingLeft(
            f"the scores of the feature follow from those of the {beside.shape[1]} kept ones; expected some that "
            "differ where the kept ones are alike. Keep fewer features, or score more latents."
        )
    weights = torch.from_numpy(rest / length**2).to(latents)
    return weights @ (latents - latents.mean(dim=0))


def orthogonalised(vector: Tensor, kept_vectors: Tensor) -> Tensor:
    """w - A^T (A A^T)^-1 A w: (d,), (k, d) -> (d,), at right angles to every kept vector.

    By an orthogonal basis of A's rows, so that kept vectors that are almost the same, or zero, do no harm. ShapeError;
    NothingLeft where nothing is.
    """
    if kept_vectors.ndim != 2 or kept_vectors.shape[1:] != vector.shape:
        raise ShapeError(
            f"kept vectors {tuple(kept_vectors.shape)} were given with a vector {tuple(vector.shape)}; expected (k, d) "
            "and (d,)."
        )
    rows = kept_vectors.double()
    lengths = torch.linalg.vector_norm(rows, dim=1, keepdim=True)
    _, values, basis = torch.linalg.svd(rows[lengths[:, 0] > 0] / lengths[lengths[:, 0] > 0], full_matrices=False)
    basis = basis[values > PARALLEL * values.max()] if len(values) else basis
    whole = vector.double()
    left = whole - basis.T @ (basis @ whole)
    if float(torch.linalg.vector_norm(left)) <= LEFT * float(torch.linalg.vector_norm(whole)):
        raise NothingLeft(
            f"nothing is left of the direction beside those of the {len(rows)} kept features; expected one that they "
            "do not contain. Keep fewer features."
        )
    result: Tensor = left.to(vector)
    return result


def readouts(latents: Tensor, scores: Values) -> Tensor:
    """Latents (n, d), scores or marks (n, k) -> (k, d): A, the least-squares weights that tell each score from z."""
    rows = (latents - latents.mean(dim=0)).double()
    wanted = torch.from_numpy(np.asarray(scores, dtype=np.float64).reshape(len(rows), -1)).to(rows.device)
    weights: Tensor = torch.linalg.lstsq(rows, wanted - wanted.mean(dim=0), driver="gelsd").solution
    return weights.T.to(latents)


def translate_along(latents: Tensor, detector: Tensor, threshold: float, margin: float, direction: Tensor) -> Tensor:
    """Equation (5) along another vector: where <u, z> >= t, to <u, z^> = t - m by a step along v; else z.

    (n, d), detector (d,) of any length, direction (d,) -> (n, d). With direction = u it is `paper.translate`. BadOption
    where the direction does not change what the detector tells.
    """
    u, v = paper.unit(detector), paper.unit(direction)
    slope = float(u @ v)
    if slope <= LEFT:
        raise BadOption(
            f"a step along the direction changes what the detector tells by {slope:.1g} of its length; expected more "
            "than 0. Keep fewer features, or mark more pictures."
        )
    length = paper.project(latents, u) - threshold
    step = torch.where(length >= 0, (length + margin) / slope, 0.0)
    return latents + torch.outer(-step, v)


@dataclass(frozen=True)
class Confounded:
    """How marks go together with one kept feature."""

    name: str
    among_positives: Score
    among_negatives: Score
    """Shares of the marked pictures of either side that show the kept feature."""
    difference: Score
    """Of the two shares, in [-1, 1], with Newcombe's 95 % interval (1998, method 10). The direction of the marks is
    that inside the strata plus this many times the kept feature's own."""
    p: float
    """Fisher's exact test, by Holm's rule over all the kept features."""
    serious: bool
    sentence: str


def confounding(labels: Flags, kept: Flags, names: Sequence[str]) -> tuple[Confounded, ...]:
    """Marks (n,) and whether each picture shows each kept feature (n, k) -> how they go together. ShapeError.

    A side without marks has no share: nothing is then serious.
    """
    labels, kept = np.asarray(labels, dtype=np.bool_), np.asarray(kept, dtype=np.bool_)
    if kept.shape != (len(labels), len(names)):
        raise ShapeError(
            f"kept features {kept.shape} were given with {len(labels)} marks and {len(names)} names; expected "
            f"({len(labels)}, {len(names)})."
        )
    from scipy.stats import fisher_exact

    hits = [kept[labels == side].sum(axis=0) for side in (True, False)]
    n = int(labels.sum()), int((~labels).sum())
    tables = [[[int(a), n[0] - int(a)], [int(b), n[1] - int(b)]] for a, b in zip(*hits, strict=True)]
    found = holm([float(fisher_exact(np.array(table))[1]) for table in tables])
    return tuple(_confounded(name, table, p) for name, table, p in zip(names, tables, found, strict=True))


def _confounded(name: str, table: list[list[int]], p: float) -> Confounded:
    """One kept feature's counts [shows it, does not] among positives and negatives."""
    first, second = (
        Score.share(f"kept_among_{side}", row[0], sum(row))
        for side, row in zip(("positives", "negatives"), table, strict=True)
    )
    low, high = newcombe(first, second)
    value = first.value - second.value if first.n and second.n else 0.0
    difference = Score("difference", value, low, high, first.n + second.n)
    serious = p < CHANCE and max(low, -high) >= SERIOUS
    return Confounded(name, first, second, difference, p, serious, _sentence(name, first, second, serious))


def _sentence(name: str, first: Score, second: Score, serious: bool) -> str:
    counts = f"{100 * first.value:.0f} % of your positives are also {name}, {100 * second.value:.0f} % of the others"
    if not serious:
        return f"{counts}: too little to mix the two up."
    without = f"without {name}" if first.value > second.value else f"with {name}"
    return (
        f"{counts}: marks alone cannot tell the two apart. Keep {name}, and mark more that show the feature {without}."
    )
