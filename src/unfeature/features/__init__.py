"""Ways to find a feature from marks. Adding one: a file with a Finder and its Feature, and a line in each table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from unfeature.tables import resolve

if TYPE_CHECKING:
    from torch import Tensor

    from unfeature.features.guides import Helpers
    from unfeature.protocols import Feature, Generator

FINDERS: dict[str, str] = {
    "linear": "unfeature.features.linear:Linear",
    "pseudo-label": "unfeature.features.pseudo:PseudoLabels",
    "counterfactual": "unfeature.features.counterfactual:Counterfactual",
    "auto": "unfeature.features.automatic:Automatic",
}
"""Name -> Finder; constructed as `FINDERS[name](options, helpers, seed, on_step)`."""

FEATURES: dict[str, str] = {
    "linear": "unfeature.features.linear:LinearFeature",
    "counterfactual": "unfeature.features.counterfactual:CounterfactualFeature",
    "stand-in": "unfeature.features.stand_ins:StandIn",
    "several": "unfeature.features.several:Several",
}
"""Kind -> Feature class, whose `from_state` makes a saved one again."""


def load_feature(tensors: dict[str, Tensor], facts: dict[str, Any], generator: Generator, helpers: Helpers) -> Feature:
    """The feature whose `state()` these are; it may keep a copy of its generator and ask the helpers."""
    kind = resolve("kind of feature", FEATURES, facts["kind"])
    feature: Feature = kind.from_state(tensors, facts, generator, helpers)
    return feature
