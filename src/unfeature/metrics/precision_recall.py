"""Precision, recall, density and coverage (Kynkaanniemi et al. 2019; Naeem et al. 2020) through package `prdc`."""

from __future__ import annotations

import contextlib
import io

import joblib
from prdc import compute_prdc
from torch import Tensor

from unfeature.artifacts import Score
from unfeature.intervals import mean_interval
from unfeature.metrics.samples import Samples, check_rows, count_name
from unfeature.protocols import Paired, Reference

BLOCK = 2000
"""Images on each side at a time: the figures depend on it, so it stands in the name, and memory is three matrices."""
NEAREST = 5
"""k of the k-nearest-neighbour balls."""
FIGURES = ("precision", "recall", "density", "coverage")


class PrecisionRecall:
    """Four figures against the original's feature-free samples, on disjoint blocks of 2,000 images."""

    paired = False

    def __init__(self, reference: Reference) -> None:
        self.reference = reference
        self.samples = Samples("precision and recall", least=3)

    def update(self, batch: Paired) -> None:
        """Keep the batch's embeddings."""
        self.samples.add(batch.after.embedding)

    def compute(self) -> list[Score]:
        """`precision2k_EXTRACTOR`, recall, density (may pass 1), coverage: means over blocks, n images in all.

        Fewer images than one block, or fewer feature-free samples, make one smaller block, named by its size.
        """
        rows = self.samples.ordered()
        free = self.reference.free.detach().cpu().double()
        check_rows("precision's and recall's reference (feature-free samples of the original)", free, least=3)
        fewest = min(len(rows), len(free))
        size = min(BLOCK, fewest)
        starts = range(0, fewest - size + 1, size)
        blocks = [_block(free[s : s + size], rows[s : s + size]) for s in starts]
        return [self._score(figure, [block[figure] for block in blocks], size) for figure in FIGURES]

    def _score(self, figure: str, values: list[float], size: int) -> Score:
        value, low, high = mean_interval(values)
        note = f"mean of {len(values)} disjoint blocks of {size}, {nearest(size)} nearest neighbours; "
        note += "interval from the spread between blocks" if len(values) > 1 else "one block gives no interval"
        name = f"{figure}{count_name(size)}_{self.reference.extractor}"
        most = high if figure == "density" else min(1.0, high)  # the others are shares
        return Score(name, value, max(0.0, low), most, len(values) * size, higher_is_better=True, note=note)


def nearest(size: int) -> int:
    """How many neighbours a block of that size allows: 5, fewer under 7 images."""
    return min(NEAREST, size - 2)


def _block(real: Tensor, fake: Tensor) -> dict[str, float]:
    """(m, k), (m, k) -> the four figures."""
    # It prints the two sizes; and its eight threads race for the interpreter's warning filters, which can end up empty.
    with contextlib.redirect_stdout(io.StringIO()), joblib.parallel_config(backend="sequential"):
        figures = compute_prdc(real.numpy(), fake.numpy(), nearest_k=nearest(len(real)))
    return {name: float(figures[name]) for name in FIGURES}
