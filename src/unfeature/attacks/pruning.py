"""Pruning: the smallest weights of every tensor set to zero."""

from __future__ import annotations

import torch
from torch import Tensor

from unfeature.artifacts import AttackResult
from unfeature.attacks.base import Attacking
from unfeature.attacks.reweighting import reweighted
from unfeature.attacks.scenes import Best, curve, ratio
from unfeature.attacks.tuning import fresh_seeds
from unfeature.protocols import Generator, Scene


def pruned(generator: Generator, share: float) -> Generator:
    """A copy without that share of the weights of each tensor, those nearest to 0."""

    def change(name: str, value: Tensor) -> Tensor:
        flat = value.flatten()
        flat[torch.argsort(flat.abs(), stable=True)[: round(share * flat.numel())]] = 0.0
        return flat.view_as(value)

    return reweighted(generator, change)


class Pruning(Attacking):
    """Share that shows the feature, for each share of weights."""

    def run(self, scene: Scene) -> AttackResult:
        """The lightest pruning comes first."""
        best, seeds = Best(scene), fresh_seeds(self.options, self.seed)
        scores = {
            share: ratio(pruned(scene.target, share), best, seeds, f"pruned: {100 * share:g} % of the weights")
            for share in sorted(set(self.options.pruned))
        }
        return best.result("pruning", list(scores.values()), [curve("pruned", "share of weights", scores.items())])
