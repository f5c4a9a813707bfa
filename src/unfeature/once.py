"""What is made of a tensor, once: several ask the same of the same batch, and each would make it anew."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

T = TypeVar("T")


class Once(Generic[T]):
    """Remembers what was made of one tensor until it is asked of another, or of the same one changed."""

    def __init__(self) -> None:
        self._known: tuple[weakref.ref[Tensor], int, bool, T] | None = None

    def of(self, given: Tensor, make: Callable[[], T]) -> T:
        """What `make` makes of `given`; made anew where gradients are wanted and were not, or the other way about."""
        wanted = torch.is_grad_enabled()
        if self._known is not None and not given.is_inference():
            seen, version, graded, value = self._known
            if seen() is given and version == given._version and graded == wanted:
                return value
        value = make()
        if not given.is_inference():  # those have no version: nobody could tell whether they changed
            self._known = weakref.ref(given), given._version, wanted, value
        return value

    def __deepcopy__(self, memo: Any) -> Once[T]:
        """A copy of its owner remembers nothing."""
        return Once()

    def __reduce__(self) -> Any:
        """Nor does one that is sent elsewhere."""
        return Once, ()
