"""Files made to do harm: nothing in them is run, each is one error of ours, and memory stays small."""

from __future__ import annotations

import io
import json
import os
import pickle
import resource
import struct
import subprocess
import sys
import time
import zipfile
from collections import Counter, OrderedDict
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from conftest import Command
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from unfeature import from_module, load_generator
from unfeature.errors import BadCheckpoint, BadFile, UnfeatureError
from unfeature.generators.checkpoints import open_checkpoint, rewritten
from unfeature.generators.loading import checkpoint_bytes, to_safetensors
from unfeature.generators.pickles import MAGIC
from unfeature.testing.tiny import TinyModule

STATE = TinyModule().state_dict()
MEMORY = 256 * 2**20
"""Bytes that looking at a small hostile file may add to the process's peak."""


class Call:
    """Pickles to a call of `function(*arguments)` when it is read."""

    def __init__(self, function: Any, *arguments: Any, state: Any = None) -> None:
        self.does = (function, arguments) if state is None else (function, arguments, state)

    def __reduce__(self) -> tuple[Any, ...]:
        return self.does


def touch(canary: Path) -> dict[str, Call]:
    """Ways to make a file when read."""
    line = f"open({str(canary)!r}, 'w')"
    return {
        "os.system": Call(os.system, f"touch {canary}"),
        "eval": Call(eval, line),
        "exec": Call(exec, line),
        "subprocess": Call(subprocess.check_call, ["touch", str(canary)]),
        "open": Call(open, str(canary), "w"),
        "import": Call(__import__, "this"),
        "getattr": Call(getattr, Call(__import__, "os"), "system"),
        "torch.load": Call(torch.load, str(canary)),
        "jit": Call(torch.jit.load, str(canary)),
        "hub": Call(torch.hub.load, str(canary.parent), "x"),
    }


def saved(content: Any, **how: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer, **how)
    return buffer.getvalue()


WRAPPED: dict[str, Callable[[Call], bytes]] = {
    **{f"pickle {p}": lambda call, p=p: pickle.dumps({"fc.weight": call}, p) for p in range(6)},  # type: ignore[misc]
    "bare": pickle.dumps,
    "zip": lambda call: saved({**STATE, "epoch": call}),
    "zip 4": lambda call: saved({**STATE, "epoch": call}, pickle_protocol=4),
    "deep in a zip": lambda call: saved({"state_dict": {**STATE, "more": [{"x": (call,)}]}}),
    "as a key": lambda call: saved({**STATE, (call,): 1}),
    "older": lambda call: saved({**STATE, "epoch": call}, _use_new_zipfile_serialization=False),
    "older 4": lambda call: saved({"x": call}, _use_new_zipfile_serialization=False, pickle_protocol=4),
    "beside the names": lambda call: saved(_with_metadata(call)),
}


def _with_metadata(call: Call) -> OrderedDict[str, Any]:
    state = OrderedDict(STATE)
    state._metadata = {"": call}  # type: ignore[attr-defined]
    return state


