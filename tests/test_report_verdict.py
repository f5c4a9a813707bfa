"""The verdict: gone, rarer, or failed; never kinder than the figures."""

from __future__ import annotations

from typing import Any

import pytest

from unfeature.artifacts import Evaluation, GeneratorSpec, Row, Score
from unfeature.errors import MissingStep
from unfeature.reports import verdict

N = 10_000


def _row(
    name: str, ratio: float, coverage: float | None, flips: float | None = None, drift: float | None = None
) -> Row:
    scores = [Score.share("target_ratio", round(ratio * N), N)]
    if coverage is not None:
        scores.append(Score("coverage1k_any", coverage, coverage, coverage, 1000))
    if flips is not None:
        scores.append(Score.share("flips_untouched", round(flips * N), N))
    if drift is not None:
        scores.append(Score("drift_untouched", drift, drift, drift, N))
    return Row(name, "", {score.name: score for score in scores})


def _evaluation(
    unlearned: float, teacher: float = 0.0026, coverage: float | None = 0.87, flips: float | None = 0.012,
    drift: float | None = 0.006, original: float = 0.0994, **more: Any,
) -> Evaluation:  # fmt: skip
    spec = GeneratorSpec("g", "0" * 16, 8, (1, 28, 28))
    rows = (
        _row("original", original, 0.86, 0.0, 0.0),
        _row("filter", 0.0, 0.9),
        _row("teacher", teacher, 0.88, 0.01, 0.005),
        _row("unlearned", unlearned, coverage, flips, drift),
    )
    values = {"rows": rows, **more}
    extractor = values.pop("extractor", {"name": "mnist-digits", "class_word": "digit"})
    return Evaluation("thick strokes", spec, spec, {}, extractor, N, {}, 0.0042, floor={}, **values)


def test_removed_says_before_after_and_what_stayed() -> None:
    outcome = verdict(_evaluation(0.002))
    assert outcome.status == "removed"
    assert outcome.sentence == (
        "Thick strokes: gone. 9.9 % of the pictures showed it before, 0.20 % (0.13 to 0.31 %) do now, "
        "and pictures outside the edit's reach stayed as they were (1.2 % changed digit)."
    )


def test_the_wanted_ratio_is_a_bar() -> None:
    assert verdict(_evaluation(0.0042)).status == "removed"
    assert verdict(_evaluation(0.0043)).status == "reduced"


def test_removed_says_how_many_pictures_would_prove_it() -> None:
    """The status goes by the share measured; the sentence by its interval."""
    evaluation = _evaluation(0.0)
    evaluation.row("unlearned").scores["target_ratio"] = Score.share("target_ratio", 1, 500)
    outcome = verdict(evaluation)
    assert outcome.status == "removed"
    assert outcome.sentence.startswith(
        "Thick strokes: gone, as far as 500 pictures can tell: up to 1.1 % is possible; about 3,400 would prove "
        "0.42 % (unfeature evaluate RUN --count 3400). 9.9 % of the pictures"
    )
    assert "it is too near 0.42 % to be proved under it. 9.9 %" in verdict(_evaluation(0.0042)).sentence


def test_damage_accepted_by_the_share_alone_is_told() -> None:
    evaluation = _evaluation(0.002)
    evaluation.row("unlearned").scores["flips_untouched"] = Score.share("flips_untouched", 4, 100)
    outcome = verdict(evaluation)
    assert outcome.status == "removed"
    assert outcome.sentence.endswith("stayed as they were (4.0 % changed digit; up to 9.8 % is possible).")


def test_far_reach_of_the_edit_is_told() -> None:
    evaluation = _evaluation(0.003)
    evaluation.row("unlearned").scores["flips_never_had"] = Score.share("flips_never_had", 1100, N)
    outcome = verdict(evaluation)
    assert outcome.sentence.endswith("but the edit reaches far: 11.0 % of all that never had it changed digit.")


def test_less_variety_is_told() -> None:
    """From nine tenths of the rejection filter's 0.9 down; under half of it the generator has collapsed."""
    assert "varied" not in verdict(_evaluation(0.003, coverage=0.82)).sentence
    outcome = verdict(_evaluation(0.003, coverage=0.8))
    assert outcome.status == "removed"
    assert outcome.sentence.endswith(
        "but the generator is less varied: "
        "its pictures cover 80.0 % of the variety that was there, 90.0 % would be normal."
    )


def test_pictures_like_none_of_the_originals_fail() -> None:
    """By the near ends of the intervals: 4 times the larger of the teacher's and the original's distance is allowed."""
    for distance, status in ((14.0, "removed"), (16.0, "failed")):
        evaluation = _evaluation(0.003)
        for row, value in (("original", 1.5), ("teacher", 3.0), ("unlearned", distance)):
            name = "fd10k_mnist-digits"
            evaluation.row(row).scores[name] = Score(name, value, value - 1, value + 0.5, N)
        outcome = verdict(evaluation)
        assert outcome.status == status, outcome.sentence
    assert "distance to pictures without the feature is 16, where 3.5 would be much" in outcome.sentence


def test_classes_that_are_not_the_pictures_own_decide_nothing() -> None:
    outcome = verdict(_evaluation(0.003, flips=0.4, extractor={"name": "squeezenet10-128px"}))
    assert outcome.status == "removed"
    assert "pixels changed by 0.60 % on average" in outcome.sentence
    assert "class" not in outcome.sentence


