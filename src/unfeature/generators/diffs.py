"""What unlearning changed, as a small file that puts it into a checkpoint and takes it out again, to the same bytes.

Of each changed tensor it holds the exclusive or of its bytes before and after: applied twice, nothing has happened.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from unfeature.errors import BadCheckpoint
from unfeature.generators.safetensors_files import to_safetensors

KIND = "diff"


def difference(before: Mapping[str, Tensor], after: Mapping[str, Tensor], about: Mapping[str, Any]) -> bytes:
    """A diff file from tensors with the same names, shapes and dtypes; `about` says what was removed from what."""
    changed = [name for name in before if not torch.equal(before[name], after[name])]
    content = {name: _bytes(before[name]) ^ _bytes(after[name]) for name in changed}
    facts = {"kind": KIND, "before": tensors_hash(before, changed), "after": tensors_hash(after, changed)}
    return to_safetensors(content, {**about, **facts})


def applied(
    where: str, diff: tuple[Mapping[str, Tensor], Mapping[str, Any]], tensors: Mapping[str, Tensor], *, revert: bool
) -> dict[str, Tensor]:
    """The tensors that the diff changes, with it applied, or taken out where `revert`.

    BadCheckpoint where `where` is no diff, or is for other values than these tensors have.
    """
    content, facts = diff
    if facts.get("kind") != KIND or not {"before", "after"} <= facts.keys():
        raise BadCheckpoint(
            f"{where} is no diff file; expected what `export --format diff` writes. Name the diff first, then the file."
        )
    begin, end = ("after", "before") if revert else ("before", "after")
    missing = [name for name in content if name not in tensors or _bytes(tensors[name]).shape != content[name].shape]
    found = tensors_hash(tensors, content) if not missing else "other names or sizes"
    if found != facts[begin]:
        done = found == facts[end]
        state = "already as the diff leaves it" if done else f"not the one the diff was made for ({found})"
        raise BadCheckpoint(
            f"the checkpoint is {state}; expected weights with hash {facts[begin]}. "
            + (f"{'Leave --revert out.' if revert else 'To take it out again use:  --revert'}" if done else _OTHER)
        )
    return {name: _from_bytes(_bytes(tensors[name]) ^ change, tensors[name]) for name, change in content.items()}


_OTHER = "Use the file the diff was exported for."


def tensors_hash(tensors: Mapping[str, Tensor], names: Iterable[str]) -> str:
    """The first 16 hex digits of the SHA-256 over names, shapes, dtypes and bytes of these tensors."""
    digest = hashlib.sha256()
    for name in sorted(names):
        value = tensors[name]
        digest.update(f"{name} {tuple(value.shape)} {value.dtype}".encode())
        digest.update(_bytes(value).numpy().tobytes())
    return digest.hexdigest()[:16]


def _bytes(value: Tensor) -> Tensor:
    """Any tensor -> (bytes,) uint8."""
    return value.detach().cpu().contiguous().flatten().view(torch.uint8)


def _from_bytes(flat: Tensor, like: Tensor) -> Tensor:
    return flat.view(like.dtype).reshape(like.shape)
