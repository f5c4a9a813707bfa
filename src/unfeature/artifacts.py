"""Frozen things that are saved, as plain JSON. Nothing here imports torch."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from unfeature.intervals import wilson


def content_id(value: object) -> str:
    """The first 16 hex digits of the SHA-256 of a JSON-able value: equal content, equal id."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


class Artifact:
    """What all saved things share: to and from a JSON object, and an id made of the content."""

    def to_json(self) -> dict[str, Any]:
        """A dict of JSON types."""
        return dataclasses.asdict(self)  # type: ignore[call-overload, no-any-return]

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """The artifact that `to_json` made; unknown keys are an error (TypeError)."""
        return cls(**value)

    @property
    def id(self) -> str:
        """A hash of the content."""
        return content_id(self.to_json())


OTHER = "target_ratio: "
"""What the score of another feature begins with, before the feature's name."""


@dataclass(frozen=True)
class GeneratorSpec(Artifact):
    """What a generator is, whatever its family."""

    name: str
    weights: str
    """The first 16 hex digits of the SHA-256 over all parameters and buffers."""
    latent_dim: int
    """d: the width of the one flat latent space."""
    image_shape: tuple[int, int, int]
    """(c, h, w)."""
    licence: str = ""
    given: str = ""  # hash of arguments beside the file, such as another space of latents; "" where there were none

    def __post_init__(self) -> None:
        object.__setattr__(self, "image_shape", tuple(self.image_shape))

    @property
    def id(self) -> str:
        """Name, weights and arguments, if any: `mnist-vae@0123456789abcdef`, `own@0123456789abcdef+01234567`."""
        return f"{self.name}@{self.weights}{self.given and f'+{self.given}'}"


@dataclass(frozen=True)
class Gallery(Artifact):
    """Pictures drawn for marking: their seeds say all (the latent of a seed never changes)."""

    generator: str
    seeds: tuple[int, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "seeds", tuple(self.seeds))


@dataclass(frozen=True)
class Feedback(Artifact):
    """Who showed the feature: seeds of marked pictures, in the order of the gallery."""

    feature: str
    generator: str
    positives: tuple[int, ...]
    negatives: tuple[int, ...]
    unsure: tuple[int, ...] = ()
    source: str = "marked by hand"
    """Who marked: a judge's name, or the file the marks came from."""
    cut: float | None = None
    """Where a measured feature begins, fixed on the original generator."""

    def __post_init__(self) -> None:
        for name in ("positives", "negatives", "unsure"):
            object.__setattr__(self, name, tuple(getattr(self, name)))


@dataclass(frozen=True)
class Score(Artifact):
    """One figure with its 95 % interval and the number of images behind it."""

    name: str
    """The protocol: `fd10k_mnist-gradients` is FD on 10,000 images in that extractor's features."""
    value: float
    low: float
    high: float
    n: int
    unit: str = ""
    higher_is_better: bool | None = None
    note: str = ""

    @classmethod
    def share(cls, name: str, hits: int, n: int, **more: Any) -> Score:
        """A proportion with Wilson's interval."""
        low, high = wilson(hits, n)
        return cls(name, hits / n if n else 0.0, low, high, n, **more)


