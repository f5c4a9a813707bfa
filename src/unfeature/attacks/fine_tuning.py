"""Benign fine-tuning: does the feature come back when the target is trained on pictures that do not show it?"""

from __future__ import annotations

from dataclasses import replace

from unfeature.artifacts import AttackResult
from unfeature.attacks.base import Attacking
from unfeature.attacks.scenes import Best, pictures, ratio
from unfeature.attacks.tuning import fresh_seeds, steps_to, tuned
from unfeature.protocols import Scene


class FineTuning(Attacking):
    """On retained pictures of the original (resurgence)."""

    def run(self, scene: Scene) -> AttackResult:
        """Share of fresh samples that show it after the last step, and steps to half of the original's share."""
        best = Best(scene)
        half = ratio(scene.original, Best(scene), fresh_seeds(self.options, self.seed)).value / 2
        _, images = pictures(scene, "attack benign", self.seed, self.options.benign, with_it=False)
        told = tuned(scene, images, self.options, self.seed, best, f"on {len(images)}")
        facts = {"steps_to_half": steps_to(told, half), "half": half, "steps": self.options.tuning_steps}
        return best.result("fine-tuning", [replace(told.points[-1].score, name="resurged")], [told], facts)