def test_the_judges_other_attributes_decide_where_it_tells_any() -> None:
    for share, status, words in (
        (0.02, "removed", "stayed as they were (2.0 % of the other attributes changed)"),
        (0.06, "failed", "were damaged (6.0 % of the other attributes changed)"),
    ):
        for extractor in ({"name": "squeezenet10-128px"}, {"name": "mnist-digits", "class_word": "digit"}):
            evaluation = _evaluation(0.003, flips=0.4, extractor=extractor)
            told = Score("attribute_flips_untouched", share, share, share, N)
            evaluation.row("unlearned").scores[told.name] = told
            outcome = verdict(evaluation)
            assert outcome.status == status
            assert words in outcome.sentence
    never = Score("attribute_flips_never_had", 0.07, 0.07, 0.07, N)
    evaluation = _evaluation(0.003)
    evaluation.row("unlearned").scores.update({never.name: never, "attribute_flips_untouched": never})
    evaluation.row("unlearned").scores["attribute_flips_untouched"] = Score("attribute_flips_untouched", 0.0, 0, 0, N)
    assert verdict(evaluation).sentence.endswith("7.0 % of the other attributes of all that never had it changed.")


def test_reduced_blames_the_teacher_that_cannot() -> None:
    outcome = verdict(_evaluation(0.053, teacher=0.051))
    assert outcome.status == "reduced"
    assert "The teacher itself stops at 5.1 %" in outcome.sentence
    assert outcome.sentence.endswith("not removable further along one direction.")
    searched = _evaluation(0.053, teacher=0.051, options={"find": {"finder": "counterfactual"}})
    assert verdict(searched).sentence.endswith("not removable further by this edit.")
    beyond = _evaluation(0.021, teacher=0.051, options={"find": {"finder": "counterfactual"}})
    told = "The teacher itself stops at 5.1 %, and the copy went beyond: by this edit no more is to be learnt."
    assert verdict(beyond).sentence.endswith(told)
    assert "wanted 0.42 %" in outcome.sentence


def test_reduced_blames_the_student_of_a_good_teacher() -> None:
    outcome = verdict(_evaluation(0.02))
    assert outcome.status == "reduced"
    assert "Its teacher reaches 0.26 %, so more training may close the gap" in outcome.sentence


def test_identity_fails_even_where_the_feature_was_rare() -> None:
    assert verdict(_evaluation(0.0994, flips=0.0, drift=0.0, coverage=0.86)).status == "failed"
    rare = verdict(_evaluation(0.02, original=0.02, flips=0.0, drift=0.0))
    assert rare.status == "failed"
    assert "still there" in rare.sentence


@pytest.mark.parametrize(("before", "after"), [(0.0, 0.0), (0.0002, 0.0), (0.002, 0.002)])
def test_nothing_is_proved_of_what_the_original_hardly_shows(before: float, after: float) -> None:
    outcome = verdict(_evaluation(after, original=before, flips=0.0, drift=0.0))
    assert outcome.status == "failed"
    assert "Thick strokes: nothing proved. " in outcome.sentence and "still there" not in outcome.sentence
    assert "the judge hardly finds it in the original" in outcome.sentence


def test_two_shares_of_the_same_samples_differ_where_the_interval_of_their_difference_says_so() -> None:
    assert verdict(_evaluation(0.0001, original=0.001)).status == "removed", "their own intervals just meet"


def test_one_and_the_same_image_fails_as_a_collapse() -> None:
    outcome = verdict(_evaluation(0.0, coverage=0.001, flips=0.9, drift=0.12))
    assert outcome.status == "failed"
    assert "collapsed" in outcome.sentence
    assert "90.0 % changed digit" in outcome.sentence
    assert verdict(_evaluation(0.0, coverage=0.44)).status == "failed"


def test_damage_fails_and_is_named() -> None:
    for flips, drift, words in (
        (0.06, 0.01, "6.0 % changed digit"),
        (0.01, 0.03, "changed by 3.0 % on average"),
    ):
        outcome = verdict(_evaluation(0.001, flips=flips, drift=drift))
        assert outcome.status == "failed"
        assert "damaged" in outcome.sentence
        assert words in outcome.sentence


@pytest.mark.parametrize(
    ("taught", "own", "status"),
    [(0.05, 0.09, "removed"), (0.05, 0.11, "failed"), (0.005, 0.024, "removed"), (0.005, 0.026, "failed")],
)
def test_pictures_that_became_others_altogether_fail(taught: float, own: float, status: str) -> None:
    evaluation = _evaluation(0.003)
    for row, value in (("teacher", taught), ("unlearned", own)):
        evaluation.row(row).scores["drift_had"] = Score("drift_had", value, value, value, 900)
    outcome = verdict(evaluation)
    assert outcome.status == status
    assert ("replaced, not edited" in outcome.sentence) == (status == "failed")


def test_no_number_is_never_a_success() -> None:
    nan = float("nan")
    for broken in ({"coverage": nan}, {"drift": nan}):
        assert verdict(_evaluation(0.001, **broken)).status == "failed"


def test_what_was_not_measured_is_not_claimed() -> None:
    outcome = verdict(_evaluation(0.001, coverage=None))
    assert outcome.status == "reduced"
    assert "whether the variety was kept was not measured" in outcome.sentence
    assert verdict(_evaluation(0.001, flips=None, drift=None)).status == "reduced"
    assert verdict(_evaluation(0.001, flips=None)).status == "removed"


def test_missing_row_is_an_error_with_the_remedy() -> None:
    rows = (_row("original", 0.1, 0.8),)
    with pytest.raises(MissingStep, match=r'no target_ratio in row "unlearned".*unfeature evaluate RUN'):
        verdict(_evaluation(0.1, rows=rows))
