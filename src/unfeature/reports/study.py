"""The report of a study: what each annotator's marks, and all of them together, make of the same generator."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import numpy as np
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup
from PIL import Image

from unfeature.artifacts import Artifact, Score
from unfeature.images import Pixels, data_uri
from unfeature.reports.pictures import BUDGET
from unfeature.reports.words import count, percent, percent_range

FEW = 20
"""Pictures marked twice below which nothing is said of agreement: of two that agree alpha is 1 in every resample."""

RELIABLE, TENTATIVE = 0.8, 0.667
"""Krippendorff, Content Analysis (2004), p. 241: rely on alpha from the one on, conclude tentatively from the other."""

_SIDES = (128, 96, 64, 48, 32)
"""Sizes of a picture that are tried, in pixels."""


@dataclass(frozen=True)
class StudyRow(Artifact):
    """One annotator, or the consensus; figures are None where nothing was trained or nobody judges."""

    name: str
    consensus: bool
    shows: int
    unsure: int
    without: int
    seconds: float | None = None
    pauses: int = 0
    agreement: Score | None = None
    """With the consensus."""
    before: Score | None = None
    teacher: Score | None = None
    ratio: Score | None = None
    """Target ratio after unlearning."""
    drift: Score | None = None
    """Pixel change of pictures outside the edit's reach."""
    rewritten: Score | None = None
    folder: str = ""
    """Below study/runs; empty where nothing was trained."""


@dataclass(frozen=True)
class StudyPictures:
    """The same latents before and after: the first `shows` show the feature."""

    shows: int
    before: Pixels
    """(k, h, w) or (k, h, w, 3)."""
    after: Mapping[str, Pixels]
    """Name -> the same shape."""


@dataclass(frozen=True)
class Cell:
    """One figure of the table, as words."""

    value: str
    interval: str = ""
    n: str = ""


@dataclass(frozen=True)
class Strip:
    """One maker's pictures as data URIs."""

    name: str
    kind: str
    """ "original", "annotator" or "consensus"."""
    shows: tuple[str, ...]
    lacks: tuple[str, ...]


HEADS = (
    ("Pictures marked", "shows it / unsure / without it"),
    ("Minutes", "of activity, pauses left out"),
    ("Agrees with the consensus", "on pictures both decided"),
    ("Show it before", "fresh pictures of the original"),
    ("Teacher", "what the copy learned from"),
    ("Show it after", "lower is better"),
    ("Other pictures changed", "pixels outside the edit's reach"),
)


def render_study(result: Mapping[str, Any], rows: Sequence[StudyRow], pictures: StudyPictures) -> str:
    """The whole report as one HTML page without an outside request; the same input gives the same bytes.

    `result` is result.json: feature, generator, judge, wanted_ratio, outcome, options, versions.
    """
    folder = files("unfeature.reports")
    page = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = page.from_string(folder.joinpath("study.html.jinja").read_text(encoding="utf-8"))
    ordered = sorted(rows, key=lambda row: not row.consensus)
    return template.render(
        style=Markup(folder.joinpath("page.css").read_text(encoding="utf-8")),  # noqa: S704
        title=f"What people call {result['feature']}",
        kind=f"Study of {count(len(rows) - any(row.consensus for row in rows))} annotators",
        sentence=sentence(result, rows),
        level=_level(result, rows),
        heads=HEADS,
        lines=[(row, _name(row), _cells(row)) for row in ordered],
        strips=_strips(pictures, ordered),
        small=max(pictures.before.shape[1:3]) <= 96,
        asked=_asked(result),
        fine=_fine(result),
    )


def sentence(result: Mapping[str, Any], rows: Sequence[StudyRow]) -> str:
    """How far they agree, and what that makes of the result."""
    told, marks = result["outcome"], [row.shows + row.unsure + row.without for row in rows if not row.consensus]
    people = sum(number > 0 for number in marks)
    each = (
        f"up to {count(max(marks, default=0))} pictures each" if len(set(marks)) > 1 else f"{count(marks[0])} pictures"
    )
    first = f"{count(people)} {'person' if people == 1 else 'people'} marked {each}"
    alpha = told["alpha"]
    if alpha is None or alpha["n"] < FEW:
        first += "; how far they agree cannot be told from so few marks."
    else:
        word = "well" if alpha["value"] >= RELIABLE else "tolerably" if alpha["value"] >= TENTATIVE else "poorly"
        interval = f"{alpha['low']:.2f} to {alpha['high']:.2f}"
        first += f" and agreed {word} (Krippendorff's alpha {alpha['value']:.2f}, {interval})."
    return f"{first} {_effect(rows)}".strip()


