"""The instant edit: exact where one layer can be the teacher, harmless elsewhere, and what is built on it."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Command
from hypothesis import given, settings
from hypothesis import strategies as st
from test_distillation import Memory
from torch import Tensor, nn

from unfeature import workflow
from unfeature.artifacts import Evaluation, Preview, StepRecord
from unfeature.errors import BadOption, WrongGenerator
from unfeature.features.linear import LinearFeature
from unfeature.generators.module import ModuleGenerator, weights_hash
from unfeature.generators.stylegan2_layers import Dense
from unfeature.options import MarkOptions, PreviewOptions, SampleOptions, UnlearnOptions
from unfeature.seeds import stream
from unfeature.store import Run
from unfeature.testing import TinyGenerator
from unfeature.unlearners.distillation import Distillation
from unfeature.unlearners.instant import InstantEdit, best_edit
from unfeature.unlearners.least_squares import Editable
from unfeature.workflow.inputs import Teachers

OPTIONS = UnlearnOptions(perceptual=0)
TINY = TinyGenerator()
LARGE = LinearFeature("large", TINY.spec.id, torch.tensor([1.0, 0.0, 0.0, 0.0]), 0.3, 0.25)


class Picture(nn.Module):
    """(n, 16) latents -> the layer's output on them, as rows or as 4x4 px -> (n, 1, h, w)."""

    def __init__(self, layer: nn.Module, more: nn.Module | None = None) -> None:
        super().__init__()
        self.layer, self.more = layer, more or nn.Identity()

    def forward(self, latents: Tensor) -> Tensor:
        rows = isinstance(self.layer, nn.Linear | Dense)
        made: Tensor = self.more(self.layer(latents if rows else latents.view(-1, 1, 4, 4)))
        return made.reshape(len(made), 1, -1, 16) / 16 + 0.5


def generator_of(layer: nn.Module, more: nn.Module | None = None) -> ModuleGenerator:
    return ModuleGenerator("picture", Picture(layer, more), 16)


@dataclass(frozen=True)
class Scaled:
    """A feature of every latent; erased ones are `factor` times as long."""

    generator: str
    factor: float

    def contains(self, latents: Tensor) -> Tensor:
        return torch.full((len(latents),), self.factor != 1.0)

    def erase(self, latents: Tensor) -> Tensor:
        return self.factor * latents

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        return {}, {}


LAYERS = {
    "linear": lambda: nn.Linear(16, 64),
    "linear without bias": lambda: nn.Linear(16, 64, bias=False),
    "dense of StyleGAN2": lambda: Dense(16, 64, rate=0.01, bias=1.0),
    "conv": lambda: nn.Conv2d(1, 16, 3, padding=1),
    "conv, strided, dilated": lambda: nn.Conv2d(1, 16, (3, 2), stride=(1, 2), padding=(2, 1), dilation=(2, 1)),
    "transposed": lambda: nn.ConvTranspose2d(1, 4, 4, stride=2, padding=1),
    "transposed, uneven": lambda: nn.ConvTranspose2d(
        1, 16, (3, 2), stride=(3, 2), padding=(0, 1), output_padding=(1, 0)
    ),
}


@pytest.mark.parametrize("name", LAYERS)
def test_an_exact_edit_is_found(name: str) -> None:
    """The only layer is linear, hence so is the edit: weight times -0.5, the bias as it was."""
    torch.manual_seed(0)
    generator = generator_of(LAYERS[name]())
    records: list[StepRecord] = []
    edited = InstantEdit(OPTIONS).unlearn(generator, Scaled(generator.spec.id, -0.5), on_step=records.append)
    old, new = (g.module.state_dict() for g in (generator, edited))
    for key, factor in (("layer.weight", -0.5), ("layer.bias", 1.0)):
        if key in old:
            assert float((new[key] - factor * old[key]).abs().max()) <= 1e-5 * float(old[key].abs().max())
    (record,) = records
    assert record.stopped == 'layer "layer" was edited in closed form'
    assert record.distance is not None and record.distance < 1e-5


@settings(max_examples=8, deadline=None)
@given(factor=st.floats(-2, 2), seed=st.integers(0, 100))
def test_any_linear_erasure_is_found_for_any_seed(factor: float, seed: int) -> None:
    generator = generator_of(nn.Linear(16, 32))
    edit = best_edit(generator, Scaled(generator.spec.id, factor), seed)
    assert edit is not None and edit.distance < 1e-5
    assert edit.before >= edit.distance or factor == 1.0


def test_a_feature_that_changes_nothing_leaves_every_weight() -> None:
    never = LinearFeature("never", TINY.spec.id, LARGE.vector, 1e6)
    edited = InstantEdit(OPTIONS).unlearn(TINY, never).module.state_dict()
    assert all(torch.equal(value, edited[key]) for key, value in TINY.module.state_dict().items())


