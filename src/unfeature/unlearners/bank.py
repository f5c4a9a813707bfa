"""What the steps of training learn from: latents and what becomes of them, worked out once where that is dear."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

PASSES = 5
"""How often a latent is seen, where the limits below leave it open."""

LEAST, MOST = 20_000, 200_000
"""Latents of a bank.

With 20,000 seen 25 times a copy of mnist-vae was 0.0016 from the original where nothing was to change on latents of the
bank and 0.0028 on others, in mean absolute difference of pixels; with 100,000 seen 10 times 0.0026 and 0.0032.
"""

PIXELS = 2**28
"""Of a bank's pictures, at most: they are made once, and kept in half precision, if they are no more than that."""


@dataclass(frozen=True)
class Batch:
    """Latents of a step."""

    latents: Tensor
    """(n, d)."""
    erased: Tensor
    """(n, d): the feature's `erase` of them."""
    flags: Tensor
    """(n,) bool: its `contains`."""
    pictures: Tensor | None = None
    """(n, c, h, w) float16: the teacher's at the erased latents; None where they are made when they are needed."""

    def split(self, most: int) -> list[Batch]:
        """In parts of at most so many rows."""
        latents, erased, flags = (torch.split(side, most) for side in (self.latents, self.erased, self.flags))
        nobody: tuple[Tensor | None, ...] = (None,) * len(flags)
        pictures = nobody if self.pictures is None else torch.split(self.pictures, most)
        return [Batch(z, e, f, x) for z, e, f, x in zip(latents, erased, flags, pictures, strict=True)]

    def rows(self, chosen: Tensor) -> Batch:
        """The chosen rows (m,)."""
        pictures = self.pictures[chosen] if self.pictures is not None else None
        return Batch(self.latents[chosen], self.erased[chosen], self.flags[chosen], pictures)

    @classmethod
    def joined(cls, parts: list[Batch]) -> Self:
        """All their rows."""
        pictures = [part.pictures for part in parts if part.pictures is not None]
        latents, erased, flags = (
            torch.cat([getattr(p, name) for p in parts]) for name in ("latents", "erased", "flags")
        )
        return cls(latents, erased, flags, torch.cat(pictures) if pictures else None)


class Bank:
    """The first steps' batches, which later steps see again in another order: no search is done twice."""

    def __init__(self, erased: Callable[[int], Batch], batch: int, steps: int) -> None:
        """erased: the batch of a step, made anew; batch: latents of a step over all processes; steps: at most."""
        self._erased, self._steps = erased, max(1, latents_of(batch, steps) // batch)
        self._parts: list[Batch] = []
        self._whole: Batch | None = None
        self._pass, self._orders = 0, list[Tensor]()

    def at(self, step: int) -> Batch:
        """Of any step, the same whether training began there or before."""
        done, place = divmod(step, self._steps)
        if done == 0:
            self._make(step + 1)
            return self._parts[step]
        if self._whole is None:
            self._make(self._steps)
            self._whole = Batch.joined(self._parts)
            self._parts = self._whole.split(len(self._parts[0].flags))
        if self._pass != done:
            order = torch.randperm(len(self._whole.flags), generator=torch.Generator().manual_seed(done))
            self._pass = done
            self._orders = list(torch.split(order.to(self._whole.flags.device), len(self._parts[0].flags)))
        return self._whole.rows(self._orders[place])

    def _make(self, wanted: int) -> None:
        for missing in range(len(self._parts), wanted):
            self._parts.append(self._erased(missing))


def latents_of(batch: int, steps: int) -> int:
    """How many latents a bank for so many steps of such batches has."""
    return min(max(batch * steps // PASSES, LEAST), MOST)
