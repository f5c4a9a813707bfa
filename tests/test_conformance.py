"""Every entry of every table keeps the conventions, and every check notices the fault it is there for."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from unfeature import zoo
from unfeature.artifacts import Score
from unfeature.attacks import ATTACKS
from unfeature.attacks.quantisation import Quantisation
from unfeature.errors import UnfeatureError
from unfeature.features import FEATURES, FINDERS
from unfeature.features.linear import Linear, LinearFeature
from unfeature.generators import GENERATORS
from unfeature.generators.loading import load_generator
from unfeature.generators.module import ModuleGenerator, from_module
from unfeature.metrics import EXTRACTORS, MEASUREMENTS, METRICS
from unfeature.metrics.judges import CutJudge, load_measurement
from unfeature.metrics.ratio import TargetRatio
from unfeature.options import AttackOptions, FindOptions, UnlearnOptions
from unfeature.protocols import Finder, Judge
from unfeature.seeds import stream
from unfeature.tables import resolve
from unfeature.testing import (
    TinyExtractor,
    TinyGenerator,
    TinyJudge,
    TinySize,
    check_attack,
    check_feature,
    check_finder,
    check_generator,
    check_judge,
    check_metric,
    check_unlearner,
    tiny_marks,
)
from unfeature.unlearners import UNLEARNERS
from unfeature.unlearners.distillation import Distillation

FEW = UnlearnOptions(steps=4, batch=8, check_every=2)


def tiny_images(n: int = 12) -> Tensor:
    generator = TinyGenerator()
    with torch.no_grad():
        return generator.synthesize(generator.sample_latents(stream("test", 0, 0, n)))


# Every table


@pytest.mark.parametrize("name", zoo.cards("generator"))
def test_shipped_generators(name: str) -> None:
    check_generator(load_generator(name))


def test_every_shipped_generator_is_of_a_family() -> None:
    assert {card["family"] for card in zoo.cards("generator").values()} <= set(GENERATORS)


def family(name: str) -> Any:
    return resolve("generator family", GENERATORS, name)


def example_of(name: str) -> ModuleGenerator:
    """The family's tiny example with random weights, running statistics too."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        module = family(name)(**family(name).example())
        for value in module.state_dict().values():
            if value.is_floating_point():
                value.add_(torch.rand_like(value) / 10)
    return from_module(name, module, module.latent_dim)


def shapes_of(module: nn.Module) -> dict[str, tuple[int, ...]]:
    return {key: tuple(value.shape) for key, value in module.state_dict().items()}


@pytest.mark.parametrize("name", GENERATORS)
def test_families_conform(name: str) -> None:
    check_generator(example_of(name))


@pytest.mark.parametrize("name", GENERATORS)
@pytest.mark.parametrize("order", [list, sorted])
def test_families_are_built_again_from_the_shapes_of_their_weights(name: str, order: Any) -> None:
    generator = example_of(name)
    shapes = {key: shapes_of(generator.module)[key] for key in order(shapes_of(generator.module))}
    arguments = family(name).arguments_of(shapes)
    module = family(name)(**json.loads(json.dumps(arguments, sort_keys=True)))
    module.load_state_dict(generator.module.state_dict())
    again = from_module(name, module, module.latent_dim)
    latents = generator.sample_latents(stream("test", 0, 0, 3))
    with torch.no_grad():
        assert torch.equal(again.synthesize(latents), generator.synthesize(latents))


@pytest.mark.parametrize("name", GENERATORS)
def test_families_are_exported_for_batches_of_any_size(name: str) -> None:
    generator = example_of(name)
    few, many = (generator.sample_latents(stream("test", 0, 0, n)) for n in (3, 5))
    sizes = ({0: torch.export.Dim("n", min=1, max=64)},)
    program = torch.export.export(generator.module, (few,), dynamic_shapes=sizes)
    with torch.no_grad():
        assert torch.allclose(program.module()(many), generator.module(many), atol=1e-5)
    assert program.state_dict.keys() == generator.module.state_dict().keys()


@pytest.mark.parametrize("name", GENERATORS)
def test_families_recognise_their_own_weights_only(name: str) -> None:
    shapes = shapes_of(example_of(name).module)
    assert [other for other in GENERATORS if family(other).arguments_of(shapes) is not None] == [name]
    assert [other for other in GENERATORS if family(other).arguments_of({}) is not None] == []


