"""How far marks can be trusted to give the paper's direction, and how many more would settle it.

z_e = mean(S+) - mean(S-) is the true difference mu plus noise e, and the mean of n independent latents strays from
its expectation by v / n in squared length, v the trace of their covariance. So, with v+ and v- of the two sides,

    N = E|e|^2 = v+ / n+ + v- / n-,     E|z_e|^2 = |mu|^2 + N,     E<z_e, mu>^2 = |mu|^2 (|mu|^2 + a),

where a is the part of N along mu. Hence |z_e|^2 - N estimates |mu|^2 without bias, and the squared cosine of the found
with the true direction is expected at about (|mu|^2 + a) / (|mu|^2 + N): the rest of the noise, N - a, over |z_e|^2, is
what is missing to 1. Nothing is standardised, because `paper.target_vector` does not either.

On mnist-vae and mnist-gan, slant and thickness, the cosine predicted is right within 0.02 from 40 marks a side on, and
the direction's AUC is about 0.11 below its best at a cosine of 0.7, 0.07 at 0.8, 0.03 at 0.9, 0.02 at 0.95 and 0.01 at
0.975; a teacher of slant with a margin of 0.5 leaves 0.0005 from 0.95 on. Hence GOAL.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from scipy.special import fdtrc
from torch import Tensor

from unfeature import paper

GOAL = 0.95
"""Expected cosine from which on more marks hardly change the preview."""

LEAST = 5
"""Marks of a side below which nothing is said about a direction."""

CHANCE = 0.01
"""How often marks made at random may pass for marks that point somewhere."""

MOST = 1_000_000
"""Marks that nobody makes: a search for how many are needed ends here."""

ROWS = 200
"""Latents of a side that the noise's dimension is counted from: it need not be exact."""


@dataclass(frozen=True)
class Advice:
    """What the marks are good for."""

    sentence: str
    enough: bool
    more: int | None
    """Marks still needed of each side; 0 when there are enough, None when that cannot be told yet."""
    agreement: float | None
    """Expected cosine, in [0, 1], of the found with the true direction; None when that cannot be told yet."""


@dataclass(frozen=True)
class _Difference:
    """z_e with its noise; pairs are (with the feature, without)."""

    squared: float
    """|z_e|^2."""
    counts: tuple[int, int]
    spread: tuple[float, float]
    """Trace of the covariance within each side."""
    along: tuple[float, float]
    """Variance of each side along z_e."""
    dimension: float
    """tr(C)^2 / tr(C^2) of the covariance C within sides: in how many dimensions the noise lives."""

    def noise(self, more: int = 0) -> float:
        """N, with so many more marks on each side."""
        return _mean_noise(self.spread, self.counts, more)

    def cosine(self, more: int = 0) -> float:
        """Expected with so many more marks on each side."""
        signal = max(0.0, self.squared - self.noise())
        total = signal + self.noise(more)
        lost = self.noise(more) - _mean_noise(self.along, self.counts, more)
        return math.sqrt(min(1.0, max(0.0, 1.0 - lost / total))) if total > 0 else 0.0

    def is_signal(self) -> bool:
        """|z_e|^2 is more than noise: it and N are taken for chi-squared in `dimension` dimensions (Satterthwaite)."""
        noise, freedom = self.noise(), sum(self.counts) - 2
        if noise <= 0:
            return self.squared > 0
        return float(fdtrc(self.dimension, self.dimension * freedom, self.squared / noise)) < CHANCE


def _mean_noise(variances: tuple[float, float], counts: tuple[int, int], more: int) -> float:
    return sum(variance / (count + more) for variance, count in zip(variances, counts, strict=True))


def _difference(positives: Tensor, negatives: Tensor) -> _Difference | None:
    """(p, d), (q, d) -> what their means differ by; None where a side has fewer than two."""
    if min(len(positives), len(negatives)) < 2:
        return None
    sides = positives.detach().float(), negatives.detach().float()
    vector = paper.target_vector(*sides)
    squared = float(vector.double().square().sum())
    spread = [_trace(side) for side in sides]
    along = [float(paper.project(side, vector).var()) if squared > 0 else 0.0 for side in sides]
    counts = len(positives), len(negatives)
    return _Difference(squared, counts, (spread[0], spread[1]), (along[0], along[1]), _dimension(*sides))


