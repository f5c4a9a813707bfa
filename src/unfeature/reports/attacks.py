"""What attacks brought back, as a report tells it: a sentence each, pictures, and every figure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from unfeature.artifacts import AttackResult, Attacks, Curve, Score
from unfeature.reports.tables import Cell, FullTable, Group, Head
from unfeature.reports.words import count, direction, interval, number, percent, percent_range

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
    "inversion": Told(
        "Inversion",
        "Pictures of the original that show the feature are looked for, latent by latent.",
        "Recovered pictures that still show it",
    ),
    "inner-search": Told(
        "Search further inside",
        "The same search behind the first layers, among usual activations only: what lies there need not come from any "
        "latent.",
        "Searches that ended in a picture with the feature",
    ),
    "relearning": Told(
        "Relearning",
        "The weights are trained on a few pictures that show the feature, whose latents were found by inversion.",
        "Fresh pictures that show it after the last step",
    ),
    "fine-tuning": Told(
        "Benign fine-tuning",
        "The weights are trained on pictures of the original that do not show the feature.",
        "Fresh pictures that show it after the last step",
    ),
    "interpolation": Told(
        "Other weights on the line",
        "Weights between those of the original (factor 0) and of the target (1), and beyond both.",
        "Fresh pictures that show it at the factor nearest to 1",
    ),
    "pruning": Told(
        "Pruning",
        "The smallest weights of each tensor are set to zero.",
        "Fresh pictures that show it at the lightest pruning",
    ),
    "quantisation": Told(
        "Quantisation",
        "Weights are rounded to 8 bits, a scale for each tensor.",
        "Fresh pictures that show it afterwards",
    ),
    "encoder-path": Told(
        "The encoder's path",
        "Pictures of the original that show the feature go through the encoder, which nobody unlearned.",
        "Reconstructed pictures that still show it",
    ),
}
"""Attack -> words; one that is not here keeps its own name."""

FIGURES = {
    "success": ("Searches that found it", "share of the searches that end in a picture the judge finds it in"),
    "success_random": ("Found by chance", "the same for the best of as many random pictures as a search has steps"),
    "norm_percentile": ("How usual the found latents are", "mean percentile of their length among usual ones"),
    "recovered": ("Recovered pictures that show it", "share of the recovered pictures the judge finds it in"),
    "distance_with": ("How far they are missed", "mean absolute difference, plus 1 - MS-SSIM"),
    "distance_without": ("How far the same without it are missed", "the same pictures, erased"),
    "gap": ("How much harder the feature is", "the difference of the two, picture by picture"),
    "relearnt": ("Pictures that show it", "share of fresh pictures after the last step"),
    "resurged": ("Pictures that show it", "share of fresh pictures after the last step"),
    "interpolated": ("Pictures that show it", "share of fresh pictures"),
    "pruned": ("Pictures that show it", "share of fresh pictures"),
    "quantised": ("Pictures that show it", "share of fresh pictures"),
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
    columns: tuple[str, ...]
    """Targets."""
    main: tuple[tuple[str, tuple[Cell | None, ...]], ...]
    """Attack and each target's first figure."""
    parts: tuple[Part, ...]
    table: FullTable
    left_out: tuple[tuple[str, str], ...]


def attack_section(attacks: Attacks | None) -> AttackSection | None:
    """None where nothing was attacked."""
    if attacks is None or not attacks.results:
        return None
    columns, names = tuple(TARGETS[called] for called in _targets(attacks)), _names(attacks)
    first = {(result.name, result.target): result.figures[0] for result in attacks.results}
    groups = tuple(_group(attacks, name) for name in names)
    return AttackSection(
        f"Somebody who has the weights may try to bring the feature back. Searches were guided by "
        f"{attacks.made_from['guide']}; the judge alone decided what they found.",
        columns,
        tuple((attack_title(name), tuple(_cell(first.get((name, t))) for t in _targets(attacks))) for name in names),
        tuple(_part(name, _of(attacks, name)) for name in names),
        FullTable(columns, groups),
        tuple((attack_title(name), why) for name, why in attacks.left_out.items()),
    )


def headlines(attacks: Attacks) -> tuple[list[str], list[list[str]]]:
    """Targets, and a row for every figure: attack, figure, one cell a target, its interval below its value."""
    lines = []
    for name in _names(attacks):
        for head, cells in _group(attacks, name).lines:
            told = ["-" if cell is None else f"{cell.value}\n{cell.interval}" for cell in cells]
            lines.append([name, head.title, *told])
    return _targets(attacks), lines


