"""The paper's unlearning: a copy g learns to make at every z what the original f makes at the erased z^.

The losses, equations (6) to (9), are `unfeature.paper.losses`.
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from unfeature import paper
from unfeature.protocols import GuidedFeature
from unfeature.unlearners.bank import PIXELS, Bank, Batch, latents_of
from unfeature.unlearners.instant import best_edit
from unfeature.unlearners.loop import Loop
from unfeature.unlearners.training import Training


class Distilling(Loop):
    """The teacher's pictures at the erased latents."""

    bank: Bank | None = None
    """Of a guided feature, whose search costs more than a step."""

    def batch(self, step: int) -> Batch:
        """The step's own, or those of the bank."""
        if not isinstance(self.feature, GuidedFeature):
            return self.drawn(step)
        if self.bank is None:
            self.bank = Bank(self.drawn, self.options.batch, self.options.steps)
        return self.bank.at(step)

    def drawn(self, step: int) -> Batch:
        """With the teacher's pictures, where they are made once."""
        batch = super().drawn(step)
        many = latents_of(self.options.batch, self.options.steps)
        pixels = many * math.prod(self.teacher.spec.image_shape)
        if not isinstance(self.feature, GuidedFeature) or pixels > PIXELS:
            return batch
        with torch.no_grad(), self.fabric.autocast():
            pictures = [self.teacher.synthesize(x) for x in torch.split(batch.erased, self.rows)]
        return replace(batch, pictures=torch.cat(pictures))

    def looked(self, latents: Tensor) -> tuple[Tensor, Tensor]:
        """The erased latents."""
        return self.feature.erase(latents), self.feature.contains(latents)

    def begin(self) -> None:
        """With `warm_start`: from the instant edit, where it is nearer to the teacher than the original."""
        if not self.options.warm_start:
            return
        edit = best_edit(self.teacher, self.feature, self.seed)
        if edit is not None and edit.distance < edit.before:
            edit.put(self.student.module)
        self.student.module.load_state_dict(self.agreed(self.student.module.state_dict()))

    def losses(self, batch: Batch) -> paper.Losses:
        """Equations (6) to (9), and what the feature's guide still sees."""
        options, flags = self.options, batch.flags
        made, target = self.pictures(batch)
        told = paper.losses(made, target, flags, alpha=options.alpha, perceptual=options.perceptual, l1=options.l1)
        if not options.guidance or not isinstance(self.feature, GuidedFeature):
            return told
        seen = self.feature.remaining(made[flags]).sum() / len(flags)
        return replace(told, total=told.total + options.guidance * seen)


class Distillation(Training):
    """Unlearner of the paper. A guided feature's latents come from a bank: its search costs more than a step."""

    loop = Distilling
