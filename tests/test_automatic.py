"""The finder that chooses: what is taken and said, by hand; the second opinion's estimates; a shipped generator."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from unfeature import workflow
from unfeature.errors import BadOption, NothingLeft, TooFewMarks
from unfeature.features import automatic, load_feature
from unfeature.features.automatic import Automatic
from unfeature.features.choosing import Choice, Point, own_choice
from unfeature.features.counterfactual import Counterfactual
from unfeature.features.fresh import Marked
from unfeature.features.guides import ALONE
from unfeature.features.opinion import bounded, conformal, line, prevalence, weighed
from unfeature.features.trials import FIRST, MARGINS, gentle, lowest, measured_again, searched
from unfeature.options import FindOptions, MarkOptions, PreviewOptions, SampleOptions
from unfeature.reports.content import _choice
from unfeature.reports.plots import choice_svg
from unfeature.testing import TinyGenerator, TinyJudge, tiny_marks
from unfeature.workflow import read_options

GENERATOR = TinyGenerator()
GALLERY, FEEDBACK = tiny_marks(GENERATOR, 1500)
QUICK = FindOptions(finder="auto", extractor="", samples=2000, search_steps=80, trials=12)


LIMIT = 1.0


def point(
    finder: str, ratio: float, upper: float, drift: float, flips: float | None = None, *, distance: float = 0.5
) -> Point:
    return Point(finder, 0.0, 0.0, ratio, upper, 0.3, drift, distance, flips)


# What is taken, and what is said


def test_the_gentlest_whose_bound_reaches_is_taken() -> None:
    points = [
        point("counterfactual", 0.001, 0.005, 0.001),  # its estimate reaches, its bound does not
        point("counterfactual", 0.001, 0.004, 0.002),
        point("linear", 0.001, 0.002, 0.03),
    ]
    choice = Choice.of(points, 0.0042, LIMIT)
    assert (choice.picked, choice.reached, choice.front) == (1, True, (0, 1, 2))
    told = " ".join(choice.told())
    assert "the gentlest that reaches 0.0042 with room for a copy, which leaves more" in told
    assert "a direction would reach it too, and change the rest by 0.0300" in told


def test_an_estimate_without_room_for_a_copy_does_not_reach() -> None:
    points = [point("counterfactual", 0.0014, 0.002, 0.001), point("counterfactual", 0.0012, 0.003, 0.002)]
    choice = Choice.of(points, 0.0042, LIMIT)
    assert (choice.picked, choice.reached, choice.front) == (1, True, (0, 1))
    assert not Choice.of(points[:1], 0.0042, LIMIT).reached and Choice.of(points[:1], 0.0047, LIMIT).reached


def test_where_classes_are_known_their_change_is_the_harm() -> None:
    points = [
        point("linear", 0.001, 0.004, drift=0.012, flips=0.09),
        point("counterfactual", 0.001, 0.004, drift=0.019, flips=0.02),
    ]
    choice = Choice.of(points, 0.0042, LIMIT)
    assert (choice.picked, choice.reached, choice.front) == (1, True, (1,))
    assert (
        "a direction would reach it too, and change the rest by 0.0120 (9.0 % of those change class)." in choice.told()
    )


def test_where_no_direction_reaches_it_is_said_with_both_numbers() -> None:
    points = [point("linear", 0.031, 0.04, 0.02), point("counterfactual", 0.001, 0.0041, 0.01)]
    told = Choice.of(points, 0.0042, LIMIT).told()
    assert told[1] == (
        "not reachable linearly here: the best direction reaches 0.0310 (at most 0.0400); the counterfactual feature "
        "reaches 0.0010 (at most 0.0041)."
    )


def test_where_nothing_reaches_the_lowest_is_taken_and_refused_in_words() -> None:
    points = [point("linear", 0.05, 0.06, 0.02), point("counterfactual", 0.01, 0.02, 0.03)]
    choice = Choice.of(points, 0.0042, LIMIT)
    assert (choice.picked, choice.reached) == (1, False)
    assert choice.told()[0].startswith("0.0042 is not reachable here with confidence. Taken is the lowest")
    assert choice.told()[1].startswith("not reachable linearly here")


def test_only_a_direction_that_reaches() -> None:
    choice = Choice.of([point("linear", 0.001, 0.002, 0.02), point("counterfactual", 0.01, 0.02, 0.03)], 0.0042, LIMIT)
    assert choice.picked == 0
    assert choice.told()[1] == "the counterfactual feature stops at 0.0100 (at most 0.0200)."


def test_what_is_below_but_without_room_for_a_copy_is_said_to_be() -> None:
    near = point("linear", 0.003, 0.004, 0.02)
    said = "reaches 0.0030 (at most 0.0040; too near to 0.0042 for a copy, which leaves more)"
    choice = Choice.of([near, point("counterfactual", 0.001, 0.0041, 0.01)], 0.0042, LIMIT)
    assert choice.reached
    assert choice.told()[1].startswith(f"not reachable linearly here: the best direction {said}; the")
    choice = Choice.of([near, point("counterfactual", 0.003, 0.0041, 0.01)], 0.0042, LIMIT)
    assert not choice.reached
    assert choice.told()[0].startswith("0.0042 is not reachable here with room for a copy, which leaves more. Taken is")
    choice = Choice.of(
        [point("linear", 0.001, 0.002, 0.02), point("counterfactual", 0.003, 0.0041, 0.01)], 0.0042, LIMIT
    )
    assert choice.told()[1].startswith("the counterfactual feature stops at 0.0030 (at most 0.0041; too near to 0.0042")


def test_what_goes_too_far_is_not_taken_and_what_it_would_bring_is_said() -> None:
    points = [
        point("linear", 0.04, 0.05, 0.01, distance=LIMIT),
        point("pseudo-label", 0.03, 0.035, 0.02, distance=0.9),
        point("counterfactual", 0.02, 0.03, 0.025, distance=1.5),
        point("counterfactual", 0.001, 0.003, 0.03, distance=2.5),
        point("counterfactual", 0.0001, 0.001, 0.04, distance=4.0),
    ]
    choice = Choice.of(points, 0.0042, LIMIT)
    assert (choice.picked, choice.reached, choice.front) == (1, False, (0, 1))
    assert choice.told() == [
        "0.0042 is not reachable here without going too far. Taken is the lowest, the pseudo-label direction: "
        "an estimated 0.0300 still show it, at most 0.0350 with 95 % confidence; it moves 30 % of the latents and "
        "changes the rest by 0.0200 (of 5 teachers measured, 2 are on the front). Mark more pictures, or "
        "ask for less:  mark --wanted-ratio",
        "the counterfactual feature would leave 0.0010 (at most 0.0030), but moves 30 % of the latents and changes the "
        "rest by 0.0300: it takes them 2.5 times as far from those of pictures without the feature as a plain "
        "direction does. To have it nevertheless:  find --finder counterfactual --threshold 0.000 --margin 0.000",
    ]
    assert Choice.of(points, 0.0042, 1.25).picked == 3, "twice as far is not too far to reach it"
    lower = replace(points[3], upper=0.02)
    told = Choice.of([*points[:2], lower], 0.0042, LIMIT).told()
    assert told[0].startswith("0.0042 is not reachable here with confidence. Taken is the lowest")
    assert told[1].startswith("the counterfactual feature would leave 0.0010 (at most 0.0200)")
    told = Choice.of([points[2], replace(lower, distance=3.0)], 0.0042, 1.5).told()
    assert "2.0 times as far from those of pictures without the feature as they are without any edit" in told[1]
    alone = Choice.of(points[3:], 0.0042, LIMIT)
    assert (alone.picked, alone.reached) == (0, True), "where nothing else is known, the nearest"


def test_none_is_taken_where_another_both_changes_less_and_leaves_less() -> None:
    points = [
        point("linear", 0.08, 0.1, 0.01, 0.04, distance=LIMIT),
        point("pseudo-label", 0.025, 0.05, 0.02, 0.085, distance=0.9),
        point("counterfactual", 0.001, 0.0041, 0.02, 0.068, distance=3.2),
        point("counterfactual", 0.002, 0.008, 0.01, 0.032, distance=1.4),
        point("counterfactual", 0.0001, 0.001, 0.04, 0.14, distance=9.0),
    ]
    choice = Choice.of(points, 0.0042, LIMIT)
    assert (choice.picked, choice.reached, choice.near, choice.front) == (2, True, (0, 1, 2, 3), (3, 2))
    assert [told["near"] for told in choice.to_json()["points"]] == [True, True, True, True, False]
    assert Choice.of([*points[:2], points[3]], 0.0042, LIMIT).picked == 2
    assert Choice.of([*points[:2], points[4]], 0.0042, LIMIT).picked == 1, "it changes more"


def test_each_kind_is_measured_again() -> None:
    tried = [point("linear", 0.05, 0.06, 0.5), point("linear", 0.04, 0.05, 0.9), point("counterfactual", 0, 0.001, 0.1)]
    assert measured_again(tried, 0.0042) == [tried[1], tried[2]]


# The second opinion


def evidence(count: int, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """True log odds of normal scores two deviations either side of zero, and what they are of."""
    rng = np.random.default_rng(seed)
    shows = rng.random(count) < share
    return 4 * rng.normal(np.where(shows, 2.0, -2.0), 1.0), shows


@settings(max_examples=15, deadline=None)
@given(st.sampled_from([0.01, 0.1, 0.5]), st.integers(0, 1000))
def test_em_finds_the_share_behind_the_evidence(share: float, seed: int) -> None:
    said, shows = evidence(20_000, share, seed)
    assert prevalence(said) == pytest.approx(shows.mean(), abs=0.008)  # 0.003 at most with seeds 0, 2, ..., 1000


def test_the_bound_holds_for_a_share_that_marks_barely_tell() -> None:
    """100 marks a side of normal views: in nearly all worlds the share that is left is below its bound."""
    held, tight = [], []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        labels = np.arange(200) < 100
        sides = np.where(labels, 2.0, -2.0)
        lines = weighed(np.stack([rng.normal(sides), rng.normal(sides, 2)], axis=1), labels, seed)

        def views(count: int, share: float, rng: np.random.Generator = rng) -> np.ndarray:
            centres = np.where(rng.random(count) < share, 2.0, -2.0)
            return np.stack([rng.normal(centres), rng.normal(centres, 2)], axis=1)

        said = [lines[:, :2] @ v.T + lines[:, 2:] for v in (views(4000, 0.1), views(4000, 0.02))]
        shares = np.array([prevalence(row) for row in said[0]])
        left = 1 / (1 + np.exp(-said[1] - np.log(shares / (1 - shares))[:, None]))
        ratio, upper = bounded(left)
        assert ratio <= upper
        held.append(upper >= 0.02)
        tight.append(upper)
    assert np.mean(held) >= 0.9
    assert np.median(tight) < 0.06


def marked_views(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Views (n, 2) whose log odds are right by themselves, and their truth."""
    rng = np.random.default_rng(seed)
    shows = np.arange(count) < count // 2
    return np.stack([4 * rng.normal(np.where(shows, 2.0, -2.0)), rng.normal(np.where(shows, 0.5, -0.5))], axis=1), shows


