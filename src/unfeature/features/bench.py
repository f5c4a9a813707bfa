"""Fresh samples on which teachers are compared: what each leaves, what else it changes, and how far it moves."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from unfeature.drawing import drawn, made
from unfeature.features.choosing import Point
from unfeature.features.counterfactual import CounterfactualFeature
from unfeature.features.frechet import frechet
from unfeature.features.linear import LinearFeature
from unfeature.features.noise import Values
from unfeature.features.opinion import Opinion, bounded
from unfeature.protocols import Extractor, Generator
from unfeature.scale import Scale
from unfeature.seeds import Seeds

Adjustable = LinearFeature | CounterfactualFeature


@dataclass(frozen=True)
class Bench:
    """Fresh samples on which teachers are compared."""

    generator: Generator
    opinion: Opinion
    latents: Tensor
    images: Tensor
    views: Values
    """(n, 2): of the original's pictures."""
    shares: Values
    rest: Tensor
    """(n,) bool: rather without the feature."""
    extractor: Extractor | None
    """Where its classes are those of the pictures."""
    classes: Tensor | None
    """(n,): of the original's pictures, by that extractor."""

    @classmethod
    def drawn(cls, generator: Generator, opinion: Opinion, seeds: Seeds, extractor: Extractor | None) -> Bench:
        """The samples of the seeds (n,)."""
        latents, images = drawn(generator, seeds)
        views = opinion.views(latents, images)
        shares = opinion.shares(views)
        rest = torch.from_numpy(opinion.chances(views, shares)[0] < 0.5)
        with torch.no_grad():
            classes = extractor.logits(images).argmax(dim=1) if extractor is not None else None
        return cls(generator, opinion, latents, images, views, shares, rest, extractor, classes)

    @torch.no_grad()
    def measure(self, finder: str, feature: Adjustable) -> Point:
        """One teacher; only rewritten latents are synthesized."""
        flagged, erased = feature.contains(self.latents), feature.erase(self.latents)
        moved = erased[flagged]
        images, before = made(self.generator, moved), self.images[flagged]
        views = self.views.copy()
        views[flagged.numpy()] = self.opinion.views(moved, images)
        ratio, upper = bounded(self.opinion.chances(views, self.shares))
        change = torch.zeros(len(flagged))
        change[flagged] = (images - before).abs().mean(dim=(1, 2, 3))
        flips = None
        if self.extractor is not None and self.classes is not None:
            turned = torch.zeros(len(flagged))
            turned[flagged] = (self.extractor.logits(images).argmax(dim=1) != self.classes[flagged]).float()
            flips = float(turned[self.rest].mean())
        rewritten, drift, distance = (
            float(flagged.float().mean()),
            float(change[self.rest].mean()),
            self.distance(erased),
        )
        return Point(finder, feature.threshold, feature.margin, ratio, upper, rewritten, drift, distance, flips)

    def distance(self, latents: Tensor) -> float:
        """Of latents (n, d) from those of pictures without the feature, in variances of the generator's own."""
        return frechet(self._scale(latents), self._free)

    @cached_property
    def _scale(self) -> Scale:
        return Scale.of(self.latents)

    @cached_property
    def _free(self) -> Tensor:
        return self._scale(self.latents[self.rest])

    @cached_property
    def origin(self) -> float:
        """Distance of the generator's own latents: what the feature makes of them."""
        return self.distance(self.latents)