def test_it_comes_near_the_teacher_and_changes_nothing_given() -> None:
    before = TINY.spec
    edit = best_edit(TINY, LARGE, 0)
    assert edit is not None and TINY.spec == before
    assert set(edit.tried) == {"inner", "outer"}
    assert edit.distance == min(edit.tried.values()) and edit.distance < 0.6 * edit.before
    edited = InstantEdit(OPTIONS).unlearn(TINY, LARGE)
    changed = [k for k, v in edited.module.state_dict().items() if not torch.equal(v, TINY.module.state_dict()[k])]
    assert {name.rpartition(".")[0] for name in changed} == {edit.layer}


def test_told_distance_is_that_of_the_copy_on_other_latents() -> None:
    edited, records = None, list[StepRecord]()
    edited = InstantEdit(OPTIONS).unlearn(TINY, LARGE, on_step=records.append)
    z = TINY.sample_latents(stream("test", 0, 0, 2000))
    with torch.no_grad():
        distance = float((edited.synthesize(z) - TINY.synthesize(LARGE.erase(z))).abs().mean())
    assert records[-1].distance == pytest.approx(distance, rel=0.1)


class Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(16, 16)

    def forward(self, latents: Tensor) -> Tensor:
        return self.layer(self.layer(latents)).view(-1, 1, 4, 4)


def tied() -> nn.Module:
    first, second = nn.Linear(16, 16), nn.Linear(16, 16)
    second.weight = first.weight
    return nn.Sequential(first, second, nn.Unflatten(1, (1, 4, 4)))


def parametrised() -> nn.Module:
    layer = nn.utils.parametrizations.weight_norm(nn.Linear(16, 16))
    return nn.Sequential(layer, nn.Unflatten(1, (1, 4, 4)))


def grouped() -> nn.Module:
    return nn.Sequential(nn.Unflatten(1, (4, 2, 2)), nn.Conv2d(4, 4, 1, groups=4), nn.PixelShuffle(2))


class Other(nn.Linear):
    """Its weight does not multiply rows."""

    def forward(self, latents: Tensor) -> Tensor:
        return nn.functional.linear(latents, self.weight.square(), self.bias)


