"""What a checkpoint's own names and shapes say of a network: which layers it has, of which kind, in which order."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Literal

from unfeature.generators.layers import Kind, Layer, Shape, is_path, joins, steps_between

_STATISTICS = {"running_mean", "running_var"}
_SAYS_TRANSPOSED = re.compile(r"deconv|transpose|convt|tconv|conv_t|upconv", re.IGNORECASE)
_MOST_LAYERS = 60  # of a chain
_MOST_DEAD_ENDS = 10_000  # in the search for an order


@dataclass(frozen=True)
class _Raw:
    """A group of tensors, before the direction of a convolution is known."""

    name: str
    kind: Literal["linear", "picture", "batch-norm", "layer-norm"]
    shape: Shape
    bias: int | None = None
    counter: Shape | None = None

    @property
    def stem(self) -> str:
        """The name without its numbers."""
        return re.sub(r"\d+", "#", self.name)

    @property
    def numbers(self) -> Shape:
        """The numbers in the name."""
        return _numbers(self.name)


def _numbers(name: str) -> Shape:
    return tuple(map(int, re.findall(r"\d+", name)))


def network(shapes: Mapping[str, Shape]) -> list[Layer] | None:
    """The layers in the network's order, each norm behind the layer it normalises.

    None where there is a tensor of no known layer, where the layers are not one chain, or where two orders would do.
    """
    raws = _raws(shapes)
    if raws is None:
        return None
    weighted = [raw for raw in raws if not raw.kind.endswith("norm")]
    order = _order(weighted) if 0 < len(weighted) <= _MOST_LAYERS else None
    return None if order is None else _with_norms(order, raws)


def _raws(shapes: Mapping[str, Shape]) -> list[_Raw] | None:
    groups: dict[str, dict[str, Shape]] = {}
    for key, shape in shapes.items():
        name, _, suffix = key.rpartition(".")
        if not is_path(name) or 0 in shape:
            return None
        groups.setdefault(name, {})[suffix] = tuple(shape)
    if any(name.rpartition(".")[0] in groups for name in groups):
        return None
    raws = [_raw(name, group) for name, group in groups.items()]
    return None if None in raws else [raw for raw in raws if raw is not None]


def _raw(name: str, group: dict[str, Shape]) -> _Raw | None:
    keys, weight, bias = set(group), group.get("weight", ()), group.get("bias")
    if keys >= _STATISTICS:
        counter, size = group.get("num_batches_tracked"), group["running_mean"]
        rest = keys - _STATISTICS - {"num_batches_tracked"}
        same = {group[key] for key in keys - {"num_batches_tracked"}} == {size} and len(size) == 1
        whole = rest in (set(), {"weight", "bias"}) and counter in (None, (), (1,))
        return _Raw(name, "batch-norm", size, size[0] if rest else None, counter) if same and whole else None
    if keys not in ({"weight"}, {"weight", "bias"}) or (bias is not None and len(bias) != 1):
        return None
    if len(weight) == 1:
        return _Raw(name, "layer-norm", weight, weight[0]) if bias == weight else None
    if len(weight) == 2:
        return _Raw(name, "linear", weight, bias and bias[0]) if bias in (None, weight[:1]) else None
    square = len(weight) == 4 and weight[2] == weight[3]
    fits = square and (bias is None or bias[0] in weight[:2])
    return _Raw(name, "picture", weight, bias and bias[0]) if fits else None


# The order of linear layers and convolutions


def _ways(raw: _Raw, before: Layer | None) -> list[Layer]:
    """The layer as it can follow `before`: none where its size does not fit, two where only what follows can tell."""
    first, second = raw.shape[:2]
    bias = raw.bias is not None
    if raw.kind == "linear":
        layer = Layer(raw.name, "linear", second, first, bias=bias)
        return [layer] if before is None or joins(before, layer) else []
    kernel, ways = raw.shape[2], list[Layer]()
    if raw.bias in (None, second):
        ways.append(Layer(raw.name, "transposed", first, second, kernel, bias))
    if raw.bias in (None, first) and kernel % 2 and before is not None:  # none but odd kernels keep a picture's size
        ways.append(Layer(raw.name, "conv", second, first, kernel, bias))
    ways = [way for way in ways if before is None or joins(before, way)]
    if len(ways) == 2 and first == second:  # the shape is the same either way
        return ways[:1] if _SAYS_TRANSPOSED.search(raw.name) else ways[1:]
    square = [way for way in ways if before and math.isqrt(before.out // way.into) ** 2 * way.into == before.out]
    return square if len(square) == 1 else ways


def _order(weighted: Sequence[_Raw]) -> list[Layer] | None:
    """The file's order; where that does not chain or mixes up numbers (1, 10, 2), the only order that chains."""
    stems: dict[str, list[_Raw]] = {}
    for raw in weighted:
        stems.setdefault(raw.stem, []).append(raw)
    counted = [sorted(group, key=lambda raw: raw.numbers) for group in stems.values()]
    as_it_is = _two_merges([weighted])
    found = as_it_is if as_it_is and counted == list(stems.values()) else _two_merges(counted) or as_it_is
    return found[0] if len(found) == 1 else None