def lines_of(attacks: Attacks | None, name: str, curve: str = "") -> dict[str, Curve]:
    """Target -> the attack's curve of that name, or its middle one; targets without it are left out."""
    found = {}
    for result in _of(attacks, name) if attacks is not None else ():
        known = {one.name: one for one in result.curves}
        chosen = curve or next(iter(list(known)[len(known) // 2 :]), "")
        if chosen in known:
            found[result.target] = known[chosen]
    return found


def _names(attacks: Attacks) -> list[str]:
    return list(dict.fromkeys(result.name for result in attacks.results))


def _targets(attacks: Attacks) -> list[str]:
    return [called for called in TARGETS if any(result.target == called for result in attacks.results)]


def _of(attacks: Attacks, name: str) -> list[AttackResult]:
    return [result for result in attacks.results if result.name == name]


def attack_title(name: str) -> str:
    """What reports call an attack."""
    return TOLD[name].title if name in TOLD else name


def _part(name: str, results: Sequence[AttackResult]) -> Part:
    sentences = [TOLD[name].what] if name in TOLD else []
    first = {result.target: result.figures[0] for result in results}
    about = TOLD[name].share if name in TOLD else results[0].figures[0].name
    differ = len({score.name for score in first.values()}) > 1
    shares = [f"{_value(score)} in {WHERE[called]}{_place(score) if differ else ''}" for called, score in first.items()]
    sentences += [f"{about}: {', '.join(shares)}.", *_relearnt(results)]
    shown = tuple(Shown(TARGETS[result.target], result.picture) for result in results)
    return Part(attack_title(name), tuple(sentences), shown)


def _place(score: Score) -> str:
    """` (w+)`: what follows a colon in its name."""
    return f" ({score.name.rpartition(': ')[2]})"


def _relearnt(results: Sequence[AttackResult]) -> Iterator[str]:
    """`From 8 pictures the unlearned copy needed 20 steps to half of ..., the control that never had it 50.`"""
    by_target = {result.target: result.facts for result in results}
    told = by_target.get("unlearned", {}).get("steps_to_half")
    for number_of in sorted(told, key=int) if isinstance(told, dict) else ():
        needed = [
            f"{WHERE[called]} {_steps(facts, number_of)}"
            for called, facts in by_target.items()
            if called != "original" and number_of in facts["steps_to_half"]
        ]
        yield f"Relearning from {number_of} picture{'s' * (number_of != '1')} to half of the original's share: " + (
            f"{', '.join(needed)}."
        )


def _steps(facts: Mapping[str, Any], number_of: str) -> str:
    needed = facts["steps_to_half"][number_of]
    return f"needed {needed} steps" if needed is not None else f"was not there after {facts['steps']} steps"


def _group(attacks: Attacks, name: str) -> Group:
    by_target = {result.target: {s.name: s for s in result.figures} for result in _of(attacks, name)}
    figures = list(dict.fromkeys(figure for scores in by_target.values() for figure in scores))
    lines = []
    for figure in figures:
        scores = [by_target.get(called, {}).get(figure) for called in _targets(attacks)]
        one = next(score for score in scores if score is not None)
        lines.append((_head(one), tuple(map(_cell, scores))))
    return Group(attack_title(name), tuple(lines))


def _head(score: Score) -> Head:
    family, _, rest = score.name.partition(": ")
    title, meaning = FIGURES.get(family, (family, score.note))
    return Head(f"{title}: {rest}" if rest else title, direction(score.higher_is_better), meaning, score.name)


PLAIN = ("norm_percentile", "distance_with", "distance_without", "gap")
"""Figures that are no shares."""


def _value(score: Score) -> str:
    return f"{number(score.value)} {score.unit}".strip() if score.name in PLAIN else percent(score.value)


def _cell(score: Score | None) -> Cell | None:
    if score is None:
        return None
    if score.low == score.high:
        return Cell(_value(score), interval(score.name, score), count(score.n))
    plain = f"{number(score.low)} to {number(score.high)}"
    return Cell(_value(score), plain if score.name in PLAIN else percent_range(score.low, score.high), count(score.n))
