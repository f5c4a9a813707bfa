"""Intervals that stand beside every figure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from unfeature.artifacts import Score

Z95 = 1.959963984540054
"""Two-sided 95 % quantile of the normal distribution."""


def wilson(hits: int, n: int, z: float = Z95) -> tuple[float, float]:
    """Wilson's score interval of a proportion (Wilson 1927): (low, high), both in [0, 1]; (0, 1) for n = 0."""
    if n == 0:
        return 0.0, 1.0
    p = hits / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    low, high = max(0.0, centre - half), min(1.0, centre + half)
    return 0.0 if hits == 0 else low, 1.0 if hits == n else high  # exact there, where rounding would miss by 1e-19


def newcombe(first: Score, second: Score) -> tuple[float, float]:
    """95 % interval of the difference of two independent shares, from their Wilson intervals; (-1, 1) without data."""
    if not first.n or not second.n:
        return -1.0, 1.0
    value = first.value - second.value
    below = math.hypot(first.value - first.low, second.high - second.value)
    above = math.hypot(first.high - first.value, second.value - second.low)
    return max(-1.0, value - below), min(1.0, value + above)


def rogan_gladen(ratio: float, true_positive_rate: float, false_positive_rate: float) -> float:
    """The true share behind a judge's share, corrected for its own errors (Rogan, Gladen 1978), clipped to [0, 1]."""
    if true_positive_rate <= false_positive_rate:
        raise ValueError(
            f"a judge that says yes no more often when the feature is there (true-positive rate {true_positive_rate}, "
            f"false-positive rate {false_positive_rate}) cannot be corrected"
        )
    return min(1.0, max(0.0, (ratio - false_positive_rate) / (true_positive_rate - false_positive_rate)))


def samples_for(
    ratio: float, within: float, true_positive_rate: float = 1.0, false_positive_rate: float = 0.0, z: float = Z95
) -> int:
    """How many samples make Wilson's interval at most `within` wide to either side of its middle, at a true `ratio`.

    With the judge's error rates, taken as known, the interval is that of the ratio corrected for them: a judge sees
    `false_positive_rate` + `ratio` (difference of the rates), and what it sees is stretched by that difference. With
    a = z^2 / n, half^2 (1 + a)^2 = a p (1 - p) + a^2 / 4 is solved for a. ValueError for numbers out of range.
    """
    told = true_positive_rate - false_positive_rate
    if not (0 <= ratio <= 1 and 0 < within < 0.5 and 0 <= false_positive_rate < true_positive_rate <= 1):
        raise ValueError(
            f"ratio {ratio}, within {within}, true-positive rate {true_positive_rate}, false-positive rate "
            f"{false_positive_rate}; expected a ratio and rates in [0, 1], the first rate above the second, and a "
            "half width above 0 and under 0.5"
        )
    p, half = false_positive_rate + ratio * told, (within * told) ** 2
    linear, quadratic = p * (1 - p) - 2 * half, 0.25 - half
    a = (math.sqrt(linear * linear + 4 * quadratic * half) - linear) / (2 * quadratic)
    return math.ceil(z * z / a)


def samples_under(ratio: float, bound: float, z: float = Z95) -> int | None:
    """How many samples bring the upper end of Wilson's interval down to `bound`, if they show `ratio` again.

    None where no number does: `ratio` is not under `bound`. The ends of the interval are where the test of a
    proportion turns, (bound - ratio)^2 = z^2 bound (1 - bound) / n.
    """
    if not 0 <= ratio < bound < 1:
        return None
    return math.ceil(z * z * bound * (1 - bound) / (bound - ratio) ** 2)


def mean_interval(values: Sequence[float]) -> tuple[float, float, float]:
    """(mean, low, high): the mean of independent values with Student's 95 % interval; no width for a single one."""
    n = len(values)
    mean = math.fsum(values) / n
    half = student(math.sqrt(math.fsum((v - mean) ** 2 for v in values) / (n - 1) / n), n) if n > 1 else 0.0
    return mean, mean - half, mean + half


def student(deviation: float, n: int) -> float:
    """Half of Student's 95 % interval of a mean of n > 1 values that has this standard deviation (of the mean)."""
    from scipy.special import stdtrit

    return float(stdtrit(n - 1, 0.975)) * deviation


def mcnemar(only_first: int, only_second: int) -> float:
    """Two-sided exact p-value of McNemar's test: pairs that changed in one treatment only (McNemar 1947)."""
    n, k = only_first + only_second, min(only_first, only_second)
    if n == 0:
        return 1.0
    log_tail = [
        math.lgamma(n + 1) - math.lgamma(i + 1) - math.lgamma(n - i + 1) - n * math.log(2) for i in range(k + 1)
    ]
    return min(1.0, 2.0 * math.fsum(math.exp(v) for v in log_tail))


def holm(values: Sequence[float]) -> list[float]:
    """p values -> adjusted ones (Holm 1979), in the same order."""
    told, largest = [0.0] * len(values), 0.0
    for rank, place in enumerate(sorted(range(len(values)), key=lambda i: values[i])):
        largest = max(largest, (len(values) - rank) * values[place])
        told[place] = min(1.0, largest)
    return told
