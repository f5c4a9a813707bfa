"""Relearning: the target is trained on a few pictures that show the feature."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from unfeature.artifacts import AttackResult
from unfeature.attacks.base import Attacking
from unfeature.attacks.scenes import Best, pictures, ratio
from unfeature.attacks.tuning import fresh_seeds, steps_to, tuned
from unfeature.protocols import Scene


class Relearning(Attacking):
    """From 1, 8, 64 pictures of the original."""

    def run(self, scene: Scene) -> AttackResult:
        """Share of fresh samples that show it after the last step, and steps to half of the original's share."""
        best, seeds = Best(scene), fresh_seeds(self.options, self.seed)
        original = ratio(scene.original, Best(scene), seeds)
        _, images = pictures(scene, "attack pictures", self.seed, max(self.options.relearn_from), with_it=True)
        counts = sorted({min(count, len(images)) for count in self.options.relearn_from})
        figures, curves, half = [], [], dict[str, Any]()
        for count in counts:
            name = f"from {count}"
            told = tuned(scene, images[:count], self.options, self.seed, best, name)
            figures.append(replace(told.points[-1].score, name=f"relearnt: {name}"))
            curves.append(told)
            half[str(count)] = steps_to(told, original.value / 2)
        facts = {"steps_to_half": half, "half": original.value / 2, "steps": self.options.tuning_steps}
        return best.result("relearning", figures[::-1], curves, facts)
