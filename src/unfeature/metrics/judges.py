"""Who decides whether an image shows the feature: a measured property with a cut, or any function of images."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from unfeature.errors import BadFile, BadOption, ShapeError
from unfeature.metrics import MEASUREMENTS
from unfeature.metrics.ratio import check_rates
from unfeature.protocols import AttributeJudge, Judge, Measurement
from unfeature.tables import resolve


def load_measurement(name: str) -> Measurement:
    """The measurement of that name in MEASUREMENTS; UnknownName."""
    measurement: Measurement = resolve("measurement", MEASUREMENTS, name)()
    return measurement


@dataclass(frozen=True)
class CutJudge:
    """Finds the feature where the measured value reaches the cut, which was fixed on the original generator."""

    measurement: Measurement
    cut: float
    """In the measurement's unit."""

    def __post_init__(self) -> None:
        if not math.isfinite(self.cut):
            raise BadOption(
                f"the cut of {self.measurement.name} is {self.cut}; expected a finite number of "
                f"{self.measurement.unit}. Fix it on the original generator with `calibrate`."
            )

    @property
    def about(self) -> Mapping[str, Any]:
        """Name, kind, unit and cut."""
        return {
            "name": self.measurement.name,
            "kind": "measurement",
            "unit": self.measurement.unit,
            "cut": self.cut,
        }

    def score(self, images: Tensor) -> Tensor:
        """(n, c, h, w) in [0, 1] -> (n,) float32: 1 where the measured value is at least the cut, else 0."""
        return (self.measurement.measure(images) >= self.cut).float()


def calibrate(measurement: Measurement, images: Tensor, share: float = 0.10) -> CutJudge:
    """The judge that finds the feature in the top `share` of the original generator's images (n, c, h, w).

    BadOption for a share outside (0, 1), or where the measured value is the same on (nearly) every image.
    """
    if not len(images):
        raise ShapeError("calibration got 0 images; expected samples of the original generator, best 10,000 of them.")
    return cut_at(measurement, measurement.measure(images), share)


def cut_at(measurement: Measurement, values: Tensor, share: float) -> CutJudge:
    """The same from the values (n,) measured on those images: for more images than fit into memory."""
    if not 0.0 < share < 1.0:
        raise BadOption(f"share is {share}; expected a number between 0 and 1, for instance 0.10 for the top tenth.")
    cut = float(torch.quantile(values, 1.0 - share))
    if not cut > float(values.min()):
        raise BadOption(
            f"{measurement.name} does not tell these {len(values)} images apart: the cut for the top {share:g} is "
            f"{cut:g} {measurement.unit}, also the smallest value. Choose another measurement or a smaller share."
        )
    return CutJudge(measurement, cut)


ADVICE = {1: "one score an image, for instance with `.squeeze(1)`", 2: "one score for each name in `attributes`"}
"""Dimensions of the scores -> what to return."""


@dataclass(frozen=True)
class CallableJudge:
    """Any function from images (n, c, h, w) to n scores in [0, 1], checked at every call."""

    name: str
    function: Callable[[Tensor], Any]
    facts: Mapping[str, Any] = field(default_factory=dict)
    """What else is known of it, such as `true_positive_rate` and `false_positive_rate`."""
    role: str = field(default="judge", kw_only=True)
    """What errors call it: "judge", or "guide" where scores are followed."""

    @property
    def about(self) -> Mapping[str, Any]:
        """Name, kind and the facts given."""
        return {"name": self.name, "kind": "callable", **self.facts}

    def score(self, images: Tensor) -> Tensor:
        """(n, c, h, w) in [0, 1] -> (n,) in [0, 1]; ShapeError, BadOption for anything else returned."""
        return self._checked(self.function(images), (len(images),)).to(images.device)

    def _checked(self, returned: Any, shape: tuple[int, ...]) -> Tensor:
        scores = _as_tensor(returned, f'{self.role} "{self.name}"')
        if scores.shape != shape:
            raise ShapeError(
                f'{self.role} "{self.name}" returned scores of shape {tuple(scores.shape)} for {shape[0]} images; '
                f"expected {shape}. Return {ADVICE[len(shape)]}."
            )
        wrong = ~((scores >= 0.0) & (scores <= 1.0))  # NaN is wrong too
        if bool(wrong.any()):
            first, image = float(scores[wrong][0].detach()), int(wrong.nonzero()[0, 0])
            raise BadOption(
                f'{self.role} "{self.name}" returned {first:g} for image {image}; '
                "expected scores in [0, 1]. Return probabilities, for instance with `.sigmoid()`."
            )
        return scores


