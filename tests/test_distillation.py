"""The unlearning loop: learns, repeats itself to the byte, goes on where it was killed, changes nothing given."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from lightning_fabric import Fabric
from torch import Tensor

from unfeature.artifacts import StepRecord
from unfeature.errors import BadCheckpoint, BadOption, WrongGenerator
from unfeature.features.linear import LinearFeature
from unfeature.generators.loading import read_safetensors, to_safetensors
from unfeature.generators.module import weights_hash
from unfeature.ms_ssim import ms_ssim
from unfeature.options import UnlearnOptions
from unfeature.seeds import stream
from unfeature.testing import TinyGenerator, TinyJudge
from unfeature.unlearners.distillation import Distillation, Distilling, lacking
from unfeature.unlearners.stopping import SequentialWilson

GENERATOR = TinyGenerator()
FEATURE = LinearFeature("large", GENERATOR.spec.id, torch.tensor([1.0, 0.0, 0.0, 0.0]), 0.3, 0.25)
OPTIONS = UnlearnOptions(steps=120, check_every=20, learning_rate=5e-3, tolerance=1e-6)


@dataclass
class Memory:
    """A Checkpoint that keeps every state it was given."""

    states: list[bytes] = field(default_factory=list)

    def load(self) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        return read_safetensors("state", self.states[-1]) if self.states else None

    def save(self, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
        self.states.append(to_safetensors(tensors, facts))


def unlearn(
    options: UnlearnOptions = OPTIONS, on_step: Callable[[StepRecord], None] = lambda record: None, **more: Any
) -> Any:
    return Distillation(options, **more).unlearn(GENERATOR, FEATURE, on_step=on_step)


def test_loss_falls_and_every_step_is_told() -> None:
    records: list[StepRecord] = []
    unlearn(on_step=records.append)
    assert [record.step for record in records] == list(range(1, 121))
    assert sum(r.loss for r in records[-10:]) < 0.5 * sum(r.loss for r in records[:10])
    checks = [r for r in records if r.distance is not None]
    assert [r.step for r in checks] == [20, 40, 60, 80, 100, 120]
    assert (checks[-1].distance or 1) < 0.5 * (checks[0].distance or 0)
    assert records[-1].stopped == "the last step was reached" and not any(r.stopped for r in records[:-1])
    for r in records:
        parts = OPTIONS.alpha * (r.unlearn + OPTIONS.perceptual * r.perceptual) + r.reconstruction
        assert r.loss == pytest.approx(parts, rel=1e-4)


def test_lacking_is_what_is_missing_of_the_edit_along_it() -> None:
    """(13) by hand: none of the edit, half of it, all, more than all, the whole beside other changes."""
    draw = torch.Generator().manual_seed(0)
    before, edited, other = (torch.rand(4, 1, 6, 6, generator=draw) for _ in range(3))
    edit = before - edited
    length = edit.square().mean(dim=(1, 2, 3)).sqrt()
    for share, missing in ((0.0, 1.0), (0.5, 0.5), (1.0, 0.0), (1.5, -0.5)):
        found = lacking(before - share * edit, edited, before)
        assert torch.allclose(found, missing * length, atol=1e-6)
    along = (other * edit).sum(dim=(1, 2, 3), keepdim=True) / edit.square().sum(dim=(1, 2, 3), keepdim=True)
    assert float(lacking(edited + other - along * edit, edited, before).abs().max()) < 1e-5
    assert torch.equal(lacking(before, before, before), torch.zeros(4))


def test_what_is_not_to_change_is_held_to_its_structure() -> None:
    """(14) by hand, on a copy with other weights; nothing where all of a batch is to change."""
    fabric = Fabric(accelerator="cpu", devices=1)
    options = [OPTIONS.model_copy(update={"perceptual_rest": weight}) for weight in (0.0, 0.5)]
    totals, loops = [], [Distilling(these, 0, GENERATOR, FEATURE, fabric) for these in options]
    for one in loops:
        batch = one.drawn(0)
        with torch.no_grad():
            for value in one.parameters.values():
                value.mul_(1.1)
            totals.append(float(one.losses(batch).total))
            made, rest = one.student.synthesize(batch.latents), ~batch.flags
            unlike = 1 - ms_ssim(made[rest], GENERATOR.synthesize(batch.latents[rest]))
    assert 0 < int(rest.sum()) < len(rest) and float(unlike.mean()) > 1e-4
    assert totals[1] - totals[0] == pytest.approx(0.5 * float(unlike.sum()) / len(rest), rel=1e-3)
    flagged = batch.rows(torch.nonzero(batch.flags).flatten())
    assert torch.equal(*(one.losses(flagged).total for one in loops))


@pytest.mark.slow
def test_held_to_the_whole_edit_less_of_it_is_missing_and_none_is_overdone() -> None:
    """Of weights 0, 1 and 4: without the running mean both go 7 % farther than their teacher."""
    weights = (0.0, 1.0, 4.0)
    copies = [unlearn(OPTIONS.model_copy(update={"alpha": 0.05, "steps": 300, "shortfall": w})) for w in weights]
    with torch.no_grad():
        latents = GENERATOR.sample_latents(stream("fresh", 1, 0, 2000))
        latents = latents[FEATURE.contains(latents)]
        before, edited = (GENERATOR.synthesize(z) for z in (latents, FEATURE.erase(latents)))
        missing = [lacking(copy.synthesize(latents), edited, before) for copy in copies]
        whole = float(lacking(before, edited, before).mean())
    held, pushed = (float(one.mean()) / whole for one in missing[1:])
    assert float(missing[1].clamp_min(0).mean()) < 0.5 * float(missing[0].clamp_min(0).mean())
    assert held > -0.03 and pushed > -0.03


def test_stops_when_close_enough_to_the_teacher() -> None:
    records: list[StepRecord] = []
    student = unlearn(OPTIONS.model_copy(update={"tolerance": 0.006, "steps": 600}), records.append)
    assert records[-1].stopped == "close enough to the teacher"
    assert records[-1].step < 600 and (records[-1].distance or 1) <= 0.006
    z = GENERATOR.sample_latents(stream("test", 0, 0, 2000))  # latents that training has not seen
    with torch.no_grad():
        distance = (student.synthesize(z) - GENERATOR.synthesize(FEATURE.erase(z))).abs().mean()
        ratios = [float(TinyJudge().score(g.synthesize(z)).mean()) for g in (GENERATOR, student)]
    assert float(distance) <= 0.008
    assert ratios[0] > 0.08 and ratios[1] < 0.01


def test_stops_when_the_stop_rule_holds() -> None:
    records: list[StepRecord] = []
    options = OPTIONS.model_copy(update={"tolerance": 0.02, "steps": 600})
    unlearn(options, records.append, stop=SequentialWilson(TinyJudge(), 0.03))
    ratio = records[-1].ratio
    assert records[-1].stopped == "the stop rule held"
    assert ratio is not None and ratio.value < 0.03 and ratio.n >= 500


def test_the_same_seed_gives_the_same_bytes_and_another_does_not() -> None:
    first, again, other = (weights_hash(unlearn(seed=seed).module) for seed in (0, 0, 1))
    assert first == again != other


def test_resumed_from_every_saved_state_the_bytes_are_the_same() -> None:
    memory = Memory()
    expected = weights_hash(unlearn(checkpoint=memory).module)
    assert len(memory.states) == 6
    for i in range(6):
        resumed = Memory(memory.states[: i + 1])
        told: list[int] = []
        student = unlearn(checkpoint=resumed, on_step=lambda record, told=told: told.append(record.step))
        assert weights_hash(student.module) == expected
        assert resumed.states == memory.states
        assert told == list(range(20 * (i + 1) + 1, 121))


def test_resumes_through_a_stop_rule() -> None:
    options = OPTIONS.model_copy(update={"tolerance": 1.0})
    stop = SequentialWilson(TinyJudge(), 1e-6, draw=50, most=100)  # never holds, but draws latents and looks
    memory = Memory()
    expected = weights_hash(unlearn(options, checkpoint=memory, stop=stop).module)
    resumed = Memory(memory.states[:3])
    assert weights_hash(unlearn(options, checkpoint=resumed, stop=stop).module) == expected
    assert resumed.states == memory.states


def test_nothing_given_is_changed() -> None:
    before, vector = GENERATOR.spec, FEATURE.vector.clone()
    flags = [p.requires_grad for p in GENERATOR.module.parameters()]
    student = unlearn()
    assert GENERATOR.spec == before and student.spec != before and student.spec.name == before.name
    assert torch.equal(FEATURE.vector, vector)
    assert [p.requires_grad for p in GENERATOR.module.parameters()] == flags
    assert all(p.grad is None for p in GENERATOR.module.parameters())


def test_an_exception_in_on_step_cancels() -> None:
    def cancel(record: StepRecord) -> None:
        if record.step == 3:
            raise KeyboardInterrupt

    before = GENERATOR.spec
    with pytest.raises(KeyboardInterrupt):
        unlearn(on_step=cancel)
    assert GENERATOR.spec == before


def test_a_feature_of_another_generator_is_refused() -> None:
    foreign = LinearFeature("large", "other@0", FEATURE.vector, 0.3)
    with pytest.raises(WrongGenerator, match="the feature was made for generator other@0, but this generator is tiny@"):
        Distillation(OPTIONS).unlearn(GENERATOR, foreign)


def test_diverged_training_is_told() -> None:
    broken = LinearFeature("large", GENERATOR.spec.id, FEATURE.vector * math.nan, 0.3)
    with pytest.raises(BadCheckpoint, match=r"training diverged: .* Lower the learning rate \(it was 0.005\)"):
        Distillation(OPTIONS).unlearn(GENERATOR, poisoned(broken))


def poisoned(feature: LinearFeature) -> Any:
    """A feature whose erased latents are NaN, as weights are after a step that was too long."""

    class Poisoned(LinearFeature):
        def contains(self, latents: Tensor) -> Tensor:
            return torch.ones(len(latents), dtype=torch.bool)

        def erase(self, latents: Tensor) -> Tensor:
            return latents * math.nan

    return Poisoned(feature.name, feature.generator, feature.vector, feature.threshold)


@pytest.mark.parametrize(
    ("relative", "use"), [(False, "--relative --learning-rate 0.03"), (True, "--learning-rate 0.25")]
)
def test_a_copy_that_makes_one_picture_only_is_given_up(relative: bool, use: str) -> None:
    options = OPTIONS.model_copy(update={"learning_rate": 1.0, "relative": relative})
    records: list[StepRecord] = []
    with pytest.raises(BadOption, match=rf"nearly the same picture for every latent .* Use:  {use}$"):
        Distillation(options, seed=2).unlearn(GENERATOR, FEATURE, on_step=records.append)
    assert len(records) == OPTIONS.check_every - 1


@pytest.mark.parametrize("schedule", ["cosine", "constant"])
def test_learning_rate_follows_the_schedule(schedule: str) -> None:
    """Adam's first step moves a weight by the learning rate, so two runs of one step show their rates."""
    from unfeature.unlearners.distillation import Distilling
    from unfeature.unlearners.training import fabric_of

    options = UnlearnOptions(steps=100, learning_rate=0.01, schedule=schedule)
    loop = Distilling(options, 0, GENERATOR, FEATURE, fabric_of(options))
    for step in (0, 25, 50, 99):
        expected = 0.01 if schedule == "constant" else 0.005 * (1 + math.cos(math.pi * step / 100))
        loop.step(step)
        assert loop.adam.param_groups[0]["lr"] == pytest.approx(expected)


