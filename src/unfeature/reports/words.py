"""Figures and names in plain words: what a score is called, which way is better, how it is written."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Literal

from unfeature.artifacts import OTHER as OTHER_FEATURE
from unfeature.artifacts import Evaluation, Score

Group = Literal["edited", "untouched", "never_had"]
"""Of pictures, by what the teacher and the judge say of them."""

_SIZED = re.compile(r"\A(?P<family>[a-z]+)\d+k?_(?P<rest>.*)\Z", re.DOTALL)
"""`fd10k_mnist-digits_to_all`: family, number of images, then extractor and reference."""
_PAIR = re.compile(r"\Aperceptual_.*_(?P<group>untouched|never_had|had|edited)\Z", re.DOTALL)
"""`perceptual_squeezenet10-128px_edited`: extractor, then which pictures."""


@dataclass(frozen=True)
class Measure:
    """What a family of scores says, whatever its size and extractor."""

    title: str
    group: str
    meaning: str
    percent: bool = False
    higher_is_better: bool | None = None


SHOWS, DISTANCE, QUALITY, PAIRED, OTHER = (
    "Is the feature gone?",
    "Distance to other pictures of the original",
    "Quality and variety",
    "Same latents, before against after",
    "Other figures",
)
GROUPS = (SHOWS, DISTANCE, QUALITY, PAIRED, OTHER)
_FREE, _ALL = "pictures of the original without the feature", "all pictures of the original"
_PERCEPTUAL = "mean squared difference of the extractor's normalised features, all layers alike; it is not LPIPS"

MEASURES: Mapping[str, Measure] = {
    "target_ratio": Measure(
        "Pictures that show the feature", SHOWS, "share of fresh pictures in which the judge finds it", True, False
    ),
    "target_ratio_corrected": Measure(
        "The same, corrected for the judge's own errors", SHOWS, "Rogan-Gladen estimate", True, False
    ),
    "target_ratio_other": Measure(
        "Pictures that show another feature", SHOWS, "share of fresh pictures in which its own judge finds it", True,
        False,
    ),
    "fd": Measure("Distance to feature-free pictures", DISTANCE, f"Fréchet distance to {_FREE}", False, False),
    "fd_to_all": Measure("Distance to all pictures", DISTANCE, f"Fréchet distance to {_ALL}", False, None),
    "kid": Measure("Kernel distance to feature-free pictures", DISTANCE, f"KID to {_FREE}", False, False),
    "kid_to_all": Measure("Kernel distance to all pictures", DISTANCE, f"KID to {_ALL}", False, None),
    "precision": Measure(
        "Precision", QUALITY, f"share of pictures that look like {_FREE}", higher_is_better=True
    ),
    "recall": Measure("Recall", QUALITY, f"share of {_FREE} that it could make", higher_is_better=True),
    "density": Measure("Density", QUALITY, f"how closely its pictures sit among {_FREE}", higher_is_better=True),
    "coverage": Measure(
        "Variety covered", QUALITY, f"share of {_FREE} that have one of its pictures close by", True, True
    ),
    "is": Measure("Inception score", QUALITY, "how clear and how varied the classes are", higher_is_better=True),
    "rewritten": Measure("Latents that are moved", PAIRED, "share of latents in which the teacher finds it", True),
    "flips_untouched": Measure(
        "Untouched pictures that changed {class}", PAIRED, "never had the feature, and the edit leaves them alone",
        True, False,
    ),
    "flips_never_had": Measure(
        "Pictures without the feature that changed {class}", PAIRED, "the original's picture did not show it", True,
        False,
    ),
    "flips_had": Measure(
        "Pictures with the feature that changed {class}", PAIRED, "the original's picture showed it", True, False
    ),
    "flips_edited": Measure(
        "Edited pictures that changed {class}", PAIRED, "pictures whose latent the edit moves", True, False
    ),
    "edit_made": Measure(
        "Share of the teacher's edit that is made", PAIRED, "along it, where the edit moves the latent; 100 % = whole",
        percent=True,
    ),
    "attribute_flips_all": Measure(
        "Other attributes that changed, all pictures", PAIRED, "share of the judge's other attributes, averaged", True,
        False,
    ),
    "attribute_flips_untouched": Measure(
        "Other attributes that changed, untouched pictures", PAIRED,
        "share of the judge's other attributes; the edit leaves these pictures alone", True, False,
    ),
    "attribute_flips_never_had": Measure(
        "Other attributes that changed, pictures without the feature", PAIRED,
        "share of the judge's other attributes, averaged", True, False,
    ),
    "attribute_flips_had": Measure(
        "Other attributes that changed, pictures with the feature", PAIRED,
        "share of the judge's other attributes, averaged", True, False,
    ),
    "attribute_flips_edited": Measure(
        "Other attributes that changed, edited pictures", PAIRED,
        "share of the judge's other attributes, where the edit moves the latent", True, False,
    ),
    "perceptual_untouched": Measure(
        "Perceptual change of untouched pictures", PAIRED, _PERCEPTUAL, higher_is_better=False
    ),
    "perceptual_never_had": Measure(
        "Perceptual change of pictures without the feature", PAIRED, _PERCEPTUAL, higher_is_better=False
    ),
    "perceptual_had": Measure(
        "Perceptual change of pictures with the feature", PAIRED, "the same; here change is the purpose"
    ),
    "perceptual_edited": Measure("Perceptual change of edited pictures", PAIRED, _PERCEPTUAL, higher_is_better=False),
    "drift_untouched": Measure(
        "Pixel change of untouched pictures", PAIRED, "mean absolute change, 100 % = black to white", True, False
    ),
    "drift_never_had": Measure(
        "Pixel change of pictures without the feature", PAIRED, "mean absolute change, 100 % = black to white", True,
        False,
    ),
    "drift_had": Measure(
        "Pixel change of pictures with the feature", PAIRED, "mean absolute change; here change is the purpose", True
    ),
}  # fmt: skip

ROWS: Mapping[str, str] = {
    "original": "Original",
    "filter": "Rejection filter",
    "control": "Trained without it",
    "teacher": "Teacher (latent filter)",
    "instant": "Instant edit",
    "unlearned": "Unlearned",
}
FLOOR = "Floor"
FLOOR_ABOUT = "two separate draws of feature-free pictures of the original: no result can be expected below"


def family(name: str) -> str:
    """The key in `MEASURES` that a score's name falls under, or the name itself where it is unknown.

    >>> family("fd10k_mnist-digits_to_all"), family("coverage2k_other"), family("flips_had"), family("new_score")
    ('fd_to_all', 'coverage', 'flips_had', 'new_score')
    >>> family("perceptual_squeezenet10-128px_never_had")
    'perceptual_never_had'
    >>> family("target_ratio: slanted strokes")
    'target_ratio_other'
    """
    if name.startswith(OTHER_FEATURE):
        return "target_ratio_other"
    pair = _PAIR.match(name)
    if pair is not None:
        return f"perceptual_{pair['group']}"
    match = _SIZED.match(name)
    if match is None:
        return name
    key = match["family"] + ("_to_all" if match["rest"].endswith("_to_all") else "")
    return key if key in MEASURES else name


def first(scores: Mapping[str, Score], key: str) -> Score | None:
    """The first score of a family, or None where it was not measured, or on no picture at all."""
    return next((score for name, score in scores.items() if family(name) == key and score.n > 0), None)


def class_word(extractor: Mapping[str, str]) -> str:
    """What the extractor's classes are called: a digit network tells digits apart."""
    return extractor.get("class_word", "class")


