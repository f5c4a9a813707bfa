"""What a torch pickle would do, found out without doing it.

Walks the opcodes that `torch.load(weights_only=True)` knows on a stack of stand-ins: nothing is imported, called or
allocated. So a file is refused, with the names of what it asked for, before torch sees it; and storages whose sizes
lie, which torch does not check, never reach torch.
"""

from __future__ import annotations

import _compat_pickle
import io
import math
import pickletools
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, BinaryIO

MAGIC = 0x1950A86A20F9469CFC6C
"""The number that torch's older format begins with."""

MAX_STEPS = 2_000_000
"""Opcodes of a pickle; a checkpoint of 10,000 tensors has a fifth of that."""

ITEM_SIZES = {
    **dict.fromkeys(("Byte", "Char", "Bool"), 1),
    **dict.fromkeys(("Half", "BFloat16", "Short"), 2),
    **dict.fromkeys(("Float", "Int"), 4),
    **dict.fromkeys(("Double", "Long", "ComplexFloat"), 8),
    "ComplexDouble": 16,
}
"""torch.NAMEStorage -> bytes of an element."""

_REBUILD = {"torch._utils._rebuild_tensor", "torch._utils._rebuild_tensor_v2"}
_PARAMETER = {"torch._utils._rebuild_parameter", "torch._utils._rebuild_parameter_with_state"}
_TYPED = "torch._tensor._rebuild_from_type_v2"
_ORDERED = "collections.OrderedDict"
_PLAIN = {_ORDERED, "collections.Counter", "builtins.set", "builtins.complex", "torch.Size", "torch.device"}
_NAMED = {"torch.Tensor", "torch.nn.parameter.Parameter", *(f"torch.{name}Storage" for name in ITEM_SIZES)}
_DTYPES = ("float16", "float32", "float64", "bfloat16", "int8", "int16", "int32", "int64", "uint8", "bool")
ALLOWED = {*_REBUILD, *_PARAMETER, _TYPED, *_PLAIN, *_NAMED, *(f"torch.{name}" for name in _DTYPES)}
"""All that weights, and the numbers beside them, need."""

_STRINGS = ("UNICODE", "STRING")  # in an opcode's name: it pushes text


class Refused(Exception):
    """The pickle asks for more than weights need, or is damaged; `names` are those of the things it would call."""

    def __init__(self, why: str, names: tuple[str, ...] = (), *, damaged: bool = False) -> None:
        super().__init__(why)
        self.names, self.damaged = names, damaged and not names


@dataclass(frozen=True)
class _Global:
    name: str


@dataclass(frozen=True)
class _Made:
    """What a call or an empty container left on the stack."""

    of: str


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
class _Walk:
    stack: list[Any] = field(default_factory=list)
    marks: list[list[Any]] = field(default_factory=list)
    memo: dict[int, Any] = field(default_factory=dict)
    storages: dict[str, Storage] = field(default_factory=dict)
    unpacked: int = 0
    """Bytes of all tensors made, whether they share memory or not."""

    def since_mark(self) -> list[Any]:
        items, self.stack = self.stack, self.marks.pop()
        return items


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
                    return state.stack.pop(), state.storages, state.unpacked
                _step(state, opcode.name, argument)
    except (ValueError, LookupError, TypeError, OverflowError) as error:
        raise Refused(f"it is not whole ({error})", names_in(stream, start), damaged=True) from error
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
        state.memo[argument] = stack[-1]
    elif name in ("BINGET", "LONG_BINGET"):
        stack.append(state.memo[argument])
    elif name == "GLOBAL":
        stack.append(_Global(_name(argument)))
        if _name(argument) not in ALLOWED:
            raise Refused(f"it asks for {_name(argument)}")
    elif name != "PROTO":
        raise Refused(f"it uses {name}, which torch's own pickle protocol, 2, does not have")


def _name(argument: str) -> str:
    """GLOBAL's argument, `module name`, as module.name; Python 2's names, which protocol 2 has, as today's."""
    module, _, attribute = argument.partition(" ")
    module, attribute = _compat_pickle.NAME_MAPPING.get(
        (module, attribute), (_compat_pickle.IMPORT_MAPPING.get(module, module), attribute)
    )
    return f"{module}.{attribute}"


