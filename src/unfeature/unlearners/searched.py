"""Against a search for latents: beside each batch the copy learns from latents that somebody would find in it now.

Each of a pool climbs one step a training step towards what the guide still sees in the copy's picture, in standard
deviations of the generator's own latents and within the shell of nearly all of them, as `attacks.latent_search` does:

    z <- shell(z + RATE sqrt(d) grad / |grad|),   grad of remaining(g(z))                                     (12)

After CLIMB steps a latent begins anew somewhere else, not all at once. Persistent adversaries cost one pass a step
where a search from the start would cost a hundred (Shafahi et al. 2019, "Adversarial training for free").
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from unfeature.protocols import Generator, GuidedFeature
from unfeature.seeds import stream
from unfeature.typical import Typical

CLIMB, RATE = 50, 0.1
"""Steps before a latent begins anew, and the length of each, of sqrt(d)."""

SAMPLES = 2000
"""Latents from which it is learnt what is usual."""


@dataclass
class Pool:
    """Latents on their way up."""

    latents: Tensor
    """(n, d)."""
    typical: Typical
    seed: int

    @classmethod
    def begun(cls, generator: Generator, size: int, seed: int) -> Pool:
        """The first latents of a run."""
        typical = Typical.of(generator.sample_latents(stream("searched scale", seed, 0, SAMPLES)))
        return cls(generator.sample_latents(stream("searched", seed, 0, size)), typical, seed)

    def climb(self, step: int, generator: Generator, feature: GuidedFeature) -> Tensor:
        """(n, d): where they are after another step up in this copy; those whose time is up begin anew first."""
        n = len(self.latents)
        over = (torch.arange(n, device=self.latents.device) + step) % CLIMB == 0
        if bool(over.any()):
            anew = generator.sample_latents(stream("searched", self.seed, (step + 1) * n, (step + 2) * n))
            self.latents = torch.where(over.unsqueeze(1), anew, self.latents)
        with torch.enable_grad():
            here = self.typical.standardised(self.latents).detach().requires_grad_()
            seen = feature.remaining(generator.synthesize(self.typical.rows(here))).sum()
            (slope,) = torch.autograd.grad(seen, here)
        up = torch.nn.functional.normalize(slope, dim=1)
        moved = self.typical.projected(here.detach() + RATE * here.shape[1] ** 0.5 * up)
        self.latents = self.typical.rows(moved)
        return self.latents