@pytest.mark.parametrize("name", zoo.cards("generator"))
def test_shipped_generators_are_recognised_by_their_shapes(name: str) -> None:
    card, shapes = zoo.cards("generator")[name], shapes_of(load_generator(name).module)
    found = {other: family(other).arguments_of(shapes) for other in GENERATORS}
    assert [other for other, arguments in found.items() if arguments is not None] == [card["family"]]
    read = found[card["family"]]
    assert read == {**read, **{key: value for key, value in card["arguments"].items() if key in read}}


def finder(name: str) -> Finder:
    """With options that make it quick."""
    made = resolve("finder", FINDERS, name)
    searches = {} if "search_steps" in made.unused else {"search_steps": 100}
    found: Finder = made(FindOptions(extractor="", samples=2000, **searches))
    return found


@pytest.mark.parametrize("name", FINDERS)
def test_finders(name: str) -> None:
    check_finder(lambda: finder(name))


QUICK = AttackOptions(
    restarts=4, search_steps=5, pictures=3, inversion_restarts=2, inversion_steps=5, relearn_from=(1, 3), benign=5,
    tuning_steps=5, samples=60,
)  # fmt: skip


@pytest.mark.parametrize("name", ATTACKS)
def test_attacks(name: str) -> None:
    check_attack(lambda: resolve("attack", ATTACKS, name)(QUICK, seed=0), name)


def test_every_kind_of_feature_comes_from_a_finder() -> None:
    generator = TinyGenerator()
    found = [finder(name).find(generator, *tiny_marks(generator)) for name in FINDERS]
    assert {feature.state()[1]["kind"] for feature in found} | {"stand-in", "several"} == set(FEATURES)


@pytest.mark.parametrize("name", UNLEARNERS)
def test_unlearners(name: str) -> None:
    check_unlearner(lambda checkpoint: resolve("unlearner", UNLEARNERS, name)(FEW, seed=0, checkpoint=checkpoint))


@pytest.mark.parametrize("name", METRICS)
def test_metrics(name: str) -> None:
    check_metric(resolve("metric", METRICS, name))


@pytest.mark.parametrize("name", MEASUREMENTS)
def test_measurements_judge(name: str) -> None:
    generator = load_generator("mnist-vae")
    with torch.no_grad():
        images = generator.synthesize(generator.sample_latents(stream("test", 0, 0, 20)))
    measurement = load_measurement(name)
    assert measurement.name == name
    values = measurement.measure(images)
    assert values.dtype == torch.float64 and values.shape == (20,) and values.isfinite().all()
    between = float(values.sort().values[9:11].mean())  # at a picture's own value its last digit would decide
    check_judge(CutJudge(measurement, between), images)


@pytest.mark.parametrize("name", EXTRACTORS)
def test_extractors(name: str) -> None:
    if name == "squeezenet" and "UNFEATURE_ASSETS" not in os.environ:
        pytest.skip("its weights are not shipped: UNFEATURE_ASSETS is unset")
    extractor, images = resolve("extractor", EXTRACTORS, name)(), torch.rand(5, 1, 28, 28)
    assert extractor.name.startswith(name) and len(extractor.hash) == 64
    for see in (extractor.embed, extractor.logits):
        rows = see(images)
        assert rows.ndim == 2 and len(rows) == 5 and not rows.requires_grad
        assert torch.allclose(rows, torch.cat([see(image) for image in torch.split(images, 1)]), atol=1e-4)


# The tiny world


def test_tiny_generator_conforms_and_is_always_the_same() -> None:
    check_generator(TinyGenerator())
    assert TinyGenerator().spec == TinyGenerator().spec


def test_tiny_generators_first_latent_is_the_size() -> None:
    latents = torch.zeros(5, 4)
    latents[:, 0] = torch.linspace(-2, 2, 5)
    sizes = TinySize().measure(TinyGenerator().synthesize(latents))
    assert bool((sizes.diff() > 0.02).all())


def test_tiny_judge_finds_the_feature_in_a_tenth() -> None:
    check_judge(TinyJudge(), tiny_images())
    assert float(TinyJudge().score(tiny_images(4000)).mean()) == pytest.approx(0.10, abs=0.02)


def test_tiny_extractor() -> None:
    extractor, images = TinyExtractor(), tiny_images(200)
    assert extractor.embed(images).shape == (200, 8) and len(extractor.hash) == 64
    assert extractor.logits(images).argmax(dim=1).unique().tolist() == [0, 1, 2, 3]


# Faults of a generator


