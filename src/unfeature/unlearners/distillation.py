"""The paper's unlearning: a copy g learns to make at every z what the original f makes at the erased z^.

The losses, equations (6) to (9), are `unfeature.paper.losses`.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from unfeature import paper
from unfeature.errors import BadOption
from unfeature.protocols import Checkpoint, GuidedFeature
from unfeature.unlearners.bank import PIXELS, Bank, Batch, latents_of
from unfeature.unlearners.instant import best_edit
from unfeature.unlearners.loop import Loop
from unfeature.unlearners.searched import Pool
from unfeature.unlearners.training import Training


class Distilling(Loop):
    """The teacher's pictures at the erased latents."""

    bank: Bank | None = None
    """Of a guided feature, whose search costs more than a step."""

    pool: Pool | None = None
    """Latents that are searched for in the copy while it trains, where that is asked for."""

    def prepare(self) -> None:
        """The pool, at its beginning."""
        if not self.options.against_search:
            return
        if not isinstance(self.feature, GuidedFeature):
            raise BadOption(
                f"against_search is {self.options.against_search}, but nobody tells of a copy's picture if it shows "
                "this kind of feature; expected a guided one. Find it with  --finder counterfactual, or leave it out."
            )
        if self.pool is None:
            self.pool = Pool.begun(self.student, self.options.against_search, self.seed)

    def batch(self, step: int) -> Batch:
        """The step's own, or those of the bank; and what is found in the copy now."""
        if not isinstance(self.feature, GuidedFeature):
            return self.drawn(step)
        if self.bank is None:
            self.bank = Bank(self.drawn, self.options.batch, self.options.steps)
        batch = self.bank.at(step)
        if self.pool is None:
            return batch
        found = self.pool.climb(step, self.student, self.feature)
        own = found[self.fabric.global_rank :: self.fabric.world_size]
        return Batch.joined([batch, self.seen(own, made=batch.pictures is not None)])

    def tensors(self) -> dict[str, Tensor]:
        """And where the pool is."""
        return super().tensors() | ({"pool": self.pool.latents} if self.pool is not None else {})

    def restore(self, checkpoint: Checkpoint | None) -> dict[str, Any]:
        """And the pool, put back."""
        facts = super().restore(checkpoint)
        saved = checkpoint.load() if checkpoint is not None and self.pool is not None else None
        if saved is not None and self.pool is not None:
            self.pool.latents = saved[0]["pool"].to(self.pool.latents.device)
        return facts

    def drawn(self, step: int) -> Batch:
        """With the teacher's pictures, where they are made once."""
        many = latents_of(self.options.batch, self.options.steps)
        pixels = many * math.prod(self.teacher.spec.image_shape)
        return self.seen(self.own(step), made=isinstance(self.feature, GuidedFeature) and pixels <= PIXELS)

    def seen(self, latents: Tensor, *, made: bool = False) -> Batch:
        """As ever, and with the teacher's pictures where they are to be `made`."""
        batch = super().seen(latents)
        if not made:
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