def refused(path: Path, words: str = "") -> str:
    """One error of ours, whichever way the file is opened, within the memory allowed; its message."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for opened in (
        lambda: open_checkpoint(path),
        lambda: load_generator(str(path)),
        lambda: from_module("mine", TinyModule(), 4, weights=path),
    ):
        with pytest.raises((BadCheckpoint, BadFile)) as raised:
            opened()
        assert words in str(raised.value), str(raised.value)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    assert grown < MEMORY
    return str(raised.value)


@pytest.mark.parametrize("how", WRAPPED)
@pytest.mark.parametrize("what", touch(Path("x")))
def test_code_in_a_pickle_is_named_and_not_run(what: str, how: str, tmp_path: Path) -> None:
    canary, path = tmp_path / "canary", tmp_path / "weights.pt"
    path.write_bytes(WRAPPED[how](touch(canary)[what]))
    said = refused(path)
    assert not canary.exists()
    named = {
        "os.system": "posix.system",
        "subprocess": "subprocess.check_call",
        "open": "io.open",
        "import": "__import__",
        "torch.load": "torch.serialization.load",
        "jit": "torch.jit._serialization.load",
        "hub": "torch.hub.load",
    }
    assert named.get(what, what) in said
    if what not in ("torch.load", "jit", "hub"):
        assert "Do not open it with other tools" in said
        assert "convert" not in said


@pytest.mark.parametrize("how", ["pickle 0", "zip", "older"])
@pytest.mark.parametrize("suffix", [".pt", ".pkl", ".ckpt", ".bin", ".safetensors"])
def test_the_command_line_says_it_in_one_sentence(how: str, suffix: str, tmp_path: Path, command: Command) -> None:
    canary, path = tmp_path / "canary", tmp_path / f"weights{suffix}"
    path.write_bytes(WRAPPED[how](touch(canary)["os.system"]))
    for line in (["--generator", path], ["--weights", path]):
        said = command("sample", tmp_path / "run", *line)
        assert said.code == 2
        assert said.err.startswith("BadCheckpoint: ") and len(said.err.splitlines()) == 1
        assert "Traceback" not in said.err
        assert not canary.exists()
        assert not (tmp_path / "run").exists()


def raw(*steps: bytes) -> bytes:
    """A pickle of protocol 2, step by step."""
    return b"\x80\x02" + b"".join(steps) + b"."


def named(module: str, name: str) -> bytes:
    return f"c{module}\n{name}\n".encode()


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def storage(kind: str = "FloatStorage", key: str = "0", numel: bytes = b"K\x04") -> bytes:
    """A persistent id, as torch writes it."""
    return b"(" + text("storage") + named("torch", kind) + text(key) + text("cpu") + numel + b"tQ"


REBUILD = named("torch._utils", "_rebuild_tensor_v2")


def tensor(size: bytes = b"K\x04\x85", stride: bytes = b"K\x01\x85", offset: bytes = b"K\x00", **of: Any) -> bytes:
    """A tensor of 4 numbers, or as told."""
    shape = offset + size + stride + b"\x89" + named("collections", "OrderedDict") + b")R"
    return REBUILD + b"(" + storage(**of) + shape + b"tR"


def number(value: int) -> bytes:
    data = value.to_bytes(9, "little")
    return b"\x8a" + bytes([len(data)]) + data


def weighed(value: bytes) -> bytes:
    """A pickle of {"w": value}."""
    return raw(b"}", text("w"), value, b"s")


def archive(pickled: bytes, members: dict[str, bytes] | None = None, **how: Any) -> bytes:
    """A zip as torch writes it."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", **how) as made:
        made.writestr("archive/data.pkl", pickled)
        for name, data in {"archive/version": b"3\n", "archive/data/0": bytes(16), **(members or {})}.items():
            made.writestr(name, data)
    return buffer.getvalue()


def older(pickled: bytes) -> bytes:
    """torch's older format around a pickle, where a persistent id has one part more."""
    head = pickle.dumps(MAGIC, 2) + pickle.dumps(1001, 2) + pickle.dumps({"little_endian": True}, 2)
    keys = ["0"] if b"tQ" in pickled else []
    return head + pickled.replace(b"tQ", b"NtQ") + pickle.dumps(keys, 2) + struct.pack("<q", 4) + bytes(16)


