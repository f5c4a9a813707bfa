"""The paper's unlearning: a copy g learns to make at every z what the original f makes at the erased z^.

The losses, equations (6) to (9), are `unfeature.paper.losses`; this file is the loop around them.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from unfeature import paper
from unfeature.artifacts import StepRecord
from unfeature.errors import BadCheckpoint, BadOption, WrongGenerator
from unfeature.images import rows_at_once
from unfeature.options import UnlearnOptions
from unfeature.protocols import Checkpoint, Feature, Generator, GuidedFeature
from unfeature.seeds import stream
from unfeature.unlearners.bank import PIXELS, Bank, Batch, latents_of
from unfeature.unlearners.instant import best_edit
from unfeature.unlearners.stopping import SequentialWilson

if TYPE_CHECKING:
    from lightning_fabric import Fabric

PROBE, PROBE_PIXELS = 500, 2**22
"""Latents on which the distance to the teacher is watched; fewer for large pictures."""

PASS_PIXELS = 2**18
"""Pixels of a batch that go forward and back at a time: what training keeps in memory."""

LEAST_SIZE = 0.01
"""Of a tensor, for a learning rate relative to it: biases that begin near zero have to move too."""

RETRY = 5
"""Checks between two tests of the target ratio: a test costs thousands of judged images, a check's distance nothing."""


class Distillation:
    """Unlearner of the paper: Adam on fresh latents each step, until the stop rule or the last step.

    A guided feature's latents come from a bank: its search costs more than a step.
    """

    def __init__(
        self,
        options: UnlearnOptions,
        *,
        seed: int = 0,
        checkpoint: Checkpoint | None = None,
        stop: SequentialWilson | None = None,
    ) -> None:
        self.options, self.seed, self.checkpoint, self.stop = options, seed, checkpoint, stop

    def unlearn(
        self, generator: Generator, feature: Feature, *, on_step: Callable[[StepRecord], None] = lambda record: None
    ) -> Generator:
        """A trained copy; `generator` never changes. WrongGenerator; raise in `on_step` to cancel.

        With a `checkpoint` the state is saved at every check, and a new call goes on from there to the same bytes.
        """
        if feature.generator != generator.spec.id:
            raise WrongGenerator("feature", feature.generator, generator.spec.id)
        fabric = _fabric(self.options)
        if self.options.batch % fabric.world_size:
            raise BadOption(
                f"batch {self.options.batch} does not divide among {fabric.world_size} processes; expected a multiple. "
                f"Use:  --batch {fabric.world_size * -(-self.options.batch // fabric.world_size)}"
            )
        loop = _Loop(self.options, self.seed, generator, feature, fabric)
        facts = loop.restore(self.checkpoint)
        while not facts["stopped"]:
            record = loop.step(facts["step"])
            facts["step"] += 1
            if facts["step"] % self.options.check_every == 0 or facts["step"] == self.options.steps:
                record = self._check(loop, record, facts)
                if self.checkpoint is not None and fabric.is_global_zero:
                    self.checkpoint.save(loop.tensors(), facts)
            on_step(record)
        return loop.student

    def _check(self, loop: _Loop, record: StepRecord, facts: dict[str, Any]) -> StepRecord:
        """The record with distance, ratio and the reason to stop, also kept in `facts`."""
        distance = loop.distance()
        close, ratio, below = distance <= self.options.tolerance, None, self.stop is None
        if close and self.stop is not None and facts["step"] >= facts["test_from"]:
            verdict = self.stop.test(loop.student, self.seed, facts["drawn"], facts["looks"])
            facts["drawn"] += verdict.ratio.n
            facts["looks"], ratio, below = verdict.looks, verdict.ratio, verdict.below
            facts["test_from"] = facts["step"] + RETRY * self.options.check_every
        if close and below:
            facts["stopped"] = "the stop rule held" if self.stop is not None else "close enough to the teacher"
        elif facts["step"] >= self.options.steps:
            facts["stopped"] = "the last step was reached"
        told = {**record.to_json(), "distance": distance, "ratio": ratio, "stopped": facts["stopped"]}
        checked = StepRecord(**told)
        facts["records"].append(checked.to_json())
        return checked


def _fabric(options: UnlearnOptions) -> Fabric:
    from lightning_fabric import Fabric

    here = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))  # torchrun's; Fabric alone would train each process by itself
    nodes = int(os.environ.get("WORLD_SIZE", "1")) // here
    try:
        fabric = Fabric(accelerator=options.device, devices=here, num_nodes=nodes, precision=options.precision)
        fabric.launch()
        return fabric
    except Exception as error:  # Lightning has no common class for what a machine lacks
        raise BadOption(
            f'device "{options.device}" with precision {options.precision} cannot be used here: {error} '
            "Name another:  --device cpu"
        ) from error


def size_of(parameter: Tensor) -> float:
    """Root mean square of a tensor's values, and never less than LEAST_SIZE."""
    return max(LEAST_SIZE, float(parameter.detach().square().mean().sqrt()))


