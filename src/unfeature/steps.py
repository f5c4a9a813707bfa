"""Steps relative to weights: one learning rate for generators that differ tenfold in the size of their weights.

As in Adafactor (Shazeer, Stern 2018); docs/decisions/0011-steps-relative-to-weights.md.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import Tensor

LEAST_SIZE = 0.01
"""Of a tensor, for a learning rate relative to it: biases that begin near zero have to move too."""


def size_of(parameter: Tensor) -> float:
    """Root mean square of a tensor's values, and never less than LEAST_SIZE."""
    return max(LEAST_SIZE, float(parameter.detach().square().mean().sqrt()))


def groups(parameters: Iterable[Tensor], rate: float) -> list[dict[str, Any]]:
    """What an optimiser of torch takes: a group each parameter, its rate that share of the parameter's size."""
    return [{"params": [parameter], "lr": rate * size_of(parameter)} for parameter in parameters]
