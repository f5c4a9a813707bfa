"""The counterfactual feature: the guide, what is kept, the search, and what a run folder makes of it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import Command
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from unfeature import workflow
from unfeature.errors import BadOption, ShapeError
from unfeature.features import fresh, load_feature
from unfeature.features.counterfactual import Counterfactual, CounterfactualFeature, _free
from unfeature.features.eraser import shown
from unfeature.features.guides import ALONE, Helpers, JudgeGuide, Keep, check_gradient, kept_by_judge, names_kept
from unfeature.features.probes import fit_probe
from unfeature.features.pseudo import PseudoLabels, regression_vector
from unfeature.features.views import pairs, rows_of, spaces_of, spread, texture
from unfeature.metrics.digits import load_digit_extractor
from unfeature.options import EvaluateOptions, FindOptions, MarkOptions, PreviewOptions, SampleOptions, UnlearnOptions
from unfeature.seeds import stream
from unfeature.testing import TinyExtractor, TinyGenerator, TinyJudge, tiny_marks

GENERATOR = TinyGenerator()
GALLERY, FEEDBACK = tiny_marks(GENERATOR, 1500)
PLAIN = FindOptions(extractor="", samples=3000, search_steps=150)
DIRECTION = FindOptions(extractor="", samples=3000)


@dataclass(frozen=True)
class SoftSize:
    """Large or not, by mean brightness, with a gradient."""

    @property
    def about(self) -> Mapping[str, Any]:
        return {"name": "soft size"}

    def score(self, images: Tensor) -> Tensor:
        return torch.sigmoid(60 * (images.mean(dim=(1, 2, 3)) - TinyJudge().cut))


@dataclass(frozen=True)
class Tilted:
    """Whether the right half is the brighter one: what the second latent says."""

    @property
    def about(self) -> Mapping[str, Any]:
        return {"name": "tilted"}

    def score(self, images: Tensor) -> Tensor:
        left, right = (half.mean(dim=(1, 2, 3)) for half in images.chunk(2, dim=3))
        return torch.sigmoid(60 * (right - left))


def helpers(*_: str) -> Helpers:
    judges = {"soft.py:size": SoftSize(), "soft.py:tilted": Tilted(), "hard.py:size": TinyJudge()}
    return Helpers(lambda reference: TinyExtractor() if reference else None, judges.__getitem__)  # type: ignore[return-value]


@pytest.fixture(scope="module")
def feature() -> CounterfactualFeature:
    return Counterfactual(PLAIN).find(GENERATOR, GALLERY, FEEDBACK)


@pytest.fixture(scope="module")
def latents() -> Tensor:
    return GENERATOR.sample_latents(np.arange(50_000, 52_000))


def shows(latents: Tensor) -> Tensor:
    with torch.no_grad():
        return TinyJudge().score(GENERATOR.synthesize(latents)) >= 0.5


# What a probe looks at


def test_texture_of_a_plain_picture_is_its_brightness() -> None:
    network = load_digit_extractor()
    found = texture(torch.full((2, 1, 28, 28), 0.25), network)
    assert torch.allclose(found[:, 0], torch.tensor(0.25)) and torch.allclose(found[:, 1], torch.tensor(0.25))
    maps = list(network.layers(torch.full((2, 1, 28, 28), 0.25)))
    width = 2 * (1 + sum(x.shape[1] for x in maps[:-1]))
    assert found.shape == (2, width)
    assert torch.allclose(found[:, 2 : 2 + maps[0].shape[1]], maps[0].mean(dim=(2, 3)))


def test_texture_does_not_see_where() -> None:
    """A stroke moved by the network's whole stride gives the same statistics."""
    network, image = load_digit_extractor(), torch.zeros(2, 1, 28, 28)
    image[0, 0, 8:16, 8:11] = 1.0
    image[1] = torch.roll(image[0], (4, 4), dims=(1, 2))
    first, second = texture(image, network)
    assert torch.allclose(first[:50], second[:50], atol=2e-3)


