"""Strengths of an edit: the front and the choice by hand, and a grid on a real generator."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from unfeature import teacher
from unfeature.artifacts import Preview, Score
from unfeature.features.choosing import SHOWN, pareto, thinned
from unfeature.features.linear import Linear
from unfeature.options import FindOptions
from unfeature.testing import TinyGenerator, TinyJudge, tiny_marks
from unfeature.workflow.strengths import MARGINS, OFFSETS, choose, measure

PAIRS = st.lists(st.tuples(st.integers(0, 9).map(float), st.integers(0, 9).map(float)), min_size=1, max_size=30)


def preview(drift: float, ratio: float) -> Preview:
    figures = (Score(name, value, 0, 1, 100) for name, value in (("rewritten", 0.5), ("drift", drift)))
    return Preview("f", "g", 100, 0.0, 0.0, *figures, None, Score("r", 0.1, 0, 1, 100), Score("r", ratio, 0, 1, 100))


def test_front_by_hand() -> None:
    assert pareto([(1, 5), (2, 3), (3, 4), (4, 1), (4, 2), (0, 6)]) == (5, 0, 1, 3)
    assert pareto([(1, 1), (1, 1)]) == (0,)


@given(PAIRS)
def test_front_holds_what_nothing_beats_and_nothing_else(costs: list[tuple[float, float]]) -> None:
    front = [costs[i] for i in pareto(costs)]
    assert front == sorted(front) and [y for _, y in front] == sorted((y for _, y in front), reverse=True)
    for x, y in costs:
        beaten = any(a <= x and b <= y for a, b in front)
        assert beaten, "everything is on the front or no better than something there"
    for x, y in front:
        assert not any((a <= x and b < y) or (a < x and b <= y) for a, b in costs)


@pytest.mark.parametrize(("wanted", "best", "reached"), [(0.05, 1, True), (0.01, 2, True), (0.001, 2, False)])
def test_the_gentlest_that_reaches_it_or_else_the_lowest(wanted: float, best: int, reached: bool) -> None:
    points = [preview(0.01, 0.08), preview(0.02, 0.04), preview(0.05, 0.005)]
    assert choose(points, (0, 1, 2), wanted) == (best, reached)


def test_the_paper_s_own_teacher_is_in_the_grid() -> None:
    assert 0.0 in OFFSETS and 0.0 in MARGINS


@given(st.integers(1, 40))
def test_thinning_keeps_both_ends(length: int) -> None:
    kept = thinned(range(length))
    assert kept[0] == 0 and kept[-1] == length - 1 and len(kept) == min(length, SHOWN) == len(set(kept))


def test_pictures_too_many_to_keep_are_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    generator, judge = TinyGenerator(), TinyJudge()
    feature = Linear(FindOptions()).find(generator, *tiny_marks(generator, 400))
    kept = teacher.draw(generator, judge, None, 300, 0)
    monkeypatch.setattr(teacher, "KEPT", 0)
    again = teacher.draw(generator, judge, None, 300, 0)
    assert kept.images is not None and again.images is None
    told = [teacher.measure(generator, feature, sample, judge, None, "large") for sample in (kept, again)]
    assert told[0].ratio == told[1].ratio and told[0].drift_rest.value == pytest.approx(told[1].drift_rest.value)
    first = [teacher.pairs(generator, feature, sample) for sample in (kept, again)]
    assert (first[0] == first[1]).all()


def test_where_every_picture_shows_it_the_strongest_is_taken() -> None:
    generator, judge = TinyGenerator(), TinyJudge()
    feature = Linear(FindOptions()).find(generator, *tiny_marks(generator, 400))
    sample = teacher.draw(generator, judge, None, 400, 0)
    shown = sample.rows(torch.nonzero(sample.shows).flatten())
    found = measure(generator, feature, shown, judge, None, wanted=0.5, seconds=0.1)
    assert found.reached and all(point.drift_rest.n == 0 for point in found.points)
    assert found.front == (found.recommended,), "nothing else changes less"