@dataclass(frozen=True)
class Distribution(Artifact):
    """How a measured feature is spread over one row's images, on bins common to all rows."""

    unit: str
    cut: float
    """Where the feature begins; fixed on the original."""
    edges: tuple[float, ...]
    counts: tuple[int, ...]
    quantiles: dict[str, float]
    """"0.01", "0.10", "0.50", "0.90", "0.99" -> value in `unit`."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "edges", tuple(self.edges))
        object.__setattr__(self, "counts", tuple(self.counts))


@dataclass(frozen=True)
class Row(Artifact):
    """One line of the table: what made the images, and how they score."""

    name: str
    """"original", "filter", "teacher" or "unlearned"."""
    about: str
    scores: dict[str, Score]
    distribution: Distribution | None = None

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        scores = {name: Score.from_json(score) for name, score in value["scores"].items()}
        shape = value.get("distribution")
        return cls(value["name"], value["about"], scores, Distribution.from_json(shape) if shape else None)


@dataclass(frozen=True)
class Evaluation(Artifact):
    """Everything a report says, with what is needed to measure it again."""

    feature: str
    generator: GeneratorSpec
    result: GeneratorSpec
    judge: dict[str, Any]
    """Name, kind, cut, unit, what it was trained on; and who guided, so that the two can be compared."""
    extractor: dict[str, str]
    """Name and SHA-256 of the network whose features FD, KID, PRDC and IS stand on."""
    n: int
    seeds: dict[str, list[int]]
    """purpose -> [first, last] of the seeds used; no two ranges meet."""
    wanted_ratio: float
    rows: tuple[Row, ...]
    floor: dict[str, Score]
    """Two disjoint draws of feature-free samples of the original: no result can be expected below."""
    collateral: dict[str, Any] = field(default_factory=dict)
    """Flips of the edit against a placebo edit of the same length: counts and McNemar's p."""
    options: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        parts = dict(value)
        parts["generator"] = GeneratorSpec.from_json(parts["generator"])
        parts["result"] = GeneratorSpec.from_json(parts["result"])
        parts["rows"] = tuple(Row.from_json(row) for row in parts["rows"])
        parts["floor"] = {name: Score.from_json(score) for name, score in parts["floor"].items()}
        return cls(**parts)

    def row(self, name: str) -> Row:
        """The row of that name; LookupError where there is none."""
        for row in self.rows:
            if row.name == name:
                return row
        raise LookupError(name)


@dataclass(frozen=True)
class Preview(Artifact):
    """A teacher's numbers, measured before any training: the student cannot be better than this."""

    feature: str
    generator: str
    n: int
    margin: float | None
    threshold: float | None  # both None of features without one: several together
    rewritten: Score
    """Share of latents the teacher rewrites."""
    drift_rest: Score
    """Mean absolute pixel change, in [0, 1], over latents whose picture never showed the feature."""
    flips_rest: Score | None
    """Share of those pictures whose class changes; None where no extractor was asked."""
    ratio_before: Score | None
    """None where nobody judges."""
    ratio: Score | None
    made_by: str = "teacher"
    """Who made the measured pictures: the teacher, or a copy: "instant edit"."""

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        parts = dict(value)
        for name in ("rewritten", "drift_rest", "flips_rest", "ratio_before", "ratio"):
            parts[name] = Score.from_json(parts[name]) if parts[name] else None
        return cls(**parts)


@dataclass(frozen=True)
class Point(Artifact):
    """Of a curve."""

    x: float
    score: Score


@dataclass(frozen=True)
class Curve(Artifact):
    """How a figure goes with what was spent on it."""

    name: str
    x: str
    """What is counted: "steps", "pictures"."""
    points: tuple[Point, ...]


@dataclass(frozen=True)
class AttackResult(Artifact):
    """What one attack on one generator brought back."""

    name: str
    target: str
    """"original", "unlearned" or "control"."""
    generator: str
    """The target's id."""
    figures: tuple[Score, ...]
    """The one that says how far it got first."""
    curves: tuple[Curve, ...]
    facts: dict[str, Any]
    picture: str
    """Its best picture as a PNG, `data:image/png;base64,...`."""

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        curves = tuple(
            Curve(told["name"], told["x"], tuple(Point(p["x"], Score.from_json(p["score"])) for p in told["points"]))
            for told in value["curves"]
        )
        return cls(**{**value, "curves": curves, "figures": tuple(map(Score.from_json, value["figures"]))})


@dataclass(frozen=True)
class Attacks(Artifact):
    """attacks.json: what was tried to bring the feature back."""

    made_from: dict[str, Any]
    """Generators, feature, judge, guide and options: results of anything else are not mixed in."""
    results: tuple[AttackResult, ...]
    left_out: dict[str, str]
    """Attack -> why it does not apply here."""
    versions: dict[str, str] = field(default_factory=dict)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        return cls(**{**value, "results": tuple(map(AttackResult.from_json, value["results"]))})


@dataclass(frozen=True)
class StepRecord(Artifact):
    """One line of the training log."""

    step: int
    """Steps done."""
    steps: int
    """Steps at most."""
    loss: float
    unlearn: float
    perceptual: float
    reconstruction: float
    distance: float | None = None
    """Mean absolute pixel distance to the teacher on the fixed probe set; only on steps that check."""
    ratio: Score | None = None
    """Target ratio on fresh latents; only on steps that judge."""
    stopped: str = ""
    """Why training ended, on the last record."""

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        return cls(**{**value, "ratio": Score.from_json(value["ratio"]) if value.get("ratio") else None})
