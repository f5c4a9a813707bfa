"""What a network is known by, whatever it is called: the weights that run while it looks at pictures.

A network that is loaded late, kept in a closure, exported or written out as functions of tensors is seen all the same;
one that was trained on, rounded or permuted is another.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

LOOKED_AT = 4
"""Pictures it takes: two to have everything loaded, two to watch."""

LEAST, DISTINCT = 64, 256
"""Values of a tensor from which on it is known again, and how many must differ (or half of all): biases that stayed
zero, windows and grids of coordinates are alike in networks that have nothing to do with each other."""


class _Watched(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Keeps every tensor that is used and was not made on the way."""

    def __init__(self, images: Tensor) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.made, self.given = {id(images): images}, dict[int, Tensor]()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for used in tree_leaves((args, kwargs or {})):
            if isinstance(used, Tensor) and id(used) not in self.made:
                self.given[id(used)] = used
        self.made |= {id(out): out for out in tree_leaves(result) if isinstance(out, Tensor)}
        return result


def weights(look: Callable[[Tensor], Any], images: Tensor) -> frozenset[str]:
    """SHA-256 of each tensor of weights that `look` uses on images (LOOKED_AT, c, h, w); none for a plain formula."""
    half = LOOKED_AT // 2
    with torch.no_grad():
        look(images[:half].clone())
        shown = images[half:].clone()
        with _Watched(shown) as watched:
            look(shown)
    return frozenset(_digest(tensor) for tensor in watched.given.values() if _is_learnt(tensor))


def _is_learnt(tensor: Tensor) -> bool:
    if not tensor.is_floating_point() or tensor.numel() < LEAST:
        return False
    return len(np.unique(tensor.detach().float().cpu().numpy())) >= min(tensor.numel() // 2, DISTINCT)


def _digest(tensor: Tensor) -> str:
    data = tensor.detach().cpu().contiguous().flatten().view(torch.uint8)
    return hashlib.sha256(data.numpy().tobytes()).hexdigest()


def together(digests: Iterable[str]) -> str:
    """One SHA-256 of them all, whatever their order; empty for none."""
    found = sorted(digests)
    return hashlib.sha256("".join(found).encode()).hexdigest() if found else ""
