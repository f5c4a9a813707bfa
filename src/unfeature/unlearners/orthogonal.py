"""Orthogonal gradients: forgetting moves the weights only where what is to stay does not care.

Mandal, Gottwald: UNO: Unlearning via Orthogonalization in Generative Models (2025). With F and R as in `surgery`:

    F' = F - (<F, R> / |R|^2) R  always        Adam gets F' + R

Where we depart: they have training pictures and the generative loss of a VAE or diffusion model, and some of their
variants put the angle into the loss; we have the frozen original's pictures f(z) and project. On the first step R = 0,
since g = f, and F stays as it is. Adam scales what it gets weight by weight.
"""

from __future__ import annotations

from unfeature.unlearners.surgery import Operating
from unfeature.unlearners.training import Training


class Orthogonalising(Operating):
    """The same two gradients, always at a right angle."""

    always = True


class Orthogonal(Training):
    """Unlearner: ascent and descent with orthogonal gradients."""

    loop = Orthogonalising