def _effect(rows: Sequence[StudyRow]) -> str:
    """What unlearning left, by the consensus and by each."""
    judged = [row for row in rows if row.ratio is not None]
    if not judged:
        return "Nobody judged the results, so only the pictures below can tell whether the feature is gone."
    alone = [row.ratio.value for row in judged if row.ratio and not row.consensus]
    together = next((row for row in judged if row.consensus), None)
    spread = f"{percent(min(alone))} to {percent(max(alone))}" if len(alone) > 1 else percent(alone[0]) if alone else ""
    if together is None or together.ratio is None or together.before is None:
        return f"Unlearned by single people's marks, {spread} of the pictures still show it."
    after, before = together.ratio, percent(together.before.value)
    interval = percent_range(after.low, after.high)
    text = (
        f"Unlearned by their consensus, {percent(after.value)} ({interval}) of the pictures still show it, {before} did"
    )
    return f"{text} before; by each person's marks alone {spread}." if alone else f"{text} before."


def _level(result: Mapping[str, Any], rows: Sequence[StudyRow]) -> str:
    """Colour of the sentence, as of a verdict: by the consensus' result, or the worst of single ones."""
    judged = [row for row in rows if row.ratio is not None]
    chosen = [row for row in judged if row.consensus] or judged
    values = [row.ratio.value for row in chosen if row.ratio is not None]
    if not values:
        return "reduced"
    before = max((row.before.value for row in chosen if row.before is not None), default=1.0)
    return "removed" if max(values) <= result["wanted_ratio"] else "reduced" if max(values) < before / 2 else "failed"


def _name(row: StudyRow) -> str:
    return "Consensus of all" if row.consensus else row.name


def _cells(row: StudyRow) -> tuple[Cell | None, ...]:
    """One for each of HEADS."""
    minutes = None
    if row.seconds is not None:
        pauses = f"{row.pauses} {'pause' if row.pauses == 1 else 'pauses'}" if row.pauses else ""
        minutes = Cell(f"{row.seconds / 60:.1f}", pauses)
    shares = (row.agreement, row.before, row.teacher, row.ratio, row.drift)
    return (Cell(f"{count(row.shows)} / {count(row.unsure)} / {count(row.without)}"), minutes, *map(_share, shares))


def _share(score: Score | None) -> Cell | None:
    if score is None or score.n == 0:
        return None
    return Cell(percent(score.value), percent_range(score.low, score.high), count(score.n))


def _strips(pictures: StudyPictures, rows: Sequence[StudyRow]) -> list[Strip]:
    """The original's first; pictures as large as fit into the budget, so that the page stays small."""
    makers = [("Original, before", "original", pictures.before)]
    for row in rows:
        if row.name in pictures.after:
            makers.append((_name(row), "consensus" if row.consensus else "annotator", pictures.after[row.name]))
    for side in _SIDES:
        uris = [[_uri(picture, side) for picture in batch] for _, _, batch in makers]
        if sum(len(uri) for row in uris for uri in row) <= BUDGET:
            break
    k = pictures.shows
    return [
        Strip(name, kind, tuple(row[:k]), tuple(row[k:])) for (name, kind, _), row in zip(makers, uris, strict=True)
    ]


def _uri(picture: Pixels, side: int) -> str:
    """A picture of at most `side` pixels; smaller ones are enlarged by the page."""
    image = Image.fromarray(picture)
    if max(image.size) > side:
        image.thumbnail((side, side), Image.Resampling.LANCZOS)
    return data_uri(np.asarray(image))


def _asked(result: Mapping[str, Any]) -> list[tuple[str, str]]:
    told = result["outcome"]
    consensus = told["consensus"]
    alpha = told["alpha"]
    facts = [
        ("Feature to remove", result["feature"]),
        ("Generator", result["generator"]),
        ("Pictures for each annotator", count(told["count"])),
        ("Judge", result["judge"] or "nobody"),
        ("Wanted", f"at most {percent(result['wanted_ratio'])} of fresh pictures show it"),
    ]
    if alpha is not None:
        facts.append(
            ("Agreement", f"alpha {alpha['value']:.3f} on {count(alpha['n'])} pictures decided by two or more")
        )
    if consensus is not None:
        sides = f"{count(consensus['shows'])} show it, {count(consensus['unsure'])} unsure"
        facts.append(("Consensus", f"{sides}, {count(consensus['without'])} without it"))
    return facts


def _fine(result: Mapping[str, Any]) -> list[tuple[str, list[tuple[str, str]]]]:
    """Titles and entries of the fine print."""
    errors = [
        (told["name"], f"misses {percent(told['misses'])}, false alarms {percent(told['false_alarms'])}")
        for told in result["outcome"]["annotators"]
        if told["misses"] is not None
    ]
    options = [
        (f"{verb}: {name.replace('_', ' ')}", str(value))
        for verb, values in result["options"].items()
        for name, value in values.items()
    ]
    sections = [("Errors of each, by the consensus", errors), ("Options of every run", options)]
    return [
        (title, entries) for title, entries in [*sections, ("Versions", list(result["versions"].items()))] if entries
    ]
