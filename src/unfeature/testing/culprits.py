"""Which layer is to blame: what every layer is given and gives in two passes, compared call by call."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

APART = 1e-4
"""Part of its largest value by which a layer's row must differ before the layer is blamed."""


@dataclass(frozen=True)
class Call:
    """One call of one layer without layers inside."""

    name: str
    layer: nn.Module
    inputs: tuple[Tensor, ...]
    output: Tensor

    def __str__(self) -> str:
        kind = type(self.layer).__name__
        return f'layer "{self.name}" ({kind})' if self.name else f"the module ({kind})"


def in_training(module: nn.Module, kind: type[nn.Module]) -> str:
    """Names of the layers of a kind that are in training mode, three at most; empty where none is."""
    return _names([name for name, part in module.named_modules() if isinstance(part, kind) and part.training])


def without_statistics(module: nn.Module) -> str:
    """Names of the batch norms that normalise by the batch in every mode, three at most; empty where none does."""
    kind = nn.modules.batchnorm._BatchNorm
    layers = ((name, part) for name, part in module.named_modules() if isinstance(part, kind))
    return _names([name for name, part in layers if part.running_mean is None])


def _names(names: list[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(f'"{name}"' for name in names[:3]) + more


def of_chance(generator: Any, latents: Tensor) -> str:
    """Where two passes over the same latents part."""
    with torch.no_grad():
        call, where = _part(_calls(generator, latents), _calls(generator, latents))
    if call is not None and where == "inside":
        return f"It happens in {call}: draw nothing there; noise is a fixed buffer or a part of the latents."
    before = f" before {call}" if call is not None else ""
    return (
        f"Look for torch.randn, torch.rand or F.dropout without `training=self.training` in `forward`{before}: "
        "noise is a fixed buffer or a part of the latents."
    )


def of_mixing(generator: Any, latents: Tensor, row: int) -> str:
    """Where a row in its batch and the same row alone part."""
    with torch.no_grad():
        call, where = _part(_calls(generator, latents), _calls(generator, latents[row : row + 1]), row)
    if call is not None and where == "inside":
        return f"It happens in {call}: it mixes the rows of a batch. Take it out, or make it work row by row."
    before = f" before {call}" if call is not None else ""
    return (
        f"Look for a mean, a maximum, a normalisation or noise over the whole batch in `forward`{before}: "
        "work over `dim=(1, 2, 3)`, never over dim 0."
    )


def of_no_gradient(generator: Any, latents: Tensor) -> str:
    """The last layer that the gradient reaches, from the latents on."""
    frozen = {parameter: parameter.requires_grad for parameter in generator.module.parameters()}
    try:
        for parameter in frozen:
            parameter.requires_grad_(False)
        with torch.enable_grad():
            calls = _calls(generator, latents.detach().clone().requires_grad_())
    finally:
        for parameter, before in frozen.items():
            parameter.requires_grad_(before)
    look = "Look for torch.no_grad, detach, `.data`, numpy, argmax, round or a comparison"
    reached = [call for call in calls if call.output.requires_grad]
    if reached:
        return f"It ends after {reached[-1]}. {look} behind it."
    return f"{look} in `forward`" + (f", before or around {calls[0]}." if calls else ".")


def _calls(generator: Any, latents: Tensor) -> list[Call]:
    """Every call of a layer without layers inside, in order, whose output is a tensor."""
    made: list[Call] = []
    names = {part: name for name, part in generator.module.named_modules()}

    def note(layer: nn.Module, given: tuple[Any, ...], output: Any) -> None:
        if isinstance(output, Tensor):
            inputs = tuple(value.detach().clone() for value in given if isinstance(value, Tensor))
            kept = output if output.requires_grad else output.detach().clone()
            made.append(Call(names[layer], layer, inputs, kept))

    handles = [part.register_forward_hook(note) for part in names if not any(True for _ in part.children())]
    try:
        generator.synthesize(latents)
    finally:
        for handle in handles:
            handle.remove()
    return made


def _part(one: list[Call], other: list[Call], row: int | None = None) -> tuple[Call | None, str]:
    """The first call at which two passes part, `inside` the layer or `before` it.

    `row`: the one row that the other pass was made with.
    """
    for a, b in zip(one, other, strict=False):
        if a.layer is not b.layer:
            break
        if any(_apart(x, y, row) for x, y in zip(a.inputs, b.inputs, strict=False)):
            return a, "before"
        if _apart(a.output, b.output, row):
            return a, "inside"
    return None, ""


def _apart(one: Tensor, other: Tensor, row: int | None) -> bool:
    """Clearly different; False where the shapes cannot be compared."""
    if row is not None and one.ndim and one.shape != other.shape:
        one = one[row * len(other) : (row + 1) * len(other)]
    if one.shape != other.shape or not one.numel():
        return False
    one, other = one.double(), other.double()
    return bool((one - other).abs().max() > APART * max(1e-12, float(one.abs().max())))
