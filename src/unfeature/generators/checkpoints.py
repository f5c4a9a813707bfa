"""Any checkpoint file as tensors by name, and the same file again with other values: the format is told by content."""

from __future__ import annotations

import copy
import hashlib
import os
import stat
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from unfeature.errors import BadCheckpoint, BadFile, UnfeatureError
from unfeature.generators.safetensors_files import looks_like_safetensors, our_facts, patched, read_plain
from unfeature.generators.torch_files import read_torch, write_torch
from unfeature.generators.wrappers import Part, chosen, parts, told

SUFFIXES = (".safetensors", ".pt", ".pth", ".ckpt", ".pkl", ".bin", ".pth.tar", ".pt.tar")
"""Of files that are taken for checkpoints where a generator is named."""

MAX_BYTES = 8 * 2**30

Format = Literal["safetensors", "torch"]

_OTHERS = {
    b"version https://git-lfs": "a pointer of Git LFS: fetch the file itself with  git lfs pull",
    b"<": "a web page: download the file itself",
    b"\x89HDF": "an HDF5 file of Keras: save the weights from there as safetensors",
    b"\x1f\x8b": "compressed: unpack it first",
    b"BZh": "compressed: unpack it first",
    b"\xfd7zXZ": "compressed: unpack it first",
    b"\x93NUMPY": "a NumPy array: save the weights as safetensors",
    b"GGUF": "a GGUF file: save the weights as safetensors",
}
"""First bytes -> what such a file is and what to do."""


@dataclass(frozen=True)
class Opened:
    """A checkpoint file that was read: the weights in it, and what is needed to write it again."""

    path: Path
    sha256: str
    format: Format
    tensors: dict[str, Tensor]
    """By name, with wrapper and prefix taken off; values and dtypes as the file has them."""
    where: tuple[str, ...]
    """Keys that lead to the weights in the nested object; () at its top."""
    prefix: str
    """Taken off every name."""
    facts: dict[str, Any]
    """What unfeature wrote beside the tensors; {} in files of others."""
    metadata: dict[str, str]
    """Text beside the tensors of a safetensors file."""
    notes: tuple[str, ...]
    """What was found, in words."""

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Name -> shape, in the file's order."""
        return {name: tuple(value.shape) for name, value in self.tensors.items()}


def is_checkpoint(name: str) -> bool:
    """Whether a generator's name is that of a checkpoint file."""
    return name.lower().endswith(SUFFIXES)


def open_checkpoint(
    path: str | Path, wanted: Collection[str] | None = None, at: tuple[tuple[str, ...], str] | None = None
) -> Opened:
    """The weights in a safetensors or torch file; nothing in it is run. BadFile, BadCheckpoint.

    `wanted`: names of the module's own weights, or these by name, which decide between several sets of weights;
    averaged copies come first. Without them, only prefixes that wrappers put before every name are taken off.
    `at`: where and prefix of the set that was taken before; it is taken again where it is still there.
    """
    content = _Content.read(Path(path))
    again = [part for part in content.parts if (part.where, part.prefix) == at]
    return content.opened(again[0] if again else chosen(content.parts, wanted))


def openings(path: str | Path) -> list[Opened]:
    """The file with each set of weights in it that may be meant, the likeliest first. BadFile, BadCheckpoint."""
    content = _Content.read(Path(path))
    return [content.opened(part) for part in content.parts]


def rewritten(opened: Opened, new: Mapping[str, Tensor]) -> bytes:
    """The same file with `new` (name -> value, names as in `opened.tensors`) in place of the old values.

    Format, nesting, keys, dtypes, metadata and every other entry stay; of safetensors, every other byte. The same
    content gives the same bytes, but not in torch's older format. Counters of batch norm that the file never had are
    left out. BadCheckpoint for another name or shape, for values its dtype cannot hold, for what lies too deep beside
    them, or where the file has changed.
    """
    content = _Content.read(opened.path)
    if content.sha256 != opened.sha256:
        raise BadCheckpoint(f"{opened.path} has changed since it was read; expected the same bytes. Start again.")
    values = {
        name: _as_in_file(f'weight "{name}" of {opened.path}', value.detach(), opened.tensors[name])
        for name, value in new.items()
        if _expected(opened, name)
    }
    named = {opened.prefix + name: value for name, value in values.items()}
    if opened.format == "safetensors":
        return patched(content.data, named)
    whole = state = copy.copy(content.content)
    for step in opened.where:  # copies, since the same dict may stand in two places of the file
        inner = copy.copy(state[step])
        state[step] = inner
        state = inner
    for key, value in named.items():
        old = state[key]
        value.requires_grad_(old.requires_grad)
        state[key] = nn.Parameter(value, old.requires_grad) if isinstance(old, nn.Parameter) else value
    try:
        return write_torch(whole, legacy=content.data[:2] != b"PK")
    except RecursionError as error:
        raise BadCheckpoint(
            f"{opened.path} has lists or dicts too deep in one another to be written again; expected weights and a few "
            "numbers beside them. Use --format safetensors."
        ) from error


