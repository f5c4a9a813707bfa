"""The same search further inside: unlearning that only changed the first layers is undone behind them."""

from __future__ import annotations

from dataclasses import replace

from unfeature.artifacts import AttackResult
from unfeature.attacks.base import Attacking
from unfeature.attacks.places import inner_places
from unfeature.attacks.scenes import Best
from unfeature.attacks.searching import Search
from unfeature.drawing import frozen
from unfeature.errors import NotApplicable
from unfeature.protocols import Scene


class InnerSearch(Attacking):
    """In w and w+ of a StyleGAN2, behind the first and a middle layer of others; among usual activations only."""

    def run(self, scene: Scene) -> AttackResult:
        """Share of the restarts that end in a picture with the feature, for each place, most first. NotApplicable."""
        best, figures, curves = Best(scene), [], []
        for place in inner_places(frozen(scene.target)):
            guided, _, _ = Search(scene, place, self.options, self.seed).guided(best)
            figures.append(replace(guided.points[-1].score, name=f"success: {place.name}"))
            curves.append(guided)
        if not figures:
            raise NotApplicable(
                "nothing lies between latents and picture of this generator; expected a module with layers inside. "
                "Search its latents:  --attack latent-search"
            )
        figures.sort(key=lambda score: score.value, reverse=True)
        return best.result("inner-search", figures, curves, {"steps": self.options.search_steps})
