"""One layer's least squares: which columns its weights multiply, the normal equations, the change that solves them.

A layer that is linear in its weights makes y = A(x) w, with A known from its input x. The change D of w that brings y
nearest to wanted outputs y^ solves (A'A + ridge) D = A'(y^ - y), summed over many x; nothing else of x is kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

RIDGE = 1e-6
"""Pull towards the weights as they are, as a share of the columns' mean square."""

MOST_COLUMNS = 2304
"""Wider layers are left out: their normal equations would take longer than all the rest, and 42 MB."""

SAME = 1e-3
"""Relative difference within which a layer does what is expected of its kind."""


@dataclass(frozen=True)
class Editable:
    """A layer whose output is, at every place, `weight` times a row of its input plus `bias`, each times a constant."""

    name: str
    layer: nn.Module

    @classmethod
    def of(cls, module: nn.Module) -> list[Editable]:
        """Those with a weight of 2 or 4 dimensions and perhaps a bias, that no other module shares or computes."""
        owners: dict[int, int] = {}
        for part in module.modules():
            for value in part.parameters(recurse=False):
                owners[id(value)] = owners.get(id(value), 0) + 1
        return [cls(name, part) for name, part in module.named_modules() if _has_kind(part) and _alone(part, owners)]

    @cached_property
    def columns(self) -> int:
        """p: numbers of the input that one output number is made of."""
        weight = self.layer.get_parameter("weight")
        return weight.numel() // (weight.shape[1] if isinstance(self.layer, nn.ConvTranspose2d) else weight.shape[0])

    def places(self, outputs: Tensor) -> int:
        """At how many places of one input the weights are applied."""
        if self._is_picture:
            return outputs.shape[-2] * outputs.shape[-1]
        return outputs[0].numel() // outputs.shape[-1]

    def rows(self, inputs: Tensor, place: int, outputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What the outputs at one place are made of: (n, k), which of the p columns those are, (k,), and they, (n, q).

        k < p where the other columns are 0 at this place whatever the input.
        """
        if self._is_picture:
            y, x = divmod(place, outputs.shape[-1])
            made, patch, used = outputs[:, :, y, x], *self._patch(inputs, y, x)
        else:
            at = (slice(None), place) if inputs.ndim > 2 else (slice(None),)
            made, patch = (t.flatten(1, -2)[at] if t.ndim > 2 else t for t in (outputs, inputs))
            used = torch.arange(self.columns)
        return patch.flatten(1).double().cpu(), used, made.double().cpu()

    def _fits(self, inputs: Tensor, outputs: Tensor) -> bool:
        """The shapes are those of a layer of its kind."""
        q = self.matrix(self.layer.get_parameter("weight")).shape[1]
        if self._is_picture:
            return inputs.ndim == outputs.ndim == 4 and outputs.shape[1] == q
        ends = inputs.shape[-1], outputs.shape[-1]
        return inputs.shape[:-1] == outputs.shape[:-1] and ends == (self.columns, q)

    @property
    def _is_picture(self) -> bool:
        return isinstance(self.layer, nn.Conv2d | nn.ConvTranspose2d)

    def _patch(self, inputs: Tensor, y: int, x: int) -> tuple[Tensor, Tensor]:
        """(n, c, h, w) -> the part (n, c, i, j) that meets weights at the output (y, x), and their columns (c i j,)."""
        layer = self.layer
        assert isinstance(layer, nn.Conv2d | nn.ConvTranspose2d)
        height, width = layer.kernel_size
        rows, of_rows = _taps(layer, 0, inputs.shape[2], y)
        columns, of_columns = _taps(layer, 1, inputs.shape[3], x)
        kernel = (of_rows[:, None] * width + of_columns).flatten()
        used = torch.arange(inputs.shape[1])[:, None] * (height * width) + kernel
        return inputs[:, :, rows][:, :, :, columns], used.flatten()

    def matrix(self, weight: Tensor) -> Tensor:
        """The weights as (p, q)."""
        return (
            weight.movedim(1, -1).flatten(0, -2) if isinstance(self.layer, nn.ConvTranspose2d) else weight.flatten(1).T
        )

    def weight(self, matrix: Tensor) -> Tensor:
        """`matrix` back in the weight's shape."""
        shape = self.layer.get_parameter("weight").shape
        if isinstance(self.layer, nn.ConvTranspose2d):
            return matrix.view(shape[0], *shape[2:], shape[1]).movedim(-1, 1)
        return matrix.T.reshape(shape)

    def gains(self, inputs: Tensor) -> tuple[float, float] | None:
        """What the layer multiplies weight and bias with (1 and 1 for torch's own); None if it does anything else."""
        own = dict(self.layer.named_parameters(recurse=False))
        ramp = torch.linspace(-1, 1, own["weight"].numel()).to(own["weight"]).view_as(own["weight"])
        told = {"weight": ramp} | ({"bias": torch.zeros_like(own["bias"])} if "bias" in own else {})
        made: Tensor = functional_call(self.layer, told, (inputs,))
        if not self._fits(inputs, made):
            return None
        seen = [self.rows(inputs, place, made) for place in range(min(self.places(made), 8))]
        matrix = self.matrix(ramp).double().cpu()
        expected = torch.cat([part @ matrix[used] for part, used, _ in seen])
        gain = _factor(expected, torch.cat([at for _, _, at in seen]))
        if gain is None or "bias" not in own:
            return None if gain is None else (gain, 0.0)
        lone = functional_call(self.layer, {"weight": ramp * 0, "bias": torch.ones_like(own["bias"])}, (inputs,))
        rate = _factor(torch.ones_like(lone).double(), lone.double())
        return None if rate is None else (gain, rate)


def _taps(layer: nn.Conv2d | nn.ConvTranspose2d, axis: int, size: int, at: int) -> tuple[Tensor, Tensor]:
    """(k,) input indices along one axis that meet a weight at output `at`, and the weights' indices."""
    padding, stride, dilation = int(layer.padding[axis]), layer.stride[axis], layer.dilation[axis]
    weights = torch.arange(layer.kernel_size[axis])
    if isinstance(layer, nn.ConvTranspose2d):
        reached = at + padding - dilation * weights
        index, meets = reached.div(stride, rounding_mode="floor"), reached % stride == 0
    else:
        index = at * stride - padding + dilation * weights
        meets = torch.ones_like(index, dtype=torch.bool)
    meets &= (index >= 0) & (index < size)
    return index[meets], weights[meets]


def _has_kind(part: nn.Module) -> bool:
    own = dict(part.named_parameters(recurse=False))
    if not set(own) <= {"weight", "bias"} or "weight" not in own or own["weight"].ndim not in (2, 4):
        return False
    if own["weight"].ndim == 2:
        return not isinstance(part, nn.Embedding | nn.EmbeddingBag)
    plain = isinstance(part, nn.Conv2d | nn.ConvTranspose2d) and part.groups == 1 and part.padding_mode == "zeros"
    return plain and not isinstance(part.padding, str)


def _alone(part: nn.Module, owners: dict[int, int]) -> bool:
    """Nobody else has its parameters, and nothing computes them (a parametrisation's are below it)."""
    return all(owners[id(value)] == 1 for value in part.parameters(recurse=False)) and not list(part.children())


def _factor(expected: Tensor, made: Tensor) -> float | None:
    """c with made = c expected, or None."""
    if expected.shape != made.shape or not bool(expected.square().sum() > 0):
        return None
    factor = float((expected * made).sum() / expected.square().sum())
    rest = float((made - factor * expected).abs().max())
    return factor if factor != 0 and rest <= SAME * float(made.abs().max()) else None


class NormalEquations:
    """Sums over rows from which the change is solved: (p + 1)^2 + (p + 1) q numbers, however many rows."""

    def __init__(self, editable: Editable, gains: tuple[float, float]) -> None:
        self.editable, self.gains = editable, gains
        q = editable.matrix(editable.layer.get_parameter("weight")).shape[1]
        self.gram = torch.zeros(editable.columns + 1, editable.columns + 1, dtype=torch.float64)
        self.moment = torch.zeros(editable.columns + 1, q, dtype=torch.float64)

    def add(self, rows: Tensor, used: Tensor, missing: Tensor) -> None:
        """(n, k) inputs, their columns (k,), and (n, q) differences between wanted and made outputs."""
        gain, rate = self.gains
        a, used = F.pad(gain * rows, (0, 1), value=rate), F.pad(used, (0, 1), value=self.editable.columns)
        self.gram[used[:, None], used] += a.T @ a
        self.moment[used] += a.T @ missing

    def solve(self) -> dict[str, Tensor] | None:
        """The new weight and bias; None where no finite ones came out."""
        ridge = RIDGE * self.gram.diagonal().mean()
        lower, failed = torch.linalg.cholesky_ex(self.gram + ridge * torch.eye(len(self.gram), dtype=torch.float64))
        change = torch.cholesky_solve(self.moment, lower)
        if int(failed) or not bool(change.isfinite().all()):
            return None
        own = dict(self.editable.layer.named_parameters(recurse=False))
        changes = {"weight": self.editable.weight(change[:-1]), "bias": change[-1]}
        return {key: (value.detach().double().cpu() + changes[key]).to(value) for key, value in own.items()}