TWO = """
import sys
import safetensors.torch
import torch.distributed as dist
from unfeature.features.linear import LinearFeature
from unfeature.options import UnlearnOptions
from unfeature.tables import resolve
from unfeature.testing import TinyGenerator
from unfeature.unlearners import UNLEARNERS
import torch

generator = TinyGenerator()
feature = LinearFeature("large", generator.spec.id, torch.tensor([1.0, 0.0, 0.0, 0.0]), 0.3, 0.25)
options = UnlearnOptions(steps=20, check_every=10, tolerance=1e-6)
student = resolve("unlearner", UNLEARNERS, sys.argv[2])(options).unlearn(generator, feature)
rank = dist.get_rank() if dist.is_initialized() else 0
world = dist.get_world_size() if dist.is_initialized() else 1
safetensors.torch.save_file(student.module.state_dict(), f"{sys.argv[1]}/{world}-{rank}.safetensors")
if dist.is_initialized():  # a process that leaves first makes the other abort
    dist.barrier()
    dist.destroy_process_group()
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", ["distillation", "surgery", "amnesia", "repulsion", "saliency"])
def test_two_processes_give_the_weights_of_one(name: str, tmp_path: Path) -> None:
    """To 1e-5: two halves of a gradient are added in another order."""
    script = tmp_path / "train.py"
    script.write_text(TWO)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, str(script), str(tmp_path), name], check=True, env=environment, timeout=120)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    subprocess.run([*torchrun, str(script), str(tmp_path), name], check=True, env=environment, timeout=300)
    found = {path.stem for path in tmp_path.glob("*.safetensors")}
    assert found == {"1-0", "2-0", "2-1"}, "torchrun's processes did not find each other"
    one, first, second = (safetensors.torch.load_file(tmp_path / f"{n}.safetensors") for n in ("1-0", "2-0", "2-1"))
    for key, value in one.items():
        assert torch.equal(first[key], second[key])
        torch.testing.assert_close(first[key], value, atol=1e-5, rtol=0)
