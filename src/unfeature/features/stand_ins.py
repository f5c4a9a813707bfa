"""What stands in for the feature: what an erased latent becomes, where that is not the boundary.

A wrapper round any feature: who contains it and who guides stays, where latents go changes. `nearest` takes the nearest
latent without the feature out of a fixed bank; `example` goes along the straight line to the nearest marked example
without it, as far as it takes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal, Self

import numpy as np
import torch
from torch import Tensor

from unfeature.artifacts import Feedback
from unfeature.errors import BadOption
from unfeature.features import load_feature
from unfeature.features.guides import Helpers
from unfeature.options import FindOptions
from unfeature.protocols import Feature, Generator, GuidedFeature
from unfeature.scale import Scale
from unfeature.seeds import stream

BANK, BANK_VALUES = 2048, 2**20
"""Fresh latents that are drawn for the bank; fewer of wide ones."""

HALVINGS = 10
"""Of the line to an example: where the feature ends is known to a thousandth of its length."""

Kind = Literal["nearest", "example"]


@dataclass(frozen=True)
class StandIn:
    """A feature whose latents go elsewhere when it is erased."""

    inner: Feature
    kind: Kind
    aims: Tensor
    """(b, d): latents without the feature: the bank, or the marked examples."""
    scale: Scale
    """What is near is measured in standard deviations of the generator's latents."""

    @property
    def generator(self) -> str:
        """Id of the generator it was found for."""
        return self.inner.generator

    @property
    def threshold(self) -> float | None:
        """The wrapped feature's, if it has one."""
        return getattr(self.inner, "threshold", None)

    @property
    def margin(self) -> float | None:
        """The wrapped feature's, if it has one."""
        return getattr(self.inner, "margin", None)

    @cached_property
    def _strict(self) -> Feature:
        return beyond_margin(self.inner)

    def contains(self, latents: Tensor) -> Tensor:
        """(n, d) -> (n,) bool: as the wrapped feature says."""
        return self.inner.contains(latents)

    @torch.no_grad()
    def erase(self, latents: Tensor) -> Tensor:
        """(n, d) -> (n, d): flagged latents become what stands in, others unchanged."""
        rows = torch.nonzero(self.inner.contains(latents)).flatten()
        erased = latents.clone()
        if len(rows):
            start = latents[rows]
            aims = self.aims.to(start)
            aim = aims[torch.cdist(self.scale(start), self.scale(aims)).argmin(dim=1)]
            erased[rows] = aim if self.kind == "nearest" else self._towards(start, aim)
        return erased

    def _towards(self, start: Tensor, aim: Tensor) -> Tensor:
        """(m, d) twice -> (m, d): the first point of each line, halving by halving, at which the feature is gone."""
        with_it, without = start.new_zeros(len(start)), start.new_ones(len(start))
        reached = aim
        for _ in range(HALVINGS):
            middle = (with_it + without) / 2
            point = start + middle.unsqueeze(1) * (aim - start)
            still = self._strict.contains(point)
            with_it, without = torch.where(still, middle, with_it), torch.where(still, without, middle)
            reached = torch.where(still.unsqueeze(1), reached, point)
        return reached

    def told(self) -> list[str]:
        """What was found, and what stands in for it."""
        among = f"of {len(self.aims):,} fresh ones" if self.kind == "nearest" else f"of {len(self.aims):,} marked"
        stands = {
            "nearest": f"stands in: the nearest latent without it, {among}.",
            "example": f"stands in: as far as it takes towards the nearest example without it, {among}.",
        }
        return [*self.inner.told(), stands[self.kind]]

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """The wrapped feature's, with bank or examples."""
        tensors, facts = self.inner.state()
        kept = {f"inner.{name}": value for name, value in tensors.items()}
        kept |= {"aims": self.aims, "mean": self.scale.mean, "deviation": self.scale.deviation}
        own = {"kind": "stand-in", "name": facts["name"], "generator": self.generator, "stand_in": self.kind}
        return kept, {**own, "inner": facts}

    @classmethod
    def from_state(
        cls, tensors: dict[str, Tensor], facts: dict[str, Any], generator: Generator, helpers: Helpers
    ) -> StandIn:
        """The feature `state` came from."""
        inner = {key.removeprefix("inner."): value for key, value in tensors.items() if key.startswith("inner.")}
        scale = Scale(tensors["mean"], tensors["deviation"])
        return _made(load_feature(inner, facts["inner"], generator, helpers), facts["stand_in"], tensors["aims"], scale)