class Net(nn.Module):
    """A generator's module with one fault."""

    def __init__(self, fault: Callable[[Tensor], Tensor], norm: bool = False) -> None:
        super().__init__()
        self.net = nn.Linear(4, 9)
        self.norm = nn.BatchNorm1d(9) if norm else nn.Identity()
        self.fault = fault

    def forward(self, latents: Tensor) -> Tensor:
        return self.fault(torch.sigmoid(self.norm(self.net(latents))).view(-1, 1, 3, 3))


class Sharing(ModuleGenerator):
    def copy(self) -> Any:
        return Sharing("net", self.module, 4)


class OtherCopy(ModuleGenerator):
    def copy(self) -> Any:
        return from_module("net", Net(lambda x: x), 4)


class OneStream(ModuleGenerator):
    def sample_latents(self, seeds: Any) -> Tensor:
        return torch.randn(len(seeds), 4, generator=torch.Generator().manual_seed(int(seeds[0])))


def nan(images: Tensor) -> Tensor:
    return images.masked_fill(images > images.min(), torch.nan)


GENERATOR_FAULTS = {
    "expected [0, 1]": lambda: from_module("net", Net(lambda x: 3 * x - 1), 4),
    "gave NaN": lambda: from_module("net", Net(nan), 4),
    "expected torch.float32": lambda: from_module("net", Net(lambda x: x.double()), 4),
    "synthesize gave images of shape": lambda: from_module("net", Net(lambda x: x if len(x) == 1 else x[1:]), 4),
    "a row depends on the rest of its batch": lambda: from_module("net", Net(lambda x: x - x.mean(0) / 2 + 0.2), 4),
    "the same input gave two results": lambda: from_module("net", Net(lambda x: x * torch.rand(1)), 4),
    "passes no gradient": lambda: from_module("net", Net(lambda x: x.detach()), 4),
    "the copy shares weights": lambda: Sharing("net", Net(lambda x: x), 4),
    "expected the same as the original": lambda: OtherCopy("net", Net(lambda x: x), 4),
    "depends on more than seeds": lambda: OneStream("net", Net(lambda x: x), 4),
}


@pytest.mark.parametrize("message", GENERATOR_FAULTS)
def test_faults_of_generators_are_noticed(message: str) -> None:
    with pytest.raises(AssertionError) as raised:
        check_generator(GENERATOR_FAULTS[message]())
    assert message in str(raised.value)


def test_batch_norm_in_training_mode_is_noticed() -> None:
    generator = from_module("net", Net(lambda x: x, norm=True), 4)
    check_generator(generator)
    generator.module.train()
    with pytest.raises(AssertionError, match=r'batch norm "norm" is in training mode'):
        check_generator(generator)


def test_wrong_latents_are_noticed() -> None:
    generator = TinyGenerator()
    generator.sample_latents = lambda seeds: torch.zeros(len(seeds), 5)  # type: ignore[method-assign]
    with pytest.raises(AssertionError, match=r"sample_latents gave \(6, 5\); expected \(6, 4\)"):
        check_generator(generator)


def test_something_else_than_a_generator_is_noticed() -> None:
    with pytest.raises(AssertionError, match=r"SimpleNamespace lacks a member"):
        check_generator(SimpleNamespace())  # type: ignore[arg-type]


# Faults of a feature


def linear(margin: float = 0.25, kind: type = LinearFeature, generator: str = "", **more: Any) -> Any:
    vector = torch.tensor([0.6, 0.8, 0.0, 0.0])
    return kind("large", generator or TinyGenerator().spec.id, vector, 0.5, margin, **more)


class Everything(LinearFeature):
    def contains(self, latents: Tensor) -> Tensor:
        return torch.ones(len(latents), dtype=torch.bool)


class Numbers(LinearFeature):
    def contains(self, latents: Tensor) -> Tensor:
        return super().contains(latents).float()


class MovesAll(LinearFeature):
    def erase(self, latents: Tensor) -> Tensor:
        return super().erase(latents) - 0.01


class Halfway(LinearFeature):
    def erase(self, latents: Tensor) -> Tensor:
        return (latents + super().erase(latents)) / 2


class Creeps(LinearFeature):
    """Says what it erased is free of the feature, but moves it on the second time: the shift needs no flag."""

    def erase(self, latents: Tensor) -> Tensor:
        below = (latents @ self.vector - self.threshold + self.margin).abs() < 1e-5
        return super().erase(latents) - 0.1 * below[:, None]


