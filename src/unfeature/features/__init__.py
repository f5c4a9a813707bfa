"""Ways to find a feature from marks. Adding one: a file with a Finder and its Feature, and a line in each table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from unfeature.tables import resolve

if TYPE_CHECKING:
    from torch import Tensor

    from unfeature.protocols import Feature

FINDERS: dict[str, str] = {"linear": "unfeature.features.linear:Linear"}
"""Name -> Finder; constructed as `FINDERS[name](options)`."""

FEATURES: dict[str, str] = {"linear": "unfeature.features.linear:LinearFeature"}
"""Kind -> Feature class, whose `from_state` makes a saved one again."""


def load_feature(tensors: dict[str, Tensor], facts: dict[str, Any]) -> Feature:
    """The feature whose `state()` these are."""
    feature: Feature = resolve("kind of feature", FEATURES, facts["kind"]).from_state(tensors, facts)
    return feature
