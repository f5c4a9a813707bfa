"""Gradient ascent on what is to be forgotten, and nothing else.

Golatkar, Achille, Soatto: Eternal Sunshine of the Spotless Net (CVPR 2020), "NegGrad". With sim(z) the flags, f_8(z)
the original's picture in 8 bits and means over the batch:

    L = - sim(z) |g(z) - f_8(z)|

Where we depart: as `ascent_descent`, whose loss this is a part of. Nothing holds what should stay, so the number of
steps decides how much is left of it.
"""

from __future__ import annotations

from dataclasses import replace

from unfeature import paper
from unfeature.unlearners.ascent_descent import AscendingDescending
from unfeature.unlearners.bank import Batch
from unfeature.unlearners.training import Training


class Ascending(AscendingDescending):
    """Away from pictures with the feature."""

    unused = (*AscendingDescending.unused, "alpha")

    def losses(self, batch: Batch) -> paper.Losses:
        """L of this file."""
        told = super().losses(batch)
        return replace(told, total=-told.unlearn)


class Ascent(Training):
    """Unlearner: NegGrad."""

    loop = Ascending
