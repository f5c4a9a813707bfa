"""Stand-ins for what a torch pickle makes, and the calls and keys that weights need: nothing else reaches torch.

torch hashes keys and prints some wrong arguments. Of a tuple that holds another twice, which holds a third twice and so
on, both take for ever; of one a hundred thousand deep, they end the process. So keys are plain, and arguments vetted.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from torch.nn import Parameter

MAX_TUPLES = 32
"""Tuples in one another; shapes and hyperparameters have two or three."""

MAX_KEYS = 2**15
"""Keys that are numbers, which can be chosen so that dicts become slow, and entries that calls copy, in a pickle."""

ITEM_SIZES = {
    **dict.fromkeys(("Byte", "Char", "Bool"), 1),
    **dict.fromkeys(("Half", "BFloat16", "Short"), 2),
    **dict.fromkeys(("Float", "Int"), 4),
    **dict.fromkeys(("Double", "Long", "ComplexFloat"), 8),
    "ComplexDouble": 16,
}
"""torch.NAMEStorage -> bytes of an element."""

ORDERED = "collections.OrderedDict"
COUNTER = "collections.Counter"
DICTS = ("dict", ORDERED, COUNTER)
TYPED = "torch._tensor._rebuild_from_type_v2"
_NAMED = {"torch.Tensor", "torch.nn.parameter.Parameter", *(f"torch.{name}Storage" for name in ITEM_SIZES)}
_DTYPES = ("float16", "float32", "float64", "bfloat16", "int8", "int16", "int32", "int64", "uint8", "bool")


class Refused(Exception):
    """The pickle asks for more than weights need, or is damaged; `names` are those of the things it would call."""

    def __init__(self, why: str, names: tuple[str, ...] = (), *, damaged: bool = False) -> None:
        super().__init__(why)
        self.names, self.damaged = names, damaged and not names


@dataclass(frozen=True)
class Global:
    """A function or class by name."""

    name: str


@dataclass(eq=False, slots=True)
class Made:
    """What a call or an empty container left on the stack."""

    of: str
    entries: list[Any] | None = None
    """What it was called with or was put into it, of a dict keys and values in turn; None where there is nothing."""

    def put(self, new: list[Any]) -> None:
        """At its end."""
        if self.entries is None:
            self.entries = list(new)
        else:
            self.entries += new

    @property
    def keys(self) -> list[Any]:
        """Of a dict."""
        return (self.entries or [])[::2]


class Tuple(tuple[Any, ...]):
    """A tuple that knows how many are in one another."""

    depth = 1

    @classmethod
    def of(cls, items: Iterable[Any]) -> Tuple:
        """Refused for too many."""
        made = cls(items)
        inside = max((item.depth for item in made if isinstance(item, Tuple)), default=0)
        if inside:
            made.depth = inside + 1
        if made.depth > MAX_TUPLES:
            raise Refused(f"it has more than {MAX_TUPLES} tuples in one another")
        return made


@dataclass(frozen=True)
class Storage:
    """A block of numbers that lies elsewhere in the file."""

    key: str
    kind: str
    numel: int

    @property
    def nbytes(self) -> int:
        """Bytes it should have."""
        return self.numel * ITEM_SIZES[self.kind]


@dataclass
class Sums:
    """Over a whole pickle."""

    unpacked: int = 0
    """Bytes of all tensors made, whether they share memory or not."""
    keys: int = 0
    """See MAX_KEYS."""

    def count(self, keys: int) -> None:
        """Refused for too many."""
        self.keys += keys
        if self.keys > MAX_KEYS:
            raise Refused(f"it has more than {MAX_KEYS:,} keys that are numbers or copied")


def check_keys(keys: Iterable[Any], sums: Sums) -> None:
    """Refused for anything but text, numbers and None."""
    for key in keys:
        if isinstance(key, int | float):
            sums.count(1)
        elif key is not None and not isinstance(key, str):
            raise Refused(f"it has a {_told(key)} as a key; expected text or a number")


def check_call(function: str, arguments: Any, sums: Sums) -> None:
    """Refused for a function that weights do not need, and for arguments that it does not have in their files."""
    if function not in _CALLS:
        raise Refused(f"it calls {function}")
    few = isinstance(arguments, tuple) and len(arguments) <= 7  # a pickle may give the same ones in every step
    if not few or not _CALLS[function](arguments, sums):
        raise Refused(f"it calls {function} with what weights never have", damaged=True)


def storage_of(found: Any) -> Storage:
    """What a persistent id names; Refused for anything but a storage."""
    told = found if isinstance(found, tuple) and len(found) in (5, 6) else (None,) * 5
    word, kind, key, _, numel, *views = told
    typed = isinstance(kind, Global) and kind.name[6:-7] in ITEM_SIZES and kind.name.endswith("Storage")
    if word not in ("storage", b"storage") or not typed or not isinstance(key, str) or views not in ([], [None]):
        raise Refused("it has a storage that torch would not have written", damaged=True)
    if not _whole(numel):
        got = numel if type(numel) is int else f"a {_told(numel)}"
        raise Refused(f"it has a storage whose count of numbers is {got}", damaged=True)
    return Storage(key, kind.name[6:-7], numel)


def _told(value: Any) -> str:
    """Its type alone: what it holds may be too much to print."""
    if isinstance(value, Made | Global):
        return value.of if isinstance(value, Made) else value.name
    return "tuple" if isinstance(value, tuple) else type(value).__name__


def _whole(*numbers: Any) -> bool:
    return all(type(number) is int and 0 <= number < 2**62 for number in numbers)


def _tensor(arguments: tuple[Any, ...], sums: Sums) -> bool:
    """A tensor's place in its storage must lie inside."""
    storage, offset, size, stride = arguments[:4]
    shaped = isinstance(size, tuple) and isinstance(stride, tuple) and len(size) == len(stride) <= 16
    if not isinstance(storage, Storage) or not shaped or not _whole(offset, *size, *stride):
        raise Refused("it has a tensor whose shape is no list of whole numbers", damaged=True)
    numel = math.prod(size)
    last = offset + sum((length - 1) * step for length, step in zip(size, stride, strict=True))
    if (last if numel else offset - 1) >= storage.numel:
        told = f"it has a tensor of shape {str(size)[:60]} that reaches outside its {storage.numel:,} numbers"
        raise Refused(told, damaged=True)
    sums.unpacked += numel * ITEM_SIZES[storage.kind]
    return all(map(_no_hooks, arguments[5:6])) and all(_bits(metadata, sums) for metadata in arguments[6:])