class _Loop:
    """Student, optimiser and the arithmetic of one step."""

    def __init__(
        self, options: UnlearnOptions, seed: int, generator: Generator, feature: Feature, fabric: Fabric
    ) -> None:
        self.options, self.seed, self.feature, self.fabric = options, seed, feature, fabric
        self.teacher, self.student = generator.copy(), generator.copy()
        for copied in (self.teacher, self.student):
            fabric.to_device(copied.module)
            copied.module.requires_grad_(copied is self.student)
        self.parameters = dict(self.student.module.named_parameters())
        self.adam = torch.optim.Adam([{"params": [p]} for p in self.parameters.values()], fused=True)
        self.sizes = [size_of(p) if options.relative else 1.0 for p in self.parameters.values()]
        shape = generator.spec.image_shape
        self.rows = rows_at_once(shape, PASS_PIXELS, 1, options.batch)
        guided, many = isinstance(feature, GuidedFeature), latents_of(options.batch, options.steps)
        self.batch = Bank(self._erased, options.batch, options.steps).at if guided else self._erased
        self.once = guided and many * math.prod(shape) <= PIXELS
        self.probe = self.teacher.sample_latents(stream("probe", seed, 0, rows_at_once(shape, PROBE_PIXELS, 32, PROBE)))
        self.probe_target = self._made(self.teacher, feature.erase(self.probe))

    def _warm_start(self) -> None:
        """Begin from the instant edit, where it is nearer to the teacher than the original."""
        edit = best_edit(self.teacher, self.feature, self.seed)
        if edit is not None and edit.distance < edit.before:
            edit.put(self.student.module)
        if self.fabric.world_size > 1:  # one process's rounding for all
            self.student.module.load_state_dict(self.fabric.broadcast(self.student.module.state_dict()))

    def learning_rate(self, step: int) -> float:
        """Adam's rate at a step, from the schedule."""
        if self.options.schedule == "constant":
            return self.options.learning_rate
        return self.options.learning_rate * (1 + math.cos(math.pi * step / self.options.steps)) / 2

    def step(self, step: int) -> StepRecord:
        """One Adam step; each process takes its share of the batch."""
        batch = self.batch(step)
        self.adam.zero_grad(set_to_none=True)
        told = dict.fromkeys(("total", "unlearn", "perceptual", "reconstruction"), 0.0)
        for part in batch.split(self.rows):
            loss, share = self._losses(part), len(part.latents) / len(batch.latents)
            self.fabric.backward(loss.total * share)
            told = {name: value + share * float(getattr(loss, name).detach()) for name, value in told.items()}
        if self.fabric.world_size > 1:
            gradients = {name: p.grad for name, p in self.parameters.items() if p.grad is not None}
            for name, mean in self.fabric.all_reduce(gradients, reduce_op="mean").items():  # type: ignore[union-attr]
                self.parameters[name].grad = mean
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

    def _erased(self, step: int) -> Batch:
        """This process's share of the latents that are a step's own, erased."""
        first = step * self.options.batch
        seeds = stream("train", self.seed, first, first + self.options.batch)
        latents = self.student.sample_latents(seeds[self.fabric.global_rank :: self.fabric.world_size])
        with torch.no_grad(), self.fabric.autocast():
            parts = [(self.feature.erase(x), self.feature.contains(x)) for x in torch.split(latents, self.rows)]
            pictures = [self.teacher.synthesize(x) for x, _ in parts] if self.once else []
        erased, flags = (torch.cat(side) for side in zip(*parts, strict=True))
        return Batch(latents, erased, flags, torch.cat(pictures) if pictures else None)

    def _losses(self, batch: Batch) -> paper.Losses:
        """Equations (6) to (9) on some rows (m) of the batch, means over m."""
        latents, flags, options, target = batch.latents, batch.flags, self.options, batch.pictures
        if target is None:
            with torch.no_grad(), self.fabric.autocast():
                target = self.teacher.synthesize(batch.erased)
        with self.fabric.autocast():
            made = self.student.synthesize(latents)
        told = paper.losses(
            made.float(), target.float(), flags, alpha=options.alpha, perceptual=options.perceptual, l1=options.l1
        )
        if not options.guidance or not isinstance(self.feature, GuidedFeature):
            return told
        seen = self.feature.remaining(made[flags].float()).sum() / len(latents)
        return replace(told, total=told.total + options.guidance * seen)

    @torch.no_grad()
    def _made(self, generator: Generator, latents: Tensor) -> Tensor:
        """(n, d) -> (n, c, h, w), a few at a time."""
        return torch.cat([generator.synthesize(part) for part in torch.split(latents, 2 * self.rows)])

    def distance(self) -> float:
        """Mean absolute pixel distance to the teacher's images on the probe latents, in [0, 1]."""
        distance = float((self._made(self.student, self.probe) - self.probe_target).abs().mean())
        if not math.isfinite(distance):
            raise BadCheckpoint(
                f"training diverged: the copy's images are {distance} away from the teacher's. "
                f"Lower the learning rate (it was {self.options.learning_rate}) and unlearn again."
            )
        return distance

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
            if self.options.warm_start:
                self._warm_start()
            return {"step": 0, "looks": 0, "drawn": 0, "test_from": 0, "stopped": "", "records": []}
        tensors, facts = saved
        own = self.student.module.state_dict()
        self.student.module.load_state_dict({key: tensors[f"module.{key}"] for key in own})
        keys = ("step", "exp_avg", "exp_avg_sq")
        for name, parameter in self.parameters.items():
            if f"adam.{name}.step" in tensors:
                moments = {key: tensors[f"adam.{name}.{key}"] for key in keys}
                self.adam.state[parameter] = {k: v.to(parameter.device, copy=True) for k, v in moments.items()}
        return facts
