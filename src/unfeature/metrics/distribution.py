"""How a measured feature is spread over a row's images, so that "pushed just under the cut" is visible."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from unfeature.artifacts import Distribution
from unfeature.errors import BadOption

BINS = 40
QUANTILES = ("0.01", "0.10", "0.50", "0.90", "0.99")


def distribution(values: Tensor, unit: str, cut: float, edges: Sequence[float] | None = None) -> Distribution:
    """The histogram and quantiles of (n,) values in `unit`.

    Without `edges`, 40 equal bins from the smallest value to the largest: take those of the original's row for all
    others. Values outside the edges count in the end bins, so the counts always sum to n. BadOption for no values or
    NaN, and for edges that do not rise.
    """
    array = _finite(values)
    bins = _bins(array) if edges is None else np.asarray(edges, dtype=np.float64)
    if bins.ndim != 1 or len(bins) < 2 or not bool((np.diff(bins) > 0).all()):
        raise BadOption(f"the edges of a distribution are {list(bins.flat)}; expected at least 2 rising numbers.")
    counts, _ = np.histogram(np.clip(array, bins[0], bins[-1]), bins)
    levels = np.quantile(array, [float(q) for q in QUANTILES])
    return Distribution(
        unit,
        cut,
        tuple(float(edge) for edge in bins),
        tuple(int(count) for count in counts),
        {name: float(level) for name, level in zip(QUANTILES, levels, strict=True)},
    )


def _finite(values: Tensor) -> NDArray[np.float64]:
    array = values.detach().cpu().double().numpy()
    if array.ndim != 1 or not len(array) or not bool(np.isfinite(array).all()):
        raise BadOption(
            f"a distribution of values got shape {array.shape} with {int((~np.isfinite(array)).sum())} not finite; "
            "expected (n,) finite numbers, at least one. Measure some images first."
        )
    return array


def _bins(array: NDArray[np.float64]) -> NDArray[np.float64]:
    low, high = float(array.min()), float(array.max())
    if not high > low:
        low, high = low - 0.5, high + 0.5  # all values equal
    return np.linspace(low, high, BINS + 1)