def test_pairs_have_the_mean_squares_of_texture_and_are_a_gram_matrix() -> None:
    network, images = load_digit_extractor(), torch.rand(3, 1, 28, 28)
    first = network.layers(images)[0]
    k = first.shape[1]
    found, expected = pairs(images, network), torch.einsum("nahw,nbhw->nab", first, first) / first[0, 0].numel()
    row, column = torch.triu_indices(k, k)
    assert found.shape == (3, k * (k + 1) // 2)
    assert torch.allclose(found, expected[:, row, column], atol=1e-5)
    rms = texture(images, network)[:, 2 + k : 2 + 2 * k]
    assert torch.allclose(found[:, row == column].sqrt(), rms, atol=1e-4)


class _Blur:
    """A network of one map: the picture itself."""

    def layers(self, images: torch.Tensor) -> list[torch.Tensor]:
        return [images]


def test_spread_is_the_covariance_of_where_the_ink_is() -> None:
    images = torch.zeros(3, 1, 21, 21)
    y, x = torch.meshgrid(torch.linspace(-1, 1, 21), torch.linspace(-1, 1, 21), indexing="ij")
    down = np.random.default_rng(0).normal(0, 0.2, 200_000)
    across = -0.5 * down + np.random.default_rng(1).normal(0, 0.05, 200_000)
    density, _, _ = np.histogram2d(down, across, bins=21, range=((-1.05, 1.05), (-1.05, 1.05)))
    images[0, 0] = torch.from_numpy(density / density.max()).float()
    images[1, 0, 10, 10] = 1.0
    tall, wide, slanted = spread(images, _Blur()).T  # type: ignore[arg-type]
    assert float(tall[0]) == pytest.approx(0.04, rel=0.1) and float(wide[0]) == pytest.approx(0.0125, rel=0.2)
    assert float(slanted[0]) == pytest.approx(-0.02, rel=0.1)
    assert all(abs(float(side[row])) < 1e-6 for side in (tall, wide, slanted) for row in (1, 2))
    mass = images[0, 0].double()
    assert float(slanted[0]) == pytest.approx(
        float((mass * y * x).sum() / mass.sum() - (mass * y).sum() * (mass * x).sum() / mass.sum() ** 2), rel=1e-2
    )


def test_spaces_and_what_they_need() -> None:
    assert spaces_of(None) == ("latents", "pixels")
    assert spaces_of(load_digit_extractor())[2:] == ("texture", "pairs", "spread", "embedding")
    assert spaces_of(TinyExtractor())[2:] == ("embedding",)
    images = torch.rand(3, 1, 28, 28)
    for space, given_parts, told in (
        ("latents", (None, images, None), "was given pictures alone"),
        ("pixels", (images.flatten(1), None, None), "was given latents alone"),
        ("texture", (None, images, None), "was given no network"),
    ):
        with pytest.raises(ShapeError, match=told):
            rows_of(space, *given_parts)  # type: ignore[arg-type]


@pytest.mark.parametrize("space", ["pixels", "texture", "pairs", "spread", "embedding"])
def test_log_odds_are_the_score_with_a_gradient(space: Any) -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(40, 1, 28, 28, generator=generator)
    images[:20] *= 0.8
    labels = np.arange(40) < 20
    probe = fit_probe(torch.zeros(40, 2), images, labels, seed=0, spaces=(space,), extractor=load_digit_extractor())
    seen = images.clone().requires_grad_()
    told = probe.log_odds(seen)
    assert np.allclose(torch.sigmoid(told).detach().numpy(), probe.score(None, images), atol=1e-5)
    (gradient,) = torch.autograd.grad(told.sum(), seen)
    assert bool((gradient != 0).any())


# Guides and what is kept


@settings(max_examples=30, deadline=None)
@given(st.floats(-4, 4), st.floats(-4, 4))
def test_keeping_an_attribute_costs_its_divergence(old: float, new: float) -> None:
    """KL of two coins, by hand."""
    p, q = (1 / (1 + np.exp(-x)) for x in (old, new))
    by_hand = p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))
    keep = Keep(attributes=(lambda images: images,), names=("tilt",))
    cost = keep.cost([torch.full((3, 1), old)], [torch.full((3, 1), new)])
    assert torch.allclose(cost, torch.tensor(10 * by_hand, dtype=cost.dtype), atol=1e-4)


