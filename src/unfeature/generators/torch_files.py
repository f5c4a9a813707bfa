"""Files of `torch.save`, both formats: looked through first, then read with `weights_only=True` and nothing else."""

from __future__ import annotations

import io
import warnings
import zipfile
from pathlib import PurePosixPath
from typing import Any, NoReturn

import torch

from unfeature.errors import BadCheckpoint
from unfeature.generators.pickle_objects import Made, Refused, Storage
from unfeature.generators.pickles import MAGIC, names_in, walk

MAX_PICKLE = 16 * 2**20
"""Bytes of the pickle that describes the tensors; 10,000 tensors need a tenth of that."""

VERSION = 1001
"""Of the older format: there was no other."""

MAX_UNPACKED = 8
"""Times the file's size: what its tensors may take where several share memory."""

_RUNS_CODE = {
    *("os", "posix", "nt", "sys", "subprocess", "io", "_io", "importlib", "runpy", "pty", "shutil", "socket", "ctypes"),
    *("code", "codeop", "pickle", "_pickle", "webbrowser", "timeit", "marshal", "pdb", "urllib", "http", "requests"),
    *(f"builtins.{name}" for name in ("eval", "exec", "compile", "open", "__import__", "getattr", "setattr", "input")),
}
"""Modules and functions that a model's weights have nothing to ask of."""


def bad_zip(where: str, problem: str, do: str = "Copy or download it again.") -> NoReturn:
    """BadCheckpoint for an archive that torch would not have written."""
    raise BadCheckpoint(f"{where} is not a whole torch file ({problem}); expected what `torch.save` writes. {do}")


def read_torch(where: str, data: bytes) -> Any:
    """What `torch.save` put into a file: plain containers, numbers, text, and tensors on the CPU. BadCheckpoint."""
    if data[:4] == b"PK\x03\x04":
        data = _clean(where, data)
    else:
        _check_legacy(where, data)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about pickle protocols and old storages: none a user could act on
            return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:
        bad_zip(where, f"torch says {type(error).__name__}: {str(error).partition(chr(10))[0][:200]}")


def write_torch(content: Any, *, legacy: bool) -> bytes:
    """The bytes of `torch.save`; the same content gives the same bytes, but not in the older format."""
    buffer = io.BytesIO()
    torch.save(content, buffer, _use_new_zipfile_serialization=not legacy)
    return buffer.getvalue()


def _clean(where: str, data: bytes) -> bytes:
    """The archive's members, checked, in an archive written here: torch's own reader meets no other."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = _members(where, archive, len(data))
            pickled = archive.read(members["data.pkl"])
            storages = _walked(where, pickled, len(data))
            for storage in storages.values():
                _check_record(where, storage, members)
            wanted = ["version", "byteorder", "data.pkl", *(f"data/{key}" for key in storages)]
            buffer = io.BytesIO()
            with zipfile.ZipFile(buffer, "w") as clean:
                for name in wanted:
                    if name in members:
                        clean.writestr(f"archive/{name}", archive.read(members[name]))
            return buffer.getvalue()
    except BadCheckpoint:
        raise
    except Exception as error:  # zipfile answers damage with errors of every kind
        bad_zip(where, str(error)[:200] or type(error).__name__)


def _members(where: str, archive: zipfile.ZipFile, size: int) -> dict[str, zipfile.ZipInfo]:
    """Name below the archive's one folder -> member; BadCheckpoint for anything that torch does not write."""
    names = [member.filename.partition("/")[2] for member in archive.infolist()]
    if "constants.pkl" in names or any(name.startswith("code/") for name in names):
        raise BadCheckpoint(
            f"{where} is a TorchScript archive, which holds code; expected weights. If you trust it, take them out of "
            f'it once:\n  import torch\n  torch.save(torch.jit.load({where!r}).state_dict(), "weights.pt")'
        )
    found: dict[str, zipfile.ZipInfo] = {}
    folders = set()
    for member in archive.infolist():
        _check_member(where, member)
        folder, _, name = member.filename.partition("/")
        folders.add(folder)
        if name in found:
            bad_zip(where, f"member {member.filename[:80]!a} is there twice")
        found[name] = member
    total = sum(member.file_size for member in found.values())
    if total > size:
        bad_zip(where, f"its members say they have {total:,} bytes, the file has {size:,}")
    if "data.pkl" not in found or len(folders) != 1:
        bad_zip(where, "it is a zip archive without one data.pkl", "Name the file that holds the weights.")
    if found["data.pkl"].file_size > MAX_PICKLE:
        bad_zip(where, f"its data.pkl has {found['data.pkl'].file_size:,} bytes, expected at most {MAX_PICKLE:,}")
    return found


