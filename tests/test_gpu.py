"""On a GPU everything is as on the CPU: the same verbs, the same figures to rounding, the same bytes twice.

    make test MARK=gpu

Nothing here runs where there is none.
"""

from __future__ import annotations

import copy
import os
from pathlib import Path

import pytest
import torch
from conftest import SMALL, Command
from test_conformance import QUICK, example_of, finder

from unfeature import devices, workflow
from unfeature.artifacts import Evaluation
from unfeature.attacks import ATTACKS
from unfeature.features import FINDERS
from unfeature.features.views import pairs, spread, texture
from unfeature.generators import GENERATORS
from unfeature.generators.loading import load_generator
from unfeature.generators.module import ModuleGenerator
from unfeature.metrics.squeezenet import load_squeezenet
from unfeature.options import RunOptions, UnlearnOptions, laid_over
from unfeature.presets import preset_values
from unfeature.seeds import stream
from unfeature.store import Run
from unfeature.tables import resolve
from unfeature.testing import TinyGenerator, check_attack, check_finder, check_generator, check_unlearner
from unfeature.unlearners import UNLEARNERS

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")]
SEEDS = stream("test", 0, 0, 40)
CUDA = torch.device("cuda", 0)


@pytest.fixture
def on_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment of somebody with a GPU."""
    monkeypatch.setenv(devices.VARIABLE, "cuda")


def moved(generator: ModuleGenerator) -> ModuleGenerator:
    twin = generator.copy()
    devices.as_on_the_cpu()
    twin.module.to(CUDA)
    return twin


@pytest.mark.parametrize("name", GENERATORS)
def test_families_make_the_same_pictures(name: str) -> None:
    here = example_of(name)
    there = moved(here)
    check_generator(there)
    latents = here.sample_latents(SEEDS)
    assert torch.allclose(there.sample_latents(SEEDS), latents, atol=1e-5)
    with torch.no_grad():
        ours, theirs = here.synthesize(latents), there.synthesize(latents)
    assert theirs.device == latents.device
    assert float((ours - theirs).abs().max()) < 1e-4
    assert there.synthesize(latents[:2].to(CUDA)).device == CUDA


def test_gradients_come_back_to_the_latents() -> None:
    here, there = TinyGenerator(), moved(TinyGenerator())
    slopes = []
    for generator in (here, there):
        latents = generator.sample_latents(SEEDS).requires_grad_()
        generator.synthesize(latents).square().sum().backward()  # type: ignore[no-untyped-call]
        slopes.append(latents.grad)
    assert torch.allclose(*slopes, rtol=1e-4, atol=1e-4)  # type: ignore[arg-type]


def test_environment_places_what_is_loaded(on_gpu: None) -> None:
    generator = load_generator("mnist-gan")
    assert devices.of(generator.module) == CUDA
    assert generator.sample_latents(SEEDS).device == torch.device("cpu")
    assert "cuda" in devices.told()


STEPS = {"steps": 4, "batch": 8, "check_every": 2}
FEW = UnlearnOptions(**STEPS, device="cuda")


@pytest.mark.parametrize("name", UNLEARNERS)
def test_unlearners_repeat_and_resume_to_the_same_bytes(name: str) -> None:
    made = resolve("unlearner", UNLEARNERS, name)
    few = FEW if name != "instant" else UnlearnOptions(**STEPS)  # it edits where the generator lies
    check_unlearner(lambda checkpoint: made(few, seed=3, checkpoint=checkpoint))


def test_a_copy_trained_there_is_the_one_trained_here() -> None:
    from unfeature.features import load_feature
    from unfeature.features.guides import ALONE

    generator = TinyGenerator()
    facts = {"kind": "linear", "name": "large", "generator": generator.spec.id, "threshold": 0.5, "margin": 0.25}
    feature = load_feature({"vector": torch.eye(4)[0]}, facts, generator, ALONE)
    options = UnlearnOptions(steps=60, batch=32, check_every=20)
    distillation = resolve("unlearner", UNLEARNERS, "distillation")
    copies = [
        distillation(options.model_copy(update={"device": device}), seed=1).unlearn(generator, feature)
        for device in ("cpu", "cuda")
    ]
    assert devices.of(copies[1].module).type == "cuda"
    latents = generator.sample_latents(SEEDS)
    with torch.no_grad():
        ours, theirs = (made.synthesize(latents) for made in copies)
    assert float((ours - theirs).abs().max()) < 1e-3


@pytest.fixture
def tiny_on_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every tiny generator is there."""
    born = TinyGenerator.__init__

    def placed(self: TinyGenerator) -> None:
        born(self)
        self.module.to(CUDA)

    monkeypatch.setattr(TinyGenerator, "__init__", placed)