def test_keeping_classes_costs_their_divergence() -> None:
    old, new = torch.randn(5, 10), torch.randn(5, 10)
    cost = Keep(classes=lambda images: images).cost([old], [new])
    by_torch = F.kl_div(new.log_softmax(1), old.log_softmax(1), log_target=True, reduction="none").sum(1)
    assert torch.allclose(cost, by_torch, atol=1e-6)
    assert float(Keep().cost([], [])) == 0.0


def test_a_judge_keeps_all_its_attributes_but_its_own() -> None:
    class Two:
        about: Mapping[str, Any] = {"name": "two", "attribute": "a"}
        attributes = ("a", "b")

        def score(self, images: Tensor) -> Tensor:
            return self.attribute_scores(images)[:, 0]

        def attribute_scores(self, images: Tensor) -> Tensor:
            return images.flatten(1)[:, :2].sigmoid()

    images = torch.randn(4, 1, 2, 2)
    assert torch.allclose(kept_by_judge(Two(), "rest")(images), images.flatten(1)[:, 1:2], atol=1e-4)
    assert kept_by_judge(SoftSize(), "rest")(torch.rand(4, 1, 8, 8)).shape == (4, 1)
    for name, columns in (("rest", [1]), ("a", [0]), ("B", [1])):
        told = kept_by_judge(Two(), name)(images)
        assert torch.allclose(told, images.flatten(1)[:, columns], atol=1e-4), name
        assert names_kept(Two(), name) == tuple("ab"[i] for i in columns)


def test_a_judge_that_tells_no_other_attribute_keeps_its_score() -> None:
    class One(SoftSize):
        @property
        def about(self) -> Mapping[str, Any]:
            return {"name": "one", "attribute": "size"}

        attributes = ("size",)

        def attribute_scores(self, images: Tensor) -> Tensor:
            return torch.zeros(len(images), 1)

    images = torch.rand(4, 1, 8, 8)
    assert torch.equal(kept_by_judge(One(), "x")(images), kept_by_judge(SoftSize(), "x")(images))
    assert names_kept(One(), "x") == ("x",) == names_kept(SoftSize(), "x")


def test_a_guide_without_gradient_is_refused() -> None:
    images = torch.rand(2, 1, 16, 16)
    check_gradient(JudgeGuide(SoftSize(), "soft.py:size"), images, "soft.py:size")
    with pytest.raises(BadOption, match=r'"hard.py:size" gives scores without a gradient.*Leave --guide out'):
        check_gradient(JudgeGuide(TinyJudge(), "hard.py:size"), images, "hard.py:size")
    with pytest.raises(BadOption, match="without a gradient"):
        Counterfactual(replace_(PLAIN, guide="hard.py:size"), helpers()).find(GENERATOR, GALLERY, FEEDBACK)


def replace_(options: FindOptions, **more: Any) -> FindOptions:
    return FindOptions(**(options.model_dump() | more))


@settings(max_examples=25, deadline=None)
@given(st.integers(20, 300), st.integers(0, 10**6))
def test_few_pictures_with_the_feature_score_below_the_threshold(count: int, seed: int) -> None:
    """On average over sets of marks: conformal MISSED + 1 / (n + 1) of fresh ones at most, a normal's less."""
    rng = np.random.default_rng(seed)
    missed = []
    for _ in range(40):
        scores = rng.normal(3, 1, count)
        labels = np.ones(count, dtype=bool)
        marked = fresh.Marked(JudgeGuide(SoftSize(), ""), labels, scores)
        missed.append(float((rng.normal(3, 1, 4000) < marked.threshold()).mean()))
    most = 1.5 / (count + 1) if fresh.MISSED * (count + 1) >= 1 else 0.4 / count
    assert np.mean(missed) <= fresh.MISSED + most + 0.01


