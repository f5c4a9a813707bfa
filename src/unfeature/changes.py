"""The collateral matrix as it is saved: how every named attribute changed, on which pictures, against a placebo."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from unfeature.artifacts import Artifact, Score

CHANCE = 0.05
"""Holm's p below which a change is more than chance."""


@dataclass(frozen=True)
class Change(Artifact):
    """One attribute in one group of pictures."""

    attribute: str
    change: Score
    """Mean of the score after minus before, in [-1, 1], over the group; higher is neither better nor worse."""
    flips: Score
    """Share of the group in which the attribute came or went."""
    edit: Score
    """The same share over those of the group whose latent the edit moves."""
    placebo: Score
    """And by a placebo at the same latents: the original at latents moved as far, each in a direction of its own."""
    only_edit: int
    """Moved latents where the attribute flipped by the edit and not by the placebo."""
    only_placebo: int
    p: float
    """McNemar's exact test of the two."""
    p_holm: float
    """By Holm's rule over the attributes of this group."""

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        scores = {name: Score.from_json(value[name]) for name in ("change", "flips", "edit", "placebo")}
        return cls(**{**value, **scores})

    @property
    def more_than_placebo(self) -> bool:
        """Flipped significantly more often than by the placebo."""
        return self.p_holm < CHANCE and self.only_edit > self.only_placebo


@dataclass(frozen=True)
class Group(Artifact):
    """Pictures that the original made, by what they showed."""

    name: str
    """"all", "had", "never_had", or of a stratum "with NAME", "without NAME"."""
    n: int
    moved: int
    """Of them, those whose latent the edit moves."""
    before: Score
    """Share that showed the feature."""
    after: Score
    changes: tuple[Change, ...]

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        shares = {name: Score.from_json(value[name]) for name in ("before", "after")}
        return cls(**{**value, **shares, "changes": tuple(map(Change.from_json, value["changes"]))})


@dataclass(frozen=True)
class Stratum(Artifact):
    """What the strata are made of, as the original's pictures showed it."""

    name: str
    why: str
    """"kept", or "correlated": of all attributes the one that goes with the feature most."""
    phi: float
    """Its correlation with the feature on the original's pictures, in [-1, 1]; 0 where either is the same on all."""


@dataclass(frozen=True)
class Matrix(Artifact):
    """Every named attribute in every group; all groups have the same attributes in the same order."""

    strata: tuple[Stratum, ...]
    groups: tuple[Group, ...]

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        return cls(tuple(map(Stratum.from_json, value["strata"])), tuple(map(Group.from_json, value["groups"])))
