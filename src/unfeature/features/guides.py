"""What guides a search: opinions on pictures that have a gradient. NEVER a judge: whatever guides does not judge.

A guide says whether the feature is there. A keep says something else that should stay as it was.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from unfeature.errors import BadOption
from unfeature.features.probes import NETWORKS, Part, Probe
from unfeature.features.views import Space
from unfeature.options import MarkOptions
from unfeature.protocols import AttributeJudge, Extractor, Judge

EPSILON = 1e-6
"""Scores this near to 0 and 1 are as sure as a guide can be: log odds stay finite."""


Progress = Callable[[int, int], None]
"""Told how much is done, and of how much."""


def unheard(done: int, total: int) -> None:
    """Progress nobody asked for."""


class Guide(Protocol):
    """Whether pictures show the feature."""

    def log_odds(self, images: Tensor) -> Tensor:
        """(n, c, h, w) in [0, 1] -> (n,), differentiable, row i from images[i] alone."""

    def told(self) -> str:
        """Who it is, in a sentence."""

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Tensors and JSON from which `load_guide` makes it again."""


WANTED: float = MarkOptions.model_fields["wanted_ratio"].default
"""Target ratio that counts as removed, unless told."""


@dataclass(frozen=True)
class Helpers:
    """Networks and judges from outside this package's features, by the names that a feature is saved with."""

    extractor: Callable[[str], Extractor | None]
    """Name or FILE.py:FUNCTION -> the network."""
    judge: Callable[[str], Judge]
    """FILE.py:NAME -> the judge, its scores with a gradient."""
    wanted_ratio: float = WANTED
    """What counts as removed, for a finder that chooses."""


def _nobody(reference: str) -> Any:
    if not reference:
        return None
    raise BadOption(f'"{reference}" was named, but nobody here can load it; expected a run folder. Use the workflow.')


ALONE = Helpers(_nobody, _nobody)
"""For features that name nobody."""


@dataclass(frozen=True)
class ProbeGuide:
    """A probe of pictures."""

    probe: Probe
    network: str = ""
    """The name of the probe's extractor."""

    def log_odds(self, images: Tensor) -> Tensor:
        """(n, c, h, w) -> (n,)."""
        return self.probe.log_odds(images)

    def told(self) -> str:
        """How well it does on marks that it was not given."""
        probe = self.probe
        through = f" through {self.network}" if probe.extractor is not None else ""
        sides = [f"{side.name.removeprefix('probe_')} {side.value:.2f}" for side in (probe.precision, probe.recall)]
        return f"guided by a probe of {probe.told}{through}: held-out AUC {probe.auc:.3f}, {', '.join(sides)}."

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Its parts, and what it says of itself."""
        probe = self.probe
        facts: dict[str, Any] = {
            "guide": "probe",
            "spaces": list(probe.spaces),
            "offset": probe.offset,
            "network": self.network,
        }
        facts |= {"auc": probe.auc, "precision": probe.precision.to_json(), "recall": probe.recall.to_json()}
        tensors = {f"guide.{part.space}": torch.from_numpy(part.weights) for part in probe.parts}
        return tensors | {"guide.held_out": torch.from_numpy(probe.held_out)}, facts


@dataclass(frozen=True)
class ProbeJudge:
    """A probe in a judge's place, for previews and for what is kept: NEVER for a result."""

    probe: Probe
    name: str = "a probe of the marks, which judges no result"
    latents: Probe | None = None
    """A probe of the marks' latents, where it tells marks that it has not seen as well as that of their pictures."""

    @property
    def about(self) -> dict[str, Any]:
        """What it learnt from."""
        return {"name": self.name}

    def score(self, images: Tensor) -> Tensor:
        """(n, c, h, w) in [0, 1] -> (n,) in [0, 1], differentiable; ShapeError for a probe of latents."""
        return self.probe.log_odds(images).sigmoid()


