"""What all unlearners that train share: checks, saved states, the stop rule, devices. Arithmetic is the `Loop`'s."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

from unfeature.artifacts import StepRecord
from unfeature.devices import as_on_the_cpu, processes
from unfeature.errors import BadOption
from unfeature.options import UnlearnOptions
from unfeature.protocols import Feature, Generator
from unfeature.seeds import STREAM_LENGTH
from unfeature.unlearners.base import Unlearning
from unfeature.unlearners.loop import Loop

if TYPE_CHECKING:
    from lightning_fabric import Fabric

RETRY = 5
"""Checks between two tests of the target ratio: a test costs thousands of judged images, a check's distance nothing."""


class Training(Unlearning):
    """An Unlearner that trains a copy: Adam on fresh latents each step, until the stop rule or the last step."""

    loop: ClassVar[type[Loop]]
    """What is learnt."""

    def unlearn(
        self, generator: Generator, feature: Feature, *, on_step: Callable[[StepRecord], None] = lambda record: None
    ) -> Generator:
        """A trained copy; `generator` never changes. WrongGenerator; raise in `on_step` to cancel.

        With a `checkpoint` the state is saved at every check, and a new call goes on from there to the same bytes.
        """
        self.check(generator, feature, self.loop.unused)
        _check_seeds(self.options)
        fabric = fabric_of(self.options)
        if self.options.batch % fabric.world_size:
            raise BadOption(
                f"batch {self.options.batch} does not divide among {fabric.world_size} processes; expected a multiple. "
                f"Use:  --batch {fabric.world_size * -(-self.options.batch // fabric.world_size)}"
            )
        loop = self.loop(self.options, self.seed, generator, feature, fabric)
        loop.prepare()
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

    def _check(self, loop: Loop, record: StepRecord, facts: dict[str, Any]) -> StepRecord:
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


def _check_seeds(options: UnlearnOptions) -> None:
    """BadOption where a run has no numbers left for the last steps' latents."""
    wanted = max(options.batch * options.steps, options.against_search * (options.steps + 2))
    if wanted > STREAM_LENGTH:
        raise BadOption(
            f"{options.steps:,} steps take {wanted:,} latents; expected at most {STREAM_LENGTH:,} of one run. "
            "Use fewer --steps, or a smaller --batch or --against-search."
        )


def fabric_of(options: UnlearnOptions) -> Fabric:
    """The device, or torchrun's processes; BadOption for what this machine lacks."""
    from lightning_fabric import Fabric

    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # it advises TF32, which we turn off
    here = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))  # torchrun's; Fabric alone would train each process by itself
    nodes = processes() // here
    try:
        fabric = Fabric(accelerator=options.device, devices=here, num_nodes=nodes, precision=options.precision)
        fabric.launch()
        if fabric.device.type == "cuda":
            as_on_the_cpu()
        return fabric
    except Exception as error:  # Lightning has no common class for what a machine lacks
        raise BadOption(
            f'device "{options.device}" with precision {options.precision} cannot be used here: {error} '
            "Name another:  --device cpu"
        ) from error


def leave() -> None:
    """Wait for the others of torchrun's processes: one that ends first makes them abort."""
    from torch import distributed

    if distributed.is_available() and distributed.is_initialized():
        distributed.barrier()
        distributed.destroy_process_group()
