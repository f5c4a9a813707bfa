"""Saliency mask: only the weights that the feature hangs on most are trained.

Fan, Liu, Zhang, Wong, Wei, Liu: SalUn: Empowering Machine Unlearning via Gradient-based Weight Saliency (ICLR 2024).
With L_unlearn as in the paper's equation (6), at the original's weights w_0, over FIRST batches:

    m = 1[ |dL_unlearn / dw| >= its median over all weights ]        only weights with m = 1 are trained

What is trained is distillation, equation (9), without a warm start.

Where we depart: SalUn relabels at random, a flagged latent would learn the picture of any other; here it learns the
teacher's f(z^), so that the mask alone is what differs from `distillation`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from unfeature.unlearners.bank import Batch
from unfeature.unlearners.distillation import Distilling
from unfeature.unlearners.loop import Gradient
from unfeature.unlearners.training import Training

SHARE = 0.5
"""Of the weights, that are trained."""

FIRST = 8
"""Batches that tell which."""


def salient(gradient: Gradient) -> dict[str, Tensor]:
    """Masks of the SHARE of all weights with the largest absolute values; ties of the least of them are in."""
    sizes = torch.cat([value.abs().flatten() for value in gradient.values()])
    least = sizes.kthvalue(max(1, round((1 - SHARE) * len(sizes)) + 1)).values
    return {name: value.abs() >= least for name, value in gradient.items()}


class Masked(Distilling):
    """Distillation through the mask."""

    unused = ("warm_start", "penalty")

    def prepare(self) -> None:
        """The mask, of batches without searched latents; then the pool."""
        found = [self.gradient(self.batch(step), "unlearn")[1] for step in range(FIRST)]
        self.mask = salient({name: torch.stack([one[name] for one in found]).sum(dim=0) for name in found[0]})
        super().prepare()

    def begin(self) -> None:
        """As the original: an edit would not keep to the mask."""

    def descend(self, batch: Batch) -> dict[str, float]:
        """The gradient, 0 outside the mask, where Adam then stays."""
        told, gradient = self.gradient(batch, "total")
        self.put({name: value * self.mask[name] for name, value in gradient.items()})
        return told


class Saliency(Training):
    """Unlearner: SalUn's idea."""

    loop = Masked