def _as_tensor(returned: Any, who: str) -> Tensor:
    """Numbers that somebody's own code returned; ShapeError where they are none."""
    try:
        scores = torch.as_tensor(returned)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ShapeError(
            f"{who} returned {type(returned).__name__}; expected a tensor, an array or a list of numbers, one an image "
            f"({error})."
        ) from error
    return scores if scores.is_floating_point() else scores.float()


@dataclass(frozen=True)
class CallableAttributeJudge(CallableJudge):
    """A CallableJudge that tells k attributes too, checked at every call."""

    attributes: tuple[str, ...] = ()
    attribute_function: Callable[[Tensor], Any] = lambda images: torch.empty(len(images), 0)

    def attribute_scores(self, images: Tensor) -> Tensor:
        """(n, c, h, w) in [0, 1] -> (n, k) in [0, 1]; ShapeError, BadOption for anything else returned."""
        return self._checked(self.attribute_function(images), (len(images), len(self.attributes))).to(images.device)


def judge_of(reference: str, found: Judge, role: str = "judge") -> CallableJudge:
    """The user's FILE.py:NAME, what it returns checked at every call; a guide's scores keep their gradient. BadFile."""
    score, facts = guarded(reference, found.score, role), _facts(reference, found.about, role)
    if isinstance(found, AttributeJudge):
        told = tuple(found.attributes), guarded(reference, found.attribute_scores, role)
        return CallableAttributeJudge(reference, score, facts, *told, role=role)
    return CallableJudge(reference, score, facts, role=role)


@dataclass(frozen=True)
class UsersMeasurement:
    """A measurement of the user's own file, what it returns checked at every call."""

    reference: str
    name: str
    unit: str
    function: Callable[[Tensor], Any]

    def measure(self, images: Tensor) -> Tensor:
        """(n, c, h, w) in [0, 1] -> (n,) in `unit`; ShapeError for anything else returned."""
        values = _as_tensor(self.function(images), f'the measurement of "{self.reference}"')
        if values.shape != (len(images),):
            raise ShapeError(
                f'the measurement of "{self.reference}" returned values of shape {tuple(values.shape)} for '
                f"{len(images)} images; expected {(len(images),)}. Return one value an image."
            )
        return values.to(images.device)


def cut_of(reference: str, found: CutJudge) -> CutJudge:
    """The user's FILE.py:NAME, a measurement with a cut, what it returns checked at every call. BadFile."""
    given = found.measurement
    checked = UsersMeasurement(reference, given.name, given.unit, guarded(reference, given.measure))
    return CutJudge(checked, found.cut)


def guarded(reference: str, function: Any, role: str = "judge") -> Callable[[Tensor], Any]:
    """The user's function; what goes wrong in it becomes BadFile, naming it and the error."""
    if not callable(function):
        raise BadFile(f'"{reference}" is a {type(function).__name__}; expected a function of images (n, c, h, w).')

    def called(images: Tensor) -> Any:
        try:
            with nullcontext() if role == "guide" else torch.no_grad():
                return function(images)
        except Exception as error:
            raise BadFile(
                f'{role} "{reference}" failed on {len(images)} images of {"x".join(map(str, images.shape[1:]))}: '
                f"{type(error).__name__}: {error}. It is given (n, c, h, w) in [0, 1] and returns (n,): mend the file."
            ) from error

    return called


def _facts(reference: str, about: Any, role: str) -> dict[str, Any]:
    """What it tells of itself, as result files hold it; BadFile for what JSON cannot say, BadOption for odd rates."""
    try:
        facts = dict(about)
        json.dumps(facts, sort_keys=True)
    except (TypeError, ValueError) as error:
        raise BadFile(
            f'{role} "{reference}" has an `about` that is not JSON ({error}); expected a dict of plain numbers, text '
            "and lists. Mend the file, for instance with `float(...)` around a number of numpy."
        ) from error
    check_rates(reference, facts)
    return facts