def test_a_networks_odds_say_from_which_on_to_take_them() -> None:
    """Two kinds: sure ones, and ones of a share that is worth its F2-measure or not; and never above what marks say."""
    odds = lambda share: float(np.log(share / (1 - share)))  # noqa: E731
    for share, taken in ((0.3, True), (0.1, False)):
        said = np.array([odds(0.999)] * 100 + [odds(share)] * 100 + [odds(0.001)] * 800)
        f2 = [5 * right / (4 * (99.9 + 100 * share + 0.8) + n) for right, n in ((99.9, 100), (99.9 + 100 * share, 200))]
        assert (f2[1] > f2[0]) is taken
        assert fresh.best_by_odds(said) == pytest.approx(odds(share if taken else 0.999))
    assert fresh.best_by_odds(np.linspace(-0.1, 0.1, 500)) == np.inf, "odds that tell nothing apart"
    marked = fresh.Marked(JudgeGuide(SoftSize(), ""), np.ones(200, dtype=bool), np.full(200, 3.0), most=-1.0)
    assert marked.threshold() == -1.0 and replace(marked, most=9.0).threshold() == 3.0


# The search


def test_what_the_guide_sees_goes_and_the_rest_stays(feature: CounterfactualFeature, latents: Tensor) -> None:
    had, flags, erased = shows(latents), feature.contains(latents), feature.erase(latents)
    assert float(flags[had].float().mean()) > 0.95
    assert float(shows(erased).float().mean()) < 0.1 * float(had.float().mean())
    assert torch.equal(erased[~flags], latents[~flags])
    assert not bool(feature.contains(erased).any())


def test_it_moves_less_than_the_direction_does_for_the_same(feature: CounterfactualFeature, latents: Tensor) -> None:
    """The blob's size is one latent: nothing else has to move."""
    flags = feature.contains(latents)
    move = (feature.erase(latents) - latents)[flags].abs().mean(dim=0)
    assert float(move[0]) > 3 * float(move[1:].max())


def test_neighbours_move_alike(feature: CounterfactualFeature, latents: Tensor) -> None:
    """No jumps: moves of latents 0.01 apart differ by a small multiple of that where both are flagged."""
    step = 0.01 * F.normalize(torch.randn(latents.shape, generator=torch.Generator().manual_seed(0)))
    both = feature.contains(latents) & feature.contains(latents + step)
    apart = (feature.erase(latents + step) - feature.erase(latents))[both].norm(dim=1)
    assert float(apart.quantile(0.95)) < 0.05
    at_the_boundary = (feature.score(GENERATOR.synthesize(latents)) - feature.threshold).abs() < 0.05
    jump = (feature.erase(latents) - latents)[at_the_boundary & feature.contains(latents)].norm(dim=1)
    assert float(jump.mean()) < 0.5 * float((feature.erase(latents) - latents)[both].norm(dim=1).mean())


def test_a_search_that_learnt_nothing_still_ends_without_the_feature(latents: Tensor) -> None:
    lazy = Counterfactual(replace_(PLAIN, search_steps=1)).find(GENERATOR, GALLERY, FEEDBACK)
    erased = lazy.erase(latents)
    assert not bool(lazy.contains(erased).any())
    moved = erased[lazy.contains(latents)]
    assert float((torch.cdist(moved, lazy.bank).amin(dim=1) < 1e-6).float().mean()) > 0.5


def test_a_network_may_guide_and_another_be_kept(latents: Tensor) -> None:
    """Marks of large blobs that lean right: with the tilt kept, it stays."""
    options = replace_(PLAIN, guide="soft.py:size", keep=("tilt=soft.py:tilted",), search_steps=300)
    found = Counterfactual(options, helpers()).find(GENERATOR, GALLERY, FEEDBACK)
    flags = found.contains(latents)
    before, after = (Tilted().score(GENERATOR.synthesize(z)) >= 0.5 for z in (latents, found.erase(latents)))
    assert float((before != after)[flags].float().mean()) < 0.05
    assert any("kept as it is: tilt" in line for line in found.told())
    tensors, facts = found.state()
    again = load_feature(tensors, json.loads(json.dumps(facts)), GENERATOR, helpers())
    assert torch.equal(again.erase(latents), found.erase(latents))
    with pytest.raises(BadOption, match="nobody here can load it"):
        load_feature(tensors, facts, GENERATOR, ALONE)


