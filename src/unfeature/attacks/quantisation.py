"""Quantisation: weights as they would be in 8 bits."""

from __future__ import annotations

from torch import Tensor

from unfeature.artifacts import AttackResult
from unfeature.attacks.base import Attacking
from unfeature.attacks.reweighting import reweighted
from unfeature.attacks.scenes import Best, ratio
from unfeature.attacks.tuning import fresh_seeds
from unfeature.protocols import Generator, Scene

LEVELS = 127
"""On either side of zero: int8, symmetric."""


def rounded(name: str, value: Tensor) -> Tensor:
    """Each value at most half a step away, a step being the largest magnitude of the tensor by LEVELS."""
    step = value.abs().max() / LEVELS
    return (value / step).round() * step if float(step) > 0 else value


def quantised(generator: Generator) -> Generator:
    """A copy whose weights have 255 values a tensor."""
    return reweighted(generator, rounded)


class Quantisation(Attacking):
    """Share that shows the feature after it."""

    def run(self, scene: Scene) -> AttackResult:
        """One figure."""
        best = Best(scene)
        score = ratio(quantised(scene.target), best, fresh_seeds(self.options, self.seed), "quantised")
        return best.result("quantisation", [score])
