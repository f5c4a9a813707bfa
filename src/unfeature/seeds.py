"""One seed per image: row i of any batch depends on seeds[i] alone. Nothing here imports torch.

torch's CPU generator keeps only the low 32 bits of a seed, and numpy's cost 10 us a row; SplitMix64 (Steele, Lea,
Flood: Fast Splittable Pseudorandom Number Generators, OOPSLA 2014) over (seed, column) is exact in 64 bits and
vectorised. See docs/decisions/0004-one-seed-per-image.md.
"""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

from unfeature.errors import BadOption

Seeds = NDArray[np.int64]

STREAM_LENGTH = 1 << 31
"""Seeds in one stream."""

_STREAMS = 1 << 21

SEEDS = 2 * _STREAMS * STREAM_LENGTH
"""All seeds lie from 0 to below this, 2^53."""

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def stream(purpose: str, run_seed: int, start: int, stop: int) -> Seeds:
    """(stop - start,) seeds kept for one purpose ("train", "evaluate"...) of one run seed, disjoint from all others.

    Those of the gallery of run seed 0 are 0, 1, 2..., since people see them. All stay below 2^53, which JSON readers
    keep exactly. Two other purposes share a stream with a chance of 2^-21.
    """
    if not 0 <= start <= stop <= STREAM_LENGTH or not 0 <= run_seed < _STREAMS:
        raise BadOption(
            f"seeds {start}..{stop} of run seed {run_seed}; expected 0..{STREAM_LENGTH} of 0..{_STREAMS - 1}"
        )
    if purpose == "gallery":
        number = run_seed
    else:
        digest = hashlib.sha256(f"{purpose}/{run_seed}".encode()).digest()
        number = _STREAMS + int.from_bytes(digest[:4], "big") % _STREAMS
    base = number * STREAM_LENGTH
    return np.arange(base + start, base + stop, dtype=np.int64)


def _mix(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """SplitMix64's finaliser: a bijection on 64 bits whose outputs look independent for consecutive inputs."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def normal_rows(seeds: Seeds, columns: int) -> NDArray[np.float32]:
    """(n,) seeds -> (n, columns) standard normal float32, row i a function of seeds[i] alone."""
    pairs = (columns + 1) // 2
    counter = np.arange(1, 2 * pairs + 1, dtype=np.uint64) * _GOLDEN
    bits = _mix(_mix(seeds.astype(np.uint64) + _GOLDEN)[:, None] + counter[None, :])
    uniform = ((bits >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53  # in (0, 1)
    radius = np.sqrt(-2.0 * np.log(uniform[:, :pairs]))
    angle = 2.0 * np.pi * uniform[:, pairs:]
    rows = np.concatenate([radius * np.cos(angle), radius * np.sin(angle)], axis=1)  # Box-Muller
    return rows[:, :columns].astype(np.float32)