class Short(LinearFeature):
    def erase(self, latents: Tensor) -> Tensor:
        return super().erase(latents)[:, :3]


class InPlace(LinearFeature):
    def erase(self, latents: Tensor) -> Tensor:
        return latents.copy_(super().erase(latents))


class NaN(LinearFeature):
    def erase(self, latents: Tensor) -> Tensor:
        return super().erase(latents).masked_fill(self.contains(latents)[:, None], torch.nan)


class Forgets(LinearFeature):
    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        tensors, facts = super().state()
        return tensors, {**facts, "margin": 0.0}


FEATURE_FAULTS = {
    "flags all of 500 latents": Everything,
    "of torch.bool": Numbers,
    "erase changed latents that do not contain": MovesAll,
    "erased latents still contain the feature": Halfway,
    "erasing twice is not erasing once": Creeps,
    "expected torch.float32 (500, 4)": Short,
    "changed the latents it was given": InPlace,
    "erase gave NaN": NaN,
    "from state() is another one": Forgets,
}


@pytest.mark.parametrize("message", FEATURE_FAULTS)
def test_faults_of_features_are_noticed(message: str) -> None:
    with pytest.raises(AssertionError) as raised:
        check_feature(linear(kind=FEATURE_FAULTS[message]), TinyGenerator())
    assert message in str(raised.value)


@pytest.mark.parametrize("margin", [0.0, 0.25])
def test_linear_features_conform(margin: float) -> None:
    check_feature(linear(margin), TinyGenerator())


def test_a_feature_of_another_generator_is_noticed() -> None:
    with pytest.raises(AssertionError, match=r"is of generator other@0; expected tiny@"):
        check_feature(linear(generator="other@0"), TinyGenerator())


def test_a_raw_vector_shorter_than_1_does_not_erase() -> None:
    short = replace(linear(margin=0.0), vector=torch.tensor([0.3, 0.4, 0.0, 0.0]))
    with pytest.raises(AssertionError, match=r"erased latents still contain the feature"):
        check_feature(short, TinyGenerator())


# Faults of a finder


class Wrapped:
    """The linear finder with one fault."""

    def __init__(self, fault: str) -> None:
        self.fault = fault

    def find(self, generator: Any, gallery: Any, feedback: Any) -> Any:
        inner = Linear(FindOptions())
        here = generator.spec.id
        if self.fault == "takes foreign":
            gallery, feedback = (type(x)(**{**x.to_json(), "generator": here}) for x in (gallery, feedback))
        if self.fault == "takes one side" and not (feedback.positives and feedback.negatives):
            return None
        feature = inner.find(generator, gallery, feedback)
        if self.fault == "random":
            return feature.adjusted(feature.threshold, float(torch.rand(1)))
        if self.fault == "upside down":
            return LinearFeature("large", here, -feature.vector, feature.threshold)
        if self.fault == "trains":
            with torch.no_grad():
                next(generator.module.parameters()).add_(1)
        return feature


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("takes foreign", "of another generator was taken"),
        ("takes one side", "feedback without positives was taken"),
        ("random", "gave two different features"),
        ("upside down", "expected clearly more of the first"),
        ("trains", "changed the generator's weights"),
    ],
)
def test_faults_of_finders_are_noticed(fault: str, message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        check_finder(lambda: Wrapped(fault))


# Faults of an unlearner


class Bad:
    """Distillation with one fault."""

    def __init__(self, fault: str, checkpoint: Any) -> None:
        self.fault, self.checkpoint = fault, checkpoint

    def unlearn(self, generator: Any, feature: Any, *, on_step: Any = lambda record: None) -> Any:
        options, seed, checkpoint = FEW, 0, self.checkpoint
        if self.fault == "takes foreign":
            feature = LinearFeature(feature.name, generator.spec.id, feature.vector, feature.threshold, feature.margin)
        if self.fault == "silent":
            on_step = lambda record: None  # noqa: E731
        if self.fault == "random":
            seed = int(torch.randint(1000, (1,)))
        if self.fault == "never saves":
            checkpoint = None
        if self.fault == "starts anew" and checkpoint.load() is not None:
            seed = 1
            checkpoint.data = None
        result = Distillation(options, seed=seed, checkpoint=checkpoint).unlearn(generator, feature, on_step=on_step)
        if self.fault == "in place":
            generator.module.load_state_dict(result.module.state_dict())
        return generator if self.fault == "does nothing" else result


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("takes foreign", "a feature of another generator was taken"),
        ("silent", "on_step was never called"),
        ("random", "the same seed gave different bytes"),
        ("never saves", "never saved its state"),
        ("starts anew", "killed and resumed, it gave other bytes"),
        ("in place", "changed the generator it was given"),
        ("does nothing", "has the weights it started with"),
    ],
)
def test_faults_of_unlearners_are_noticed(fault: str, message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        check_unlearner(lambda checkpoint: Bad(fault, checkpoint))


# Faults of a metric


class BadRatio(TargetRatio):
    """The target ratio with one fault."""

    fault = ""

    def update(self, batch: Any) -> None:
        if self.fault == "last batch":
            self.hits = self.n = 0
            self.n = 240 - len(batch.after.shows)
        super().update(batch)
        if self.fault == "counts batches":
            self.n += 1 - len(batch.after.shows)
        if self.fault == "looks aside":
            self.hits += int(batch.rewritten.sum())

    def compute(self) -> list[Score]:
        (score,) = super().compute()
        value = {"outside": score.high + 0.1, "nan": float("nan")}.get(self.fault, score.value)
        return [] if self.fault == "nothing" else [Score(score.name, value, score.low, score.high, score.n)]


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("last batch", "depends on the order or size of the batches"),
        ("counts batches", "for 240 images"),
        ("outside", "lies outside its interval"),
        ("nan", "is NaN"),
        ("nothing", "gave no score"),
        ("looks aside", "looks at more than the images after"),
    ],
)
def test_faults_of_metrics_are_noticed(fault: str, message: str) -> None:
    made = type("Bad", (BadRatio,), {"fault": fault})
    if fault == "counts batches":
        made.compute = lambda self: [Score("x", 0.5, 0, 1, self.n)]
    with pytest.raises(AssertionError, match=message):
        check_metric(made)