def _trace(side: Tensor) -> float:
    """(n, d) -> the trace of its covariance."""
    return float(torch.linalg.vector_norm(side - side.mean(dim=0))) ** 2 / (len(side) - 1)


def _dimension(positives: Tensor, negatives: Tensor) -> float:
    """(p, d), (q, d) -> tr(C)^2 / tr(C^2), in [1, d]; unbiased parts for Gaussians (Srivastava 2005)."""
    first = [side[:ROWS] for side in (positives, negatives)]
    centred = torch.cat([side - side.mean(dim=0) for side in first])
    freedom, d = len(centred) - 2, centred.shape[1]
    product = centred @ centred.T if len(centred) < d else centred.T @ centred
    trace = float(product.trace()) / freedom
    square = float(product.double().square().sum()) / freedom**2
    if freedom < 2 or trace <= 0:
        return float(d)
    unbiased = freedom**2 / ((freedom + 2) * (freedom - 1)) * (square - trace**2 / freedom)
    return min(float(d), max(1.0, trace**2 / unbiased)) if unbiased > 0 else float(d)


def agreement(positives: Tensor, negatives: Tensor) -> float:
    """Latents (p, d) with the feature and (q, d) without -> expected cosine, in [0, 1], of z_e with the true one.

    0 where a side has fewer than two. Marks that say nothing get about 1 / sqrt(d), as a random direction does.
    """
    difference = _difference(positives, negatives)
    return difference.cosine() if difference else 0.0


def more_needed(positives: Tensor, negatives: Tensor, goal: float = GOAL) -> int | None:
    """How many marks more, on each side, until the expected cosine reaches the goal; 0 where it does.

    Both sides are taken to grow alike: who looks for pictures that show it passes over at least as many that do not,
    and where that side is the larger one its further growth changes next to nothing. None where the marks cannot yet be
    told from marks made at random.
    """
    difference = _difference(positives, negatives)
    return _more(difference, goal) if difference else None


def _more(difference: _Difference, goal: float) -> int | None:
    """As in `more_needed`."""
    if not difference.is_signal():
        return None
    if difference.cosine() >= goal:
        return 0
    low, high = 0, 1
    while difference.cosine(high) < goal and high < MOST:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if difference.cosine(middle) >= goal else (middle, high)
    return high


def advise(positives: Tensor, negatives: Tensor) -> Advice:
    """Latents (p, d) marked as showing it and (q, d) as not -> one sentence for who marks, and its numbers."""
    shows, without = len(positives), len(negatives)
    difference = _difference(positives, negatives) if min(shows, without) >= LEAST else None
    if difference is None:
        return Advice(_too_few(shows, without), False, None, None)
    more, found = _more(difference, GOAL), difference.cosine()
    counts = f"{shows:,} show it, {without:,} do not."
    if more is None:
        told = (
            f"{counts} What you marked does not point in one direction yet: mark more, and give a second look to "
            "those you were unsure of."
        )
        return Advice(told, False, None, found)
    if more == 0:
        told = f"{counts} Enough: another set of marks would give nearly the same direction."
        return Advice(told, True, 0, found)
    which = "that show it" if without >= 3 * shows else "that do not" if shows >= 3 * without else "of each"
    return Advice(f"{counts} About {_rounded(more):,} more {which} and the preview settles.", False, more, found)


def _too_few(shows: int, without: int) -> str:
    wanted = f"Mark at least {LEAST} that show it" if shows < LEAST else ""
    looked = f"look at {'some' if without == 0 else 'more'} that do not" if without < LEAST else ""
    sentence = ", and ".join(part for part in (wanted, looked) if part)
    return sentence[0].upper() + sentence[1:] + "."


def _rounded(count: int) -> int:
    """Up to a number that claims no more than is known: 5, 10, 15... 50, 60... 100, 150... 1000, 1500..."""
    step = 5 if count <= 50 else 10 if count <= 100 else 10 ** (len(str(count - 1)) - 1) // 2
    return -(-count // step) * step
