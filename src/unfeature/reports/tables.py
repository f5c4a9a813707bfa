"""The short table that answers the question, and the full one with every figure."""

from __future__ import annotations

from dataclasses import dataclass

from unfeature.artifacts import Evaluation, Row, Score
from unfeature.reports.words import (
    FLOOR,
    FLOOR_ABOUT,
    GROUPS,
    MEASURES,
    ROWS,
    class_word,
    count,
    direction,
    family,
    figure,
    first,
    interval,
    judged_flips,
    measure,
    number,
)


@dataclass(frozen=True)
class Cell:
    """One figure as text."""

    value: str
    interval: str
    n: str


@dataclass(frozen=True)
class Head:
    """What a column or a line measures."""

    title: str
    better: str
    meaning: str
    code: str
    """The score's own name, its protocol."""


@dataclass(frozen=True)
class Line:
    """One line of the short table; None where a figure has no meaning for that row."""

    key: str
    name: str
    about: str
    cells: tuple[Cell | None, ...]


@dataclass(frozen=True)
class MainTable:
    """Rows by what made the pictures, few columns."""

    heads: tuple[Head, ...]
    lines: tuple[Line, ...]


@dataclass(frozen=True)
class Group:
    """Lines of the full table that answer one question."""

    title: str
    lines: tuple[tuple[Head, tuple[Cell | None, ...]], ...]


@dataclass(frozen=True)
class FullTable:
    """One line for every score, one column for every row and the floor."""

    columns: tuple[str, ...]
    groups: tuple[Group, ...]


@dataclass(frozen=True)
class StrengthTable:
    """Where the measured feature lies, by parts of the pictures."""

    unit: str
    cut: str
    columns: tuple[str, ...]
    lines: tuple[tuple[str, tuple[str, ...]], ...]


def main_table(evaluation: Evaluation) -> MainTable:
    """The figures a stranger needs, as far as they were measured."""
    noun = class_word(evaluation.extractor)
    keys = ("target_ratio", judged_flips(evaluation, "untouched"), "drift_untouched", "fd", "coverage")
    examples = {key: [first(row.scores, key) for row in evaluation.rows] for key in keys}
    found = {key: next(filter(None, scores)) for key, scores in examples.items() if any(scores)}
    heads = tuple(_head(score.name, score, noun) for score in found.values())
    # By family, not by name: a row with fewer pictures has another number in the names of its scores.
    lines = [
        Line(row.name, ROWS.get(row.name, row.name), row.about, tuple(_cell(first(row.scores, key)) for key in found))
        for row in evaluation.rows
    ]
    floor = tuple(_cell(first(evaluation.floor, key)) for key in found)
    if any(floor):
        lines.append(Line("floor", FLOOR, FLOOR_ABOUT, floor))
    return MainTable(heads, tuple(lines))


def full_table(evaluation: Evaluation) -> FullTable:
    """Every score of every row and of the floor, the known ones in reading order and the unknown ones last.

    Of flips only those that mean something: classes that are not the pictures' own say nothing of them.
    """
    noun = class_word(evaluation.extractor)
    rows = [*evaluation.rows, *([Row(FLOOR, FLOOR_ABOUT, evaluation.floor)] if evaluation.floor else [])]
    samples: dict[str, Score] = {}
    for row in rows:
        samples = {**row.scores, **samples}
    order, own = list(MEASURES), "class_word" in evaluation.extractor
    told = [name for name in samples if own or not name.startswith("flips_")]
    names = sorted(told, key=lambda name: order.index(family(name)) if family(name) in MEASURES else len(order))
    groups = []
    for title in GROUPS:
        members = [name for name in names if measure(name, samples[name], noun).group == title]
        lines = tuple(
            (_head(name, samples[name], noun), tuple(_cell(row.scores.get(name)) for row in rows)) for name in members
        )
        if lines:
            groups.append(Group(title, lines))
    return FullTable(tuple(ROWS.get(row.name, row.name) for row in rows), tuple(groups))


def strength_table(evaluation: Evaluation) -> StrengthTable | None:
    """Quantiles of the measured feature in each row; None where it was not measured."""
    shapes = {row.name: row.distribution for row in evaluation.rows if row.distribution is not None}
    if not shapes:
        return None
    one = next(iter(shapes.values()))
    levels = sorted({level for shape in shapes.values() for level in shape.quantiles}, key=float)
    lines = tuple(
        (
            f"{100 * float(level):g} % lie below",
            tuple(number(shape.quantiles[level]) if level in shape.quantiles else "–" for shape in shapes.values()),
        )
        for level in levels
    )
    return StrengthTable(one.unit, number(one.cut), tuple(ROWS.get(name, name) for name in shapes), lines)


def _head(name: str, score: Score, noun: str) -> Head:
    known = measure(name, score, noun)
    meaning = "; ".join(dict.fromkeys(filter(None, (known.meaning, score.note if score.n else ""))))
    return Head(known.title, direction(known.higher_is_better), meaning, name)


def _cell(score: Score | None) -> Cell | None:
    if score is None:
        return None
    if score.n == 0:
        return Cell("none", score.note or "no such picture", "0")
    return Cell(figure(score.name, score), interval(score.name, score), count(score.n))
