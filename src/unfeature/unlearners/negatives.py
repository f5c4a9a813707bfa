"""Fine-tuning on pictures without the feature.

The baseline of Moon, Cho, Kim: Feature Unlearning for Pre-trained GANs and VAEs (AAAI 2024): the generator is trained
on as before, on negatives only. With z^ the nearest of POOL drawn latents that are not flagged where z is flagged, and
z itself elsewhere, means over the batch:

    L = |g(z) - f(z^)|

Where we depart: they fine-tune with the generator's own training loss, adversarial or variational, which spreads all
latents over the pictures it is shown. Without discriminator and encoder somebody has to say which latent makes which
picture; the nearest one is the smallest change. No picture of a flagged latent is ever made by the original.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from unfeature import paper
from unfeature.errors import BadOption
from unfeature.seeds import stream
from unfeature.unlearners.bank import Batch
from unfeature.unlearners.loop import DISTILLED, Loop
from unfeature.unlearners.training import Training

POOL = 2000
"""Latents drawn, of which those on one side are the pictures that are shown."""


def nearest(latents: Tensor, pool: Tensor) -> Tensor:
    """(m, d), (p, d) -> (m, d): of the pool, by Euclidean distance."""
    return pool[torch.cdist(latents, pool).argmin(dim=1)]


class OneSided(Loop):
    """All latents learn pictures of one side."""

    unused: ClassVar[tuple[str, ...]] = (*DISTILLED, "penalty", "alpha")

    shows: ClassVar[bool] = False
    """Whether that is the side with the feature."""

    def prepare(self) -> None:
        """The pool; BadOption where no latent is on that side."""
        drawn = self.teacher.sample_latents(stream("pool", self.seed, 0, POOL))
        with torch.no_grad():
            flags = torch.cat([self.feature.contains(part) for part in torch.split(drawn, self.rows)])
        self.pool = drawn[flags == self.shows]
        if not len(self.pool):
            side = "with" if self.shows else "without"
            raise BadOption(f"none of {POOL} latents is {side} the feature; expected some. Move its threshold.")

    def looked(self, latents: Tensor) -> tuple[Tensor, Tensor]:
        """Stand-ins for latents of the other side."""
        flags = self.feature.contains(latents)
        return torch.where((flags == self.shows).unsqueeze(1), latents, nearest(latents, self.pool)), flags

    def losses(self, batch: Batch) -> paper.Losses:
        """L of this file, in two terms."""
        made, target = self.pictures(batch)
        return paper.losses(made, target, batch.flags, alpha=1, perceptual=0, l1=self.options.l1)


class Negatives(Training):
    """Unlearner: fine-tuning on negatives only."""

    loop = OneSided