def test_what_is_left_in_a_copy_has_a_gradient(feature: CounterfactualFeature) -> None:
    images = GENERATOR.synthesize(torch.randn(5, 4)).detach().requires_grad_()
    left = feature.remaining(images)
    assert left.shape == (5,) and bool((left >= 0).all())
    assert torch.allclose(left, shown(feature.score(images), feature.threshold - feature.margin))
    assert bool(torch.autograd.grad(left.sum(), images)[0].isfinite().all())


def test_thresholds_of_a_direction_are_refused() -> None:
    for threshold in ("pooled", "balanced"):
        with pytest.raises(BadOption, match=f"threshold is {threshold}, which is along a direction"):
            Counterfactual(replace_(PLAIN, threshold=threshold)).find(GENERATOR, GALLERY, FEEDBACK)
    with pytest.raises(BadOption, match=r"finds large in 0 of 3000 fresh samples; expected at least 32"):
        Counterfactual(replace_(PLAIN, threshold=99.0)).find(GENERATOR, GALLERY, FEEDBACK)


def test_a_threshold_below_the_marks_own_takes_all_samples_from_there_on(feature: CounterfactualFeature) -> None:
    low = feature.threshold - 1
    found = Counterfactual(replace_(PLAIN, threshold=low, search_steps=1)).find(GENERATOR, GALLERY, FEEDBACK)
    fresh_ones = GENERATOR.sample_latents(stream("find", 0, 0, PLAIN.samples))
    flagged = int(found.contains(fresh_ones).sum())
    assert found.about["shown"] == flagged > 1.2 * feature.about["shown"]
    same = Counterfactual(replace_(PLAIN, threshold=feature.threshold)).find(GENERATOR, GALLERY, FEEDBACK)
    for tensor, other in zip(same.state()[0].values(), feature.state()[0].values(), strict=True):
        assert torch.equal(tensor, other)


# The pseudo-label direction


def test_regression_recovers_the_direction_of_linear_scores() -> None:
    generator = torch.Generator().manual_seed(0)
    latents = torch.randn(4000, 6, generator=generator) @ torch.diag(torch.tensor([1.0, 3, 1, 1, 0.2, 1]))
    true = torch.tensor([1.0, -2, 0, 0.5, 4, 0])
    found = regression_vector(latents, latents @ true + 0.1 * torch.randn(4000, generator=generator))
    assert torch.allclose(found, true, atol=0.05)


def test_few_marks_give_a_better_direction_by_way_of_fresh_samples() -> None:
    """The blob's size is latent 0: cosine with it, from 15 marks a side."""
    few = replace(FEEDBACK, positives=FEEDBACK.positives[:15], negatives=FEEDBACK.negatives[:15])
    from unfeature.features.linear import Linear

    plain, pseudo = (made(DIRECTION).find(GENERATOR, GALLERY, few) for made in (Linear, PseudoLabels))
    assert abs(float(pseudo.vector[0])) > abs(float(plain.vector[0]))
    assert abs(float(pseudo.vector[0])) > 0.95
    with pytest.raises(BadOption, match="expected auto, pooled or a number"):
        PseudoLabels(replace_(DIRECTION, threshold="balanced")).find(GENERATOR, GALLERY, FEEDBACK)