def test_what_these_tests_build_by_hand_is_read_where_it_is_honest(tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    for data in (archive(weighed(tensor())), older(weighed(tensor()))):
        path.write_bytes(data)
        assert open_checkpoint(path).shapes == {"w": (4,)}


def in_one_another(depth: int) -> bytes:
    """A tuple that holds another three times, which holds a third three times and so on."""
    return b"N" + b"".join(b"q" + bytes([i]) + b"h" + bytes([i]) + b"h" + bytes([i]) + b"\x87" for i in range(depth))


def parameter(state: bytes, hooks: bytes = named("collections", "OrderedDict") + b")R") -> bytes:
    """A parameter with attributes."""
    return named("torch._utils", "_rebuild_parameter_with_state") + b"(" + tensor() + b"\x89" + hooks + state + b"tR"


def test_plain_python_beside_the_weights_is_read(tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    marked = torch.nn.Parameter(torch.ones(2))
    marked.sequence_parallel = True  # type: ignore[attr-defined]
    beside = {
        "milestones": Counter({30: 1, 60: 1}),
        "seen": {1, "a", None},
        "size": torch.Size([2, 3]),
        "device": torch.device("cuda:0"),
        "about": [torch.float16, 3 + 4j, 2**63, (1, (2, (3,)))],
        "optimizer": {"state": {0: {"step": 1}, 0.5: True, None: [], True: ()}},
        "bits": torch.ones(2, dtype=torch.complex64).conj(),
        "marked": marked,
    }
    for new in (True, False):
        path.write_bytes(saved({"model": OrderedDict(STATE), **beside}, _use_new_zipfile_serialization=new))
        assert open_checkpoint(path, STATE).shapes == {name: tuple(value.shape) for name, value in STATE.items()}
    pairs = b"]" + text("w") + b"a" + tensor() + b"a"
    path.write_bytes(archive(raw(named("collections", "OrderedDict"), b"](", pairs, b"e\x85R")))  # as Python 2 does
    assert open_checkpoint(path).shapes == {"w": (4,)}


BIG = number(2**40)
SHARED = in_one_another(12)  # 30 would take years
ORDERED, ATTRIBUTES = named("collections", "OrderedDict"), b"}" + text("detach") + b"K\x03s"
PICKLES: dict[str, tuple[bytes, str]] = {
    "more than the storage": (weighed(tensor(size=b"K\x05\x85")), "reaches outside its 4 numbers"),
    "far outside by stride": (weighed(tensor(stride=BIG + b"\x85")), "reaches outside"),
    "outside by offset": (weighed(tensor(offset=b"K\x01")), "reaches outside"),
    "before the storage": (weighed(tensor(offset=b"J\xff\xff\xff\xff")), "no list of whole numbers"),
    "negative stride": (weighed(tensor(stride=b"J\xff\xff\xff\xff\x85")), "no list of whole numbers"),
    "one number for ever": (weighed(tensor(size=BIG + b"\x85", stride=b"K\x00\x85")), "tensors would take"),
    "a storage that lies": (weighed(tensor(numel=BIG)), "should have 4,398,046,511,104 bytes"),
    "a storage of text": (weighed(tensor(numel=text("4"))), "numbers"),
    "another key": (weighed(tensor(key="../../etc/passwd")), "has 0 of it"),
    "two kinds of one storage": (raw(storage(), storage("ByteStorage", numel=b"K\x10"), b"\x86"), "in two ways"),
    "bytes without end": (weighed(named("builtins", "bytearray") + BIG + b"\x85R"), "builtins.bytearray"),
    "a tensor without end": (weighed(named("torch", "FloatTensor") + BIG + b"\x85R"), "torch.FloatTensor"),
    "a storage without end": (weighed(named("torch.storage", "UntypedStorage") + BIG + b"\x85R"), "UntypedStorage"),
    "on no device": (weighed(named("torch._utils", "_rebuild_meta_tensor_no_storage") + b")R"), "_rebuild_meta"),
    "sparse": (weighed(named("torch._utils", "_rebuild_sparse_tensor") + b")R"), "_rebuild_sparse_tensor"),
    "a new object": (raw(named("torch", "Tensor"), BIG, b"\x85\x81"), "object of torch.Tensor"),
    "a set state": (weighed(tensor() + b"(" + storage() + b"K\x00)" + b")tb"), "inner state"),
    "calls what a call gave": (raw(named("collections", "OrderedDict"), b")R)R"), "no name"),
    "calls text": (raw(text("os.system"), b")R"), "no name"),
    "calls a type": (raw(named("torch.nn.parameter", "Parameter"), b")R"), "torch.nn.parameter.Parameter"),
    "asks for a module": (raw(b"(", text("module"), b"NNNtQ"), "a storage that torch would not have written"),
    "old names": (raw(named("__builtin__", "eval"), text("1"), b"\x85R"), "builtins.eval"),
    "an instance": (b"(S'touch x'\nios\nsystem\n.", "os.system"),
    "an extension": (raw(b"\x82\x01"), "EXT1"),
    "names put together": (b"\x80\x04" + b"\x8c\x02os\x8c\x06system\x93.", "os.system"),
    "a giant memo": (raw(b"]r\xff\xff\xff\xffr\xfe\xff\xff\xffh\x00"), "not whole"),
    "a memo out of order": (raw(b"]r\x05\x00\x00\x00"), "not whole"),
    "huge integers": (raw(b"\x8a\xff" + b"\x7f" * 255), "64 bits"),
    "a huge text": (raw(b"X\xff\xff\xff\xffabc"), "not whole"),
    "an empty stack": (raw(b"0a"), ""),
    "no end": (b"\x80\x02}", "not whole"),
    "a mark too few": (raw(b"t"), "not whole"),
    "nothing": (raw(b"N"), "without named tensors"),
    "terminal codes": (raw(named("\x1b[2J", "x")), "\\x1b[2J"),
    "terminal codes far behind": (raw(b"(", text("a" * 2_000_000), named("\x1b[2J", "x")), "\\x1b[2J"),
    "a long name far behind": (raw(b"(", text("a" * 2_000_000), named("a" * 10**6, "x")), "it asks for"),
    "a long word": (raw(b"S" + b"a" * 10**6 + b"\n"), "no string quotes"),
    "terminal codes as a storage": (
        raw(storage(key="\x1b[2J"), storage("ByteStorage", key="\x1b[2J", numel=b"K\x10"), b"\x86"),
        "in two ways",
    ),
    "deep lists": (raw(b"]" * 100_000, b"a" * 99_999), "without named tensors"),
    "deep dicts": (raw((b"}" + text("a")) * 50_000, b"N", b"s" * 50_000), "without named tensors"),
    "a tuple as a key": (raw(b"}", SHARED, b"Ns"), "a tuple as a key; expected text or a number"),
    "tuples as keys": (raw(b"}(", SHARED, b"N)Nu"), "a tuple as a key"),
    "a list as a key": (raw(b"}]Ns"), "a list as a key"),
    "a tensor as a key": (raw(b"}", tensor(), b"Ns"), "_rebuild_tensor_v2 as a key"),
    "a tuple in a set": (raw(named("builtins", "set"), b"]", SHARED, b"a\x85R"), "a tuple as a key"),
    "a set of tuples": (raw(named("builtins", "set"), SHARED, b"\x85R"), "a container from a tuple; expected a list"),
    "a tuple counted": (raw(named("collections", "Counter"), b"]", SHARED, b"a\x85R"), "a container from a list"),
    "a tuple in a pair": (raw(ORDERED, b"]]", SHARED, b"aNaa\x85R"), "a tuple as a key"),
    "pairs of three": (raw(ORDERED, b"]NNN\x87a\x85R"), "what weights never have"),
    "pairs as a state": (raw(ORDERED, b")R](", SHARED, b"N\x86eb"), "inner state"),
    "a state that hides a method": (raw(ORDERED, b")R}", text("items"), b"K\x03sb"), "inner state"),
    "attributes that hide a method": (weighed(parameter(ATTRIBUTES)), "what weights never have"),
    "attributes in a tuple": (weighed(parameter(SHARED)), "what weights never have"),
    "attributes of a type": (
        weighed(
            named("torch._tensor", "_rebuild_from_type_v2")
            + (b"(" + REBUILD + named("torch", "Tensor") + tensor()[len(REBUILD) : -1] + SHARED + b"tR")
        ),
        "what weights never have",
    ),
    "hooks": (weighed(parameter(b"}", hooks=b"}")), "what weights never have"),
    "hooks in a call": (
        weighed(parameter(b"}", hooks=ORDERED + b"]]" + text("h") + b"aNaa\x85R")),
        "what weights never have",
    ),
    "hooks put in later": (
        raw(b"}", text("h"), ORDERED, b")Rq\x00s", text("w"), parameter(b"}", hooks=b"h\x00"), b"sh\x00NNs0"),
        "no container",
    ),
    "bits in a tuple": (weighed(tensor()[:-2] + b"}N" + SHARED + b"stR"), "what weights never have"),
    "too many arguments": (raw(named("torch", "device"), b"(" + b"N" * 8, b"tR"), "what weights never have"),
    "a size of tuples": (raw(named("torch", "Size"), SHARED, b"\x85R"), "what weights never have"),
    "entries of a list": (raw(b"]NNs"), "no container"),
    "a storage of a tuple": (weighed(tensor(numel=SHARED)), "whose count of numbers is a tuple"),
    "tuples in one another": (raw(b")" + b"\x85" * 40), "more than 32 tuples in one another"),
    "numbers as keys": (raw(b"}(" + b"K\x01N" * 70_000 + b"u"), "more than 32,768 keys"),
    "copies without end": (
        raw(b"]}(" + (text("a") + b"N") * 1000 + b"uq\x00a", (named("collections", "Counter") + b"h\x00\x85R") * 40),
        "more than 32,768 keys",
    ),
    "endless": (raw(b"N0" * 1_500_000), ""),
}


@pytest.mark.parametrize("make", [archive, older])
def test_what_lies_too_deep_to_be_written_again(make: Callable[[bytes], bytes], tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    path.write_bytes(make(raw(b"}", text("w"), tensor(), b"s", text("x"), b"]" * 20_000, b"a" * 19_999, b"s")))
    opened = open_checkpoint(path)
    assert opened.shapes == {"w": (4,)}
    with pytest.raises(BadCheckpoint, match="too deep in one another to be written again"):
        rewritten(opened, opened.tensors)


def test_an_older_file_that_leaves_tensors_to_chance(tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    path.write_bytes(older(weighed(tensor())).replace(pickle.dumps(["0"], 2), pickle.dumps(["1"], 2)))
    refused(path, "it has tensors without numbers")


@pytest.mark.parametrize(
    ("part", "instead", "words"),
    [
        (pickle.dumps(["0"], 2), raw(b"](", text("0"), SHARED, b"e"), "it has tensors without numbers"),
        (pickle.dumps(1001, 2), raw(SHARED), "another version"),
    ],
    ids=["storages", "version"],
)
def test_an_older_file_with_tuples_in_the_place_of_names(
    part: bytes, instead: bytes, words: str, tmp_path: Path
) -> None:
    path = tmp_path / "weights.pt"
    path.write_bytes(older(weighed(tensor())).replace(part, instead))
    refused(path, words)


def test_numbers_of_one_hash_do_not_slow_the_search_for_names(tmp_path: Path) -> None:
    path, began = tmp_path / "weights.pt", time.process_time()
    puts = "".join(f"p{i * (2**61 - 1)}\n" for i in range(1, 40_000))
    path.write_bytes(b"N" + puts.encode() + b"cos\nsystem\n.")
    with pytest.raises(BadCheckpoint, match=r"os\.system"):
        open_checkpoint(path)
    assert time.process_time() - began < 5  # 36 where they are keys of a dict


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        pytest.param(name, kind, marks=[pytest.mark.slow] if name == "endless" else [])
        for name in PICKLES
        for kind in ("zip", "older", "bare")
    ],
)
def test_a_pickle_that_asks_for_too_much(name: str, kind: str, tmp_path: Path) -> None:
    data, words = PICKLES[name]
    path = tmp_path / "weights.pt"
    path.write_bytes({"zip": archive, "older": older, "bare": bytes}[kind](data))  # type: ignore[operator]
    said = refused(path, words if kind != "bare" and name != "another key" else "")
    assert said.isascii() and "\x1b" not in said and len(said) < 1500


ARCHIVES: dict[str, tuple[Callable[[], bytes], str]] = {
    "a bomb": (lambda: archive(weighed(tensor()), {"archive/data/1": bytes(2**26)}, compression=8), "compressed"),
    "two climbing": (lambda: archive(weighed(tensor()), {"archive/../../../tmp/x": b"x"}), "points outside"),
    "absolute": (lambda: archive(weighed(tensor()), {"/etc/passwd": b"x"}), "points outside"),
    "with a drive": (lambda: archive(weighed(tensor()), {"C:\\x": b"x"}), "points outside"),
    "two folders": (lambda: archive(weighed(tensor()), {"other/data.pkl": b"x"}), "is there twice"),
    "another kind": (lambda: archive(weighed(tensor())).replace(b"data.pkl", b"data.pki"), "without one data.pkl"),
    "a script": (lambda: archive(weighed(tensor()), {"archive/constants.pkl": b"x"}), "torch.jit.load"),
    "code": (lambda: archive(weighed(tensor()), {"archive/code/__torch__.py": b"x"}), "TorchScript archive"),
    "no storage": (lambda: archive(weighed(tensor(key="7"))), "the file has 0 of it"),
    "a short storage": (lambda: archive(weighed(tensor()), {"archive/data/0": bytes(15)}), ""),
    "encrypted": (lambda: _flagged(archive(weighed(tensor()))), "is encrypted"),
    "beyond any file": (lambda: _beyond(archive(weighed(tensor()))), "not a whole torch file"),
    "overlapping": (lambda: _overlapping(archive(weighed(tensor()))), "not a whole torch file"),
    "a long pickle": (lambda: archive(bytes(2**24 + 1)), "data.pkl has 16,777,217 bytes"),
    "wrong sums": (lambda: _spoilt(archive(weighed(tensor()))), "not a whole torch file"),
    "big-endian nonsense": (lambda: archive(weighed(tensor()), {"archive/byteorder": b"x"}), "not a whole torch file"),
}


def _flagged(data: bytes) -> bytes:
    changed = bytearray(data)
    at = data.index(b"PK\x01\x02")
    changed[at + 8] |= 1
    return bytes(changed)


def _beyond(data: bytes) -> bytes:
    """The first member says that it begins at 2^63."""
    at, end = data.index(b"PK\x01\x02"), data.index(b"PK\x05\x06")
    far, name = struct.pack("<HHQ", 1, 8, 2**63 + 5), len("archive/data.pkl")
    entry_, rest = data[at : at + 46 + name], data[at + 46 + name : end]
    entry_ = entry_[:30] + struct.pack("<H", len(far)) + entry_[32:42] + b"\xff" * 4 + entry_[46:]
    size = struct.pack("<I", end - at + len(far))
    return data[:at] + entry_ + far + rest + data[end : end + 12] + size + data[end + 16 :]


def _overlapping(data: bytes) -> bytes:
    """Every member says that it is the first one."""
    changed, at = bytearray(data), data.find(b"PK\x01\x02")
    while at >= 0:
        changed[at + 42 : at + 46] = bytes(4)
        at = data.find(b"PK\x01\x02", at + 1)
    return bytes(changed)


def _spoilt(data: bytes) -> bytes:
    at = data.index(b"archive/data/0") + len(b"archive/data/0")
    return data[:at] + b"\x01" + data[at + 1 :]


@pytest.mark.filterwarnings("ignore:Duplicate name")  # of the zip that is made, not of the one that is read
@pytest.mark.parametrize("name", ARCHIVES)
def test_an_archive_that_torch_would_not_have_written(name: str, tmp_path: Path) -> None:
    make, words = ARCHIVES[name]
    path = tmp_path / "weights.pt"
    path.write_bytes(make())
    refused(path, words)


def headed(header: bytes, data: bytes = bytes(16), size: int | None = None) -> bytes:
    return struct.pack("<Q", len(header) if size is None else size) + header + data


def entry(**change: Any) -> bytes:
    return json.dumps({"w": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16], **change}}).encode()