@dataclass(frozen=True)
class JudgeGuide:
    """A network that was trained elsewhere, named by the user."""

    judge: Judge
    reference: str

    def log_odds(self, images: Tensor) -> Tensor:
        """(n, c, h, w) -> (n,)."""
        return _log_odds(self.judge.score(images))

    def told(self) -> str:
        """Its name."""
        return f"guided by {self.judge.about['name']}."

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Its name alone."""
        return {}, {"guide": "judge", "reference": self.reference}


def load_guide(tensors: dict[str, Tensor], facts: dict[str, Any], helpers: Helpers) -> Guide:
    """The guide whose `state()` these are."""
    from unfeature.artifacts import Score

    if facts["guide"] == "judge":
        return JudgeGuide(helpers.judge(facts["reference"]), facts["reference"])
    spaces: list[Space] = facts["spaces"]
    extractor = helpers.extractor(facts["network"]) if any(space in NETWORKS for space in spaces) else None
    precision, recall = (Score.from_json(facts[name]) for name in ("precision", "recall"))
    parts = tuple(Part(space, np.asarray(tensors[f"guide.{space}"], dtype=np.float64)) for space in spaces)
    held_out = np.asarray(tensors["guide.held_out"], dtype=np.float64)
    probe = Probe(parts, float(facts["offset"]), held_out, facts["auc"], precision, recall, extractor)
    return ProbeGuide(probe, facts["network"])


def check_gradient(guide: Guide, images: Tensor, named: str) -> None:
    """BadOption where the opinion on pictures (n, c, h, w) has no gradient to follow."""
    with torch.enable_grad():
        seen = images.detach().clone().requires_grad_()
        told = guide.log_odds(seen)
        found = torch.autograd.grad(told.sum(), seen, allow_unused=True)[0] if told.requires_grad else None
    if found is None or not bool(found.isfinite().all()):
        raise BadOption(
            f'"{named}" gives scores without a gradient to the picture; expected a network, to guide a search. Leave '
            "--guide out: a probe of the marks guides then."
        )


@dataclass(frozen=True)
class Keep:
    """What should stay as it was: each change costs, in nats, what it would cost to be told of it."""

    classes: Callable[[Tensor], Tensor] | None = None
    """Class scores (n, m) of which one is right, such as digits."""
    attributes: tuple[Callable[[Tensor], Tensor], ...] = ()
    """Log odds (n, k) of things that are there or not."""
    names: tuple[str, ...] = field(default=())

    def told(self, images: Tensor) -> list[Tensor]:
        """What is said of pictures (n, c, h, w)."""
        parts = [self.classes(images)] if self.classes is not None else []
        return parts + [function(images) for function in self.attributes]

    def cost(self, before: list[Tensor], after: list[Tensor]) -> Tensor:
        """(n,): Kullback-Leibler divergence from before to after, summed over what is kept, averaged within a judge."""
        total = torch.zeros(len((after or before)[0])) if before else torch.zeros(())
        rest = list(zip(before, after, strict=True))
        if self.classes is not None:
            old, new = (F.log_softmax(side, dim=1) for side in rest.pop(0))
            total = total + (old.exp() * (old - new)).sum(dim=1)
        for old, new in rest:
            share = old.sigmoid()
            gain = share * (F.logsigmoid(old) - F.logsigmoid(new)) + (1 - share) * (
                F.logsigmoid(-old) - F.logsigmoid(-new)
            )
            total = total + gain.mean(dim=1) * KEPT
        return total


KEPT = 10.0
"""Weight of a judge's mean divergence over its attributes: one attribute turned about costs as much as with ten."""


def kept_by_judge(judge: Judge, name: str) -> Callable[[Tensor], Tensor]:
    """Log odds (n, k) of a judge: of the attributes that `name` keeps, or of its one score where it tells no others."""
    columns = _columns(judge, name)
    if isinstance(judge, AttributeJudge) and columns:
        return lambda images: _log_odds(judge.attribute_scores(images)[:, columns])
    return lambda images: _log_odds(judge.score(images)).unsqueeze(1)


def names_kept(judge: Judge, name: str) -> tuple[str, ...]:
    """What each of its log odds is of; the one score of a judge that tells no others is called `name`."""
    attributes = judge.attributes if isinstance(judge, AttributeJudge) else ()
    return tuple(attributes[i] for i in _columns(judge, name)) or (name,)


def _columns(judge: Judge, name: str) -> list[int]:
    """The judge's attribute of that name, in capitals or not; where it has none, all but the one it decides."""
    attributes = judge.attributes if isinstance(judge, AttributeJudge) else ()
    named = [i for i, attribute in enumerate(attributes) if attribute.casefold() == name.casefold()]
    return named or [i for i, attribute in enumerate(attributes) if attribute != judge.about.get("attribute")]


def _log_odds(scores: Tensor) -> Tensor:
    return torch.logit(scores.float(), eps=EPSILON)
