"""Against a search for latents: beside each batch the copy learns from latents that somebody would find in it now.

Each of a pool climbs one step a training step towards what the guide still sees in the copy's picture, in standard
deviations of the generator's own latents and at the length it began with, as `attacks.latent_search` does:

    z <- shell(z + 2 RATE (1 - age / CLIMB) sqrt(d) grad / |grad|),   grad of remaining(g(z))                 (12)

At the age of CLIMB steps a latent begins anew somewhere else, not all at once; its last steps are short, so that it
comes to rest where the guide sees most, however narrow that is. Persistent adversaries cost one pass a step
where a search from the start would cost a hundred (Shafahi et al. 2019, "Adversarial training for free").

Many climbs lead nowhere. The copy learns from the half in whose pictures the guide sees most, as from hard examples
(Shrivastava et al. 2016, "Training region-based object detectors with online hard example mining").
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from unfeature.images import rows_at_once
from unfeature.protocols import Generator, GuidedFeature
from unfeature.scale import Scale
from unfeature.seeds import stream

CLIMB, RATE = 50, 0.1
"""Steps before a latent begins anew, and their mean length, of sqrt(d)."""

PASS_PIXELS = 2**20
"""Pixels of the pool that climb at a time: what it keeps in memory."""

SAMPLES = 2000
"""Latents whose mean and deviation are taken."""


@dataclass
class Pool:
    """Latents on their way up."""

    latents: Tensor
    """(n, d)."""
    scale: Scale
    """Of the generator's latents."""
    seed: int

    @classmethod
    def begun(cls, generator: Generator, size: int, seed: int) -> Pool:
        """The first latents of a run."""
        some = generator.sample_latents(stream("searched scale", seed, 0, SAMPLES))
        return cls(generator.sample_latents(stream("searched", seed, 0, size)), Scale.of(some), seed)

    def climb(self, step: int, generator: Generator, feature: GuidedFeature) -> Tensor:
        """(n / 2, d): those that show most in this copy; then all take a step up, where their time is up from anew."""
        n = len(self.latents)
        age = (torch.arange(n, device=self.latents.device) + step) % CLIMB
        over = age == 0
        if bool(over.any()):
            anew = generator.sample_latents(stream("searched", self.seed, (step + 1) * n, (step + 2) * n))
            self.latents = torch.where(over.unsqueeze(1), anew, self.latents)
        rows = rows_at_once(generator.spec.image_shape, PASS_PIXELS, 1, n)
        told = [_climbing(generator, feature, part) for part in torch.split(self.latents, rows)]
        left, slope = (torch.cat(side) for side in zip(*told, strict=True))
        most = self.latents[left.topk(-(-n // 2)).indices]
        before, slope = self.scale(self.latents), slope * self.scale.deviation
        length = _length(slope).clamp_min(1e-12)
        rate = 2 * RATE * (1 - age / CLIMB).unsqueeze(1)
        after = before + rate * before.shape[1] ** 0.5 * slope / length
        after = after * (_length(before) / _length(after).clamp_min(1e-12))
        self.latents = self.scale.back(after).detach()
        return most


def _climbing(generator: Generator, feature: GuidedFeature, latents: Tensor) -> tuple[Tensor, Tensor]:
    """(m, d) -> what the guide still sees in their pictures (m,), and its gradient (m, d)."""
    with torch.enable_grad():
        here = latents.detach().clone().requires_grad_()
        left = feature.remaining(generator.synthesize(here))
        (slope,) = torch.autograd.grad(left.sum(), here)
    return left.detach(), slope


def _length(rows: Tensor) -> Tensor:
    length: Tensor = torch.linalg.vector_norm(rows, dim=1, keepdim=True)
    return length