class Codes(nn.Module):
    """Its weight is a table: not even the shapes are those of a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(5, 8))

    def forward(self, latents: Tensor) -> Tensor:
        return latents[:, :, None] * self.weight.mean()


def codes() -> nn.Module:
    return nn.Sequential(Codes(), nn.Unflatten(1, (1, 4, 4)), nn.Flatten(3))


def other() -> nn.Module:
    return nn.Sequential(Other(16, 16), nn.Unflatten(1, (1, 4, 4)))


@pytest.mark.parametrize("make", [Twice, tied, parametrised, grouped, codes, other])
def test_what_cannot_be_edited_is_left_and_told(make: Any) -> None:
    generator = ModuleGenerator("odd", make(), 16)
    feature = Scaled(generator.spec.id, 0.5)
    with pytest.raises(BadOption, match='no layer of generator "odd" can be edited .* --unlearner distillation'):
        InstantEdit(OPTIONS).unlearn(generator, feature)
    options = UnlearnOptions(steps=1, batch=4, perceptual=0)
    straight = Distillation(options.model_copy(update={"warm_start": False})).unlearn(generator, feature)
    assert weights_hash(Distillation(options).unlearn(generator, feature).module) == weights_hash(straight.module)


def test_a_foreign_feature_is_refused() -> None:
    with pytest.raises(WrongGenerator):
        InstantEdit(OPTIONS).unlearn(TINY, Scaled("other@0", 0.5))


def test_norms_in_training_mode_keep_their_statistics() -> None:
    generator = generator_of(nn.ConvTranspose2d(1, 4, 4, stride=2, padding=1), nn.BatchNorm2d(4))
    feature = Scaled(generator.spec.id, 0.5)
    generator.module.train()
    edited = InstantEdit(OPTIONS).unlearn(generator, feature)
    for key, value in generator.module.state_dict().items():
        assert torch.equal(value, edited.module.state_dict()[key]) or key.startswith("layer.")


def test_columns_that_are_never_met_cost_no_column() -> None:
    """Each output of a 4x4 kernel of stride 2 meets 4 of 16 weights."""
    (part,) = Editable.of(nn.ConvTranspose2d(3, 2, 4, stride=2, padding=1))
    x = torch.randn(5, 3, 4, 4)
    y = part.layer(x)
    rows, used, made = part.rows(x, 3 * 8 + 5, y)
    assert part.columns == 48 and rows.shape == (5, 12) and used.shape == (12,)
    weight = part.matrix(part.layer.get_parameter("weight")).double()
    torch.testing.assert_close(rows @ weight[used] + part.layer.get_parameter("bias"), made, atol=1e-6, rtol=0)


def test_warm_start_begins_where_the_edit_ends() -> None:
    def first(**more: Any) -> StepRecord:
        records: list[StepRecord] = []
        options = UnlearnOptions(steps=1, check_every=1, learning_rate=1e-9, tolerance=1e-9, **more)
        Distillation(options).unlearn(TINY, LARGE, on_step=records.append)
        return records[0]

    edit = best_edit(TINY, LARGE, 0)
    assert edit is not None
    assert first(warm_start=True).distance == pytest.approx(edit.distance, rel=0.1)
    assert first(warm_start=False).distance == pytest.approx(edit.before, rel=0.1)


def test_an_edit_that_leads_away_from_the_teacher_starts_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    from dataclasses import replace

    from unfeature.unlearners import distillation

    worse = replace(best_edit(TINY, LARGE, 0), distance=1.0)  # type: ignore[type-var]
    monkeypatch.setattr(distillation, "best_edit", lambda *arguments: worse)
    warm, cold = (
        Distillation(UnlearnOptions(steps=2, batch=4, warm_start=warm)).unlearn(TINY, LARGE) for warm in (True, False)
    )
    assert weights_hash(warm.module) == weights_hash(cold.module)


def test_a_warm_start_killed_and_resumed_gives_the_same_bytes() -> None:
    options = UnlearnOptions(steps=12, check_every=4, batch=8, tolerance=1e-9, warm_start=True)
    whole = Memory()
    expected = weights_hash(Distillation(options, checkpoint=whole).unlearn(TINY, LARGE).module)

    class Killed(Exception):
        pass

    for last in (1, 3, 4, 6, 8):

        def kill(record: StepRecord, last: int = last) -> None:
            if record.step == last:
                raise Killed

        memory = Memory()
        with pytest.raises(Killed):
            Distillation(options, checkpoint=memory).unlearn(TINY, LARGE, on_step=kill)
        assert len(memory.states) == last // 4
        resumed = Distillation(options, checkpoint=memory).unlearn(TINY, LARGE)
        assert weights_hash(resumed.module) == expected and memory.states == whole.states


@pytest.mark.slow
def test_preview_and_unlearn_on_the_command_line(tiny_run: Path, command: Command) -> None:
    said = command("preview", tiny_run, "--count", "300", "--instant", "--margins", "0.25", "--margins", "0.5")
    assert said.code == 0, said.err
    assert [
        line.split()[0] for line in said.out.splitlines() if line.lstrip().startswith(("teacher ", "instant "))
    ] == [
        "teacher",
        "teacher",
        "teacher",
        "instant",
    ]
    assert f"unfeature unlearn {tiny_run} --unlearner instant" in said.out
    told = Run(tiny_run).read_as("preview.json", Teachers).previews
    assert [p.made_by for p in told] == ["teacher", "teacher", "teacher", "instant edit"]
    assert told[0].ratio_before == told[-1].ratio_before and told[0].rewritten == told[-1].rewritten

    said = command("unlearn", tiny_run, "--unlearner", "instant")
    assert said.code == 0, said.err
    assert "was edited in closed form" in said.out
    assert (tiny_run / "history" / "training-1.safetensors").is_file()
    first = (tiny_run / "unlearned.safetensors").read_bytes()
    assert command("unlearn", tiny_run, "--unlearner", "instant").code == 0
    assert (tiny_run / "unlearned.safetensors").read_bytes() == first
    for verb in (["evaluate", "--count", "300", "--instant"], ["report"]):
        assert command(verb[0], tiny_run, *verb[1:]).code == 0
    found = Evaluation.from_json(json.loads((tiny_run / "evaluation.json").read_text()))
    assert [row.name for row in found.rows] == ["original", "filter", "teacher", "instant", "unlearned"]
    assert found.row("instant").scores == found.row("unlearned").scores
    assert "Instant edit" in (tiny_run / "report.html").read_text()


def test_previews_of_earlier_versions_are_teachers(tiny_run: Path) -> None:
    (told, *_) = workflow.preview(tiny_run, PreviewOptions(count=100))
    known = told.to_json()
    del known["made_by"]
    assert Preview.from_json(known) == told


@pytest.mark.slow
@pytest.mark.parametrize("feature", ["thickness", "slant"])
def test_the_bar_on_the_shipped_vae(feature: str, tmp_path: Path) -> None:
    """At least 80 % of the way from the original's target ratio to the teacher's, in at most 5 s of one core."""
    workflow.sample(tmp_path, "mnist-vae", SampleOptions())
    workflow.mark(tmp_path, feature, feature, MarkOptions(per_side=500))
    workflow.find(tmp_path)
    teacher, edited = workflow.preview(tmp_path, PreviewOptions(instant=True))
    assert teacher.ratio is not None and teacher.ratio_before is not None and edited.ratio is not None
    way = (teacher.ratio_before.value - edited.ratio.value) / (teacher.ratio_before.value - teacher.ratio.value)
    assert way >= 0.8
    began = time.process_time()
    workflow.unlearn(tmp_path, UnlearnOptions(unlearner="instant"))
    assert time.process_time() - began <= 5
