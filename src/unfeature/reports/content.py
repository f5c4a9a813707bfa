"""What a report says, before it is dressed as HTML or Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from unfeature.artifacts import OTHER, Attacks, Evaluation, Preview, StepRecord
from unfeature.reports.attacks import AttackSection, attack_section
from unfeature.reports.collateral import CollateralSection, collateral_section
from unfeature.reports.tables import FullTable, MainTable, StrengthTable, full_table, main_table, strength_table
from unfeature.reports.verdicts import DRIFT_KEPT, FLIPS_KEPT, Verdict, verdict
from unfeature.reports.words import class_word, count, first, judged_flips, number, percent, with_range

STATUS = {"removed": "Removed", "reduced": "Reduced, not removed", "failed": "Failed"}
LIMITS = (
    "The student copies its teacher, the original fed with edited latents. It cannot do better than its teacher.",
    "Every share is an estimate from a sample. The interval beside it would hold the true share in 19 of 20 repeats.",
    "The judge decides what counts as the feature. What it does not see, this report does not see either.",
    "If the marks were simulated by the measurement that also judges, they carry no human error and agree with the "
    "judge better than a person's would. If a network made them from words or examples, they are as good as it is.",
    "Unlearning a feature promises nothing about the pictures the generator was trained on: whether one of them was "
    "in the training set may still be found out.",
)
UNATTACKED = (
    "Somebody who has the weights may search for latents that still show the feature, or train it back in. "
    "This report does not measure that; unfeature attack does."
)
ATTACKED = (
    "Attacks that were not tried, or tried longer, may bring back more than these did. What they brought back from the "
    "original and from a control that never had the feature is what to compare with."
)
_SHOWN = ("feedback", "command", "choice")
"""Facts with a place of their own; all others are printed as they come."""


@dataclass(frozen=True)
class Tile:
    """One large figure under the verdict."""

    label: str
    value: str
    note: str


@dataclass(frozen=True)
class Section:
    """A part of the fine print."""

    title: str
    intro: str
    entries: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Content:
    """Everything but the pictures and the curves."""

    title: str
    status: str
    verdict: Verdict
    tiles: tuple[Tile, ...]
    asked: tuple[tuple[str, str], ...]
    preview: str
    choice: tuple[str, ...]
    """How the edit was chosen, where it was: a sentence each."""
    main: MainTable
    full: FullTable
    strengths: StrengthTable | None
    training: str
    collateral: CollateralSection | None
    attacks: AttackSection | None
    sections: tuple[Section, ...]
    limits: tuple[str, ...]
    command: str


def content(
    evaluation: Evaluation,
    preview: Preview | None,
    log: Sequence[StepRecord],
    facts: Mapping[str, object],
    attacks: Attacks | None = None,
) -> Content:
    """All words and figures of a report, in reading order."""
    outcome, attacked = verdict(evaluation, attacks), attack_section(attacks)
    return Content(
        title=f"Removing {evaluation.feature} from {evaluation.generator.name}",
        status=STATUS[outcome.status],
        verdict=outcome,
        tiles=tuple(_tiles(evaluation)),
        asked=tuple(_asked(evaluation, facts)),
        preview=_expectation(preview, evaluation.extractor),
        choice=_choice(facts),
        main=main_table(evaluation),
        full=full_table(evaluation),
        strengths=strength_table(evaluation),
        training=_training(log),
        collateral=collateral_section(evaluation),
        attacks=attacked,
        sections=tuple(section for section in _sections(evaluation, preview, facts) if section.entries),
        limits=(*LIMITS, ATTACKED if attacked else UNATTACKED),
        command=str(facts.get("command", "")),
    )


def _tiles(evaluation: Evaluation) -> Iterator[Tile]:
    original, unlearned = evaluation.row("original").scores, evaluation.row("unlearned").scores
    before, after = first(original, "target_ratio"), first(unlearned, "target_ratio")
    if before is not None and after is not None:
        wanted = f"before → after; wanted {percent(evaluation.wanted_ratio)}"
        yield Tile("Pictures that show it", f"{percent(before.value)} → {percent(after.value)}", wanted)
    for name, told in evaluation.options.get("others", {}).items():
        then, now = original[OTHER + name], unlearned[OTHER + name]
        note = f"before → after; unlearned {told['unlearned']}, as in {told['run']}"
        yield Tile(f"Pictures that show {name}", f"{percent(then.value)} → {percent(now.value)}", note)
    yield from _damage(evaluation)
    coverage = first(unlearned, "coverage")
    rows = {row.name: row for row in evaluation.rows}
    usual = first(rows["filter"].scores, "coverage") if "filter" in rows else first(original, "coverage")
    if coverage is not None and usual is not None:
        yield Tile("Variety kept", percent(coverage.value), f"of what there was; {percent(usual.value)} would be usual")


def _damage(evaluation: Evaluation) -> Iterator[Tile]:
    unlearned, key = evaluation.row("unlearned").scores, judged_flips(evaluation, "untouched")
    flips, drift = first(unlearned, key), first(unlearned, "drift_untouched")
    if flips is not None:
        of_attributes = key.startswith("attribute_flips")
        what = "of other attributes changed" if of_attributes else f"yet changed {class_word(evaluation.extractor)}"
        everybody = first(unlearned, judged_flips(evaluation, "never_had"))
        reach = f". Of all that never had it: {percent(everybody.value)}" if everybody is not None else ""
        note = f"outside the edit's reach, {what}; up to {percent(FLIPS_KEPT)} is accepted{reach}"
        yield Tile("Other pictures damaged", percent(flips.value), note)
    elif drift is not None:
        note = f"mean change of pixels outside the edit's reach; up to {percent(DRIFT_KEPT)} is accepted"
        yield Tile("Other pictures damaged", percent(drift.value), note)


def _asked(evaluation: Evaluation, facts: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    yield "Feature to remove", evaluation.feature
    yield "Generator", evaluation.generator.name
    yield "Wanted", f"at most {percent(evaluation.wanted_ratio)} of fresh pictures show it"
    feedback = facts.get("feedback")
    if isinstance(feedback, Mapping):
        marks = [f"{_text(feedback[key])} {word}" for key, word in _MARKS.items() if key in feedback]
        yield "Examples", ", ".join(marks) or "none counted"
        yield "Marked by", _text(feedback.get("source", "not recorded"))
        for key, value in feedback.items():
            if key not in _MARKS and key != "source":
                yield _label(key), _text(value)


_MARKS = {"positives": "pictures with it", "negatives": "without it", "unsure": "unsure"}


def _expectation(preview: Preview | None, extractor: Mapping[str, str]) -> str:
    """What the teacher promised before training; empty without a preview."""
    if preview is None:
        return ""
    text = (
        f"Before any training, the edit to be learned (the “teacher”) was measured on {count(preview.n)} pictures: "
        f"it moves {with_range(preview.rewritten)} of the latents"
    )
    if not preview.drift_rest.n:
        text += "; all of the pictures showed the feature before."
    else:
        drift = with_range(preview.drift_rest)
        text += f" and changes the pixels of pictures that never showed the feature by {drift} on average."
    if preview.flips_rest is not None and preview.flips_rest.n and "class_word" in extractor:
        text += f" {with_range(preview.flips_rest)} of those become another {class_word(extractor)}."
    if preview.ratio is None:
        return f"{text} Nobody judged its pictures, so its share with the feature was not known."
    before = f", {percent(preview.ratio_before.value)} before" if preview.ratio_before is not None else ""
    shown = f"{with_range(preview.ratio)} of its pictures show the feature{before}"
    return f"{text} {shown}. The result can hardly be better."


def _choice(facts: Mapping[str, object]) -> tuple[str, ...]:
    """The sentences of `unfeature.features.choosing`, beginning like sentences."""
    choice = facts.get("choice")
    told = choice.get("told", ()) if isinstance(choice, Mapping) else ()
    return tuple(sentence[:1].upper() + sentence[1:] for sentence in told)


def _training(log: Sequence[StepRecord]) -> str:
    if not log:
        return ""
    last = log[-1]
    text = f"Trained for {count(last.step)} of at most {count(last.steps)} steps."
    return f"{text} Stopped because: {last.stopped}." if last.stopped else text


def _sections(evaluation: Evaluation, preview: Preview | None, facts: Mapping[str, object]) -> Iterator[Section]:
    judged = "Whether a picture shows the feature was decided by this judge. What guided the edit is listed beside it."
    yield Section("Judge and guide", judged, tuple(_flat(evaluation.judge)))
    samples = [("pictures per row", count(evaluation.n))]
    samples += [(f"seeds: {_label(k)}", _seeds(v)) for k, v in evaluation.seeds.items()]
    yield Section("Samples", "Every picture comes from one numbered seed. No two ranges meet.", tuple(samples))
    network = "The network whose features stand behind the distances, precision, recall, density, coverage and classes."
    yield Section("Extractor", network, tuple(_flat(evaluation.extractor)))
    if "class_word" in evaluation.extractor:  # other classes say nothing of these pictures
        classes = {key: value for key, value in evaluation.collateral.items() if key != "matrix"}
        yield Section("Side effects against a placebo", _placebo(evaluation), tuple(_flat(classes)))
    named = "Names made from the content itself: equal names, equal bytes."
    yield Section("Identity", named, _identity(evaluation, preview))
    if preview is not None and preview.threshold is not None and preview.margin is not None:
        yield Section("Teacher", "", (("margin", number(preview.margin)), ("threshold", number(preview.threshold))))
    yield Section("Options", "", tuple(_flat(evaluation.options)))
    yield Section("Versions", "", tuple(_flat(evaluation.versions)))
    rest = {key: value for key, value in facts.items() if key not in _SHOWN}
    yield Section("More about this run", "", tuple(_flat(rest)))


def _placebo(evaluation: Evaluation) -> str:
    noun = class_word(evaluation.extractor)
    text = f"How many pictures changed {noun} by the edit, and by a placebo: a move as long in another direction."
    try:
        edit, placebo, p = (evaluation.collateral[key] for key in ("edit", "placebo", "mcnemar_p"))
        shares = [float(side["flips"]) / max(1, int(side["n"])) for side in (edit, placebo)]
        chance = "could be chance" if float(p) >= 0.05 else "is more than chance"
        value = "below 0.001" if float(p) < 0.001 else f"= {float(p):.3f}"
    except (KeyError, TypeError, ValueError):
        return text
    text = f"{text} Edit: {percent(shares[0])}; placebo: {percent(shares[1])}."
    return f"{text} The difference {chance} (McNemar p {value})."


def _identity(evaluation: Evaluation, preview: Preview | None) -> tuple[tuple[str, str], ...]:
    original, result = evaluation.generator, evaluation.result
    entries = [
        ("original", original.id),
        ("result", result.id),
        ("evaluation", evaluation.id),
        ("image shape", " x ".join(str(side) for side in original.image_shape)),
        ("latent dimensions", str(original.latent_dim)),
    ]
    if preview is not None:
        entries.insert(3, ("preview", preview.id))
    if original.licence:
        entries.append(("licence of the original", original.licence))
    return tuple(entries)


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Nested mappings as one list of entries; what was left unset, as an option that does not apply, is left out."""
    for key, value in values.items():
        name = f"{prefix}{_label(key)}"
        if isinstance(value, Mapping):
            yield from _flat(value, f"{name}: ")
        elif value not in ("", None, [], ()):
            yield name, _text(value)


def _label(key: object) -> str:
    return str(key).replace("_", " ")


def _seeds(ends: Sequence[int]) -> str:
    return " to ".join(str(end) for end in ends)


def _text(value: object) -> str:
    """Any fact as a reader would write it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None:
        return "none"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, (list, tuple)):
        return ", ".join(_text(part) for part in value)
    return str(value)