@pytest.mark.parametrize("fewer", [0, 150])
def test_without_wrong_marks_the_line_is_scikit_learns(fewer: int) -> None:
    views, shows = (side[fewer:] for side in marked_views(400, 0))
    oracle = LogisticRegression(C=1.0, class_weight="balanced", tol=1e-8, max_iter=1000).fit(views, shows)
    assert line(views, shows) == pytest.approx([*oracle.coef_[0], *oracle.intercept_], abs=1e-3)


@pytest.mark.parametrize(("missed", "false"), [(0.2, 0.2), (0.1, 0.3), (0.25, 0.05)])
def test_wrong_marks_do_not_move_the_line(missed: float, false: float) -> None:
    """With so many that chance is out of the way: the same as from right marks, and nearly so what EM makes of it."""
    views, shows = marked_views(40_000, 1)
    marks = shows ^ (np.random.default_rng(2).random(len(shows)) < np.where(shows, missed, false))
    found, right = line(views, marks, float((~shows)[marks].mean()), float(shows[~marks].mean())), line(views, shows)
    assert found == pytest.approx(right, abs=0.1)
    fresh = marked_views(20_000, 3)[0][9000:]  # a tenth of them shows it
    shares = [prevalence(fresh @ at[:2] + at[2]) for at in (found, line(views, marks))]
    assert shares[0] == pytest.approx(1 / 11, abs=0.01)
    assert abs(shares[1] - 1 / 11) > 0.02, "taken for right ones they do"


