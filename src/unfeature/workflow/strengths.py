"""How strong an edit: teachers over a grid of thresholds and margins, their Pareto front, and which one to take."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor

from unfeature import paper, teacher
from unfeature.artifacts import Preview
from unfeature.drawing import made, shows
from unfeature.features.choosing import gentlest, pareto, thinned
from unfeature.features.linear import LinearFeature
from unfeature.images import rows_at_once
from unfeature.protocols import Extractor, Generator, Judge

OFFSETS = (0.5, 0.25, 0.0, -0.25, -0.5, -0.75, -1.0)
"""Thresholds below or above the pooled one, in standard deviations of the projection."""

MARGINS = (0.0, 0.25, 0.5, 1.0)
"""In the same unit."""

FEW, FEW_PIXELS = 150, 2**24
"""Pictures of a kind on which the grid is looked through, fewer of large ones."""

STRONGER = 2
"""Points beyond the rough front that are measured too."""

LEAST = 100
"""Samples that a figure stands on at least, however slow the generator."""


@dataclass(frozen=True)
class Strengths:
    """Teachers measured on the same fresh samples."""

    points: tuple[Preview, ...]
    front: tuple[int, ...]
    """Those that no other beats in both ratio and change on the rest, gentlest first."""
    recommended: int
    reached: bool
    """Whether that one reaches the wanted ratio."""


def grid(base: LinearFeature, latents: Tensor) -> list[LinearFeature]:
    """The feature's direction with every threshold and margin of the grid; latents (n, d) give the unit."""
    spread = float(paper.project(latents, base.vector).std())
    steps = product(OFFSETS, MARGINS)
    return [base.adjusted(base.threshold + offset * spread, margin * spread) for offset, margin in steps]


def measure(
    generator: Generator,
    base: LinearFeature,
    sample: teacher.Sample,
    judge: Judge,
    extractor: Extractor | None,
    *,
    wanted: float,
    seconds: float,
) -> Strengths:
    """The whole grid in a rough way on half of the samples, then its front on the other half in about that time.

    The rough way asks only what is left where the feature was and how much the rest changes: a share of one in a
    thousand cannot be told from a few hundred pictures in any other way.
    """
    assert sample.shows is not None, "somebody judged the samples"
    half = len(sample.latents) // 2
    choosing, measuring = sample.part(0, half), sample.part(half, 2 * half)
    shown = sample.shows[:half]
    few = rows_at_once(generator.spec.image_shape, FEW_PIXELS, 16, FEW)
    with_it, without = (choosing.rows(torch.nonzero(mask).flatten()[:few]) for mask in (shown, ~shown))

    def told(feature: LinearFeature, used: teacher.Sample) -> Preview:
        return teacher.measure(generator, feature, used, judge, extractor, base.name)

    pictures = without.pictures(torch.arange(len(without.latents)))

    def rough(feature: LinearFeature) -> tuple[float, float]:
        rest, edited = (made(generator, feature.erase(s.latents)) for s in (without, with_it))
        left = shows(judge, edited).float().mean() if len(edited) else 0.0
        change = (rest - pictures).abs().mean() if len(rest) else 0.0
        return float(change), float(left)

    variants = grid(base, sample.latents)
    costs = [rough(feature) for feature in variants]
    front = pareto(costs)
    stronger = sorted((i for i in range(len(costs)) if costs[i][0] > costs[front[-1]][0]), key=lambda i: costs[i])
    kept = [*thinned(front), *stronger[:STRONGER]]
    began = time.perf_counter()
    told(variants[kept[-1]], measuring.part(0, LEAST))
    affordable = int(seconds / len(kept) * LEAST / (time.perf_counter() - began))
    used = measuring.part(0, max(LEAST, affordable))
    points = tuple(told(variants[i], used) for i in kept)
    front = pareto([_cost(p) for p in points])
    best, reached = choose(points, front, wanted)
    return Strengths(points, front, best, reached)


def _cost(preview: Preview) -> tuple[float, float]:
    """Change on the rest, ratio: both the lower the better."""
    assert preview.ratio is not None, "strengths are measured with a judge or a probe"
    return preview.drift_rest.value, preview.ratio.value


def choose(points: Sequence[Preview], front: Sequence[int], wanted: float) -> tuple[int, bool]:
    """The gentlest point of the front that reaches the wanted ratio, and True; else the one of lowest ratio, False."""
    return gentlest([_cost(point)[1] for point in points], front, wanted)
