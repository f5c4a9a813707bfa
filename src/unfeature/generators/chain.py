"""Networks that are one chain of layers, built under a checkpoint's own names: what the families of chains share."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise, zip_longest
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unfeature.errors import BadOption, UnknownName
from unfeature.generators.layers import Layer, Shape, joins, picked_layers, steps_between
from unfeature.generators.module import clipped

Function = Callable[[Tensor], Tensor]

ACTIVATIONS: dict[str, Function] = {
    "relu": F.relu,
    "elu": F.elu,
    "gelu": F.gelu,
    "silu": F.silu,
    "selu": F.selu,
    "softplus": F.softplus,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "none": lambda x: x,
}
"""Beside these there is "leaky-relu", which has a slope."""

OUTPUTS: dict[str, Function] = {
    "sigmoid": torch.sigmoid,
    "tanh": lambda x: (torch.tanh(x) + 1) / 2,
    "clip": clipped,
}
"""From the last layer's values to images in [0, 1]."""

PLACES = ("before", "after")
"""Of a norm: before or after the activation."""


def function(table: Mapping[str, Function], kind: str, name: str) -> Function:
    """The entry; UnknownName."""
    if not isinstance(name, str) or name not in table:
        raise UnknownName(kind, str(name), table)
    return table[name]


def activation_function(name: str, slope: float) -> Function:
    """The activation of that name; `slope` is leaky ReLU's below zero. UnknownName."""
    return function({**ACTIVATIONS, "leaky-relu": lambda x: F.leaky_relu(x, slope)}, "activation", name)


def words(value: Any) -> list[str]:
    """["elu", "relu"] or "elu,relu" -> the same list."""
    return list(value) if isinstance(value, list | tuple) else [word.strip() for word in str(value).split(",")]