def _check_member(where: str, member: zipfile.ZipInfo) -> None:
    path, told = PurePosixPath(member.filename), ascii(member.filename[:80])
    if path.is_absolute() or ".." in path.parts or "\\" in member.filename or ":" in member.filename:
        bad_zip(where, f"member {told} points outside", "Do not unpack it: it was made to overwrite files.")
    if member.flag_bits & 0x1:
        bad_zip(where, f"member {told} is encrypted", "Unpack it with its password and save it again.")
    if member.compress_type != zipfile.ZIP_STORED or member.file_size != member.compress_size:
        bad_zip(where, f"member {told} is compressed to {member.compress_size:,} of {member.file_size:,} bytes")


def _check_record(where: str, storage: Storage, members: dict[str, zipfile.ZipInfo]) -> None:
    record = members.get(f"data/{storage.key}")
    held = record.file_size if record else 0
    if held != storage.nbytes:
        told = ascii(storage.key[:40])
        bad_zip(where, f"storage {told} should have {storage.nbytes:,} bytes, the file has {held:,} of it")


def _walked(where: str, pickled: bytes, size: int) -> dict[str, Storage]:
    """The storages a pickle names, once it is found to ask for nothing but weights."""
    try:
        _, storages, unpacked = walk(io.BytesIO(pickled))
    except Refused as refused:
        _refuse(where, refused, "torch")
    _check_unpacked(where, unpacked, size)
    return storages


def _check_unpacked(where: str, unpacked: int, size: int) -> None:
    if unpacked > MAX_UNPACKED * size:
        bad_zip(where, f"its tensors would take {unpacked:,} bytes, the file has {size:,}")


def _check_legacy(where: str, data: bytes) -> None:
    """Every pickle of the older format: magic number, version, system, content, keys; then come the numbers."""
    stream, storages, unpacked = io.BytesIO(data), dict[str, Storage](), 0
    kind = "torch" if MAGIC.to_bytes(10, "little") in data[:40] else "pickle"
    try:
        for part in range(5):
            found, named, bytes_made = walk(stream)
            if part == 0 and found != MAGIC:
                raise Refused("it was written by pickle, not by torch", names_in(io.BytesIO(data)))
            if part == 1 and found != VERSION:
                raise Refused("it is of another version of torch's older format", damaged=True)
            storages, unpacked = storages | named, unpacked + bytes_made
            if stream.tell() > MAX_PICKLE + sum(storage.nbytes for storage in storages.values()):
                raise Refused("the description of its tensors is too long")
    except Refused as refused:
        _refuse(where, refused, kind)
    listed = (found.entries or []) if isinstance(found, Made) and found.of == "list" else []
    if not all(isinstance(key, str) for key in listed) or not storages.keys() <= set(listed):
        bad_zip(where, "it has tensors without numbers")
    needed, left = sum(storage.nbytes for storage in storages.values()), len(data) - stream.tell()
    if needed > left:
        bad_zip(where, f"its storages should have {needed:,} bytes, the file has {left:,} of them")
    _check_unpacked(where, unpacked, len(data))


def _refuse(where: str, refused: Refused, kind: str) -> NoReturn:
    """BadCheckpoint: what was refused by name, and how whoever made the file makes one that is taken."""
    shown = [name if name.isprintable() else ascii(name) for name in refused.names]
    names = ", ".join(name[:80] for name in shown[:5]) + (f" and {len(shown) - 5} more" if len(shown) > 5 else "")
    if any(name in _RUNS_CODE or name.partition(".")[0] in _RUNS_CODE for name in refused.names):
        raise BadCheckpoint(
            f"{where} asks to call {names} when it is opened, which weights never need; expected tensors only. Nothing "
            "of it was run. Do not open it with other tools: get the weights from a source you trust."
        )
    if refused.damaged:
        bad_zip(where, str(refused))
    what = f"it names {names}" if names else str(refused)
    raise BadCheckpoint(
        f"{where} holds more than weights ({what}); expected tensors only, and nothing of it was run. If you trust it, "
        f"convert it once where it was made:\n{_recipe(where, refused.names, kind)}"
    )


def _recipe(where: str, names: tuple[str, ...], kind: str) -> str:
    """The lines that save the weights alone."""
    if any(name.split(".")[0] in ("torch_utils", "dnnlib", "legacy", "training") for name in names):
        return (
            "  # in the folder of the StyleGAN release the file belongs to\n"
            "  import legacy, torch\n"
            f'  model = legacy.load_network_pkl(open({where!r}, "rb"))["G_ema"]\n'
            '  torch.save(model.state_dict(), "weights.pt")'
        )
    load = f'torch.load({where!r}, map_location="cpu", weights_only=False)'
    if kind == "pickle":
        load = f'pickle.load(open({where!r}, "rb"))'
    return (
        f"  import torch{', pickle' if kind == 'pickle' else ''}\n"
        f"  model = {load}  # or the entry that is the generator\n"
        '  state = model.state_dict() if hasattr(model, "state_dict") else model\n'
        "  state = {name: torch.as_tensor(value) for name, value in state.items()}\n"
        '  torch.save(state, "weights.pt")'
    )