def judged_flips(evaluation: Evaluation, group: Group) -> str:
    """The key of the flips by which damage is judged; empty where nothing measured can tell."""
    told = {family(name) for name, score in evaluation.row("unlearned").scores.items() if score.n}
    return flips_key(told, evaluation.extractor, group)


def flips_key(told: Collection[str], extractor: Mapping[str, str], group: Group) -> str:
    """Of the families of scores told of a copy, the one that tells flips in a group of pictures; empty for none.

    The judge's other attributes where it tells any, else the extractor's classes where they are the pictures' own:
    of a face, the most likely of ImageNet's classes says nothing.
    """
    attributes = f"attribute_flips_{group}"
    if attributes in told:
        return attributes
    return f"flips_{group}" if "class_word" in extractor else ""


def changed(evaluation: Evaluation, key: str, share: float, whose: str = "") -> str:
    """What flipped, as words.

    `1.2 % changed digit`, `1.2 % of the other attributes changed`; `whose` as in `of all that never had it`.
    """
    attributes = key.startswith("attribute_flips")
    words = (
        ("of the other attributes", whose, "changed")
        if attributes
        else (whose, "changed", class_word(evaluation.extractor))
    )
    return " ".join(word for word in (percent(share), *words) if word)


def measure(name: str, score: Score, noun: str) -> Measure:
    """Title, group and direction of any score; an unknown one keeps its own name."""
    known = MEASURES.get(family(name))
    if known is None:
        return Measure(name, OTHER, score.note, False, score.higher_is_better)
    other = name.removeprefix(OTHER_FEATURE) if name.startswith(OTHER_FEATURE) else ""
    title = f"Pictures that show {other}" if other else known.title.replace("{class}", noun)
    better = known.higher_is_better if score.higher_is_better is None else score.higher_is_better
    return Measure(title, known.group, known.meaning, known.percent, better)