ONE = entry()
HEADERS: dict[str, tuple[bytes, str]] = {
    "longer than the file": (headed(ONE, size=10**6), "header should be 1,000,000 bytes"),
    "longer than memory": (headed(ONE, size=2**63), ""),
    "longer than any": (headed(b"{" + b" " * (2**24 + 8) + b"}"), "expected at most 16,777,216"),
    "empty": (headed(b""), ""),
    "no JSON": (headed(b"{nothing}"), ""),
    "a list": (headed(b"[1, 2]"), ""),
    "deep": (headed(b'{"a":' * 100_000), ""),
    "no text": (headed(b"{\xff\xfe}"), ""),
    "the same name twice": (headed(ONE[:-1] + b"," + ONE[1:]), '"w" is there twice'),
    "overlapping": (headed(json.dumps({n: json.loads(ONE)["w"] for n in "ab"}).encode()), ""),
    "a hole": (headed(entry(data_offsets=[4, 20]), bytes(20)), ""),
    "past the end": (headed(entry(data_offsets=[0, 2**40], shape=[2**38])), ""),
    "backwards": (headed(entry(data_offsets=[16, 0])), ""),
    "below zero": (headed(entry(data_offsets=[-4, 12])), ""),
    "another size": (headed(entry(shape=[5])), ""),
    "an endless shape": (headed(entry(shape=[2**32, 2**32, 2**32])), ""),
    "a shape below zero": (headed(entry(shape=[-4])), ""),
    "unknown numbers": (headed(entry(dtype="F33")), ""),
    "a missing dtype": (headed(json.dumps({"w": {"shape": [4], "data_offsets": [0, 16]}}).encode()), ""),
    "metadata that is a list": (headed(json.dumps({"__metadata__": [1], **json.loads(ONE)}).encode()), ""),
    "metadata of numbers": (headed(json.dumps({"__metadata__": {"a": 1}, **json.loads(ONE)}).encode()), ""),
    "no tensors": (headed(b"{}", b""), "without named tensors"),
    **{
        f"facts {facts[:9]}": (
            headed(json.dumps({"__metadata__": {"unfeature": facts}, **json.loads(ONE)}).encode()),
            'metadata "unfeature" that cannot be read',
        )
        for facts in ("{torn", "[1, 2]", "7", "[" * 100_000)
    },
}


