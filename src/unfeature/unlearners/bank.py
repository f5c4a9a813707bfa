"""What the steps of training learn from: latents and what becomes of them, worked out once where that is dear."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

SIZE = 20_000
"""Latents of a bank. Copies learnt from 20,000 and from fresh ones every step were alike in ratio and flips."""


@dataclass(frozen=True)
class Batch:
    """Latents of a step."""

    latents: Tensor
    """(n, d)."""
    erased: Tensor
    """(n, d): the feature's `erase` of them."""
    flags: Tensor
    """(n,) bool: its `contains`."""

    def split(self, most: int) -> list[Batch]:
        """In parts of at most so many rows."""
        sides = (torch.split(side, most) for side in (self.latents, self.erased, self.flags))
        return [Batch(*parts) for parts in zip(*sides, strict=True)]

    def rows(self, chosen: Tensor) -> Batch:
        """The chosen rows (m,)."""
        return Batch(self.latents[chosen], self.erased[chosen], self.flags[chosen])

    @classmethod
    def joined(cls, parts: list[Batch]) -> Self:
        """All their rows."""
        return cls(*(torch.cat([getattr(part, name) for part in parts]) for name in ("latents", "erased", "flags")))


class Bank:
    """The first steps' batches, which later steps see again in another order: no search is done twice."""

    def __init__(self, erased: Callable[[int], Batch], batch: int) -> None:
        """erased: the batch of a step, made anew; batch: latents of a step over all processes."""
        self._erased, self._steps = erased, max(1, SIZE // batch)
        self._parts: list[Batch] = []
        self._pass, self._shuffled = 0, list[Batch]()

    def at(self, step: int) -> Batch:
        """Of any step, the same whether training began there or before."""
        done, place = divmod(step, self._steps)
        wanted = step + 1 if done == 0 else self._steps
        for missing in range(len(self._parts), wanted):
            self._parts.append(self._erased(missing))
        if done == 0:
            return self._parts[step]
        if self._pass != done:
            whole, own = Batch.joined(self._parts), len(self._parts[0].latents)
            order = torch.randperm(len(whole.latents), generator=torch.Generator().manual_seed(done))
            self._pass, self._shuffled = done, whole.rows(order.to(whole.latents.device)).split(own)
        return self._shuffled[place]
