"""Pictures of many seeds, made so many at a time that memory stays flat."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from unfeature.images import rows_at_once
from unfeature.protocols import Generator, Judge
from unfeature.seeds import Seeds

BATCH, PIXELS = 500, 500 * 28 * 28
"""Images made at a time, and fewer of large ones: memory stays flat, and a CPU's caches serve longer."""


def batches(generator: Generator, seeds: Seeds) -> Iterator[tuple[Tensor, Tensor]]:
    """Latents (m, d) and images (m, c, h, w) of the seeds, m <= BATCH at a time, without gradients."""
    for portion in portions(generator, seeds):
        with torch.no_grad():
            latents = generator.sample_latents(portion)
            images = generator.synthesize(latents)
        yield latents, images  # outside: a generator left half-way would leave its caller without gradients


def portions(generator: Generator, seeds: Seeds) -> Iterator[Seeds]:
    """As many seeds as are drawn at a time."""
    size = rows_at_once(generator.spec.image_shape, PIXELS, 1, BATCH)
    return (seeds[start : start + size] for start in range(0, len(seeds), size))


def pictures_at_once(images: Tensor) -> tuple[Tensor, ...]:
    """Pictures (n, c, h, w) in as many rows as networks look at together."""
    _, c, h, w = images.shape
    return torch.split(images, rows_at_once((c, h, w), PIXELS, 1, BATCH))


@torch.no_grad()
def shows(judge: Judge, images: Tensor) -> Tensor:
    """(n, c, h, w) -> (n,) bool on the CPU: the judge finds the feature, in some pictures at a time."""
    return torch.cat([judge.score(part).cpu() >= 0.5 for part in pictures_at_once(images)])


def frozen(generator: Generator) -> Generator:
    """A copy whose weights have no gradient: what a search goes through."""
    twin = generator.copy()
    twin.module.requires_grad_(False)
    return twin


def parts(generator: Generator, latents: Tensor) -> tuple[Tensor, ...]:
    """Latents (n, d) in as many rows as go through the generator at a time."""
    return torch.split(latents, rows_at_once(generator.spec.image_shape, PIXELS, 1, BATCH))


@torch.no_grad()
def made(generator: Generator, latents: Tensor) -> Tensor:
    """Pictures (n, c, h, w) of latents (n, d), made some at a time, without gradients."""
    return torch.cat([generator.synthesize(part) for part in parts(generator, latents)])


def drawn(generator: Generator, seeds: Seeds) -> tuple[Tensor, Tensor]:
    """Latents (n, d) and images (n, c, h, w) of all the seeds, without gradients."""
    latents, images = zip(*batches(generator, seeds), strict=True)
    return torch.cat(latents), torch.cat(images)