@pytest.mark.parametrize("name", HEADERS)
def test_a_safetensors_file_that_lies(name: str, tmp_path: Path) -> None:
    data, words = HEADERS[name]
    path = tmp_path / "weights.safetensors"
    path.write_bytes(data)
    refused(path, words)


FACTS: dict[str, dict[str, Any]] = {
    "no name": {"name": None},
    "a list as family": {"family": ["conv-vae"]},
    "an unknown family": {"family": "conv-vea"},
    "arguments that are none": {"arguments": [12]},
    "an unknown argument": {"arguments": {"latent_dim": 12, "layers": 3}},
    "a huge network": {"arguments": {"latent_dim": 65_536, "hidden": 65_536}},
    "a network beyond": {"arguments": {"latent_dim": 10**9}},
    "text for a number": {"arguments": {"latent_dim": "twelve"}},
    "below zero": {"arguments": {"latent_dim": -3}},
    "half": {"arguments": {"latent_dim": 1.5}},
    "nothing": {"arguments": {}},
    "a huge picture": {"family": "deconv", "arguments": {"layers": [], "strides": [60_000, 60_000]}},
}


@pytest.mark.parametrize("name", FACTS)
def test_facts_that_lie_about_the_network(name: str, tmp_path: Path) -> None:
    generator = load_generator("mnist-vae")
    path = tmp_path / "weights.safetensors"
    path.write_bytes(checkpoint_bytes(generator, FACTS[name]))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(UnfeatureError):
        load_generator(str(path))
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < MEMORY


