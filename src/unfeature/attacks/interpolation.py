"""Interpolation: weights between those of the original and of the target, and beyond both."""

from __future__ import annotations

from torch import Tensor

from unfeature.artifacts import AttackResult
from unfeature.attacks.base import Attacking
from unfeature.attacks.reweighting import reweighted
from unfeature.attacks.scenes import Best, curve, ratio
from unfeature.attacks.tuning import fresh_seeds
from unfeature.protocols import Generator, Scene


def between(original: Generator, target: Generator, factor: float) -> Generator:
    """original + factor (target - original) in every number of the weights."""
    here = original.module.state_dict()

    def change(name: str, value: Tensor) -> Tensor:
        if factor in (0, 1):  # exactly, -0.0 too
            return value if factor else here[name]
        moved: Tensor = here[name].lerp(value, factor)
        return moved

    return reweighted(target, change, all_values=True)


class Interpolation(Attacking):
    """Share that shows the feature at each factor."""

    def run(self, scene: Scene) -> AttackResult:
        """The factor that is nearest to the target comes first."""
        best, seeds = Best(scene), fresh_seeds(self.options, self.seed)
        factors = sorted(set(self.options.factors))
        scores = {
            factor: ratio(
                between(scene.original, scene.target, factor), best, seeds, f"interpolated: factor {factor:g}"
            )
            for factor in factors
        }
        told = [scores[factor] for factor in sorted(factors, key=lambda factor: abs(factor - 1))]
        return best.result("interpolation", told, [curve("interpolated", "factor", sorted(scores.items()))])
