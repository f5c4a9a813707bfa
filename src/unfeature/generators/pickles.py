"""What a torch pickle would do, found out without doing it.

Walks the opcodes that `torch.load(weights_only=True)` knows on a stack of stand-ins: nothing is imported, called or
allocated. So a file is refused, with the names of what it asked for, before torch sees it; and storages whose sizes
lie, which torch does not check, never reach torch.
"""

from __future__ import annotations

import _compat_pickle
import io
import pickletools
import warnings
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from unfeature.generators.pickle_objects import (
    ALLOWED,
    DICTS,
    ORDERED,
    Global,
    Made,
    Refused,
    Storage,
    Sums,
    Tuple,
    check_call,
    check_keys,
    storage_of,
)

MAGIC = 0x1950A86A20F9469CFC6C
"""The number that torch's older format begins with."""

MAX_STEPS = 2_000_000
"""Opcodes of a pickle; a checkpoint of 10,000 tensors has a fifth of that."""

_STRINGS = ("UNICODE", "STRING")  # in an opcode's name: it pushes text


@dataclass
class _Walk:
    stack: list[Any] = field(default_factory=list)
    marks: list[list[Any]] = field(default_factory=list)
    memo: dict[int, Any] = field(default_factory=dict)
    storages: dict[str, Storage] = field(default_factory=dict)
    sums: Sums = field(default_factory=Sums)

    def since_mark(self) -> list[Any]:
        items, self.stack = self.stack, self.marks.pop()
        return items

    def remember(self, number: int) -> None:
        """What is on top; Refused for numbers out of order, which can be chosen so that dicts become slow."""
        if number > len(self.memo) + 1:  # Python 3 counts from 0, Python 2 from 1
            raise Refused("it is not whole (it remembers things out of order)", damaged=True)
        self.memo[number] = self.stack[-1]


def walk(stream: BinaryIO) -> tuple[Any, dict[str, Storage], int]:
    """What one pickle leaves (a number, text or a stand-in), the storages it names, the bytes of its tensors. Refused.

    The stream is left behind the pickle.
    """
    start, state = stream.tell(), _Walk()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of text with odd escapes
            for count, (opcode, argument, _) in enumerate(pickletools.genops(stream)):
                if count > MAX_STEPS:
                    raise Refused(f"it takes more than {MAX_STEPS:,} steps to read")
                if opcode.name == "STOP":
                    return state.stack.pop(), state.storages, state.sums.unpacked
                _step(state, opcode.name, argument)
    except (ValueError, LookupError, TypeError, OverflowError) as error:
        raise Refused(f"it is not whole ({str(error)[:200]})", names_in(stream, start), damaged=True) from error
    except Refused as refused:
        raise Refused(str(refused), names_in(stream, start), damaged=refused.damaged) from None
    raise Refused("it has no end", names_in(stream, start), damaged=True)


def _step(state: _Walk, name: str, argument: Any) -> None:
    stack = state.stack
    if name in _PUSH:
        stack.append(_PUSH[name])
    elif name in _PUSH_ARGUMENT:
        if name == "LONG1" and abs(argument) >= 2**64 and argument != MAGIC:
            raise Refused("it has a number of more than 64 bits")  # such can be chosen so that dicts become slow
        stack.append(argument)
    elif name in _ACT:
        _ACT[name](state)
    elif name in ("BINPUT", "LONG_BINPUT"):
        state.remember(argument)
    elif name in ("BINGET", "LONG_BINGET"):
        stack.append(state.memo[argument])
    elif name == "GLOBAL":
        stack.append(Global(_name(argument)))
        if _name(argument) not in ALLOWED:
            raise Refused(f"it asks for {_name(argument)[:80]!a}")
    elif name != "PROTO":
        raise Refused(f"it uses {name}, which torch's own pickle protocol, 2, does not have")


def _name(argument: str) -> str:
    """GLOBAL's argument, `module name`, as module.name; Python 2's names, which protocol 2 has, as today's."""
    module, _, attribute = argument.partition(" ")
    module, attribute = _compat_pickle.NAME_MAPPING.get(
        (module, attribute), (_compat_pickle.IMPORT_MAPPING.get(module, module), attribute)
    )
    return f"{module}.{attribute}"


def _empty(kind: str) -> Callable[[_Walk], None]:
    return lambda state: state.stack.append(Made(kind))


def _tuple_of(count: int) -> Callable[[_Walk], None]:
    def act(state: _Walk) -> None:
        items = state.stack[-count:]
        if len(items) < count:
            raise Refused("it is not whole (a tuple of too few)", damaged=True)
        state.stack[-count:] = [Tuple.of(items)]

    return act


