"""What attacks brought back, as a report tells it: a sentence each, pictures, and every figure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from unfeature.artifacts import AttackResult, Attacks, Score
from unfeature.reports.tables import Cell, FullTable, Group, Head
from unfeature.reports.words import count, direction, number, percent, percent_range

TARGETS = {"original": "Original", "unlearned": "Unlearned", "control": "Never had it"}
WHERE = {"original": "the original", "unlearned": "the unlearned copy", "control": "the control that never had it"}


@dataclass(frozen=True)
class Told:
    """An attack in words."""

    title: str
    what: str
    """What was done, as a sentence."""
    share: str
    """What the first figure is a share of, and of what: the beginning of a sentence."""


TOLD = {
    "latent-search": Told(
        "Search for a latent",
        "Searches from fresh latents follow the guide, among usual latents only.",
        "Searches that ended in a picture with the feature",
    ),
}
"""Attack -> words; one that is not here keeps its own name."""

FIGURES = {
    "success": ("Searches that found it", "share of the searches that end in a picture the judge finds it in"),
    "success_random": ("Found by chance", "the same for the best of as many random pictures as a search has steps"),
    "norm_percentile": ("How usual the found latents are", "mean percentile of their length among usual ones"),
}
"""Figure -> title and meaning; what follows a colon in its name is added to the title."""


@dataclass(frozen=True)
class Shown:
    """A target's best picture."""

    label: str
    picture: str
    """As a data URI."""


@dataclass(frozen=True)
class Part:
    """One attack."""

    title: str
    sentences: tuple[str, ...]
    shown: tuple[Shown, ...]


@dataclass(frozen=True)
class AttackSection:
    """What a report says of attacks."""

    intro: str
    parts: tuple[Part, ...]
    table: FullTable
    left_out: tuple[tuple[str, str], ...]


def attack_section(attacks: Attacks | None) -> AttackSection | None:
    """None where nothing was attacked."""
    if attacks is None or not attacks.results:
        return None
    return AttackSection(
        f"Somebody who has the weights may try to bring the feature back. Searches were guided by "
        f"{attacks.made_from['guide']}; the judge alone decided what they found.",
        tuple(_part(name, _of(attacks, name)) for name in _names(attacks)),
        FullTable(
            tuple(TARGETS[called] for called in _targets(attacks)),
            tuple(_group(attacks, name) for name in _names(attacks)),
        ),
        tuple((_title(name), why) for name, why in attacks.left_out.items()),
    )


def headlines(attacks: Attacks) -> tuple[list[str], list[list[str]]]:
    """Targets, and a line for every figure: attack, figure, one cell a target."""
    lines = []
    for name in _names(attacks):
        for head, cells in _group(attacks, name).lines:
            told = ["-" if cell is None else f"{cell.value} ({cell.interval})" for cell in cells]
            lines.append([name, head.title, *told])
    return _targets(attacks), lines


def _names(attacks: Attacks) -> list[str]:
    return list(dict.fromkeys(result.name for result in attacks.results))


def _targets(attacks: Attacks) -> list[str]:
    return [called for called in TARGETS if any(result.target == called for result in attacks.results)]


def _of(attacks: Attacks, name: str) -> list[AttackResult]:
    return [result for result in attacks.results if result.name == name]


def _title(name: str) -> str:
    return TOLD[name].title if name in TOLD else name


def _part(name: str, results: Sequence[AttackResult]) -> Part:
    sentences = [TOLD[name].what] if name in TOLD else []
    about = TOLD[name].share if name in TOLD else results[0].figures[0].name
    shares = [f"{_value(result.figures[0])} in {WHERE[result.target]}" for result in results]
    sentences.append(f"{about}: {', '.join(shares)}.")
    shown = tuple(Shown(TARGETS[result.target], result.picture) for result in results)
    return Part(_title(name), tuple(sentences), shown)


def _group(attacks: Attacks, name: str) -> Group:
    by_target = {result.target: {s.name: s for s in result.figures} for result in _of(attacks, name)}
    figures = list(dict.fromkeys(figure for scores in by_target.values() for figure in scores))
    lines = []
    for figure in figures:
        scores = [by_target.get(called, {}).get(figure) for called in _targets(attacks)]
        one = next(score for score in scores if score is not None)
        lines.append((_head(one), tuple(map(_cell, scores))))
    return Group(_title(name), tuple(lines))


def _head(score: Score) -> Head:
    family, _, rest = score.name.partition(": ")
    title, meaning = FIGURES.get(family, (family, score.note))
    return Head(f"{title}, {rest}" if rest else title, direction(score.higher_is_better), meaning, score.name)


def _value(score: Score) -> str:
    return percent(score.value) if score.unit == "" else f"{number(score.value)} {score.unit}"


def _cell(score: Score | None) -> Cell | None:
    if score is None:
        return None
    ends = percent_range(score.low, score.high) if score.unit == "" else f"{number(score.low)} to {number(score.high)}"
    return Cell(_value(score), ends, count(score.n))
