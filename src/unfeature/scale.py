"""Rows of numbers in standard deviations of their own: so latents are compared and moved, whatever their units."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

STILL = 1e-6
"""A column that deviates less does not vary."""


@dataclass(frozen=True)
class Scale:
    """Mean and standard deviation of each column."""

    mean: Tensor
    """(d,)."""
    deviation: Tensor
    """(d,), above 0."""

    @classmethod
    def of(cls, rows: Tensor) -> Scale:
        """From samples (n, d), n >= 2; columns that do not vary keep their unit."""
        deviation = rows.std(dim=0)
        return cls(rows.mean(dim=0), torch.where(deviation > STILL, deviation, 1.0))

    def __call__(self, rows: Tensor) -> Tensor:
        """(n, d) -> (n, d) in standard deviations from the mean."""
        return (rows - self.mean.to(rows)) / self.deviation.to(rows)

    def back(self, standardised: Tensor) -> Tensor:
        """(n, d) -> (n, d): what `__call__` was given."""
        return standardised * self.deviation.to(standardised) + self.mean.to(standardised)