@dataclass(frozen=True)
class GuidedStandIn(StandIn):
    """One whose feature has a guide."""

    inner: GuidedFeature

    def remaining(self, images: Tensor) -> Tensor:
        """(n, c, h, w) in [0, 1] -> (n,): as the wrapped feature's guide says."""
        return self.inner.remaining(images)


@dataclass(frozen=True)
class AdjustableStandIn(StandIn):
    """One whose feature has a threshold and a margin that can be compared with others."""

    inner: Any

    def adjusted(self, threshold: float, margin: float) -> Self:
        """The same with another threshold and margin, without what now contains the feature."""
        inner = self.inner.adjusted(threshold, margin)
        aims = self.aims[~beyond_margin(inner).contains(self.aims)]
        if not len(aims):
            raise BadOption(
                f"nothing that could stand in is without the feature at threshold {threshold:g} and margin "
                f"{margin:g}; expected some of {len(self.aims)}. Compare others."
            )
        return replace(self, inner=inner, aims=aims)


def _made(inner: Any, kind: Kind, aims: Tensor, scale: Scale) -> StandIn:
    if isinstance(inner, GuidedFeature):
        return GuidedStandIn(inner, kind, aims, scale)
    made = AdjustableStandIn if hasattr(inner, "adjusted") else StandIn
    return made(inner, kind, aims, scale)


def beyond_margin(feature: Any) -> Feature:
    """The feature begun below its margin: what this does not contain is as far from it as erased latents should be."""
    margin = getattr(feature, "margin", 0.0)
    strict: Feature = replace(feature, threshold=feature.threshold - margin, margin=0.0) if margin else feature
    return strict


def check_examples(options: FindOptions, feedback: Feedback) -> None:
    """BadOption for examples that nothing asks for, or that are not marked as being without the feature."""
    if options.example and options.stand_in != "example":
        raise BadOption(
            f"--example was given with --stand-in {options.stand_in}; expected --stand-in example. Give that, or leave "
            "it out."
        )
    strangers = sorted(set(options.example) - set(feedback.negatives))
    if strangers:
        raise BadOption(
            f"example {strangers[0]} is not marked as being without {feedback.feature}; expected the seed of one of "
            f"the {len(feedback.negatives)} marked so, such as {feedback.negatives[0]}. Choose one of those."
        )


@torch.no_grad()
def stood_in(feature: Feature, options: FindOptions, generator: Generator, feedback: Feedback, seed: int) -> Feature:
    """The feature with what the options choose to stand in for it. BadOption where all of that shows it too."""
    if options.stand_in == "boundary":
        return feature
    fresh = generator.sample_latents(
        stream("stand-in", seed, 0, max(64, min(BANK, BANK_VALUES // generator.spec.latent_dim)))
    )
    scale, strict = Scale.of(fresh), beyond_margin(feature)
    if options.stand_in == "nearest":
        return _made(feature, "nearest", _without(strict, fresh, "fresh latents"), scale)
    seeds = options.example or feedback.negatives
    marked = generator.sample_latents(np.array(seeds, dtype=np.int64))
    if options.example:
        shows = [seed for seed, shown in zip(seeds, strict.contains(marked).tolist(), strict=True) if shown]
        if shows:
            raise BadOption(
                f"example {shows[0]} shows {feedback.feature}, as the feature was found; expected one without it. "
                "Choose another, or a smaller margin, or leave --example out."
            )
    return _made(feature, "example", _without(strict, marked, "marked examples"), scale)


def _without(strict: Feature, latents: Tensor, what: str) -> Tensor:
    """Those (b, d) of the latents that do not contain it."""
    free = latents[~strict.contains(latents)]
    if not len(free):
        raise BadOption(
            f"all {len(latents)} {what} contain the feature; expected some without, to stand in for it. Choose a "
            "higher --threshold or a smaller --margin."
        )
    return free
