"""Several features of one generator as one: erased in turn, until none is left."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from unfeature.features import load_feature
from unfeature.features.guides import Helpers
from unfeature.protocols import Feature, Generator, GuidedFeature

ROUNDS = 8
"""In which every feature is erased once, at most: erasing one may bring back another."""


@dataclass(frozen=True)
class Several:
    """Contained where any part is; at least one part, all of one generator."""

    name: str
    parts: tuple[Feature, ...]

    @property
    def generator(self) -> str:
        """Id of the generator they were found for."""
        return self.parts[0].generator

    def contains(self, latents: Tensor) -> Tensor:
        """(n, d) -> (n,) bool: any of them."""
        return torch.stack([part.contains(latents) for part in self.parts]).any(dim=0)

    @torch.no_grad()
    def erase(self, latents: Tensor) -> Tensor:
        """(n, d) -> (n, d): flagged latents through each part in turn, again where one is contained still."""
        erased = latents.clone()
        rows = torch.nonzero(self.contains(latents)).flatten()
        for _ in range(ROUNDS):
            if not len(rows):
                break
            moved = erased[rows]
            for part in self.parts:
                moved = part.erase(moved)
            erased[rows] = moved
            rows = rows[self.contains(moved)]
        return erased

    def told(self) -> list[str]:
        """Each part's sentences, with its name."""
        names = [part.state()[1]["name"] for part in self.parts]
        return [f"{name}: {told}" for name, part in zip(names, self.parts, strict=True) for told in part.told()]

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Of all parts, by number."""
        tensors, facts = zip(*(part.state() for part in self.parts), strict=True)
        kept = {f"{i}.{name}": value for i, own in enumerate(tensors) for name, value in own.items()}
        return kept, {"kind": "several", "name": self.name, "generator": self.generator, "parts": list(facts)}

    @classmethod
    def from_state(
        cls, tensors: dict[str, Tensor], facts: dict[str, Any], generator: Generator, helpers: Helpers
    ) -> Several:
        """The feature `state` came from."""
        parts = []
        for i, own in enumerate(facts["parts"]):
            begin = f"{i}."
            named = {key.removeprefix(begin): value for key, value in tensors.items() if key.startswith(begin)}
            parts.append(load_feature(named, own, generator, helpers))
        return joined(facts["name"], parts)


@dataclass(frozen=True)
class GuidedSeveral(Several):
    """Several of which one at least has a guide."""

    def remaining(self, images: Tensor) -> Tensor:
        """(n, c, h, w) in [0, 1] -> (n,): the sum of what the guides see."""
        seen = [part.remaining(images) for part in self.parts if isinstance(part, GuidedFeature)]
        return torch.stack(seen).sum(dim=0)


def joined(name: str, parts: list[Feature]) -> Several:
    """The parts, at least one, as one feature."""
    guided = any(isinstance(part, GuidedFeature) for part in parts)
    return (GuidedSeveral if guided else Several)(name, tuple(parts))
