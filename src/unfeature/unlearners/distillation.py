"""The paper's unlearning: a copy g learns to make at every z what the original f makes at the erased z^.

The losses, equations (6) to (9), are `unfeature.paper.losses`. Where `shortfall` is asked for, the copy is also held to
the whole of each edit: with e = f(z) - f(z^), the pictures having N values,

    L_short = sim(z) max(0, <g(z) - f(z^), e>) / (|e| sqrt(N))                                                   (13)

which is what is missing of the edit, along it, as a root mean square: a copy that edits too little pays for it, however
its differences are spread. Nobody's opinion is in it that could be pleased by something else. It counts while the copy
is behind its teacher on average: where edits are hard to follow, one that paid for each that is too short and for none
that is too long would go farther than its teacher.

Where `perceptual_rest` is asked for, pictures in which nothing is to change are held to their structure too:

    L_rest = (1 - sim(z)) (1 - MS-SSIM(g(z), f(z)))                                                             (14)

Pixels count alike wherever they are, and what makes a digit another one, a stroke that closes, is few of them.
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from unfeature import paper
from unfeature.errors import BadOption
from unfeature.ms_ssim import ms_ssim
from unfeature.protocols import GuidedFeature
from unfeature.unlearners.bank import PIXELS, Bank, Batch, latents_of
from unfeature.unlearners.instant import best_edit
from unfeature.unlearners.loop import Gradient, Loop, Term
from unfeature.unlearners.searched import Pool
from unfeature.unlearners.training import Training

SAME = 0.1
"""Share of its teacher's variety below which a copy is dead: it makes one and the same picture whatever the latent.
With a rate of 0.002 for all weights a public DCGAN's, 0.02 in size, ended so within 50 steps, and never moved again."""

BEHIND = 20
"""Steps over which it is told whether a copy is behind its teacher."""


class Distilling(Loop):
    """The teacher's pictures at the erased latents."""

    bank: Bank | None = None
    """Of a guided feature, whose search costs more than a step."""

    pool: Pool | None = None
    """Latents that are searched for in the copy while it trains, where that is asked for."""

    behind = math.nan
    """What the copy lacks of an edit, along it: a running mean, below 0 where it goes farther than its teacher."""

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
        """And where the pool is, and how far behind the copy."""
        pool = {"pool": self.pool.latents} if self.pool is not None else {}
        return super().tensors() | {"behind": torch.tensor(self.behind, dtype=torch.float64)} | pool

    def put_back(self, tensors: dict[str, Tensor]) -> None:
        """And both."""
        super().put_back(tensors)
        self.behind = float(tensors["behind"])
        if self.pool is not None:
            self.pool.latents = tensors["pool"]

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
        return replace(batch, pictures=torch.cat(pictures).half())

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

    def watch(self, pictures: Tensor) -> None:
        """BadOption where they are all alike, and the teacher's are not."""
        copy, teacher = (float(side.std(dim=0).mean()) for side in (pictures, self.probe_target))
        if copy >= SAME * teacher:
            return
        rate = self.options.learning_rate
        use = f"--learning-rate {rate / 4:g}" if self.options.relative else "--relative --learning-rate 0.03"
        raise BadOption(
            f"the copy makes nearly the same picture for every latent (they vary by {copy:.4f}); expected {teacher:.4f}"
            f", as its teacher's do. A learning rate of {rate:g} is too large for these weights. Use:  {use}"
        )

    def losses(self, batch: Batch) -> paper.Losses:
        """Equations (6) to (9), (13) and (14)."""
        options, flags = self.options, batch.flags
        made, target = self.pictures(batch)
        told = paper.losses(made, target, flags, alpha=options.alpha, perceptual=options.perceptual, l1=options.l1)
        if options.perceptual_rest and not bool(flags.all()):
            rest = (1 - ms_ssim(made[~flags], target[~flags])).sum() / len(flags)
            told = replace(told, total=told.total + options.perceptual_rest * rest)
        if not options.shortfall or not bool(flags.any()):
            return told
        with torch.no_grad(), self.fabric.autocast():
            before = self.teacher.synthesize(batch.latents[flags])
        missing = lacking(made[flags], target[flags], before.float())
        self._found += torch.stack([missing.detach().sum(), torch.ones_like(missing).sum()])
        if self.behind <= 0:
            return told
        return replace(told, total=told.total + options.shortfall * missing.clamp_min(0).sum() / len(flags))

    def gradient(self, batch: Batch, of: Term) -> tuple[dict[str, float], Gradient]:
        """As ever; then the running mean is told of the batch."""
        self._found = torch.zeros(2, device=self.fabric.device)  # sum of what is lacking, and of how many
        told = super().gradient(batch, of)
        if self.options.shortfall and of == "total":
            self._follow()
        return told

    def _follow(self) -> None:
        """The running mean after another batch of all processes."""
        found = self._found
        every = self.fabric.all_reduce(found, reduce_op="sum") if self.fabric.world_size > 1 else found
        assert isinstance(every, Tensor)
        total, many = every.tolist()
        if many:
            before = total / many if math.isnan(self.behind) else self.behind
            self.behind = before + (total / many - before) / BEHIND


def lacking(g: Tensor, f: Tensor, before: Tensor) -> Tensor:
    """(13), signed: (n, c, h, w) of copy, teacher, original -> (n,), in [-1, 1]; 0 for whole edits, less beyond."""
    edit = (before - f).flatten(1)
    along = ((g - f).flatten(1) * edit).sum(dim=1) / torch.linalg.vector_norm(edit, dim=1).clamp_min(1e-3)
    missing: Tensor = along / math.sqrt(edit.shape[1])
    return missing


class Distillation(Training):
    """Unlearner of the paper. A guided feature's latents come from a bank: its search costs more than a step."""

    loop = Distilling