def test_conformal_chance_by_hand() -> None:
    marked = Marked(None, np.arange(8) < 4, np.array([1.0, 2, 3, 4, -9, -9, -9, -9]))  # type: ignore[arg-type]
    assert conformal(marked, 2.5) == (3 / 5, 4)
    assert conformal(marked, 0.0) == (1 / 5, 4)


# The search


def asked(cost: Callable[[str, float, float], float], trials: int, seed: int) -> list[tuple[str, float, float]]:
    """What the search asks for."""
    seen: list[tuple[str, float, float]] = []

    def told(*teacher: Any) -> float:
        seen.append(teacher)
        return cost(*teacher)

    searched(told, FIRST, MARGINS, trials, None, seed)
    return seen


def test_the_search_asks_the_same_again_and_all_finders() -> None:
    def cost(finder: str, offset: float, margin: float) -> float:
        return abs(offset) + abs(margin - 0.5)

    first = asked(cost, 25, 3)
    assert len(first) == 25 and first == asked(cost, 25, 3)
    assert {name for name, _, _ in first[:9]} == {"linear", "pseudo-label", "counterfactual"}


def test_the_search_goes_where_enough_is_removed_and_little_changes() -> None:
    seen: list[Point] = []

    def cost(finder: str, offset: float, margin: float) -> float:
        left = 0.001 if offset < -0.3 or margin > 0.6 else 0.05
        seen.append(point(finder, left / 5, left, 0.5 + offset / 2 if finder == "linear" else 0.2 - offset / 10))
        return gentle(seen[-1], 0.01)

    asked(cost, 60, 0)
    later = seen[20:]
    assert sum(p.left <= 0.01 for p in later) > len(later) / 2
    assert min(p.harm for p in seen if p.left <= 0.01) < 0.15


