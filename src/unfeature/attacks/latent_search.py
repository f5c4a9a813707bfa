"""Search for latents that still show the feature: guided by one who does not judge, among usual latents."""

from __future__ import annotations

from dataclasses import replace

from unfeature.artifacts import AttackResult
from unfeature.attacks.base import Attacking
from unfeature.attacks.scenes import Best
from unfeature.attacks.searching import Search, latents_of
from unfeature.drawing import frozen
from unfeature.protocols import Scene


class LatentSearch(Attacking):
    """Adam from fresh latents, and beside it the best of as many random ones."""

    def run(self, scene: Scene) -> AttackResult:
        """Share of the restarts that end in a picture with the feature, against steps."""
        best = Best(scene)
        search = Search(scene, latents_of(frozen(scene.target)), self.options, self.seed)
        guided, rows, shown = search.guided(best)
        random = search.random(best)
        figures = [guided.points[-1].score, replace(random.points[-1].score, name="success_random")]
        figures += search.winners(rows, shown, "norm_percentile")
        return best.result("latent-search", figures, (guided, random), {"steps": self.options.search_steps})
