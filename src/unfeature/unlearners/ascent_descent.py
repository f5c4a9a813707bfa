"""Gradient ascent on what is to be forgotten together with descent on what is to stay.

Kurmanji, Triantafillou, Hayes, Triantafillou: Towards Unbounded Machine Unlearning (NeurIPS 2023), "NegGrad+". With
sim(z) the flags, f_8(z) the original's picture in 8 bits and means over the batch:

    L = - alpha sim(z) |g(z) - f_8(z)| + (1 - sim(z)) |g(z) - f(z)|

Where we depart: they ascend a classifier's loss, which has a slope from the start. A generator that begins as f is at
the minimum of |g - f| and would stay there, so what is forgotten are 8-bit pictures, at most 1/510 from f: the slope
points away from them at once. Pictures are in [0, 1], which bounds the loss; nothing else is clipped.
"""

from __future__ import annotations

from typing import ClassVar

import torch

from unfeature import paper
from unfeature.unlearners.bank import Batch
from unfeature.unlearners.loop import DISTILLED, Loop
from unfeature.unlearners.training import Training


class AscendingDescending(Loop):
    """Away from pictures with the feature, at those without."""

    unused: ClassVar[tuple[str, ...]] = (*DISTILLED, "penalty")

    def losses(self, batch: Batch) -> paper.Losses:
        """L of this file; `unlearn` is what is ascended."""
        made, target = self.pictures(batch)
        stored = torch.where(batch.flags.view(-1, 1, 1, 1), (target * 255).round() / 255, target)
        options = self.options
        return paper.losses(made, stored, batch.flags, alpha=-options.alpha, perceptual=0, l1=options.l1)


class AscentDescent(Training):
    """Unlearner: NegGrad+."""

    loop = AscendingDescending