def direction(higher_is_better: bool | None) -> str:
    """Which way is better, in words."""
    return {True: "higher is better", False: "lower is better", None: "no better side"}[higher_is_better]


def percent(share: float) -> str:
    """A share as a percentage with as many digits as are worth reading.

    >>> percent(0.0994), percent(0.003), percent(0.0), percent(0.00002)
    ('9.9 %', '0.30 %', '0 %', '<0.01 %')
    """
    return f"{_percent_digits(share)} %"


def percent_range(low: float, high: float) -> str:
    """Both ends of an interval, the sign once: `0.21 to 0.43 %`."""
    return f"{_percent_digits(low)} to {_percent_digits(high)} %"


def with_range(share: Score) -> str:
    """A share and its interval: `0.30 % (0.21 to 0.43 %)`."""
    return f"{percent(share.value)} ({percent_range(share.low, share.high)})"


def _percent_digits(share: float) -> str:
    value = 100.0 * share
    if not math.isfinite(value):
        return "no number"
    if abs(value) < 1e-9 or abs(value) >= 99.95:
        return f"{abs(value) if abs(value) < 1 else value:.0f}"
    if abs(value) < 0.01:
        return "<0.01" if value > 0 else ">-0.01"
    return f"{value:.1f}" if abs(value) >= 0.995 else f"{value:.2f}"


def number(value: float) -> str:
    """Three digits that count, never an exponent where a reader can do without.

    >>> number(12.345), number(0.000521), number(1234.5), number(0.0)
    ('12.3', '0.00052', '1,234', '0')
    """
    if not math.isfinite(value):
        return "no number"
    if value == 0:
        return "0"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    decimals = min(5, max(0, 2 - math.floor(math.log10(abs(value)))))
    return f"{value:.{decimals}f}"


def figure(name: str, score: Score) -> str:
    """The value alone: `0.30 %` or `12.3 px`."""
    known = MEASURES.get(family(name))
    if known is not None and known.percent:
        return percent(score.value)
    return f"{number(score.value)} {_unit(score)}".strip()


def interval(name: str, score: Score) -> str:
    """Its 95 % interval in the same form: `0.21 to 0.43 %`; of none, why: `no interval: one block`."""
    if score.low == score.high:
        why = (
            reason for reason in ("one block", "too few images", "it sees less than it errs") if reason in score.note
        )
        return f"no interval: {next(why, 'one picture' if score.n == 1 else 'no spread')}"
    known = MEASURES.get(family(name))
    if known is not None and known.percent:
        return percent_range(score.low, score.high)
    return f"{number(score.low)} to {number(score.high)} {_unit(score)}".strip()


def _unit(score: Score) -> str:
    return "" if score.unit in ("", "share") else score.unit


def count(n: int) -> str:
    """A number of things: `10,000`."""
    return f"{n:,}"


def sentence_start(text: str) -> str:
    """The text with its first letter large and the rest as it was."""
    return text[:1].upper() + text[1:]