def test_names_from_a_file_cannot_steer_the_terminal(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    path.write_bytes(checkpoint_bytes(load_generator("mnist-vae"), {"name": "a\x1b[2J\nb" + "c" * 500}))
    assert load_generator(str(path)).spec.name == "a?[2J?b" + "c" * 193


def test_a_deconvolution_into_a_giant_picture_is_refused_before_it_is_made(tmp_path: Path) -> None:
    from unfeature.generators import building

    class Giant(torch.nn.Module):
        latent_dim = 4

        def __init__(self) -> None:
            super().__init__()
            self.up = torch.nn.Upsample(scale_factor=30_000)

        def forward(self, latents: torch.Tensor) -> torch.Tensor:
            return self.up(latents.view(-1, 1, 2, 2))[:, :, :2, :2]

    with torch.device("meta"):
        probe = Giant()
    with pytest.raises(BadCheckpoint, match=r"giant makes pictures by way of 3,600,000,000 numbers each"):
        building._check_size(probe, "giant")


# Damage by accident: cut off anywhere, bytes turned over, opcodes at random.

WHOLE = {
    "safetensors": to_safetensors(STATE, {}),
    "zip": saved({"g_ema": STATE, "epoch": 3}),
    "older": saved({"g_ema": STATE, "epoch": 3}, _use_new_zipfile_serialization=False),
}


@pytest.mark.parametrize("part", [0.0, 1e-9, 1e-4, 1e-3, 3e-3, 0.01, 0.02, 0.1, 0.3, 0.5, 0.8, 0.97, 0.99, 0.999, 1.0])
@pytest.mark.parametrize("kind", WHOLE)
def test_truncated_anywhere(kind: str, part: float, tmp_path: Path) -> None:
    whole = WHOLE[kind]
    keep = min(len(whole) - 1, int(part * len(whole)) + (part == 1e-9))
    for suffix in (".pt", ".safetensors"):
        path = tmp_path / f"weights{suffix}"
        path.write_bytes(whole[:keep])
        refused(path)


def _survives(data: bytes, folder: Path) -> None:
    """It is read, or refused with an error of ours."""
    path = folder / "weights.bin"
    path.write_bytes(data)
    with suppress(UnfeatureError):
        open_checkpoint(path)


@settings(max_examples=120, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(st.data())
@pytest.mark.parametrize("kind", WHOLE)
def test_bytes_turned_over(kind: str, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    whole = bytearray(WHOLE[kind])
    regions = st.one_of(st.integers(0, 1500), st.integers(0, len(whole) - 1), st.integers(len(whole) - 900, len(whole)))
    for _ in range(data.draw(st.integers(1, 4))):
        whole[min(data.draw(regions), len(whole) - 1)] = data.draw(st.integers(0, 255))
    _survives(bytes(whole), tmp_path_factory.getbasetemp())


PIECES = [
    *(bytes([code]) for code in b"0(){}]lte.aNsubRQ\x85\x86\x87\x88\x89\x81\x8fou2}"),
    *(text("storage"), text("w"), storage(), tensor(), BIG, b"K\x04", b"q\x00", b"h\x00", b"r\x00\x00\x00\x01"),
    *(named("collections", "OrderedDict"), named("torch._utils", "_rebuild_parameter"), named("torch", "device")),
    *(named("torch._tensor", "_rebuild_from_type_v2"), named("torch", "Size"), named("builtins", "set")),
    *(named("collections", "Counter"), named("builtins", "complex"), named("torch", "Tensor")),
]


@settings(max_examples=300, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(st.lists(st.sampled_from(PIECES), max_size=25), st.booleans())
def test_opcodes_at_random(tmp_path_factory: pytest.TempPathFactory, steps: list[bytes], new: bool) -> None:
    data = archive(raw(*steps)) if new else older(raw(*steps))
    _survives(data, tmp_path_factory.getbasetemp())


@settings(max_examples=200, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(st.binary(max_size=200), st.sampled_from([b"", b"\x80\x02", b"PK\x03\x04", headed(ONE)[:40], b"(", b"c"]))
def test_any_bytes(tmp_path_factory: pytest.TempPathFactory, data: bytes, head: bytes) -> None:
    _survives(head + data, tmp_path_factory.getbasetemp())
    _survives(head + data + b".", tmp_path_factory.getbasetemp())


# Things that are no files of weights


def test_what_is_no_ordinary_file(tmp_path: Path, command: Command) -> None:
    fifo, loop, folder = tmp_path / "fifo.pt", tmp_path / "loop.pt", tmp_path / "folder.pt"
    os.mkfifo(fifo)
    loop.symlink_to(loop)
    folder.mkdir()
    (tmp_path / "gone.pt").symlink_to(tmp_path / "nothing")
    names = {"fifo.pt": "no ordinary file", "loop.pt": "symbolic links", "folder.pt": "", "gone.pt": "No such file"}
    for name, words in names.items():
        refused(tmp_path / name, words)
        said = command("sample", tmp_path / "run", "--generator", tmp_path / name)
        assert said.code == 2 and said.err.startswith("BadFile: cannot read ")
    with pytest.raises(BadFile, match=r"no ordinary file"):
        open_checkpoint("/dev/zero")
    with pytest.raises(BadFile, match=r"null byte"):
        open_checkpoint("a\0b.pt")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_what_may_not_be_read(tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    path.write_bytes(WHOLE["zip"])
    path.chmod(0)
    refused(path, "Permission denied")


@pytest.mark.parametrize(
    ("start", "words"),
    [
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (b"<!DOCTYPE html><html>", "a web page"),
        (b"\x89HDF\r\n\x1a\n", "HDF5"),
        (b"\x1f\x8b\x08", "unpack it first"),
        (b"\x93NUMPY", "NumPy"),
        (b"\x89PNG\r\n\x1a\n", "neither a safetensors nor a torch file"),
        (b"", "neither a safetensors nor a torch file"),
    ],
)
def test_files_of_another_kind_are_called_by_name(start: bytes, words: str, tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    path.write_bytes(start + bytes(30) if start else b"")
    refused(path, words)


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    with path.open("wb") as file:
        file.truncate(9 * 2**30)  # a hole: it takes no room
    refused(path, "expected at most")


# Numbers that are none


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_weights_that_are_not_finite(bad: float, dtype: torch.dtype, tmp_path: Path) -> None:
    state = {name: value.to(dtype) for name, value in STATE.items()}
    state["outer.bias"][7] = bad
    for name, data in (("w.pt", saved(state)), ("w.safetensors", safetensors.torch.save(state))):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(BadCheckpoint, match=r'NaN or infinite values in weight "outer.bias"'):
            from_module("mine", TinyModule(), 4, weights=tmp_path / name)


@pytest.mark.parametrize("dtype", [torch.int8, torch.int64, torch.bool, torch.complex64])
def test_weights_of_another_kind_of_number(dtype: torch.dtype, tmp_path: Path) -> None:
    torch.save({name: value.to(dtype) for name, value in STATE.items()}, tmp_path / "w.pt")
    with pytest.raises(BadCheckpoint, match=rf"inner.bias +{str(dtype)[6:]} +float32\n") as raised:
        from_module("mine", TinyModule(), 4, weights=tmp_path / "w.pt")
    assert str(raised.value).endswith("saved before any quantisation.")


def test_no_warning_of_torch_comes_through(tmp_path: Path) -> None:
    code = (
        "import sys, warnings; warnings.simplefilter('error')\n"
        "from unfeature.generators.checkpoints import open_checkpoint\n"
        "for path in sys.argv[1:]:\n    open_checkpoint(path)\n"
    )
    for name, data in WHOLE.items():
        (tmp_path / name).write_bytes(data)
    paths = [str(tmp_path / name) for name in WHOLE]
    done = subprocess.run([sys.executable, "-c", code, *paths], check=False, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