def whole_numbers(name: str, value: Any, count: int, least: int = 1) -> tuple[int, ...]:
    """[1, 2] or "1,2" or, for a shape, "1x2" -> (1, 2); one number stands for all. BadOption."""
    given = re.split("[x,]", value) if isinstance(value, str) else value
    texts = [str(number).strip() for number in (given if isinstance(given, Sequence) else [given])]
    found = tuple(int(text) for text in texts if text.isdecimal())
    if len(found) == len(texts) and len(found) in (1, count) and min(found) >= least:
        return found * (count // len(found))
    example = ",".join(["4"] * count)
    raise BadOption(
        f"{name} is {value!r}; expected {count} whole numbers from {least}. Say:  --argument {name}={example}"
    )


def above_zero(name: str, value: Any) -> float:
    """The number; BadOption for text, 0 or less."""
    if isinstance(value, int | float) and 0 < value < math.inf:
        return float(value)
    raise BadOption(f"{name} is {value!r}; expected a number above 0. Say:  --argument {name}=0.1")


class FixedNorm(nn.Module):
    """Batch norm with the running mean and variance of the file, in whatever mode: a row never depends on its batch.

    (n, c * m) or (n, c, h, w) -> the same shape, normalised per channel.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, size: int, eps: float, affine: bool, counter: Shape | None) -> None:
        super().__init__()
        self.size, self.eps = size, eps
        self.weight = nn.Parameter(torch.ones(size)) if affine else None
        self.bias = nn.Parameter(torch.zeros(size)) if affine else None
        self.register_buffer("running_mean", torch.zeros(size))
        self.register_buffer("running_var", torch.ones(size))
        if counter is not None:
            self.register_buffer("num_batches_tracked", torch.zeros(counter, dtype=torch.long))

    def forward(self, x: Tensor) -> Tensor:
        """Normalised, scaled and shifted."""
        by_channel = x if x.shape[1] == self.size else x.reshape(x.shape[0], self.size, -1)
        made = F.batch_norm(by_channel, self.running_mean, self.running_var, self.weight, self.bias, False, 0, self.eps)
        return made.reshape(x.shape)


class Chain(nn.Module):
    """Layers of a checkpoint one after another; `state_dict()` has the checkpoint's own keys."""

    def __init__(
        self,
        layers: Sequence[Mapping[str, Any]],
        make: Callable[[Layer], nn.Module],
        *,
        activation: str | Sequence[str],
        slope: float,
        norm: str,
        eps: float,
        keys: str | Sequence[str],
    ) -> None:
        """activation: one for all hidden layers or one for each; norm: "before" or "after" the activation.

        make: what a layer becomes that is no norm. keys: which of `layers` to take. BadOption, UnknownName.
        """
        super().__init__()
        if norm not in PLACES:
            raise UnknownName("place of the norms", str(norm), PLACES)
        picked = picked_layers([Layer.from_json(layer) for layer in layers], keys)
        self._plan = [(layer, self._norm_of(picked, i)) for i, layer in enumerate(picked) if not layer.is_norm]
        _check_chain(picked, self._plan)
        for layer in picked:
            put(self, layer.name, _norm(layer, above_zero("eps", eps)) if layer.is_norm else make(layer))
        self._activations = self._all_activations(activation, above_zero("slope", slope))
        self._norm_first = norm == "before"

    @staticmethod
    def _norm_of(layers: Sequence[Layer], i: int) -> Layer | None:
        return layers[i + 1] if i + 1 < len(layers) and layers[i + 1].is_norm else None

    def _all_activations(self, names: str | Sequence[str], slope: float) -> list[Function]:
        given, hidden = words(names), len(self._plan) - 1
        if len(given) not in (1, hidden):
            raise BadOption(
                f"activation names {len(given)}; expected 1, or one for each of the {hidden} layers but the last. "
                "Say:  --argument activation=relu"
            )
        made = [activation_function(name, slope) for name in given]
        return (made * hidden if len(made) == 1 else made) + [ACTIVATIONS["none"]]

    def run(self, x: Tensor, view: Mapping[str, Shape] | None = None) -> Tensor:
        """Through all layers; `view`: the shape of a row before the layer of that name."""
        for (layer, norm), activate in zip(self._plan, self._activations, strict=True):
            if view and layer.name in view:
                x = x.reshape(x.shape[0], *view[layer.name])
            x = self.get_submodule(layer.name)(x)
            x = x if self._norm_first else activate(x)
            x = x if norm is None else self.get_submodule(norm.name)(x)
            x = activate(x) if self._norm_first else x
        return x


def _check_chain(picked: Sequence[Layer], plan: Sequence[tuple[Layer, Layer | None]]) -> None:
    """BadOption where sizes do not follow each other, or a norm is not behind another layer and of its size."""
    whole = len(plan) + sum(norm is not None for _, norm in plan) == len(picked) > 0
    for (layer, norm), after in zip_longest(plan, plan[1:]):
        sizes = (layer.out, after[0].into) if after else (layer.out,)
        whole = whole and (norm is None or norm.out in sizes) and (after is None or joins(layer, after[0]))
    if not whole:
        told = ", ".join(f"{layer.name} ({layer.kind} {layer.into} -> {layer.out})" for layer in picked) or "none"
        raise BadOption(
            f"the layers {told} are no chain; expected each to take what the one before gives, norms behind others. "
            "Name the generator's layers in their order:  --argument keys=NAME,NAME"
        )


def _norm(layer: Layer, eps: float) -> nn.Module:
    if layer.kind == "layer-norm":
        return nn.LayerNorm(layer.out, eps=eps)
    return FixedNorm(layer.out, eps, layer.bias, layer.counter)


def put(root: nn.Module, name: str, module: nn.Module) -> None:
    """Make `module` reachable as `root.NAME`, with empty modules on the way; BadOption for a name torch cannot have."""
    *path, last = name.split(".")
    here = root
    try:
        for part in path:
            if part not in dict(here.named_children()):
                here.add_module(part, nn.Module())
            here = here.get_submodule(part)
        here.add_module(last, module)
    except KeyError as error:
        raise BadOption(
            f'a layer is called "{name}", which a torch module cannot have. Name the code instead.'
        ) from error


def place_of_norms(layers: Sequence[Layer]) -> str:
    """ "after" the activation where every norm stands two places behind its layer in a numbered list, else "before"."""
    gaps = [steps_between(a.name, b.name) for a, b in pairwise(layers) if b.is_norm]
    return "after" if gaps and set(gaps) == {2} else "before"


def picture_shape(features: int, least: int = 8) -> list[int] | None:
    """[1, s, s] or [3, s, s] with that many values and s >= least; None where there is none."""
    for channels in (1, 3):
        side = math.isqrt(features // channels)
        if side >= least and channels * side * side == features:
            return [channels, side, side]
    return None
