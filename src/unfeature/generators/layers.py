"""The layers with weights of a network that is one chain, and how a user picks some of a file's."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, fields
from typing import Any, Literal

import torch
from torch import nn

from unfeature.errors import BadOption

Shape = tuple[int, ...]
Kind = Literal["linear", "conv", "transposed", "batch-norm", "layer-norm"]

_KINDS = ("linear", "conv", "transposed", "batch-norm", "layer-norm")


@dataclass(frozen=True)
class Layer:
    """One layer with weights, under the checkpoint's own name."""

    name: str
    kind: Kind
    into: int
    """Features or channels; of a norm, those it normalises."""
    out: int
    kernel: int = 1
    bias: bool = True
    """Of a norm: it has weight and bias."""
    counter: Shape | None = None
    """Shape of a batch norm's `num_batches_tracked`, where the checkpoint has one."""

    @property
    def is_norm(self) -> bool:
        """A batch norm or layer norm."""
        return self.kind.endswith("norm")

    def to_json(self) -> dict[str, Any]:
        """What differs from the defaults, as JSON."""
        defaults = {field.name: field.default for field in fields(self) if field.default is not MISSING}
        told = {key: value for key, value in asdict(self).items() if key not in defaults or value != defaults[key]}
        return {key: list(value) if isinstance(value, tuple) else value for key, value in told.items()}

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> Layer:
        """The layer again; BadOption for anything `to_json` does not write."""
        try:
            counter = told.get("counter")
            layer = cls(**{**told, "counter": None if counter is None else tuple(counter)})
            numbers = (layer.into, layer.out, layer.kernel, *(layer.counter or ()))
            if layer.kind in _KINDS and all(isinstance(n, int) and n > 0 for n in numbers) and is_path(layer.name):
                return layer
        except (TypeError, AttributeError):
            pass
        raise BadOption(
            f"layer {told!r} cannot be read; expected name, kind, into and out. Leave `layers` to the file."
        )


def is_path(name: Any) -> bool:
    """A dotted name without an empty part."""
    return isinstance(name, str) and all(name.split("."))


def joins(before: Layer, after: Layer) -> bool:
    """Whether one can follow the other; after a linear layer, its features may be viewed as channels of a picture."""
    if before.kind == "linear" and after.kind != "linear":
        return before.out % after.into == 0
    return before.out == after.into and (after.kind != "linear" or before.kind == "linear")


def picked_shapes(shapes: Mapping[str, Shape], keys: str | Sequence[str]) -> dict[str, Shape]:
    """What lies under the layers or modules that `keys` names ("fc3,fc4", "decoder"), in the order of `keys`.

    Everything where `keys` is empty; BadOption for a name under which there is nothing.
    """
    return {key: shapes[key] for key in _under(shapes, keys)} if is_named(keys) else dict(shapes)


def picked_layers(layers: Sequence[Layer], keys: str | Sequence[str]) -> list[Layer]:
    """The same of layers: those named by `keys` or below a name of it."""
    by_name = {layer.name: layer for layer in layers}
    return [by_name[name] for name in _under(by_name, keys)] if is_named(keys) else list(layers)


def is_named(keys: str | int | Sequence[str]) -> bool:
    """Whether an argument names layers; the layer 0 is one."""
    return keys not in ("", (), [])


def _under(names: Iterable[str], keys: str | Sequence[str]) -> list[str]:
    known, found = list(names), dict[str, None]()
    for word in keys if isinstance(keys, list | tuple) else str(keys).split(","):
        path = str(word).strip().rstrip(".")
        below = [name for name in known if name == path or name.startswith(f"{path}.")]
        if not below:
            told = ", ".join(dict.fromkeys(name.split(".")[0] for name in known)) or "none"
            raise BadOption(
                f'keys names "{path}", but no weights lie under it; the file has {told}. Name some of those.'
            )
        found |= dict.fromkeys(below)
    return list(found)


def steps_between(name: str, other: str) -> int | None:
    """From "main.3" to "main.5": 2; None where they are no numbered members of the same list."""
    (parent, _, first), (other_parent, _, second) = name.rpartition("."), other.rpartition(".")
    return int(second) - int(first) if parent == other_parent and first.isdecimal() and second.isdecimal() else None


def builds(family: type[nn.Module], arguments: Mapping[str, Any], shapes: Mapping[str, Shape]) -> bool:
    """Whether these arguments make a module with exactly these keys and shapes; nothing is allocated."""
    with torch.device("meta"):
        own = {key: tuple(value.shape) for key, value in family(**arguments).state_dict().items()}
    return own == dict(shapes)
