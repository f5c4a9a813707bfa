"""The paper's finder: recovers a direction, and refuses marks it cannot use."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from unfeature import paper
from unfeature.artifacts import Feedback, Gallery
from unfeature.errors import BadFile, BadOption, NotEnoughFeedback, WrongGenerator
from unfeature.features import FINDERS, load_feature
from unfeature.features.guides import ALONE
from unfeature.features.linear import Linear, LinearFeature
from unfeature.features.pseudo import PseudoLabels
from unfeature.options import FindOptions
from unfeature.presets import over_preset
from unfeature.tables import resolve
from unfeature.testing import TinyGenerator, TinyJudge, tiny_marks

GENERATOR = TinyGenerator()
GALLERY, FEEDBACK = tiny_marks(GENERATOR, 3000)


def find(
    options: FindOptions | None = None, feedback: Feedback = FEEDBACK, gallery: Gallery = GALLERY
) -> LinearFeature:
    return Linear(options or FindOptions()).find(GENERATOR, gallery, feedback)


def latents(seeds: tuple[int, ...]) -> torch.Tensor:
    return GENERATOR.sample_latents(np.array(seeds))


def test_recovers_the_latent_behind_the_feature() -> None:
    feature = find()
    assert float(feature.vector[0]) > 0.98
    assert float(torch.linalg.vector_norm(feature.vector)) == pytest.approx(1)
    assert (feature.name, feature.generator) == ("large", GENERATOR.spec.id)


@pytest.mark.parametrize(
    ("finder", "given", "use"),
    [("linear", {"search_steps": 9}, "counterfactual"), ("linear", {"trials": 77}, "auto"),
     ("pseudo-label", {"seconds": 3.0}, "auto"), ("pseudo-label", {"search_steps": 9}, "counterfactual"),
     ("counterfactual", {"trials": 77}, "auto"), ("counterfactual", {"vector": "raw"}, "linear")],
)  # fmt: skip
def test_options_that_a_finder_does_not_use_are_refused(finder: str, given: dict[str, Any], use: str) -> None:
    made, (name, value) = resolve("finder", FINDERS, finder), next(iter(given.items()))
    with pytest.raises(BadOption, match=f"{name} is {value}, but finder {finder} does not use it; .* --finder {use}"):
        made(FindOptions(finder=finder, **given)).find(GENERATOR, GALLERY, FEEDBACK)


def test_what_a_preset_alone_says_of_finding_is_not_refused() -> None:
    options = over_preset("auto", {"find": {"finder": "linear"}}).find
    assert options.trials != FindOptions().trials and options.model_fields_set == {"finder"}
    assert find(options).threshold == find().threshold


def test_recovers_a_known_direction_from_marks_by_projection() -> None:
    known = paper.unit(torch.tensor([1.0, -2.0, 0.5, 1.0]))
    shows = (paper.project(latents(GALLERY.seeds), known) > 1.28).tolist()
    sides = [tuple(s for s, has in zip(GALLERY.seeds, shows, strict=True) if has == side) for side in (True, False)]
    feature = find(feedback=Feedback("known", GENERATOR.spec.id, *sides))
    assert float(feature.vector @ known) > 0.99


def test_erasing_removes_the_feature_from_the_pictures() -> None:
    z = GENERATOR.sample_latents(np.arange(10_000, 12_000))
    feature = find(FindOptions(margin=0.5))
    with torch.no_grad():
        before, after = (TinyJudge().score(GENERATOR.synthesize(x)).mean() for x in (z, feature.erase(z)))
    assert float(before) > 0.08
    assert float(after) < 0.005


def test_thresholds() -> None:
    vector = find().vector
    sides = latents(FEEDBACK.positives), latents(FEEDBACK.negatives)
    pooled = paper.pooled_threshold(latents(GALLERY.seeds), vector)
    balanced = paper.balanced_threshold(*sides, vector)
    assert find(FindOptions(threshold="pooled")).threshold == pytest.approx(pooled)
    assert find(FindOptions(threshold="balanced")).threshold == pytest.approx(balanced)
    assert find(FindOptions(threshold=0.7)).threshold == 0.7
    assert abs(pooled) < 0.1 < balanced  # most of what is drawn does not show it


def test_raw_vector_is_the_difference_of_the_means() -> None:
    raw = find(FindOptions(vector="raw"))
    expected = paper.target_vector(latents(FEEDBACK.positives), latents(FEEDBACK.negatives))
    torch.testing.assert_close(raw.vector, expected)
    assert raw.threshold == pytest.approx(find().threshold, abs=1e-5)  # a projection is a length either way


def test_margin_and_adjusted() -> None:
    feature = find(FindOptions(margin=0.25))
    assert feature.margin == 0.25
    assert feature.adjusted(1.0, 0.5) == replace(feature, threshold=1.0, margin=0.5)


@pytest.mark.parametrize(
    ("finder", "then"), [(Linear, "all of them count. .+"), (PseudoLabels, r"\d+ doubted marks were left out.")]
)
def test_says_that_marks_look_wrong_where_a_fifth_are(finder: type[Linear] | type[PseudoLabels], then: str) -> None:
    made = finder(FindOptions(extractor="", samples=1000))
    yes, no = FEEDBACK.positives[:100], FEEDBACK.negatives[:100]
    right = replace(FEEDBACK, positives=yes, negatives=no)
    assert not [told for told in made.find(GENERATOR, GALLERY, right).told() if "wrong" in told]
    wrong = replace(FEEDBACK, positives=yes[20:] + no[:20], negatives=no[20:] + yes[:20])
    first, *_ = made.find(GENERATOR, GALLERY, wrong).told()
    said = re.fullmatch(rf"about (\d+) % of the marks look wrong \((\d+) to (\d+) %\); {then}", first)
    assert said is not None
    value, low, high = map(int, said.groups())
    assert low <= 20 <= high
    assert value == pytest.approx(20, abs=6)


def test_marks_in_another_order_give_the_same_direction() -> None:
    turned = replace(FEEDBACK, positives=FEEDBACK.positives[::-1])
    torch.testing.assert_close(find(feedback=turned).vector, find().vector)


def test_state_makes_the_same_feature() -> None:
    feature = find(FindOptions(margin=0.3))
    again = load_feature(*feature.state(), GENERATOR, ALONE)
    assert isinstance(again, LinearFeature)
    assert torch.equal(again.vector, feature.vector)
    assert (again.name, again.generator, again.threshold, again.margin) == (
        *(feature.name, feature.generator),
        *(feature.threshold, feature.margin),
    )


@pytest.mark.parametrize(
    ("empty", "message"),
    [
        ("positives", r'"large" has 0 positives \(positives 0, negatives \d+\).* Mark some pictures with it:'),
        ("negatives", r'"large" has 0 negatives \(positives \d+, negatives 0\).* Mark some pictures without it:'),
    ],
)
def test_both_sides_are_needed(empty: str, message: str) -> None:
    with pytest.raises(NotEnoughFeedback, match=message):
        find(feedback=Feedback.from_json({**FEEDBACK.to_json(), empty: ()}))


def test_one_mark_a_side_is_enough() -> None:
    one = replace(FEEDBACK, positives=FEEDBACK.positives[:1], negatives=FEEDBACK.negatives[:1])
    assert bool(find(feedback=one).vector.isfinite().all())


@pytest.mark.parametrize("what", ["gallery", "feedback"])
def test_marks_of_another_generator_are_refused(what: str) -> None:
    given = {"gallery": GALLERY, "feedback": FEEDBACK}
    given[what] = replace(given[what], generator="other@0")  # type: ignore[type-var]
    with pytest.raises(WrongGenerator, match=f"the {what} was made for generator other@0, but this .* is tiny@"):
        find(**given)  # type: ignore[arg-type]


@pytest.mark.parametrize("side", ["positives", "negatives", "unsure"])
def test_marks_outside_the_gallery_are_refused(side: str) -> None:
    strange = Feedback.from_json({**FEEDBACK.to_json(), side: [999_999, *getattr(FEEDBACK, side)]})
    with pytest.raises(BadFile, match=r"1 marked seeds are not in the gallery \(for example 999999\)"):
        find(feedback=strange)


def test_a_guide_that_nobody_would_ask_is_refused() -> None:
    with pytest.raises(BadOption, match='guide is "net.py:judge", but --finder linear asks the marks alone'):
        find(FindOptions(guide="net.py:judge"))
