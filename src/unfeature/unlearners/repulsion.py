"""Weight repulsion: first adapt to the feature, then stay away from the weights that came of it.

Tiwary, Guha, Panda, Prathosh: Adapt then Unlearn: Exploring Parameter Space Semantics for Unlearning in Generative
Adversarial Networks (2023). Weights w_N come of fine-tuning the original, w_0, on pictures with the feature alone; then
it is trained on pictures without, z^ as in `negatives`:

    L = |g(z) - f(z^)| + penalty exp(- |w - w_N|^2 / |w_0 - w_N|^2)

Where we depart: they train both stages adversarially, on pictures that people marked. Here the second stage is
`negatives` and the first, for ADAPTED of the steps, the same the other way about: every z learns the picture of the
nearest flagged latent. Their exponent has a free width; ours is the distance at the start. A resumed training adapts
again, to the same bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from unfeature import paper
from unfeature.unlearners.bank import Batch
from unfeature.unlearners.loop import DISTILLED, Gradient
from unfeature.unlearners.negatives import OneSided
from unfeature.unlearners.training import Training

ADAPTED = 0.25
"""Share of the steps, on top of them, in which the weights to stay away from are learnt."""


class Adapting(OneSided):
    """All latents learn pictures with the feature."""

    shows = True


def squared(one: Mapping[str, Tensor], other: Gradient) -> Tensor:
    """|one - other|^2 over all weights."""
    return torch.stack([(value - other[name]).square().sum() for name, value in one.items()]).sum()


def repulsion(weights: Mapping[str, Tensor], shunned: Gradient, width: Tensor) -> Tensor:
    """exp(- |w - w_N|^2 / width), in (0, 1]."""
    return torch.exp(-squared(weights, shunned) / width.clamp_min(1e-12))


class Repelled(OneSided):
    """Pictures without the feature, and distance from the adapted weights."""

    unused = (*DISTILLED, "alpha")

    def prepare(self) -> None:
        """The pool, w_N and |w_0 - w_N|^2."""
        super().prepare()
        steps = max(1, round(ADAPTED * self.options.steps))
        options = self.options.model_copy(update={"steps": steps})
        adapting = Adapting(options, self.seed, self.teacher, self.feature, self.fabric)
        adapting.prepare()
        for step in range(steps):
            adapting.step(step)
        self.shunned = self.agreed({name: p.detach().clone() for name, p in adapting.parameters.items()})
        with torch.no_grad():
            self.width = squared(dict(self.teacher.module.named_parameters()), self.shunned)

    def losses(self, batch: Batch) -> paper.Losses:
        """L of this file."""
        told = super().losses(batch)
        near = repulsion(self.parameters, self.shunned, self.width)
        return replace(told, total=told.total + self.options.penalty * near)


class Repulsion(Training):
    """Unlearner: Adapt-then-Unlearn's idea."""

    loop = Repelled
