"""Selective amnesia: a surrogate in place of the feature's pictures, replay of the rest, and stiff weights.

Heng, Soh: Selective Amnesia: A Continual Learning Approach to Forgetting in Deep Generative Models (NeurIPS 2023),
after elastic weight consolidation (Kirkpatrick et al. 2017). With u uniform noise in [0, 1] for every pixel, w_0 the
original's weights and F their diagonal Fisher information on latents that are not flagged:

    L = alpha sim(z) E_u |g(z) - u| + (1 - sim(z)) |g(z) - f(z)| + penalty / 2 sum_i F_i (w_i - w_0i)^2

The surrogate is the paper's for digits. E_u |g - u| = (g^2 + (1 - g)^2) / 2, so no noise is drawn.

Where we depart: their F is that of the variational or diffusion loss; |g - f| has none, being at its minimum in f. Ours
is that of x ~ N(g(z), 1) for every pixel, a mean over pixels: F_i = E_z mean_p (dg_p / dw_i)^2, estimated from random
signs. Penalty 2 so weighs, to first order and weight by weight, the mean squared change of a pixel.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from unfeature import paper
from unfeature.seeds import stream
from unfeature.unlearners.bank import Batch
from unfeature.unlearners.loop import DISTILLED, Gradient, Loop
from unfeature.unlearners.training import Training

SEEN, TOGETHER = 1024, 8
"""Latents of the Fisher information, and how many of them share a pass with signs of their own."""


def elastic(weights: Mapping[str, Tensor], start: Gradient, fisher: Gradient) -> Tensor:
    """sum_i F_i (w_i - w_0i)^2 / 2."""
    return torch.stack([(f * (weights[name] - start[name]).square()).sum() for name, f in fisher.items()]).sum() / 2


class Consolidated(Loop):
    """Noise for the feature, the original's pictures for the rest."""

    unused = DISTILLED

    def prepare(self) -> None:
        """w_0 and F."""
        self.start = {name: p.detach() for name, p in self.teacher.module.named_parameters()}
        self.fisher = self.agreed(self._fisher())

    def _fisher(self) -> Gradient:
        """(J's)^2 summed over passes, s random signs: cross terms vanish in the mean."""
        found, seen, signs = {n: torch.zeros_like(p) for n, p in self.parameters.items()}, 0, torch.Generator()
        signs.manual_seed(self.seed)
        for latents in torch.split(self.teacher.sample_latents(stream("fisher", self.seed, 0, SEEN)), TOGETHER):
            kept = latents[~self.feature.contains(latents)]
            if not len(kept):
                continue
            made = self.student.synthesize(kept)
            sign = (2 * torch.randint(2, made.shape, generator=signs) - 1).to(made)
            slopes = torch.autograd.grad((made * sign).sum(), list(self.parameters.values()), allow_unused=True)
            for total, slope in zip(found.values(), slopes, strict=True):
                if slope is not None:
                    total.add_(slope.square())
            seen += made.numel()
        return {name: total / max(1, seen) for name, total in found.items()}

    def losses(self, batch: Batch) -> paper.Losses:
        """L of this file; `unlearn` is the surrogate's term."""
        made, target = self.pictures(batch)
        told = paper.losses(made, target, batch.flags, alpha=0, perceptual=0, l1=self.options.l1)
        noise = ((made.square() + (1 - made).square()) / 2).flatten(1)[batch.flags]
        each = noise.mean(dim=1) if self.options.l1 == "mean" else noise.sum(dim=1)
        unlearn = each.sum() / len(batch.flags)
        stiff = self.options.penalty * elastic(self.parameters, self.start, self.fisher)
        return replace(told, unlearn=unlearn, total=self.options.alpha * unlearn + told.reconstruction + stiff)


class Amnesia(Training):
    """Unlearner: Selective Amnesia's idea."""

    loop = Consolidated
