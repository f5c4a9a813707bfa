"""How far annotators agree, and what they say together: Krippendorff's alpha, Dawid and Skene's consensus.

Marks are (annotators, items) whole numbers, MISSING where somebody did not decide. Nothing here imports torch.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Marks = NDArray[np.int64]
Floats = NDArray[np.float64]

MISSING = -1
"""No mark, or one that decides nothing ("unsure")."""

RESAMPLES = 2000
WRONG, RIGHT = 1.0, 2.0
"""Marks added to each side of each annotator before counting: few marks neither convict nor acquit."""

STEPS, TOLERANCE = 1000, 1e-9
"""EM steps at most; it ends where the objective gains less than this."""

SURE = 0.8
"""From this posterior on the annotators together say that a picture shows the feature, or that it does not."""


@dataclass(frozen=True)
class Alpha:
    """1: all agree; 0: as chance would; below: worse than chance. With its 95 % interval over items."""

    value: float
    low: float
    high: float
    n: int
    """Items that at least two annotators decided."""


def alpha(marks: Marks, seed: int = 0, resamples: int = RESAMPLES) -> Alpha | None:
    """Krippendorff's alpha for names without order, from (annotators, items); None where it is not defined.

    That is so where no item was decided twice, or all marks are the same: nothing could have been confused.
    """
    values = np.unique(marks[marks != MISSING])
    counts = (marks[:, :, None] == values).sum(axis=0)  # (items, values)
    counts = counts[counts.sum(axis=1) >= 2]
    if len(counts) == 0:
        return None
    patterns, often = np.unique(counts, axis=0, return_counts=True)
    value = float(_alphas(often[None, :].astype(np.float64), patterns)[0])
    if np.isnan(value):
        return None
    # Items drawn with replacement; equal items are drawn together, so that 10,000 of them cost no more than a few.
    drawn = np.random.default_rng(seed).multinomial(len(counts), often / len(counts), size=resamples)
    spread = _alphas(drawn.astype(np.float64), patterns)
    low, high = np.nanquantile(np.append(spread, value), (0.025, 0.975))
    return Alpha(value, float(low), float(high), len(counts))


def _alphas(often: Floats, patterns: Marks) -> Floats:
    """How often each pattern occurs (b, p), and marks per value (p, k) -> (b,) alphas, NaN where undefined.

    Krippendorff, Computing Krippendorff's Alpha-Reliability (2011), section C: 1 - D_o / D_e from coincidences, in
    which each of an item's m marks meets the other m - 1.
    """
    m = patterns.sum(axis=1)
    differing = (m**2 - (patterns**2).sum(axis=1)) / (m - 1)
    n, totals = often @ m, often @ patterns
    expected = n**2 - (totals**2).sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(expected > 0, 1 - (n - 1) * (often @ differing) / expected, np.nan)


@dataclass(frozen=True)
class Consensus:
    """What the annotators say together, and how each of them errs."""

    posterior: Floats
    """(items,) probability that an item shows the feature; the prior where nobody decided."""
    prior: float
    """Share of items that show it."""
    misses: Floats
    """(annotators,) how often each says no where it shows."""
    false_alarms: Floats
    """(annotators,) how often each says yes where it does not."""
    objective: tuple[float, ...]
    """Log likelihood plus the smoothing's log prior, after each step: it never falls."""


def consensus(marks: Marks) -> Consensus:
    """The EM of Dawid and Skene, Maximum Likelihood Estimation of Observer Error-Rates (Applied Statistics, 1979).

    `marks` (annotators, items) are 1, 0 or MISSING: "unsure" counts as missing, since it says neither. The start is
    each item's share of votes; rates and prior are smoothed, which is a maximum a posteriori estimate.
    """
    decided = (marks != MISSING).any(axis=0)
    yes, no = ((marks[:, decided] == side).astype(np.float64) for side in (1, 0))
    posterior = yes.sum(axis=0) / (yes + no).sum(axis=0)
    told: list[float] = []
    while True:
        prior, misses, false_alarms = _rates(yes, no, posterior)  # their equations (2.3), (2.4)
        shows = np.log(prior) + np.log1p(-misses) @ yes + np.log(misses) @ no
        lacks = np.log1p(-prior) + np.log(false_alarms) @ yes + np.log1p(-false_alarms) @ no
        likelihood = np.logaddexp(shows, lacks)
        posterior = np.exp(shows - likelihood)  # (2.5)
        told.append(float(likelihood.sum()) + _log_prior(prior, misses, false_alarms))
        if len(told) == STEPS or (len(told) > 1 and told[-1] - told[-2] < TOLERANCE):
            break
    everywhere = np.full(marks.shape[1], prior)
    everywhere[decided] = posterior
    return Consensus(everywhere, prior, misses, false_alarms, tuple(told))


def _rates(yes: Floats, no: Floats, posterior: Floats) -> tuple[float, Floats, Floats]:
    """Prior, misses and false alarms that suit the posterior best."""
    misses = (no @ posterior + WRONG) / ((yes + no) @ posterior + WRONG + RIGHT)
    false_alarms = (yes @ (1 - posterior) + WRONG) / ((yes + no) @ (1 - posterior) + WRONG + RIGHT)
    return (float(posterior.sum()) + 1) / (len(posterior) + 2), misses, false_alarms


def _log_prior(prior: float, misses: Floats, false_alarms: Floats) -> float:
    """What the added marks add to the objective."""
    rates = np.concatenate([misses, false_alarms])
    return float(np.log(prior) + np.log1p(-prior) + (WRONG * np.log(rates) + RIGHT * np.log1p(-rates)).sum())
