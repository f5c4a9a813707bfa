"""Safetensors in and out: a header is looked at before anything is made from it, and the same content gives the same
bytes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from unfeature.errors import BadCheckpoint

MAX_HEADER = 16 * 2**20
"""Bytes of a header; 100,000 tensors need less."""


def header_length(data: bytes) -> int:
    """What the first 8 bytes say."""
    return int.from_bytes(data[:8], "little")


def looks_like_safetensors(head: bytes, size: int) -> bool:
    """Whether a file of `size` bytes that begins with `head` can be nothing else, whole or cut off."""
    return len(head) > 8 and head[8:9] == b"{" and 2 <= header_length(head) <= max(size, 100 * MAX_HEADER)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object whose keys differ; ValueError."""
    made = dict(pairs)
    if len(made) < len(pairs):
        seen = [key for key, _ in pairs]
        raise ValueError(f'"{next(key for key in made if seen.count(key) > 1)}" is there twice')
    return made


def header(data: bytes) -> dict[str, Any]:
    """The JSON before the tensors; ValueError where it is too long, cut off, no object, or names a tensor twice."""
    size = header_length(data)
    if len(data) < 8 or size > len(data) - 8:
        raise ValueError(f"its header should be {size:,} bytes long")
    if size > MAX_HEADER:
        raise ValueError(f"its header is {size:,} bytes long, expected at most {MAX_HEADER:,}")
    try:
        found = json.loads(data[8 : 8 + size], object_pairs_hook=_once)
    except RecursionError:
        raise ValueError("its header is nested too deeply") from None
    if not isinstance(found, dict):
        raise ValueError("its header is no JSON object")
    return found


def read_plain(where: str, data: bytes) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and the text metadata of a safetensors file's bytes; BadCheckpoint for a damaged file."""
    try:
        entries = header(data)
        metadata, loaded = entries.pop("__metadata__", {}), safetensors.torch.load(data)
        tensors = {name: loaded[name] for name in entries}  # in the file's order
    except (
        safetensors.SafetensorError,
        ValueError,
        LookupError,
        TypeError,
        RuntimeError,
        ArithmeticError,
        MemoryError,
    ) as error:
        raise BadCheckpoint(
            f"{where} is not a whole safetensors file ({error}); got {len(data)} bytes. It was cut off or is of "
            "another kind: copy or download it again."
        ) from error
    return tensors, dict(metadata)


def our_facts(where: str, metadata: Mapping[str, str]) -> dict[str, Any]:
    """What `to_safetensors` put beside the tensors; BadCheckpoint where it is not JSON any more."""
    try:
        facts = json.loads(metadata.get("unfeature", "{}"))
        problem = "" if isinstance(facts, dict) else f"it is a JSON {type(facts).__name__}, expected an object"
    except (ValueError, RecursionError) as error:
        problem = str(error)
    if problem:
        raise BadCheckpoint(
            f'{where} has metadata "unfeature" that cannot be read ({problem}); it was damaged or edited. '
            "Copy or download the file again."
        )
    return facts  # type: ignore[no-any-return]


def read_safetensors(where: str, data: bytes) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and the facts that `to_safetensors` put beside them; BadCheckpoint for a damaged file."""
    tensors, metadata = read_plain(where, data)
    return tensors, our_facts(where, metadata)


def to_safetensors(tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> bytes:
    """The bytes of a safetensors file; the same content gives the same bytes. Tied weights stand there twice."""
    plain, places = dict[str, Tensor](), set[int]()
    for key, value in sorted(tensors.items()):
        own = value.detach().cpu().contiguous()
        place = own.untyped_storage().data_ptr()
        plain[key] = own.clone() if place in places else own
        places.add(place)
    return safetensors.torch.save(plain, {"unfeature": json.dumps(facts, sort_keys=True)})


def patched(data: bytes, new: Mapping[str, Tensor]) -> bytes:
    """The same file with other values in the tensors of `new`, which have the file's own shapes and dtypes."""
    entries, start, made = header(data), 8 + header_length(data), bytearray(data)
    for key, value in new.items():
        first, last = entries[key]["data_offsets"]
        made[start + first : start + last] = value.contiguous().flatten().view(torch.uint8).numpy().tobytes()
    return bytes(made)