# Faults of a judge


JUDGE_FAULTS: dict[str, Callable[[Tensor], Tensor]] = {
    r"expected \[0, 1\]": lambda x: 3 * x.mean(dim=(1, 2, 3)),
    "gave NaN": lambda x: x.mean(dim=(1, 2, 3)) * torch.nan,
    r"expected \(12,\)": lambda x: x.mean(dim=(2, 3)),
    "the rest of its batch": lambda x: x.mean(dim=(1, 2, 3)) * x.max() / (x.mean() + 1) / 2,
    "gave two results": lambda x: torch.rand(len(x)),
    "changed the images": lambda x: x.mul_(0.5).mean(dim=(1, 2, 3)),
}


@pytest.mark.parametrize("message", JUDGE_FAULTS)
def test_faults_of_judges_are_noticed(message: str) -> None:
    judge: Judge = SimpleNamespace(about={"name": "bad"}, score=JUDGE_FAULTS[message])  # type: ignore[assignment]
    with pytest.raises((AssertionError, UnfeatureError), match=message):
        check_judge(judge, tiny_images())


def test_a_judge_without_a_name_is_noticed() -> None:
    judge: Judge = SimpleNamespace(about={}, score=TinyJudge().score)  # type: ignore[assignment]
    with pytest.raises(AssertionError, match=r"expected at least name"):
        check_judge(judge, tiny_images())


# Faults of an attack


class FaultyAttack:
    """Quantisation with one fault."""

    def __init__(self, fault: str) -> None:
        self.fault = fault

    def run(self, scene: Any) -> Any:
        result = Quantisation(QUICK, seed=0).run(scene)
        if self.fault == "trains":
            with torch.no_grad():
                next(scene.target.module.parameters()).add_(1)
        changed = {
            "random": {"facts": {"drawn": float(torch.rand(1))}},
            "renames": {"name": "other"},
            "says nothing": {"figures": ()},
            "outside": {"figures": (Score("share", 2.0, 0.0, 1.0, 10),)},
            "not JSON": {"facts": {"steps": (1, 2)}},
        }
        return replace(result, **changed.get(self.fault, {}))


ATTACK_FAULTS = {
    "random": "the same seed gave two results",
    "trains": "changed the generators it was given",
    "renames": "the result says",
    "says nothing": "gave no figure",
    "outside": "lies outside its interval",
    "not JSON": "another one after JSON",
}


@pytest.mark.parametrize("fault", ATTACK_FAULTS)
def test_faults_of_attacks_are_noticed(fault: str) -> None:
    with pytest.raises(AssertionError, match=ATTACK_FAULTS[fault]):
        check_attack(lambda: FaultyAttack(fault), "quantisation")
