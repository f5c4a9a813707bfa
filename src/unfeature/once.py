"""What is made once: of a tensor, which several ask about; of an original, which several copies are compared with."""

from __future__ import annotations

import weakref
from collections import OrderedDict
from collections.abc import Callable, Hashable
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


class Memory:
    """Remembers what is asked for by name; what was asked for longest ago goes first where `room` is short."""

    def __init__(self, room: int = 0) -> None:
        self.room = room
        """Bytes of everything remembered, at most; with 0 all is made anew."""
        self._held: OrderedDict[Hashable, tuple[int, Any]] = OrderedDict()
        self._used = 0

    def of(self, what: Hashable, make: Callable[[], T], size: Callable[[T], int]) -> T:
        """What `make` makes, or made under the same name before; nobody may change it. `size` tells its bytes."""
        if what in self._held:
            self._held.move_to_end(what)
            value: T = self._held[what][1]
            return value
        value = make()
        self._held[what] = size(value), value
        self._used += self._held[what][0]
        while self._used > self.room:
            self._used -= self._held.popitem(last=False)[1][0]
        return value


KNOWN = Memory()
"""Of originals and of teachers: what is seen in their samples, and the scores of it that no copy has a part in. Without
room unless a process is to measure many copies of an original, as a benchmark's are."""


def known(name: str, what: tuple[Hashable, ...], make: Callable[[], T], size: Callable[[T], int]) -> T:
    """What `make` makes of what is so named, from KNOWN where it has a name; as `Memory.of`."""
    return KNOWN.of((name, *what), make, size) if name else make()