def _two_merges(groups: Sequence[Sequence[_Raw]]) -> list[list[Layer]]:
    """At most two orders; none where the search would take long."""
    dead = set[tuple[Shape, Layer | None]]()
    found = list(islice(_merges(tuple(map(tuple, groups)), None, dead), 2))
    return found if len(dead) <= _MOST_DEAD_ENDS else []


def _merges(
    rest: tuple[tuple[_Raw, ...], ...], before: Layer | None, dead: set[tuple[Shape, Layer | None]]
) -> Iterator[list[Layer]]:
    """Every order that chains and keeps the order within each group; `dead`: where it cannot go on."""
    if not any(rest):
        yield []
        return
    state = (tuple(map(len, rest)), before)
    if state in dead or len(dead) > _MOST_DEAD_ENDS:
        return
    alive = False
    for i, group in enumerate(rest):
        for layer in _ways(group[0], before) if group else []:
            for tail in _merges((*rest[:i], group[1:], *rest[i + 1 :]), layer, dead):
                alive = True
                yield [layer, *tail]
    if not alive:
        dead.add(state)


# The places of norms


def _with_norms(layers: list[Layer], raws: Sequence[_Raw]) -> list[Layer] | None:
    """The layers with each norm behind the one it normalises: by the file's order, by its name, or by sizes.

    By sizes: one after each of some layers that follow each other, where only one such run fits.
    """
    norms = [raw for raw in raws if raw.kind.endswith("norm")]
    if not norms:
        return layers
    names = [layer.name for layer in layers]
    by_name = [_named_owner(norm.name, names) for norm in norms]
    for owners in (_owners_in_file(raws, names), by_name):
        known = [owner for owner in owners if owner is not None]
        distinct = len(set(known)) == len(norms)
        if distinct and all(_normalises(norm, layers, owner) for norm, owner in zip(norms, known, strict=True)):
            return _put_in(layers, norms, known)
    norms.sort(key=lambda norm: norm.numbers)
    same = [_number_owner(norm, names) for norm in norms]  # "bn2" and "fc2"
    runs = [list(range(first, first + len(norms))) for first in range(len(layers) - len(norms))]
    runs = [run for run in runs if all(_normalises(norm, layers, at) for norm, at in zip(norms, run, strict=True))]
    fits = len(set(same)) == len(norms) and all(
        _normalises(norm, layers, at) for norm, at in zip(norms, same, strict=True)
    )
    found = runs if len(runs) == 1 else [same] if fits else []
    return _put_in(layers, norms, found[0]) if found else None


def _normalises(norm: _Raw, layers: Sequence[Layer], owner: int) -> bool:
    """Whether the norm fits what that layer gives: its features, or its channels as the next layer sees them."""
    if not 0 <= owner < len(layers) - 1:
        return False
    layer, after = layers[owner], layers[owner + 1]
    if norm.kind == "layer-norm":
        return layer.kind == "linear" and norm.shape[0] == layer.out
    return norm.shape[0] == layer.out or (after.kind != "linear" and norm.shape[0] == after.into)


def _owners_in_file(raws: Sequence[_Raw], names: Sequence[str]) -> list[int | None]:
    """Of each norm the layer before it in the file; nothing where the file's order is not the network's."""
    if [raw.name for raw in raws if not raw.kind.endswith("norm")] != list(names):
        return []
    owners, last = list[int | None](), -1
    for raw in raws:
        if raw.kind.endswith("norm"):
            owners.append(last)
        else:
            last += 1
    return owners


def _named_owner(norm: str, names: Sequence[str]) -> int | None:
    """The layer whose name the norm's begins with ("deconv1_bn"), or the last before it in a list ("main.1")."""
    begins = [name for name in names if re.match(rf"{re.escape(name)}(?!\d)", norm)]
    if begins:
        return names.index(max(begins, key=len))
    numbers = {name: gap for name in names if (gap := steps_between(name, norm)) is not None and gap > 0}
    return names.index(min(numbers, key=numbers.__getitem__)) if numbers else None


def _number_owner(norm: _Raw, names: Sequence[str]) -> int:
    """The one layer with the same numbers in its name; -1 where there is none or there are several."""
    same = [i for i, name in enumerate(names) if norm.numbers == _numbers(name)]
    return same[0] if len(same) == 1 else -1


def _put_in(layers: Sequence[Layer], norms: Sequence[_Raw], owners: Sequence[int]) -> list[Layer]:
    by_owner = dict(zip(owners, norms, strict=True))
    placed: list[Layer] = []
    for i, layer in enumerate(layers):
        placed.append(layer)
        if i in by_owner:
            norm = by_owner[i]
            kind: Kind = "batch-norm" if norm.kind == "batch-norm" else "layer-norm"
            size = norm.shape[0]
            placed.append(Layer(norm.name, kind, size, size, bias=norm.bias is not None, counter=norm.counter))
    return placed