def test_a_direction_leaves_alone_what_is_kept(latents: Tensor) -> None:
    """Marks of large blobs most of which lean right: with the tilt kept, moves leave latent 1 alone."""
    from unfeature.features.linear import Linear

    leans = dict(zip(GALLERY.seeds, Tilted().score(draw_gallery()).tolist(), strict=True))
    confused = replace(
        FEEDBACK,
        positives=tuple(s for s in FEEDBACK.positives if leans[s] >= 0.5),
        negatives=tuple(s for s in FEEDBACK.negatives if leans[s] < 0.5),
    )
    plain = Linear(DIRECTION).find(GENERATOR, GALLERY, confused)
    kept = Linear(replace_(DIRECTION, keep=("tilt=soft.py:tilted",)), helpers()).find(GENERATOR, GALLERY, confused)
    assert kept.along is not None and torch.equal(kept.vector, plain.vector)
    assert abs(float(plain.vector[1])) > 0.3 and abs(float(kept.along[1])) < 0.05
    flags = kept.contains(latents)
    assert torch.allclose(kept.erase(latents)[flags] @ kept.vector, torch.tensor(kept.threshold), atol=1e-4)
    again = load_feature(*kept.state(), GENERATOR, helpers())
    assert torch.equal(again.erase(latents), kept.erase(latents))


def draw_gallery() -> Tensor:
    with torch.no_grad():
        return GENERATOR.synthesize(GENERATOR.sample_latents(np.array(GALLERY.seeds)))


def test_where_nothing_shows_so_little_what_shows_least_is_free() -> None:
    scores = torch.tensor([0.5, -1.0, 2.0])
    assert _free(scores, 1.0).tolist() == [True, True, False]
    assert _free(scores, -6.0).tolist() == [False, True, False]


# In a run folder


def test_confounded_marks_are_told(tmp_path: Path, command: Command) -> None:
    """Marks that are all of one digit-like kind: bright pictures are kept, and all positives are bright."""
    (tmp_path / "j.py").write_text(
        "class Bright:\n    about = {'name': 'bright'}\n    def score(self, images):\n"
        "        return (40 * (images.mean(dim=(1, 2, 3)) - 0.13)).sigmoid()\nbright = Bright()\n"
    )
    run = tmp_path / "run"
    workflow.sample(run, "mnist-vae", SampleOptions(count=600))
    workflow.mark(run, "thick", "thickness", MarkOptions(per_side=40))
    said = command("find", str(run), "--keep", f"bright={tmp_path / 'j.py'}:bright", "--samples", "1000")
    assert said.code == 0, said.err
    assert "warning: " in said.out and "are also bright" in said.out


@pytest.mark.slow
def test_a_run_with_the_counterfactual_feature(tmp_path: Path, command: Command) -> None:
    workflow.sample(tmp_path, "mnist-vae", SampleOptions(count=600))
    workflow.mark(tmp_path, "thick", "thickness", MarkOptions(per_side=30))
    said = command("find", str(tmp_path), "--finder", "counterfactual", "--samples", "1000", "--search-steps", "40")
    assert said.code == 0, said.err
    told_by = r"guided by a probe of [a-z, ]+ through mnist-digits: held-out AUC"
    assert re.search(told_by, said.out)
    assert "kept as it is: digit." in said.out
    told = workflow.preview(tmp_path, PreviewOptions(count=500))
    assert told[0].ratio is not None and told[0].ratio_before is not None
    assert told[0].ratio.value < told[0].ratio_before.value / 2
    own, gentle, strong = workflow.preview(tmp_path, PreviewOptions(count=500, margins=(0.0, 1.0)))
    assert own == told[0] and (gentle.margin, strong.margin) == (0.0, 1.0)
    assert strong.rewritten == gentle.rewritten and strong.drift_rest.value > gentle.drift_rest.value
    workflow.unlearn(tmp_path, UnlearnOptions(steps=2, check_every=2))
    result = workflow.evaluate(tmp_path, EvaluateOptions(count=200))
    assert result.extractor["name"] == "mnist-gradients" and "note" not in result.extractor
    assert "10,000 test images" in result.extractor["trained_on"]
    guides = result.judge["guides"]["the probe's network"]
    assert (guides["architecture"], guides["seed"]) == ("digit-net", "0") and "60,000" in guides["trained_on"]
    (tmp_path / "alias.py").write_text("from unfeature.metrics.digits import load_digit_extractor as load\n")
    for network in ("mnist-digits", f"{tmp_path}/alias.py:load"):
        result = workflow.evaluate(tmp_path, EvaluateOptions(count=200, extractor=network))
        assert "it guided the search too" in result.extractor["note"], network
        assert "it guided the search too" in workflow.report(tmp_path)[1].read_text()
    said = command("find", str(tmp_path), "--keep", "digit")
    assert said.code == 2 and 'keep is "digit"; expected NAME=FILE.py:NAME' in said.err


