"""Targets with other weights, made from their own without any training."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from unfeature.protocols import Generator

Change = Callable[[str, Tensor], Tensor]
"""Name and values of a tensor -> other values of the same shape."""


def reweighted(generator: Generator, change: Change, *, all_values: bool = False) -> Generator:
    """A copy whose weights, the parameters of two and more dimensions, are changed; or all of its numbers."""
    copied = generator.copy()
    weights = {name for name, value in copied.module.named_parameters() if value.ndim >= 2}
    with torch.no_grad():
        for name, value in copied.module.state_dict().items():
            if value.is_floating_point() and (all_values or name in weights):
                value.copy_(change(name, value.clone()))
    return copied
