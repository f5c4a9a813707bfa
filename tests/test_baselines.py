"""Baselines: each does what its equation says. That they copy, repeat and resume is in the conformance tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Command
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from unfeature.artifacts import StepRecord
from unfeature.errors import BadOption
from unfeature.features.linear import LinearFeature
from unfeature.options import BenchOptions, UnlearnOptions
from unfeature.presets import read_options
from unfeature.seeds import stream
from unfeature.tables import resolve
from unfeature.testing import TinyGenerator
from unfeature.unlearners import UNLEARNERS
from unfeature.unlearners.amnesia import Consolidated, elastic
from unfeature.unlearners.ascent_descent import AscendingDescending
from unfeature.unlearners.loop import Loop
from unfeature.unlearners.negatives import OneSided, nearest
from unfeature.unlearners.orthogonal import Orthogonalising
from unfeature.unlearners.repulsion import Repelled, repulsion
from unfeature.unlearners.saliency import Masked, salient
from unfeature.unlearners.surgery import Operating, dot, projected
from unfeature.unlearners.training import fabric_of
from unfeature.workflow import bench_cells

GENERATOR = TinyGenerator()
FEATURE = LinearFeature("large", GENERATOR.spec.id, torch.tensor([1.0, 0.0, 0.0, 0.0]), 0.3, 0.25)
OPTIONS = UnlearnOptions(steps=20, batch=32, learning_rate=5e-3, tolerance=1e-6)
LATENTS = GENERATOR.sample_latents(stream("test", 0, 0, 300))
FLAGS = FEATURE.contains(LATENTS)


def looped(kind: type[Loop], feature: Any = FEATURE, **more: Any) -> Any:
    """A loop that is ready for its first step."""
    options = OPTIONS.model_copy(update=more)
    loop = kind(options, 0, GENERATOR, feature, fabric_of(options))
    loop.prepare()
    return loop


def change(name: str, **more: Any) -> tuple[float, float]:
    """Mean absolute change of pictures with the feature, and of those without."""
    made = resolve("unlearner", UNLEARNERS, name)(OPTIONS.model_copy(update=more), seed=0)
    student = made.unlearn(GENERATOR, FEATURE)
    with torch.no_grad():
        moved = (student.synthesize(LATENTS) - GENERATOR.synthesize(LATENTS)).abs().mean(dim=(1, 2, 3))
    return float(moved[FLAGS].mean()), float(moved[~FLAGS].mean())


def test_no_run_takes_more_latents_than_it_has_numbers() -> None:
    made = resolve("unlearner", UNLEARNERS, "distillation")(UnlearnOptions(steps=10_000_000, batch=65_536))
    with pytest.raises(BadOption, match=r"10,000,000 steps take 655,360,000,000 latents; .*--batch"):
        made.unlearn(GENERATOR, FEATURE)


@pytest.mark.parametrize("name", [name for name in UNLEARNERS if name not in ("amnesia", "repulsion")])
def test_a_penalty_is_of_those_who_weigh_the_weights(name: str) -> None:
    with pytest.raises(
        BadOption, match=f"penalty is 3.0, but unlearner {name} does not use it; .* --unlearner amnesia"
    ):
        resolve("unlearner", UNLEARNERS, name)(UnlearnOptions(penalty=3)).unlearn(GENERATOR, FEATURE)


@pytest.mark.parametrize("name", [name for name in UNLEARNERS if name != "distillation"])
def test_options_that_an_unlearner_does_not_use_are_refused(name: str) -> None:
    made = resolve("unlearner", UNLEARNERS, name)
    unused: dict[str, Any] = {"warm_start": True}
    if name != "saliency":
        unused |= {"against_search": 4, "shortfall": 0.5, "perceptual_rest": 0.5}
        unused |= {"device": "auto"} if name == "instant" else {"perceptual": 0.5}
    if name in ("negatives", "ascent", "repulsion"):
        unused |= {"alpha": 0.5}
    for option, value in unused.items():
        told = f"{option} is {value}, but unlearner {name} does not use it; expected .*  --unlearner distillation"
        with pytest.raises(BadOption, match=told):
            made(UnlearnOptions(**{option: value})).unlearn(GENERATOR, FEATURE)
    off = dict.fromkeys(("warm_start", "against_search", "shortfall", "perceptual", "perceptual_rest"), 0)
    made(UnlearnOptions(steps=1, batch=4, **off)).unlearn(GENERATOR, FEATURE)


def test_what_a_preset_alone_says_is_not_refused(tiny_run: Path, tmp_path: Path, command: Command) -> None:
    few = ["--unlearner", "negatives", "--steps", "2", "--batch", "4"]
    assert read_options(base="counterfactual").unlearn.shortfall > 0
    assert command("unlearn", tiny_run, "--preset", "counterfactual", *few).code == 0
    said = command("unlearn", tiny_run, "--preset", "counterfactual", *few, "--shortfall", "0.3")
    assert said.code == 2 and "shortfall is 0.3, but unlearner negatives does not use it; expected 0.0" in said.err
    (tmp_path / "job.toml").write_text('[unlearn]\nunlearner = "negatives"\n')
    assert read_options(tmp_path / "job.toml", "counterfactual").unlearn.model_fields_set == {"unlearner"}
    told = BenchOptions.parse({"base": {"preset": "robust"}, "axes": {"alpha": {"1": {"unlearn": {"alpha": 1.0}}}}})
    (cell,) = bench_cells(told)
    assert cell.options.unlearn.model_fields_set == {"alpha"} and cell.options.unlearn.against_search > 0


vectors = st.lists(st.floats(-10, 10, width=32), min_size=6, max_size=6)


def gradient(values: list[float]) -> dict[str, Tensor]:
    return {"a": torch.tensor(values[:4]).view(2, 2), "b": torch.tensor(values[4:])}


@given(vectors, vectors)
def test_projection_leaves_nothing_that_points_against_the_retained(forget: list[float], retain: list[float]) -> None:
    one, other = gradient(forget), gradient(retain)
    slack = 1e-5 * (1 + dot(one, one) + dot(other, other))
    assert dot(projected(one, other, always=False), other) >= -slack
    right_angle = projected(one, other, always=True)
    assert dot(right_angle, other) == pytest.approx(0, abs=slack)
    assert dot(right_angle, right_angle) <= dot(one, one) + slack
    if dot(one, other) >= 0:
        assert all(torch.equal(value, one[key]) for key, value in projected(one, other, always=False).items())


def test_projection_by_hand() -> None:
    forget, retain = {"w": torch.tensor([1.0, -2.0])}, {"w": torch.tensor([0.0, 4.0])}
    for always in (False, True):
        assert torch.equal(projected(forget, retain, always=always)["w"], torch.tensor([1.0, 0.0]))
    nothing = {"w": torch.zeros(2)}
    assert torch.equal(projected(forget, nothing, always=True)["w"], forget["w"])


@pytest.mark.parametrize("kind", [Operating, Orthogonalising])
def test_what_adam_gets_keeps_to_the_projection(kind: type[Operating]) -> None:
    """Along the retained gradient R the sum is R itself at a right angle, and never less without conflict."""
    loop = looped(kind)
    for step in range(5):
        loop.step(step)
    batch = loop.batch(5)
    _, retain = loop.gradient(batch, "reconstruction")
    loop.descend(batch)
    given = {name: p.grad for name, p in loop.parameters.items()}
    share = dot(given, retain) / dot(retain, retain)
    assert share == pytest.approx(1, abs=1e-4) if loop.always else share >= 1 - 1e-4


@pytest.mark.parametrize("name", ["ascent", "ascent-descent", "surgery", "orthogonal"])
def test_ascent_leaves_the_original_behind_and_descent_holds_the_rest(name: str) -> None:
    forgotten, kept = change(name, steps=60)
    assert forgotten > 0.05
    assert name == "ascent" or kept < 0.3 * forgotten


def test_ascent_has_a_slope_from_the_first_step_and_a_bounded_loss() -> None:
    loop = looped(AscendingDescending)
    told, found = loop.gradient(loop.batch(0), "unlearn")
    assert 0 < told["unlearn"] <= 1 / 510
    assert dot(found, found) > 0
    records: list[StepRecord] = []
    options = OPTIONS.model_copy(update={"steps": 200, "learning_rate": 0.1})
    resolve("unlearner", UNLEARNERS, "ascent")(options).unlearn(GENERATOR, FEATURE, on_step=records.append)
    assert all(-1 <= record.loss <= 0 for record in records)


def test_nearest() -> None:
    pool = torch.tensor([[0.0, 0.0], [3.0, 0.0]])
    assert torch.equal(nearest(torch.tensor([[1.0, 5.0], [2.0, 0.0]]), pool), pool)


def test_negatives_never_read_a_picture_with_the_feature(monkeypatch: pytest.MonkeyPatch) -> None:
    loop, asked = looped(OneSided), list[Tensor]()
    make = loop.teacher.synthesize
    monkeypatch.setattr(loop.teacher, "synthesize", lambda latents: asked.append(latents) or make(latents))
    for step in range(5):
        loop.step(step)
    seen = torch.cat(asked)
    assert len(seen) == 5 * 32 and not bool(FEATURE.contains(seen).any())
    batch = loop.batch(0)
    assert bool(batch.flags.any()) and torch.equal(batch.erased[~batch.flags], batch.latents[~batch.flags])


def test_negatives_of_a_feature_that_is_everywhere_are_refused() -> None:
    everywhere = LinearFeature("large", GENERATOR.spec.id, FEATURE.vector, -100.0)
    with pytest.raises(BadOption, match="none of 2000 latents is without the feature"):
        looped(OneSided, everywhere)


def test_elastic_penalty_is_0_at_the_original_and_grows_with_fisher() -> None:
    loop = looped(Consolidated)
    assert float(elastic(loop.parameters, loop.start, loop.fisher).detach()) == 0
    moved = {name: value + 0.1 for name, value in loop.start.items()}
    once = float(elastic(moved, loop.start, loop.fisher))
    doubled = {name: 2 * value for name, value in loop.fisher.items()}
    assert once > 0 and float(elastic(moved, loop.start, doubled)) == pytest.approx(2 * once)
    by_hand = elastic({"w": torch.tensor([3.0, 1.0])}, {"w": torch.tensor([1.0, 1.0])}, {"w": torch.tensor([5.0, 7.0])})
    assert float(by_hand) == 5 * 2**2 / 2


def test_fisher_is_the_mean_squared_slope_of_a_pixel() -> None:
    """Of the outer bias, the slope of pixel p is known: g_p (1 - g_p) in its own place, 0 elsewhere."""
    loop = looped(Consolidated)
    latents = GENERATOR.sample_latents(stream("fisher", 0, 0, 1024))
    with torch.no_grad():
        made = GENERATOR.synthesize(latents[~FEATURE.contains(latents)]).flatten(1)
    expected = (made * (1 - made)).square().mean(dim=0) / made.shape[1]
    found = loop.fisher["outer.bias"]
    assert float((found - expected).abs().sum() / expected.sum()) < 0.25  # random signs, 128 passes
    assert float(found.sum()) == pytest.approx(float(expected.sum()), rel=0.05)


def test_stiffer_weights_move_less() -> None:
    loose, stiff = (change("amnesia", penalty=penalty, steps=60) for penalty in (0.0, 1e5))
    assert stiff[0] < 0.5 * loose[0] and stiff[1] < loose[1]


def test_amnesia_makes_the_feature_grey() -> None:
    options = OPTIONS.model_copy(update={"penalty": 0.0, "steps": 300, "learning_rate": 0.03})
    made = resolve("unlearner", UNLEARNERS, "amnesia")(options)
    student = made.unlearn(GENERATOR, FEATURE)
    with torch.no_grad():
        from_grey = (student.synthesize(LATENTS) - 0.5).abs().mean(dim=(1, 2, 3))
        before = (GENERATOR.synthesize(LATENTS) - 0.5).abs().mean(dim=(1, 2, 3))
    assert float(from_grey[FLAGS].mean()) < 0.7 * float(before[FLAGS].mean())
    assert float(from_grey[~FLAGS].mean()) > 0.8 * float(before[~FLAGS].mean())


def test_repulsion_points_away_from_the_adapted_weights() -> None:
    weights = {"w": torch.tensor([1.0, 2.0], requires_grad=True)}
    shunned, width = {"w": torch.tensor([0.0, 0.0])}, torch.tensor(5.0)
    value = repulsion(weights, shunned, width)
    assert float(value.detach()) == pytest.approx(torch.tensor(-1.0).exp().item())
    (slope,) = torch.autograd.grad(value, weights["w"])
    torch.testing.assert_close(-slope, 2 / 5 * value.detach() * weights["w"].detach())


def test_repelled_weights_leave_the_adapted_ones() -> None:
    loop = looped(Repelled, penalty=10.0)
    assert float(loop.width) > 0
    near = [float(repulsion(loop.parameters, loop.shunned, loop.width).detach())]
    assert near[0] == pytest.approx(torch.tensor(-1.0).exp().item())
    for step in range(10):
        loop.step(step)
        near.append(float(repulsion(loop.parameters, loop.shunned, loop.width).detach()))
    assert near[-1] < near[0]


def test_salient_half() -> None:
    found = salient({"a": torch.tensor([[1.0, -8.0], [0.5, 3.0]]), "b": torch.tensor([-4.0, 0.0])})
    assert torch.equal(found["a"], torch.tensor([[False, True], [False, True]]))
    assert torch.equal(found["b"], torch.tensor([True, False]))


def test_weights_outside_the_mask_keep_their_bytes() -> None:
    loop = looped(Masked)
    before = {name: p.detach().clone() for name, p in loop.parameters.items()}
    for step in range(10):
        loop.step(step)
    share = sum(int(mask.sum()) for mask in loop.mask.values()) / sum(mask.numel() for mask in loop.mask.values())
    assert share == pytest.approx(0.5, abs=0.01)
    for name, mask in loop.mask.items():
        after = loop.parameters[name].detach()
        assert torch.equal(after[~mask], before[name][~mask])
        assert bool((after[mask] != before[name][mask]).float().mean() > 0.9)