def _mark(state: _Walk) -> None:
    state.marks.append(state.stack)
    state.stack = []


def _tuple(state: _Walk) -> None:
    items = Tuple.of(state.since_mark())
    state.stack.append(items)


def _put(state: _Walk, entries: list[Any], kinds: Collection[str]) -> None:
    if not isinstance(state.stack[-1], Made) or state.stack[-1].of not in kinds:
        raise Refused("it puts entries into what is no container", damaged=True)
    state.stack[-1].put(entries)


def _append(state: _Walk) -> None:
    _put(state, [state.stack.pop()], ["list"])


def _appends(state: _Walk) -> None:
    _put(state, state.since_mark(), ["list"])


def _set_item(state: _Walk) -> None:
    value, key = state.stack.pop(), state.stack.pop()
    check_keys([key], state.sums)
    _put(state, [key, value], DICTS)


def _set_items(state: _Walk) -> None:
    entries = state.since_mark()
    check_keys(entries[::2], state.sums)
    _put(state, entries, DICTS)


def _build(state: _Walk) -> None:
    """Of a state dict's own attributes torch sets one."""
    inner = state.stack.pop()
    state.sums.count(len(inner.entries or []) if isinstance(inner, Made) else 0)
    plain = isinstance(inner, Made) and inner.of == "dict" and {*inner.keys} <= {"_metadata"}
    if not plain or not isinstance(state.stack[-1], Made) or state.stack[-1].of != ORDERED:
        raise Refused("it sets the inner state of an object, which weights saved by torch need for no object")


def _new_object(state: _Walk) -> None:
    state.stack.pop()
    raise Refused(f"it makes an object of {getattr(state.stack[-1], 'name', 'no named class')}")


def _reduce(state: _Walk) -> None:
    arguments, function = state.stack.pop(), state.stack.pop()
    if not isinstance(function, Global) or not isinstance(arguments, tuple):
        raise Refused("it calls something that has no name")
    check_call(function.name, arguments, state.sums)
    state.stack.append(Made(function.name, list(arguments) or None))


def _storage(state: _Walk) -> None:
    storage = storage_of(state.stack.pop())
    if state.storages.setdefault(storage.key, storage) != storage:
        raise Refused(f"it describes the storage {storage.key[:40]!a} in two ways", damaged=True)
    state.stack.append(storage)


_PUSH = {
    "NONE": None,
    "NEWTRUE": True,
    "NEWFALSE": False,
    "EMPTY_TUPLE": (),
}
_PUSH_ARGUMENT = {"BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE", "SHORT_BINSTRING"}
_ACT: dict[str, Callable[[_Walk], None]] = {
    "EMPTY_LIST": _empty("list"),
    "EMPTY_DICT": _empty("dict"),
    "MARK": _mark,
    "TUPLE": _tuple,
    **{f"TUPLE{count}": _tuple_of(count) for count in (1, 2, 3)},
    "APPEND": _append,
    "SETITEM": _set_item,
    "APPENDS": _appends,
    "SETITEMS": _set_items,
    "BUILD": _build,
    "NEWOBJ": _new_object,
    "REDUCE": _reduce,
    "BINPERSID": _storage,
}


def names_in(stream: BinaryIO, start: int = 0) -> tuple[str, ...]:
    """Everything that pickles from `start` on name and weights do not need, in order, as far as it can be read."""
    stream.seek(start)
    rest, names = io.BytesIO(stream.read(MAX_STEPS)), dict[str, None]()
    try:
        for _ in range(5):  # as many follow one another in torch's older format
            _collect(rest, names)
    except (ValueError, LookupError, TypeError, OverflowError):
        pass  # what was named until there is told
    return tuple(name for name in names if name not in ALLOWED)


def _collect(stream: BinaryIO, names: dict[str, None]) -> None:
    texts: list[str] = []
    memo: dict[str, Any] = {}  # by text: numbers can be chosen so that dicts become slow
    last: Any = None
    for opcode, argument, _ in pickletools.genops(stream):
        pushed = argument if any(word in opcode.name for word in _STRINGS) else None
        if opcode.name in ("GLOBAL", "INST"):
            names[_name(str(argument))] = None
        elif opcode.name == "STACK_GLOBAL" and len(texts) >= 2:
            names[_name(f"{texts[-2]} {texts[-1]}")] = None
        elif "GET" in opcode.name:
            pushed = memo.get(str(argument))
        if "PUT" in opcode.name or opcode.name == "MEMOIZE":
            memo[str(len(memo) if argument is None else argument)] = last
            continue
        if isinstance(pushed, str):
            texts = [*texts[-1:], pushed]
        last = pushed
