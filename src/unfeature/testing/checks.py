"""The conventions every table entry keeps. A check passes in silence, or says in one sentence what is wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from unfeature.artifacts import AttackResult, Feedback, Score, StepRecord
from unfeature.errors import NotEnoughFeedback, UnfeatureError, WrongGenerator
from unfeature.features import load_feature
from unfeature.features.guides import ALONE
from unfeature.generators.loading import read_safetensors, to_safetensors
from unfeature.generators.module import weights_hash
from unfeature.images import pixels_of
from unfeature.protocols import (
    Attack,
    Checkpoint,
    Feature,
    Finder,
    Generator,
    Judge,
    Look,
    Metric,
    Paired,
    Reference,
    Unlearner,
)
from unfeature.seeds import stream
from unfeature.testing.generators import TOLERANCE, check_generator
from unfeature.testing.tiny import SIDE, TinyExtractor, TinyGenerator, TinyJudge, tiny_copy, tiny_marks, tiny_scene


def _expect(claim: bool, otherwise: str) -> None:
    if not claim:
        raise AssertionError(otherwise)


def _expect_error(error: type[UnfeatureError], job: Callable[[], object], otherwise: str) -> None:
    try:
        job()
    except error:
        return
    raise AssertionError(f"{otherwise}; expected {error.__name__}")


def _expect_rows(what: str, function: Callable[[Tensor], Tensor], rows: Tensor) -> None:
    """Equal bytes for equal input, and row i from rows[i] alone."""
    whole = function(rows)
    _expect(torch.equal(whole, function(rows)), f"{what}: the same input gave two results; expected equal bytes")
    alone = torch.cat([function(row) for row in torch.split(rows, 1)])
    worst = float((whole.double() - alone.double()).abs().max())
    _expect(worst <= TOLERANCE, f"{what}: a row depends on the rest of its batch, by {worst:.2g} > {TOLERANCE:g}")


def check_finder(make_finder: Callable[[], Finder]) -> None:
    """A Finder: finds "large" on the tiny generator, the same each time, and refuses marks it cannot use."""
    generator = TinyGenerator()
    gallery, feedback = tiny_marks(generator)
    feature = make_finder().find(generator, gallery, feedback)
    _expect(generator.spec == TinyGenerator().spec, "the finder changed the generator's weights")
    check_feature(feature, generator)
    again, latents = make_finder().find(generator, gallery, feedback), _latents(generator)
    _expect(torch.equal(feature.erase(latents), again.erase(latents)), "the same marks gave two different features")
    with torch.no_grad():
        shows = TinyJudge().score(generator.synthesize(latents)) >= 0.5
    flagged = feature.contains(latents)
    hit, false = float(flagged[shows].double().mean()), float(flagged[~shows].double().mean())
    told = f"the feature flags {hit:.2f} of latents that show it and {false:.2f} of others"
    _expect(hit > false + 0.2, f"{told}; expected clearly more of the first")
    for side in ("positives", "negatives"):
        fewer = Feedback.from_json({**feedback.to_json(), side: ()})
        job = _bind(make_finder().find, generator, gallery, fewer)
        _expect_error(NotEnoughFeedback, job, f"feedback without {side} was taken")
    foreign = replace(gallery, generator="other@0"), replace(feedback, generator="other@0")
    for marks in ((foreign[0], feedback), (gallery, foreign[1])):
        job = _bind(make_finder().find, generator, *marks)
        _expect_error(WrongGenerator, job, "a gallery or feedback of another generator was taken")


def _bind(function: Callable[..., object], *given: object) -> Callable[[], object]:
    return lambda: function(*given)


def _latents(generator: Generator) -> Tensor:
    return generator.sample_latents(stream("check", 0, 0, 500))


def check_feature(feature: Feature, generator: Generator) -> None:
    """A Feature of this generator: erases what it contains and nothing else, once and for all, and can be saved."""
    wanted = generator.spec.id
    _expect(feature.generator == wanted, f"the feature is of generator {feature.generator}; expected {wanted}")
    latents = _latents(generator)
    kept = latents.clone()
    flags, erased = feature.contains(latents), feature.erase(latents)
    shape = (flags.dtype, tuple(flags.shape))
    _expect(shape == (torch.bool, (len(latents),)), f"contains gave {shape}; expected ({len(latents)},) of torch.bool")
    told = f"erase gave {erased.dtype} {tuple(erased.shape)}; expected {latents.dtype} {tuple(latents.shape)}"
    _expect((erased.dtype, erased.shape) == (latents.dtype, latents.shape), told)
    _expect(torch.equal(latents, kept), "contains or erase changed the latents it was given")
    _expect(bool(flags.any()) and not bool(flags.all()), "the feature flags all of 500 latents or none")
    _expect(bool(erased.isfinite().all()), "erase gave NaN or infinity")
    _expect(torch.equal(erased[~flags], latents[~flags]), "erase changed latents that do not contain the feature")
    # A feature without margin puts latents on its boundary, where rounding decides what `contains` says.
    again = feature.erase(erased)
    moved = (again - erased).abs().amax(dim=1)
    left = feature.contains(erased) & (moved > 1e-4)
    _expect(not bool(left.any()), f"{int(left.sum())} erased latents still contain the feature; expected none")
    _expect(bool((moved <= 1e-4).all()), "erasing twice is not erasing once")
    _expect_rows("erase", feature.erase, latents[:20])
    tensors, facts = feature.state()
    loaded = load_feature(*read_safetensors("the feature", to_safetensors(tensors, facts)), generator, ALONE)
    same = torch.equal(loaded.contains(latents), flags) and torch.equal(loaded.erase(latents), erased)
    _expect(same and loaded.generator == wanted, "the feature that load_feature makes from state() is another one")


class _Memory:
    """A Checkpoint that keeps its state, as bytes, in memory."""

    def __init__(self) -> None:
        self.data: bytes | None = None

    def load(self) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        return None if self.data is None else read_safetensors("the state", self.data)

    def save(self, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
        self.data = to_safetensors(tensors, facts)


class _Killed(Exception):
    """Stands for a process that dies."""


def check_unlearner(make_unlearner: Callable[[Checkpoint], Unlearner]) -> None:
    """An Unlearner, made with few steps: copies, repeats to the same bytes, and goes on where it was killed."""
    generator, made_from = TinyGenerator(), TinyGenerator().spec
    vector = F.one_hot(torch.tensor(0), 4).float()
    state = {"kind": "linear", "name": "large", "generator": made_from.id, "threshold": 0.5, "margin": 0.25}
    feature, foreign = (
        load_feature({"vector": vector}, {**state, **more}, generator, ALONE) for more in ({}, {"generator": "other@0"})
    )
    job = _bind(make_unlearner(_Memory()).unlearn, generator, foreign)
    _expect_error(WrongGenerator, job, "a feature of another generator was taken")
    results, seen = [], list[StepRecord]()
    for global_seed in (1, 2):  # of torch, which must not matter
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(global_seed)
            results.append(make_unlearner(_Memory()).unlearn(generator, feature, on_step=seen.append))
        _expect(generator.spec == made_from, "the unlearner changed the generator it was given")
    _expect(bool(seen), "on_step was never called")
    _expect(results[0].spec != made_from, "the unlearned generator has the weights it started with")
    wanted = weights_hash(results[0].module)
    _expect(weights_hash(results[1].module) == wanted, "the same seed gave different bytes the second time")
    check_generator(results[0])
    memory = _Memory()

    def kill(record: StepRecord) -> None:
        if memory.data is not None:
            raise _Killed

    try:
        make_unlearner(memory).unlearn(generator, feature, on_step=kill)
    except _Killed:
        resumed = make_unlearner(memory).unlearn(generator, feature)
        _expect(weights_hash(resumed.module) == wanted, "killed and resumed, it gave other bytes than never killed")
    else:
        raise AssertionError("it never saved its state in the checkpoint it was given, or took no step after")


def check_metric(make_metric: Callable[[Reference], Metric]) -> None:
    """A Metric: batch order and size do not matter, n counts images, intervals contain their values."""
    n, other = 240, _look(300, 2)
    after, before, rewritten = _look(n, 0), _look(n, 1), torch.arange(n) % 3 == 0
    teacher = _look(n, 3).images
    told: list[list[Score]] = []
    parts = torch.split(torch.arange(n), 70)
    for batches in ((torch.arange(n),), parts, parts[::-1]):
        metric = make_metric(Reference("tiny", other.embedding, other.embedding, _distance))
        for rows in batches:
            metric.update(Paired(_take(after, rows), _take(before, rows), rewritten[rows], teacher[rows]))
        told.append(metric.compute())
    _expect(bool(told[0]), "compute gave no score")
    for score, *others in zip(*told, strict=True):
        _expect(score.value == score.value, f"{score.name} is NaN")
        inside = score.low <= score.value <= score.high
        _expect(inside, f"{score.name}: {score.value:g} lies outside its interval [{score.low:g}, {score.high:g}]")
        right = 0 < score.n <= n if metric.paired else score.n == n
        _expect(right, f"{score.name} says n = {score.n} for {n} images")
        for rest in others:
            same = rest.name == score.name and rest.n == score.n
            same = same and abs(rest.value - score.value) <= TOLERANCE * max(1.0, abs(score.value))
            _expect(same, f"{score.name} depends on the order or size of the batches: {score.value:g}, {rest.value:g}")
    if not metric.paired:
        metric = make_metric(Reference("tiny", other.embedding, other.embedding, _distance))
        metric.update(Paired(after, None, torch.zeros_like(rewritten)))
        _expect(metric.compute() == told[0], "it is not `paired`, and looks at more than the images after")


def _look(n: int, run_seed: int) -> Look:
    generator, extractor = TinyGenerator(), TinyExtractor()
    with torch.no_grad():
        images = generator.synthesize(generator.sample_latents(stream("check", run_seed, 0, n)))
        seen = extractor.embed(images), extractor.logits(images)
        return Look(images, TinyJudge().score(images) >= 0.5, *seen, attributes=images.flatten(1)[:, ::9] >= 0.5)


def _take(look: Look, rows: Tensor) -> Look:
    assert look.attributes is not None
    parts = look.images[rows], look.shows[rows], look.embedding[rows], look.logits[rows]
    return Look(*parts, attributes=look.attributes[rows])


def _distance(one: Tensor, other: Tensor) -> Tensor:
    return (one - other).square().mean(dim=(1, 2, 3))


def check_attack(make_attack: Callable[[], Attack], name: str) -> None:
    """An Attack of that name, made with few steps: says what it attacked, changes nothing, repeats to equal bytes."""
    for called, target in (("original", TinyGenerator()), ("unlearned", tiny_copy())):
        scene = tiny_scene(target, called)
        made_from = scene.original.spec, target.spec
        found = []
        for global_seed in (1, 2):  # of torch, which must not matter
            with torch.random.fork_rng(devices=[]):
                torch.default_generator.manual_seed(global_seed)
                found.append(make_attack().run(scene))
            _expect((scene.original.spec, target.spec) == made_from, "the attack changed the generators it was given")
        result = found[0]
        _expect(found[1].id == result.id, "the same seed gave two results; expected equal bytes")
        who, wanted = (result.name, result.target, result.generator), (name, called, target.spec.id)
        _expect(who == wanted, f"the result says {who}; expected {wanted}")
        _expect(bool(result.figures), "the attack gave no figure; expected the one that says how far it got first")
        for score in (*result.figures, *(point.score for curve in result.curves for point in curve.points)):
            inside = score.low <= score.value <= score.high and score.n > 0
            told = f"{score.name}: {score.value:g} lies outside its interval [{score.low:g}, {score.high:g}] or n is 0"
            _expect(inside, told)
        again = AttackResult.from_json(json.loads(json.dumps(result.to_json())))
        _expect(again == result, "the result is another one after JSON; expected plain numbers, texts, lists in facts")
        shape = pixels_of(result.picture).shape
        _expect(shape == (SIDE, SIDE), f"the picture is of shape {shape}; expected that of the generator's images")


def check_judge(judge: Judge, images: Tensor) -> None:
    """A Judge on images (n, c, h, w) it is meant for: one score in [0, 1] an image, from that image alone."""
    _expect("name" in judge.about, f"judge.about has {', '.join(judge.about) or 'nothing'}; expected at least name")
    json.dumps(dict(judge.about))  # reports keep it
    kept = images.clone()
    scores = judge.score(images)
    _expect(torch.equal(images, kept), "score changed the images it was given")
    told = f"score gave shape {tuple(scores.shape)} for {len(images)} images; expected ({len(images)},)"
    _expect(scores.shape == (len(images),), told)
    _expect(not bool(scores.isnan().any()), "score gave NaN; expected values in [0, 1]")
    low, high = float(scores.min()), float(scores.max())
    _expect(low >= 0 and high <= 1, f"score gave values from {low:g} to {high:g}; expected [0, 1]")
    _expect_rows("score", judge.score, images)
