"""Which latents are usual: a search that may go anywhere finds pictures that no sample will ever be."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from unfeature.scale import Scale

LEAST = 0.1
"""Of a coordinate's deviation, as a share of their root mean square: what was switched off can be switched on again."""

TINY = 1e-6
"""Lengths below it count as it."""

OUTSIDE = 0.01
"""Share of the samples' norms on either side that counts as unusual."""


@dataclass(frozen=True)
class Typical:
    """The shell in which the norms of nearly all samples lie, in standard deviations of each coordinate."""

    scale: Scale
    """Of each coordinate; none so small that it could not be switched on."""
    norms: Tensor
    """(m,), ascending: of the samples."""
    low: float
    high: float
    """Nearly all norms are between these."""

    @classmethod
    def of(cls, rows: Tensor) -> Typical:
        """From samples (m, k), m >= 2."""
        deviation = rows.std(dim=0)
        least = max(TINY, LEAST * float(deviation.square().mean().sqrt()))
        scale = Scale(rows.mean(dim=0), deviation.clamp_min(least))
        norms = torch.linalg.vector_norm(scale(rows), dim=1).sort().values
        low, high = (float(torch.quantile(norms, share)) for share in (OUTSIDE, 1 - OUTSIDE))
        return cls(scale, norms, low, high)

    def projected(self, standardised: Tensor) -> Tensor:
        """(n, k) -> (n, k), both in standard deviations: lengthened or shortened into the shell."""
        norms = torch.linalg.vector_norm(standardised, dim=1, keepdim=True).clamp_min(TINY)
        moved: Tensor = standardised * (norms.clamp(self.low, self.high) / norms)
        return moved

    def percentiles(self, rows: Tensor) -> Tensor:
        """(n, k) -> (n,) in [0, 100]: how many of a hundred samples have a smaller norm."""
        norms = torch.linalg.vector_norm(self.scale(rows), dim=1)
        return 100.0 * torch.searchsorted(self.norms, norms).double() / len(self.norms)