def test_out_of_reach_the_search_looks_for_the_lowest_that_does_not_go_too_far() -> None:
    """What a teacher leaves falls with its margin, and how far it goes rises: the best is just within the limit."""
    seen: list[Point] = []

    def cost(finder: str, offset: float, margin: float) -> float:
        seen.append(point(finder, 0.5 - 0.4 * margin, 0.6, 0.1, distance=2 * margin - offset / 2))
        return lowest(seen[-1], 0.01, LIMIT)

    asked(cost, 60, 1)
    within = [p for p in seen if p.distance <= LIMIT]
    assert len(within) > 30
    assert min(p.ratio for p in within) < 0.5 - 0.4 * 0.5


def test_an_adjusted_search_erases_at_its_own_strength() -> None:
    options = QUICK.model_copy(update={"finder": "counterfactual", "trials": FindOptions().trials})
    found = Counterfactual(options).find(GENERATOR, GALLERY, FEEDBACK)
    latents = GENERATOR.sample_latents(np.arange(60_000, 61_000))
    harder = found.adjusted(found.threshold - 0.3, 0.5)
    assert bool((harder.contains(latents) >= found.contains(latents)).all())
    assert int(harder.contains(latents).sum()) > int(found.contains(latents).sum())
    assert not bool(harder.contains(harder.erase(latents)).any())
    both = found.contains(latents)
    with torch.no_grad():
        scores = [found.score(GENERATOR.synthesize(f.erase(latents)[both])).mean() for f in (found, harder)]
    assert float(scores[1]) < float(scores[0]) - 0.3
    again = load_feature(*harder.state(), GENERATOR, ALONE)
    assert torch.equal(again.erase(latents), harder.erase(latents))


def test_it_chooses_explains_and_is_saved_with_its_reasons() -> None:
    found = Automatic(QUICK).find(GENERATOR, GALLERY, FEEDBACK)
    choice = found.about["choice"]
    assert choice["reached"] and choice["tried"] == 12
    assert choice["points"][choice["picked"]]["near"]
    assert any("second opinion: a probe of latents" in line for line in found.told())
    latents = GENERATOR.sample_latents(np.arange(70_000, 73_000))
    with torch.no_grad():
        left = float((TinyJudge().score(GENERATOR.synthesize(found.erase(latents))) >= 0.5).float().mean())
    assert left <= 2 * choice["wanted"]
    twice = Automatic(QUICK).find(GENERATOR, GALLERY, FEEDBACK)
    assert twice.about == found.about and torch.equal(twice.erase(latents), found.erase(latents))
    tensors, facts = found.state()
    again = load_feature(tensors, json.loads(json.dumps(facts)), GENERATOR, ALONE)
    assert again.told() == found.told()
    assert "<svg" in choice_svg(choice) and choice_svg(choice) == choice_svg(json.loads(json.dumps(choice)))
    assert choice_svg(None) == "" and _choice({}) == ()
    assert _choice({"choice": choice})[0].startswith("Chosen: ")


