"""Inversion: pictures of the original that show the feature, looked for in the target."""

from __future__ import annotations

from unfeature.artifacts import AttackResult, Score
from unfeature.attacks.base import Attacking
from unfeature.attacks.inverting import inverted
from unfeature.attacks.scenes import Best, gap, matched
from unfeature.drawing import made, shows
from unfeature.protocols import Scene


class Inversion(Attacking):
    """What the target can still make of pictures with the feature, beside the same pictures without it."""

    def run(self, scene: Scene) -> AttackResult:
        """Share of the pictures with the feature that still show it when they are recovered. NotApplicable."""
        best, target = Best(scene), scene.target
        with_it, without = matched(scene, self.seed, self.options.pictures)
        latents, apart = inverted(target, with_it, self.options, self.seed, "attack inversion")
        _, apart_without = inverted(target, without, self.options, self.seed, "attack inversion")
        images = made(target, latents)
        shown = shows(scene.judge, images)
        best.see(images, shown)
        recovered = Score.share("recovered", int(shown.sum()), len(shown), higher_is_better=False)
        return best.result("inversion", [recovered, *gap(apart, apart_without)], facts={"pictures": len(with_it)})
