"""A direction that leaves what is kept alone: at right angles to all that tells it from the latents."""

from __future__ import annotations

import torch
from torch import Tensor

from unfeature import paper
from unfeature.features import fresh
from unfeature.features.guides import Helpers, Progress, kept_by_judge
from unfeature.features.strata import orthogonalised, readouts
from unfeature.options import FindOptions
from unfeature.protocols import Generator


@torch.no_grad()
def away_from_kept(
    vector: Tensor, generator: Generator, options: FindOptions, helpers: Helpers, seed: int, on_step: Progress
) -> Tensor | None:
    """The vector (d,) without what moves the kept features, of unit length; None where nothing is kept.

    What moves them is read out of fresh samples: marks alone are too few, and their strata leave half of the leak
    (docs/explanation/correlated-features.md). BadOption where nothing of the vector is left.
    """
    if not options.keep:
        return None
    judges = [kept_by_judge(helpers.judge(reference)) for _, reference in options.kept]

    def say(images: Tensor) -> Tensor:
        return torch.cat([judge(images) for judge in judges], dim=1)

    samples = fresh.draw(generator, say, options, seed, on_step=on_step)
    kept = readouts(samples.latents, samples.said.double().numpy())
    return paper.unit(orthogonalised(vector, kept)).cpu()