@pytest.mark.parametrize("name", FINDERS)
def test_finders_search_through_it(name: str, tiny_on_gpu: None) -> None:
    check_finder(lambda: finder(name))


@pytest.mark.parametrize("name", ATTACKS)
def test_attacks_go_through_it(name: str, tiny_on_gpu: None) -> None:
    check_attack(lambda: resolve("attack", ATTACKS, name)(QUICK, seed=1), name)


def ratios(folder: Path) -> dict[str, float]:
    told = Run(folder).read_as("evaluation.json", Evaluation)
    return {row.name: row.scores["target_ratio"].value for row in told.rows}


@pytest.mark.parametrize("preset", ["paper", "counterfactual", "auto"])
def test_a_whole_job(preset: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values = laid_over(preset_values(preset), {**copy.deepcopy(SMALL), "find": {}, "attack": QUICK.model_dump()})
    options = RunOptions.parse(values)
    found = {}
    for device in ("cpu", "cuda"):
        monkeypatch.setenv(devices.VARIABLE, device)
        told = options.unlearn.model_copy(update={"device": device, "steps": 40, "check_every": 10})
        workflow.run(tmp_path / device, options.model_copy(update={"unlearn": told}))
        found[device] = ratios(tmp_path / device)
    assert found["cpu"].keys() == found["cuda"].keys()
    for row, ratio in found["cpu"].items():
        assert found["cuda"][row] == pytest.approx(ratio, abs=0.02), row


def test_a_job_that_was_begun_there_is_finished_here(tmp_path: Path, command: Command, on_gpu: None) -> None:
    run = tmp_path / "run"
    assert command("sample", run, "--count", "400").code == 0
    assert command("mark", run, "slanted", "--by", "slant", "--per-side", "30").code == 0
    assert command("find", run).code == 0
    assert command("unlearn", run, "--steps", "20", "--check-every", "10").code == 0
    os.environ[devices.VARIABLE] = "cpu"  # the fixture puts it back
    assert command("evaluate", run, "--count", "300").code == 0
    assert command("report", run).code == 0
    assert command("export", run, "--to", tmp_path / "out.safetensors", "--format", "safetensors").code == 0


@pytest.mark.parametrize("form", ["onnx", "torch-export", "diff", "safetensors"])
def test_export(form: str, tmp_path: Path, command: Command, on_gpu: None, finished_run: Path) -> None:
    if form == "onnx":
        pytest.importorskip("onnxscript")
    said = command("export", finished_run, "--to", tmp_path / "out.file", "--format", form)
    assert said.code == 0, said.err


def test_squeezenet(on_gpu: None, monkeypatch: pytest.MonkeyPatch) -> None:
    if not os.environ.get("UNFEATURE_ASSETS"):
        pytest.skip("UNFEATURE_ASSETS names no folder")
    there = load_squeezenet()
    monkeypatch.setenv(devices.VARIABLE, "cpu")
    here = load_squeezenet()
    images = torch.rand(6, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    assert devices.of(there) == CUDA
    for look in ("embed", "logits"):
        ours, theirs = getattr(here, look)(images), getattr(there, look)(images)
        assert theirs.device == images.device
        assert torch.allclose(ours, theirs, rtol=1e-3, atol=1e-3)
    assert torch.allclose(here.distance(images, images.flip(0)), there.distance(images, images.flip(0)), atol=1e-4)
    for view in (texture, pairs, spread):
        ours, theirs = view(images, here), view(images, there)
        assert theirs.device == images.device
        assert torch.allclose(ours, theirs, rtol=1e-3, atol=1e-3)