def _tuple_of(count: int) -> Callable[[_Walk], None]:
    def act(state: _Walk) -> None:
        items = tuple(state.stack[-count:])
        if len(items) < count:
            raise Refused("it is not whole (a tuple of too few)", damaged=True)
        state.stack[-count:] = [items]

    return act


def _pop(count: int) -> Callable[[_Walk], None]:
    def act(state: _Walk) -> None:
        for _ in range(count):
            state.stack.pop()
        if not isinstance(state.stack[-1], _Made):
            raise Refused("it puts entries into what is no container", damaged=True)

    return act


def _mark(state: _Walk) -> None:
    state.marks.append(state.stack)
    state.stack = []


def _tuple(state: _Walk) -> None:
    items = tuple(state.since_mark())
    state.stack.append(items)


def _fill(state: _Walk) -> None:
    state.since_mark()
    _pop(0)(state)


def _build(state: _Walk) -> None:
    state.stack.pop()
    if state.stack[-1] != _Made(_ORDERED):
        raise Refused("it sets the inner state of an object, which weights saved by torch need for no object")


def _new_object(state: _Walk) -> None:
    state.stack.pop()
    raise Refused(f"it makes an object of {getattr(state.stack[-1], 'name', 'no named class')}")


def _reduce(state: _Walk) -> None:
    arguments, function = state.stack.pop(), state.stack.pop()
    if not isinstance(function, _Global) or not isinstance(arguments, tuple):
        raise Refused("it calls something that has no name")
    if function.name == _TYPED and len(arguments) > 2 and isinstance(arguments[0], _Global):
        function, arguments = arguments[0], arguments[2]
    if function.name in _REBUILD:
        _tensor(state, arguments)
    elif function.name not in _PLAIN | _PARAMETER:
        raise Refused(f"it calls {function.name}")
    state.stack.append(_Made(function.name))


def _whole(*numbers: Any) -> bool:
    return all(type(number) is int and 0 <= number < 2**62 for number in numbers)


def _tensor(state: _Walk, arguments: Any) -> None:
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
    state.unpacked += numel * ITEM_SIZES[storage.kind]


def _storage(state: _Walk) -> None:
    found = state.stack.pop()
    told = found if isinstance(found, tuple) and len(found) in (5, 6) else (None,) * 5
    word, kind, key, _, numel, *views = told
    typed = isinstance(kind, _Global) and kind.name[6:-7] in ITEM_SIZES and kind.name.endswith("Storage")
    if word not in ("storage", b"storage") or not typed or not isinstance(key, str) or views not in ([], [None]):
        raise Refused("it has a storage that torch would not have written", damaged=True)
    if not _whole(numel):
        raise Refused(f"it has a storage of {numel!r:.40} numbers", damaged=True)
    storage = Storage(key, kind.name[6:-7], numel)
    if state.storages.setdefault(key, storage) != storage:
        raise Refused(f'it describes the storage "{key[:40]}" in two ways', damaged=True)
    state.stack.append(storage)


_PUSH = {
    "NONE": None,
    "NEWTRUE": True,
    "NEWFALSE": False,
    "EMPTY_TUPLE": (),
    **{f"EMPTY_{name}": _Made(name) for name in ("LIST", "DICT", "SET")},
}
_PUSH_ARGUMENT = {"BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE", "SHORT_BINSTRING"}
_ACT: dict[str, Callable[[_Walk], None]] = {
    "MARK": _mark,
    "TUPLE": _tuple,
    **{f"TUPLE{count}": _tuple_of(count) for count in (1, 2, 3)},
    "APPEND": _pop(1),
    "SETITEM": _pop(2),
    "APPENDS": _fill,
    "SETITEMS": _fill,
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
    memo: dict[Any, Any] = {}
    last: Any = None
    for opcode, argument, _ in pickletools.genops(stream):
        pushed = argument if any(word in opcode.name for word in _STRINGS) else None
        if opcode.name in ("GLOBAL", "INST"):
            names[_name(str(argument))] = None
        elif opcode.name == "STACK_GLOBAL" and len(texts) >= 2:
            names[_name(f"{texts[-2]} {texts[-1]}")] = None
        elif "GET" in opcode.name:
            pushed = memo.get(argument)
        if "PUT" in opcode.name or opcode.name == "MEMOIZE":
            memo[len(memo) if argument is None else argument] = last
            continue
        if isinstance(pushed, str):
            texts = [*texts[-1:], pushed]
        last = pushed
