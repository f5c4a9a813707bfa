"""Which pictures to mark next: near a probe's boundary, far from each other, and some at random."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from unfeature.features.lines import standard, values_of
from unfeature.features.noise import Indices, Values

CANDIDATES = 6
"""Suggestions are spread over this many times as many of the most uncertain pictures."""


def suggest(
    scores: Values, latents: Tensor, *, count: int, random_share: float = 0.25, seed: int
) -> tuple[Indices, Indices]:
    """(n,) scores and (n, d) latents of pictures not marked yet -> indices to mark next, and which of them are random.

    The random share is drawn from all n first and comes last: what a probe is measured on must not be chosen by it.
    The others are near the boundary and far from each other. At most n of all, none twice.
    """
    count = max(0, min(count, len(scores)))
    drawn = np.random.default_rng(seed).choice(len(scores), round(count * random_share), replace=False)
    left = np.setdiff1d(np.arange(len(scores)), drawn)
    wanted = count - len(drawn)
    nearest = left[np.argsort(np.abs(scores[left] - 0.5), kind="stable")][: CANDIDATES * wanted]
    rows = values_of(latents[torch.from_numpy(nearest)])
    near = nearest[_spread(rows * standard(rows)[1], wanted)] if wanted else nearest
    return np.concatenate([near, drawn]).astype(np.int64), drawn.astype(np.int64)


def _spread(rows: Values, count: int) -> Indices:
    """(n, k), count >= 1 -> rows far from each other: the first, then always the one farthest from those taken."""
    taken = [0]
    distance = np.square(rows - rows[0]).sum(axis=1)
    distance[0] = -1.0
    while len(taken) < count:
        farthest = int(distance.argmax())
        distance = np.minimum(distance, np.square(rows - rows[farthest]).sum(axis=1))
        taken.append(farthest)
        distance[taken] = -1.0
    return np.array(taken, dtype=np.int64)
