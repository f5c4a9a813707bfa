"""Rows of features collected over batches, in an order that does not depend on the batches."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from unfeature.errors import ShapeError


def count_name(n: int) -> str:
    """A number of images as names show it: 10k, 2k, 512."""
    return f"{n // 1000}k" if n and n % 1000 == 0 else str(n)


class Samples:
    """(n, k) features on the CPU, kept as they come."""

    def __init__(self, what: str, least: int = 2) -> None:
        self.what = what
        """The metric's name, for its errors."""
        self.least = least
        """The fewest images the metric can be computed on."""
        self.batches: list[Tensor] = []

    def add(self, rows: Tensor) -> None:
        """Take in a batch (n, k)."""
        if rows.ndim != 2:
            raise ShapeError(
                f"{self.what} got features of shape {tuple(rows.shape)}; expected (n, k), one row an image."
            )
        self.batches.append(rows.detach().cpu())

    def ordered(self) -> Tensor:
        """(n, k) float64: all rows, sorted and then shuffled with a fixed seed; the same whatever the batches were.

        Blocks and splits of it are random samples. ShapeError for fewer than `least` rows, or where one is not finite.
        """
        rows = torch.cat(self.batches).double() if self.batches else torch.empty(0, 0, dtype=torch.float64)
        check_rows(self.what, rows, self.least)
        values = rows.numpy()
        order = np.lexsort(values.T[::-1])
        return torch.from_numpy(values[order[np.random.default_rng(0).permutation(len(order))]])


def check_rows(what: str, rows: Tensor, least: int) -> None:
    """ShapeError for fewer than `least` rows, or where a row holds NaN or infinity."""
    if len(rows) < least:
        raise ShapeError(
            f"{what} got {len(rows)} images; expected at least {least}. "
            "Evaluate on more seeds: 10,000 for a figure to publish."
        )
    broken = int((~torch.isfinite(rows)).any(dim=1).sum())
    if broken:
        raise ShapeError(
            f"{what} got {broken} of {len(rows)} rows of features with NaN or infinity; expected finite ones. "
            "Check the generator's weights and the extractor."
        )
