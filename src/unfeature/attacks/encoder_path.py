"""The encoder's path: pictures with the feature through an encoder that nobody unlearned, and back."""

from __future__ import annotations

import torch

from unfeature.artifacts import AttackResult, Score
from unfeature.attacks.base import Attacking
from unfeature.attacks.inverting import distance, has_scales
from unfeature.attacks.scenes import Best, gap, matched
from unfeature.drawing import made, shows
from unfeature.errors import NotApplicable
from unfeature.protocols import Scene


class EncoderPath(Attacking):
    """Reconstructions by the encoder of an autoencoder whose decoder is the target."""

    def run(self, scene: Scene) -> AttackResult:
        """Share of the pictures with the feature that still show it when they are reconstructed. NotApplicable."""
        if scene.encoder is None:
            raise NotApplicable(
                "no encoder was given; expected a function of pictures that returns latents. "
                "Name the one that belongs to the decoder:  --encoder FILE.py:FUNCTION"
            )
        best, scales = Best(scene), has_scales(scene.target)
        apart, found = [], []
        for images in matched(scene, self.seed, self.options.pictures):
            with torch.no_grad():
                back = made(scene.target, scene.encoder(images))
                apart.append(distance(back, images, scales))
            found.append(back)
        shown = shows(scene.judge, found[0])
        best.see(found[0], shown)
        recovered = Score.share("recovered", int(shown.sum()), len(shown), higher_is_better=False)
        return best.result("encoder-path", [recovered, *gap(*apart)], facts={"pictures": len(shown)})
