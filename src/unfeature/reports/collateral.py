"""What else changed, as a report tells it: one sentence, a heat map's cells, and every figure as a table."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from unfeature.artifacts import Evaluation, Score
from unfeature.changes import Change, Matrix, Stratum
from unfeature.changes import Group as Pictures
from unfeature.reports.tables import Cell, FullTable, Group, Head
from unfeature.reports.words import count, direction, number, percent, percent_range

MOST_DRAWN = 15
"""Attributes in the heat map, those that changed most; the table has all."""

MOST_NAMED = 8
"""Attributes in the sentence."""

COLUMNS = {"all": "all pictures", "had": "had the feature", "never_had": "never had it"}


@dataclass(frozen=True)
class Square:
    """One cell of the heat map."""

    share: float
    """Of the pictures in which the attribute came or went."""
    up: bool | None
    """It is there more often than before; None where only how often it changed is known."""
    ringed: bool
    """Significantly more than by the placebo."""


@dataclass(frozen=True)
class HeatMap:
    """Lines by attribute; the last two columns are the edit and the placebo at the latents that the edit moves."""

    columns: tuple[str, ...]
    lines: tuple[tuple[str, tuple[Square | None, ...]], ...]
    """None where there is no such picture."""


@dataclass(frozen=True)
class CollateralSection:
    """What a report says of other attributes."""

    sentences: tuple[str, ...]
    heat: HeatMap
    note: str
    table: FullTable


def collateral_section(evaluation: Evaluation) -> CollateralSection | None:
    """None where nothing but the feature was told of the pictures."""
    if "matrix" not in evaluation.collateral:
        return None
    matrix = Matrix.from_json(evaluation.collateral["matrix"])
    drawn, attributes = _drawn(matrix), len(matrix.groups[0].changes)
    note = f"The {len(drawn)} of {attributes} that changed most." if len(drawn) < attributes else ""
    return CollateralSection((_moved(matrix), *_strata(matrix)), _heat(matrix, drawn), note, _table(matrix))


def _drawn(matrix: Matrix) -> list[int]:
    """Places of the attributes that the heat map shows, in the order of the judge."""
    changes = matrix.groups[0].changes
    return sorted(sorted(range(len(changes)), key=lambda i: -changes[i].flips.value)[:MOST_DRAWN])


def _moved(matrix: Matrix) -> str:
    everywhere = matrix.groups[0]
    if not everywhere.moved:
        return "The edit moves none of the latents, so there is nothing to compare with a placebo."
    moved = sorted((c for c in everywhere.changes if c.more_than_placebo), key=lambda c: c.placebo.value - c.edit.value)
    test = f"McNemar's test, by Holm's rule over {len(everywhere.changes)} attributes"
    if not moved:
        return (
            "No attribute changed significantly more often by the edit than by a placebo, a move as long in a random "
            f"direction ({test})."
        )
    shares = [f"{_named(c.attribute)} ({percent(c.edit.value)} against {percent(c.placebo.value)})" for c in moved]
    more = f" and {len(shares) - MOST_NAMED} more" if len(shares) > MOST_NAMED else ""
    return (
        "Changed significantly more often by the edit than by a placebo, a move as long in a random direction: "
        f"{', '.join(shares[:MOST_NAMED])}{more} ({test})."
    )


def _strata(matrix: Matrix) -> Iterator[str]:
    """Why pictures are also told apart, and what became of the feature on either side."""
    for i, stratum in enumerate(matrix.strata):
        first, second = matrix.groups[len(COLUMNS) + 2 * i : len(COLUMNS) + 2 * i + 2]
        sides = (_before_after(group, side) for group, side in ((first, "with it"), (second, "without it")))
        yield f"{_why(stratum)}, so pictures with and without it are also shown apart: {'; '.join(sides)}."


def _why(stratum: Stratum) -> str:
    goes = f"its correlation with the feature is {stratum.phi:.2f}"
    if stratum.why == "kept":
        return f"“{_named(stratum.name)}” was to stay as it is ({goes})"
    return f"Of all attributes “{_named(stratum.name)}” goes with the feature most ({goes})"


def _before_after(group: Pictures, side: str) -> str:
    if not group.n:
        return f"there are no pictures {side}"
    return (
        f"of those {side} {percent(group.before.value)} showed the feature before, {percent(group.after.value)} do now"
    )


def _named(attribute: str) -> str:
    return attribute.replace("_", " ")


def _columns(matrix: Matrix) -> tuple[str, ...]:
    """Groups in words; strata as `Male: yes` and `Male: no`."""
    strata = [f"{_named(stratum.name)}: {side}" for stratum in matrix.strata for side in ("yes", "no")]
    return (*COLUMNS.values(), *strata)


def _heat(matrix: Matrix, drawn: list[int]) -> HeatMap:
    everywhere, lines = matrix.groups[0].changes, []
    for i in drawn:
        squares = [_square(group.changes[i]) for group in matrix.groups]
        compared = [
            Square(score.value, None, ringed) if score.n else None
            for score, ringed in ((everywhere[i].edit, everywhere[i].more_than_placebo), (everywhere[i].placebo, False))
        ]
        lines.append((_named(everywhere[i].attribute), (*squares, *compared)))
    return HeatMap((*_columns(matrix), "edited pictures", "there, by a placebo"), tuple(lines))


def _square(change: Change) -> Square | None:
    if not change.flips.n:
        return None
    return Square(change.flips.value, change.change.value > 0, change.more_than_placebo)


def _table(matrix: Matrix) -> FullTable:
    """A group of lines for each figure, a line for each attribute."""
    told: tuple[tuple[str, str, bool | None, Callable[[Change], Cell]], ...] = (
        ("Pictures in which it came or went", "flips", False, lambda c: _share(c.flips)),
        ("Mean change of its score, in hundredths", "change", None, lambda c: _signed(c.change)),
        ("Came or went where the edit moves the latent", "edit", False, lambda c: _share(c.edit)),
        ("Came or went there by the placebo", "placebo", None, lambda c: _share(c.placebo)),
        ("Chance of so great a difference between the two, by Holm's rule", "p_holm", None, _chance),
    )
    attributes = [change.attribute for change in matrix.groups[0].changes]
    groups = []
    for title, code, better, cell in told:
        lines = tuple(
            (
                Head(_named(name), direction(better), "", code),
                tuple(cell(group.changes[i]) for group in matrix.groups),
            )
            for i, name in enumerate(attributes)
        )
        groups.append(Group(title, lines))
    return FullTable(_columns(matrix), tuple(groups))


def _share(score: Score) -> Cell:
    if not score.n:
        return Cell("none", "no such picture", "0")
    return Cell(percent(score.value), percent_range(score.low, score.high), count(score.n))


def _signed(score: Score) -> Cell:
    if not score.n:
        return Cell("none", "no such picture", "0")
    value, low, high = (f"{100 * part:+.1f}" for part in (score.value, score.low, score.high))
    return Cell(value, f"{low} to {high}", count(score.n))


def _chance(change: Change) -> Cell:
    value = "below 0.001" if change.p_holm < 0.001 else number(change.p_holm)
    return Cell(value, f"edit alone {count(change.only_edit)}, placebo alone {count(change.only_placebo)}",
                count(change.edit.n))  # fmt: skip