def test_out_of_reach_it_looks_again_and_takes_what_does_not_go_too_far() -> None:
    found = Automatic(QUICK, replace(ALONE, wanted_ratio=1e-6)).find(GENERATOR, GALLERY, FEEDBACK)
    choice = found.about["choice"]
    taken = choice["points"][choice["picked"]]
    assert (choice["tried"], choice["reached"], taken["near"]) == (24, False, True)
    assert all(taken["left"] <= point["left"] for point in choice["points"] if point["near"])
    assert taken["margin"] == found.margin and taken["threshold"] == found.threshold
    assert any("Taken is the lowest" in line for line in found.told())
    assert any("times as far" in line and "find --finder" in line for line in found.told())


def test_a_direction_of_which_keeping_leaves_nothing_is_not_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(*given: object) -> None:
        raise NothingLeft("nothing is left")

    monkeypatch.setattr(automatic.Linear, "fitted", nothing)
    monkeypatch.setattr(automatic.PseudoLabels, "fitted", nothing)
    found = Automatic(QUICK).find(GENERATOR, GALLERY, FEEDBACK)
    assert {point["finder"] for point in found.about["choice"]["points"]} == {"counterfactual"}
    assert "the pseudo-label direction is not compared: nothing is left" in found.told()


def test_marks_made_at_random_are_refused_and_strengths_of_one_s_own_too() -> None:
    rng = np.random.default_rng(0)
    some = rng.permutation(list(GALLERY.seeds))[:100].tolist()
    confused = replace(FEEDBACK, positives=tuple(some[:50]), negatives=tuple(some[50:]))
    with pytest.raises(TooFewMarks, match=r"held-out AUC of 0\.\d\d; expected at least 0\.6\d.*Mark more pictures"):
        Automatic(QUICK).find(GENERATOR, GALLERY, confused)
    with pytest.raises(BadOption, match="threshold is 0.5 and margin None, but --finder auto chooses both"):
        Automatic(QUICK.model_copy(update={"threshold": 0.5})).find(GENERATOR, GALLERY, FEEDBACK)


def test_how_it_was_chosen_is_found_where_another_feature_wraps_it() -> None:
    bare, chosen = {"about": {}}, {"about": {"choice": {"wanted": 0.01}}}
    wrapped = {"kind": "stand-in", "inner": chosen}
    assert own_choice(bare) is None
    for facts in (chosen, wrapped, {"kind": "several", "parts": [wrapped, bare]}):
        assert own_choice(facts) == {"wanted": 0.01}
    assert own_choice({"kind": "several", "parts": [bare, wrapped]}) is None, "another run's"


def test_a_search_that_ran_out_of_time_says_so() -> None:
    found = Automatic(QUICK.model_copy(update={"seconds": 1e-3})).find(GENERATOR, GALLERY, FEEDBACK)
    assert found.about["choice"]["tried"] == 1
    assert any("stopped after 1 of 12 teachers, 0.001 s being up" in line for line in found.told())


@pytest.mark.slow
def test_what_is_chosen_on_a_shipped_generator_holds_before_the_judge(tmp_path: Path) -> None:
    workflow.sample(tmp_path, "mnist-vae", SampleOptions(count=2000))
    workflow.mark(tmp_path, "thick", "thickness", MarkOptions(per_side=100, wanted_ratio=0.01))
    options = read_options(base="auto").find.model_copy(update={"samples": 1500, "search_steps": 30, "trials": 10})
    found = workflow.find(tmp_path, options)
    choice = found.about["choice"]  # type: ignore[attr-defined]
    assert choice["wanted"] == 0.01
    told = workflow.preview(tmp_path, PreviewOptions(count=4000))[0]
    assert told.ratio is not None and told.ratio.low <= choice["points"][choice["picked"]]["upper"]
    assert told.ratio.value < 0.02
