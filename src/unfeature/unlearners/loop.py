"""A copy, its optimiser and one step of training. What is learnt is a subclass's, the paper's and each baseline's."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from torch import Tensor

from unfeature import paper
from unfeature.artifacts import StepRecord
from unfeature.errors import BadCheckpoint
from unfeature.images import rows_at_once
from unfeature.options import UnlearnOptions
from unfeature.protocols import Checkpoint, Feature, Generator
from unfeature.seeds import stream
from unfeature.steps import groups
from unfeature.unlearners.bank import Batch

if TYPE_CHECKING:
    from lightning_fabric import Fabric

PROBE, PROBE_PIXELS = 500, 2**22
"""Latents on which the distance to the teacher is watched; fewer for large pictures."""

PASS_PIXELS, PASS_PIXELS_GPU = 2**18, 2**21
"""Pixels of a batch that go forward and back at a time: what training keeps in memory; few would leave a GPU idle."""

DISTILLED = ("against_search", "shortfall", "warm_start", "perceptual", "perceptual_rest")
"""Options of distillation that baselines do not use."""

TERMS = ("total", "unlearn", "perceptual", "reconstruction")

Term = Literal["total", "unlearn", "reconstruction"]
Gradient = dict[str, Tensor]
"""Of the parameters that pictures depend on, by name."""


class Loop:
    """Student g, teacher f, and the arithmetic of one step; a subclass says `losses` at least."""

    unused: ClassVar[tuple[str, ...]] = ("penalty",)
    """Options that it does not look at: refused where they are given."""

    def __init__(
        self, options: UnlearnOptions, seed: int, generator: Generator, feature: Feature, fabric: Fabric
    ) -> None:
        self.options, self.seed, self.feature, self.fabric = options, seed, feature, fabric
        self.teacher, self.student = generator.copy(), generator.copy()
        for copied in (self.teacher, self.student):
            fabric.to_device(copied.module)
            copied.module.requires_grad_(copied is self.student)
        self.parameters = dict(self.student.module.named_parameters())
        together = list(self.parameters.values())  # a group costs a tenth of a millisecond
        parts: list[dict[str, Any]] = [{"params": together, "lr": 1.0}]
        if options.relative:
            parts = groups(together, 1.0)
        self.adam, self.sizes = torch.optim.Adam(parts, fused=True), [part["lr"] for part in parts]
        shape = generator.spec.image_shape
        pixels = PASS_PIXELS if fabric.device.type == "cpu" else PASS_PIXELS_GPU
        self.rows = rows_at_once(shape, pixels, 1, options.batch)
        probe = self.teacher.sample_latents(stream("probe", seed, 0, rows_at_once(shape, PROBE_PIXELS, 32, PROBE)))
        self.probe, erased = probe.to(fabric.device), feature.erase(probe).to(fabric.device)
        self.probe_target = self.made(self.teacher, erased)

    def prepare(self) -> None:
        """Before the first step, and before a resumed one: what the steps need, from the run seed alone."""

    def begin(self) -> None:
        """Before the first step alone: where the student begins, if not as the original."""

    def losses(self, batch: Batch) -> paper.Losses:
        """On some rows (m) of the batch, means over m: unlearn, perceptual, reconstruction and what is minimised."""
        raise NotImplementedError

    def looked(self, latents: Tensor) -> tuple[Tensor, Tensor]:
        """(m, d) -> (m, d), (m,) bool on the CPU: where the teacher is asked, by default there; the flags."""
        return latents, self.feature.contains(latents)

    def descend(self, batch: Batch) -> dict[str, float]:
        """Leave in the parameters' `grad` what Adam gets; the batch's terms."""
        return self.gradient(batch, "total")[0]

    def batch(self, step: int) -> Batch:
        """The latents of a step."""
        return self.drawn(step)

    def learning_rate(self, step: int) -> float:
        """Adam's rate at a step, from the schedule."""
        if self.options.schedule == "constant":
            return self.options.learning_rate
        return self.options.learning_rate * (1 + math.cos(math.pi * step / self.options.steps)) / 2

    def step(self, step: int) -> StepRecord:
        """One Adam step; each process takes its share of the batch."""
        told = self.descend(self.batch(step))
        for group, size in zip(self.adam.param_groups, self.sizes, strict=True):
            group["lr"] = size * self.learning_rate(step)
        self.adam.step()
        return StepRecord(
            step=step + 1,
            steps=self.options.steps,
            loss=told["total"],
            unlearn=told["unlearn"],
            perceptual=told["perceptual"],
            reconstruction=told["reconstruction"],
        )

    def gradient(self, batch: Batch, of: Term) -> tuple[dict[str, float], Gradient]:
        """The batch's terms, and the gradient of one, over all processes; it is the parameters' `grad` too."""
        self.adam.zero_grad(set_to_none=True)
        told = dict.fromkeys(TERMS, 0.0)
        for part in batch.split(self.rows):
            loss, share = self.losses(part), len(part.latents) / len(batch.latents)
            self.fabric.backward(getattr(loss, of) * share)
            told = {name: value + share * float(getattr(loss, name).detach()) for name, value in told.items()}
        found = {name: p.grad for name, p in self.parameters.items() if p.grad is not None}
        if self.fabric.world_size > 1:
            found = self.fabric.all_reduce(found, reduce_op="mean")  # type: ignore[assignment]
            self.put(found)
        return told, found

    def put(self, gradient: Gradient) -> None:
        """What Adam gets."""
        for name, value in gradient.items():
            self.parameters[name].grad = value

    def agreed(self, found: Gradient) -> Gradient:
        """One process's rounding for all."""
        return self.fabric.broadcast(found) if self.fabric.world_size > 1 else found

    def drawn(self, step: int) -> Batch:
        """The step's own latents, looked at."""
        return self.seen(self.own(step))

    def own(self, step: int) -> Tensor:
        """(m, d): this process's share of the latents that are a step's own, on the CPU."""
        first = step * self.options.batch
        seeds = stream("train", self.seed, first, first + self.options.batch)
        return self.student.sample_latents(seeds[self.fabric.global_rank :: self.fabric.world_size])

    def seen(self, latents: Tensor) -> Batch:
        """Latents (m, d) on the CPU, looked at there; the batch is beside the copy."""
        with torch.no_grad(), self.fabric.autocast():
            erased, flags = zip(*map(self.looked, torch.split(latents, self.rows)), strict=True)
        return Batch(*(part.to(self.fabric.device) for part in (latents, torch.cat(erased), torch.cat(flags))))

    def pictures(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """g(z) and the teacher's f(z^) for some rows (m): (m, c, h, w) float32 each."""
        target = batch.pictures
        if target is None:
            with torch.no_grad(), self.fabric.autocast():
                target = self.teacher.synthesize(batch.erased)
        with self.fabric.autocast():
            made = self.student.synthesize(batch.latents)
        return made.float(), target.float()

    @torch.no_grad()
    def made(self, generator: Generator, latents: Tensor) -> Tensor:
        """(n, d) -> (n, c, h, w), a few at a time."""
        return torch.cat([generator.synthesize(part) for part in torch.split(latents, 2 * self.rows)])

    def distance(self) -> float:
        """Mean absolute pixel distance to the teacher's images on the probe latents, in [0, 1]."""
        pictures = self.made(self.student, self.probe)
        distance = float((pictures - self.probe_target).abs().mean())
        if not math.isfinite(distance):
            raise BadCheckpoint(
                f"training diverged: the copy's images are {distance} away from the teacher's. "
                f"Lower the learning rate (it was {self.options.learning_rate}) and unlearn again."
            )
        self.watch(pictures)
        return distance

    def watch(self, pictures: Tensor) -> None:
        """The copy's (n, c, h, w) at the probe; a subclass raises where nothing good can come of going on."""

    def tensors(self) -> dict[str, Tensor]:
        """Everything that training changes: weights, buffers, Adam's moments (none for weights no image depends on)."""
        kept = {f"module.{key}": value for key, value in self.student.module.state_dict().items()}
        for name, parameter in self.parameters.items():
            kept |= {f"adam.{name}.{key}": value for key, value in self.adam.state.get(parameter, {}).items()}
        return kept

    def restore(self, checkpoint: Checkpoint | None) -> dict[str, Any]:
        """Facts of the saved state, put back; or those of the start."""
        saved = checkpoint.load() if checkpoint is not None else None
        if saved is None:
            self.begin()
            return {"step": 0, "looks": 0, "drawn": 0, "test_from": 0, "stopped": "", "records": []}
        self.put_back(saved[0])
        return saved[1]

    def put_back(self, tensors: dict[str, Tensor]) -> None:
        """What `tensors` gave."""
        own = self.student.module.state_dict()
        self.student.module.load_state_dict({key: tensors[f"module.{key}"] for key in own})
        keys = ("step", "exp_avg", "exp_avg_sq")
        for name, parameter in self.parameters.items():
            if f"adam.{name}.step" in tensors:
                moments = {key: tensors[f"adam.{name}.{key}"] for key in keys}
                self.adam.state[parameter] = {k: v.to(parameter.device, copy=True) for k, v in moments.items()}