def test_a_judge_does_not_guide(tiny_run: Path, command: Command) -> None:
    judge = json.loads((tiny_run / "request.json").read_text())["judge"]
    said = command("find", str(tiny_run), "--finder", "counterfactual", "--extractor", "", "--guide", judge)
    assert said.code == 2 and "which judges this run; expected another" in said.err
    said = command("find", str(tiny_run), "--finder", "counterfactual", "--guide", "thickness")
    assert said.code == 2 and "its scores have no gradient; expected a network" in said.err


def test_the_preset_is_past_the_paper() -> None:
    options = workflow.read_options(base="counterfactual")
    assert (options.find.finder, options.unlearn.shortfall > 0) == ("counterfactual", True)


@pytest.mark.slow
def test_what_is_kept_may_be_marks(tmp_path: Path, command: Command) -> None:
    """Marks of slant from another run: the feature keeps them, and files that cannot be learnt are said."""
    for name, by in (("thick", "thickness"), ("leaning", "slant")):
        workflow.sample(tmp_path / name, "mnist-vae", SampleOptions(count=600))
        workflow.mark(tmp_path / name, name, by, MarkOptions(per_side=20))
    run, marks = str(tmp_path / "thick"), tmp_path / "leaning" / "feedback.json"
    find = ("find", run, "--finder", "counterfactual", "--samples", "1000", "--search-steps", "2")
    said = command(*find, "--keep", f"slant={marks}")
    assert said.code == 0, said.err
    assert "kept as it is: digit, slant." in said.out
    said = command("find", run, "--samples", "1000", "--keep", f"slant={marks}")
    assert "kept as it is: slant (by the pictures of its marks, held-out AUC 0.9" in " ".join(said.out.split())
    few = tmp_path / "few.csv"
    few.write_text("seed,mark\n1,1\n2,0\n")
    said = command(*find, "--keep", f"slant={few}")
    assert said.code == 2 and "marks 1 pictures as showing it and 1 as not" in said.err
    said = command(*find, "--guide", str(marks))
    assert said.code == 2 and "a file of marks; expected FILE.py:NAME" in said.err


def test_wrong_marks_are_told_and_left_out() -> None:
    """A fifth of 60 marks a side swapped: said, left out, and the cut finds what right marks' does.

    It does not flag half of what the marked positives' own quantile would.
    """
    sides = np.array(FEEDBACK.positives[:60]), np.array(FEEDBACK.negatives[:60])
    wrong = replace(
        FEEDBACK,
        positives=(*sides[0][12:].tolist(), *sides[1][:12].tolist()),
        negatives=(*sides[1][12:].tolist(), *sides[0][:12].tolist()),
    )
    right = replace(FEEDBACK, positives=tuple(sides[0].tolist()), negatives=tuple(sides[1].tolist()))
    clean, noisy = (fresh.learn(GENERATOR, marks, PLAIN, ALONE, 0) for marks in (right, wrong))
    assert clean.told() == [] and clean.left_out == 0
    assert noisy.rates is not None and noisy.rates.share[1] <= 0.2 <= noisy.rates.share[2]
    assert noisy.left_out >= 12 and f"{noisy.left_out} doubted marks were left out." in noisy.told()[0]
    with torch.no_grad():
        images = GENERATOR.synthesize(GENERATOR.sample_latents(np.arange(50_000, 51_000)))
        right_ones, flagged = ((m.guide.log_odds(images) >= m.threshold()).numpy() for m in (clean, noisy))
        as_marked = noisy.guide.log_odds(images).numpy() >= np.quantile(noisy.log_odds[noisy.labels], 0.03)
    assert flagged[right_ones].mean() >= 0.95
    assert flagged.mean() < as_marked.mean() / 2