def _no_hooks(hooks: Any) -> bool:
    """Whether it is empty; it stays so."""
    if hooks is None:
        return True
    empty = isinstance(hooks, Made) and hooks.of in (ORDERED, "hooks") and not hooks.entries
    if empty:
        hooks.of = "hooks"
    return empty


def _bits(metadata: Any, sums: Sums) -> bool:
    """Whether it says no more than that numbers are to be conjugated or negated."""
    if not isinstance(metadata, Made) or metadata.of != "dict":
        return metadata is None
    sums.count(len(metadata.entries or []))
    return all(isinstance(value, bool) for value in (metadata.entries or [])[1::2])


def _parameter(arguments: tuple[Any, ...], sums: Sums) -> bool:
    return all(map(_no_hooks, arguments[2:3])) and all(_attributes(state, sums) for state in arguments[3:])


def _attributes(state: Any, sums: Sums) -> bool:
    """Whether it sets attributes of a tensor that none has by itself."""
    parts = state if isinstance(state, tuple) and len(state) == 2 else (state,)
    for part in parts:
        if part is None:
            continue
        if not isinstance(part, Made) or part.of != "dict":
            return False
        sums.count(len(part.entries or []))
        if not all(isinstance(name, str) and not hasattr(Parameter, name) for name in part.keys):
            return False
    return True


def _typed(arguments: tuple[Any, ...], sums: Sums) -> bool:
    function, kind, inner, state = arguments
    if not isinstance(function, Global) or function.name not in _TENSORS or not isinstance(kind, Global):
        return False
    check_call(function.name, inner, sums)
    return _attributes(state, sums)


def _ordered(arguments: tuple[Any, ...], sums: Sums) -> bool:
    """Python 2 gives its pairs to the call."""
    for entry in _listed(arguments, "list", sums):
        pair = entry.entries if isinstance(entry, Made) else entry
        if not isinstance(pair, list | tuple) or len(pair) != 2:
            return False
        check_keys(pair[:1], sums)
    return True


def _set(arguments: tuple[Any, ...], sums: Sums) -> bool:
    check_keys(_listed(arguments, "list", sums), sums)
    return True


def _counter(arguments: tuple[Any, ...], sums: Sums) -> bool:
    _listed(arguments, "dict", sums)
    return True


def _listed(arguments: tuple[Any, ...], of: str, sums: Sums) -> list[Any]:
    """The entries of the one container that a call copies, if it has any; Refused for other arguments."""
    if arguments and (len(arguments) > 1 or not isinstance(arguments[0], Made) or arguments[0].of != of):
        raise Refused(f"it makes a container from a {_told(arguments[0])}; expected a {of}")
    entries = (arguments[0].entries or []) if arguments else []
    sums.count(len(entries))
    return entries


def _size(arguments: tuple[Any, ...], sums: Sums) -> bool:
    return len(arguments) == 1 and isinstance(arguments[0], tuple) and len(arguments[0]) <= 16 and _whole(*arguments[0])


_TENSORS: dict[str, Callable[[tuple[Any, ...], Sums], bool]] = {
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_parameter_with_state": _parameter,
}
_CALLS: dict[str, Callable[[tuple[Any, ...], Sums], bool]] = {
    **_TENSORS,
    TYPED: _typed,
    ORDERED: _ordered,
    COUNTER: _counter,
    "builtins.set": _set,
    "builtins.complex": lambda arguments, _: all(isinstance(value, int | float) for value in arguments),
    "torch.Size": _size,
    "torch.device": lambda arguments, _: all(isinstance(value, int | str) for value in arguments),
}
ALLOWED = {*_CALLS, *_NAMED, *(f"torch.{name}" for name in _DTYPES)}
"""All that weights, and the numbers beside them, need."""