def _expected(opened: Opened, name: str) -> bool:
    if name not in opened.tensors and not name.endswith("num_batches_tracked"):
        raise BadCheckpoint(f'{opened.path} has no weight "{name}"; expected names it has. Use the file it came from.')
    return name in opened.tensors


def _as_in_file(what: str, value: Tensor, old: Tensor) -> Tensor:
    """The value in the old one's dtype and shape; a counter may have one dimension or none."""
    if value.shape != old.shape and not value.numel() == old.numel() == 1:
        raise BadCheckpoint(f"{what} would get shape {tuple(value.shape)}; expected {tuple(old.shape)}")
    made = torch.empty_like(old).copy_(value.reshape(old.shape))  # in the old one's layout
    if made.is_floating_point() and bool((~made.isfinite()).any()):
        raise BadCheckpoint(f"{what} would become infinite or NaN as {old.dtype}; expected finite numbers")
    return made


@dataclass(frozen=True)
class _Content:
    """All that a file holds."""

    path: Path
    data: bytes
    sha256: str
    format: Format
    content: Any
    metadata: dict[str, str]
    parts: list[Part]

    @classmethod
    def read(cls, path: Path) -> _Content:
        data, where = read_file(path), str(path)
        metadata: dict[str, str] = {}
        kind = _format(path, data)
        if kind == "safetensors":
            content, metadata = read_plain(where, data)
        else:
            content = read_torch(where, data)
        found = parts(content)
        if not found:
            raise BadCheckpoint(
                f"{path} holds a {type(content).__name__} without named tensors; expected a state dict. "
                "Save one:  torch.save(model.state_dict(), FILE)"
            )
        return cls(path, data, hashlib.sha256(data).hexdigest(), kind, content, metadata, found)

    def opened(self, part: Part) -> Opened:
        notes = told(part, self.parts, self.content) + _of_dtypes(part)
        tensors = {name: value.detach() for name, value in part.tensors.items()}
        facts = our_facts(str(self.path), self.metadata)
        found = part.where, part.prefix, facts, self.metadata, tuple(notes)
        return Opened(self.path.absolute(), self.sha256, self.format, tensors, *found)


def _of_dtypes(part: Part) -> list[str]:
    floats = {str(value.dtype)[6:] for value in part.tensors.values() if value.is_floating_point()} - {"float32"}
    return [f"weights of {' and '.join(sorted(floats))} are computed with as float32"] if floats else []


def read_file(path: Path, most: int = MAX_BYTES) -> bytes:
    """The bytes of an ordinary file; BadFile for anything else or more than `most` bytes, at once."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a pipe must not make us wait
        with os.fdopen(handle, "rb") as file:
            about = os.fstat(handle)
            if not stat.S_ISREG(about.st_mode):
                raise BadFile(f"cannot read {path}: it is no ordinary file. Check the path.")
            if about.st_size > most:
                raise BadFile(f"cannot read {path}: {about.st_size:,} bytes; expected at most {most:,}.")
            return file.read()
    except UnfeatureError:
        raise
    except (OSError, ValueError, MemoryError) as error:
        told_by = getattr(error, "strerror", None) or str(error) or "not enough memory"
        raise BadFile(f"cannot read {path}: {told_by}. Check the path.") from error


def _format(path: Path, data: bytes) -> Format:
    """Which of the two it is, by its first bytes; BadCheckpoint for another kind of file."""
    if looks_like_safetensors(data[:9], len(data)):
        return "safetensors"
    if data[:4] == b"PK\x03\x04" or data[:1] == b"\x80":
        return "torch"
    for start, what in _OTHERS.items():
        if data.startswith(start):
            raise BadCheckpoint(f"{path} is not a checkpoint but {what}")
    if path.suffix.lower() == ".safetensors":
        return "safetensors"  # whose reader says what is wrong
    if len(data) > 2 and data.rstrip()[-1:] == b".":
        return "torch"  # perhaps: a pickle in the oldest protocols ends with a full stop
    raise BadCheckpoint(
        f"{path} is neither a safetensors nor a torch file; got {len(data):,} bytes that begin with {data[:8]!r}. "
        "It was cut off or is of another kind: copy or download it again."
    )
