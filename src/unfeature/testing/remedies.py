"""What to do about pictures of another shape or range, guessed from what they look like."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from unfeature.artifacts import GeneratorSpec

GREY_OR_COLOUR = (1, 3)
"""Channels a picture may have."""


@dataclass(frozen=True)
class Finding:
    """A broken promise: what was got and what is expected, and what to do."""

    wrong: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.wrong}. {self.remedy}"


def for_range(low: float, high: float) -> Iterator[Finding]:
    """Pictures that are not in [0, 1]."""
    if low >= 0 and high <= 1:
        return
    if low >= -1.001 and high <= 1.001:
        remedy = "That looks like tanh, -1 to 1. Return `(images + 1) / 2`."
    elif low >= 0 and 10 < high <= 255.5:
        remedy = "That looks like 0 to 255. Return `images / 255`."
    elif low >= -1 and high <= 2:
        remedy = "That is a little beyond. Where the original code clips, return `images.clamp(0, 1)`."
    else:
        remedy = (
            "Scores before the last activation? Return `images.sigmoid()`. Pictures standardised for training? "
            "Return `images * std + mean`."
        )
    yield Finding(f"synthesize gave values from {low:g} to {high:g}; expected [0, 1]", remedy)


def for_shape(images: Tensor, rows: int, spec: GeneratorSpec | None) -> Iterator[Finding]:
    """Pictures (n, c, h, w) of another shape, of another number, or not of the shape that spec says."""
    shape = tuple(images.shape)
    told = f"synthesize gave images of shape {shape}; expected "
    if len(shape) != 4:
        yield Finding(f"{told}{rows, 'c', 'h', 'w'}".replace("'", ""), _to_pictures(shape))
        return
    if shape[1] not in GREY_OR_COLOUR:
        last = shape[3] in GREY_OR_COLOUR
        yield Finding(
            f"{told}1 or 3 channels, in second place: (n, c, h, w)",
            "The channels come last: return `images.permute(0, 3, 1, 2)`."
            if last
            else "Return grey or RGB pictures; turn other channels into those in `forward`.",
        )
    wanted = (rows, *(spec.image_shape if spec else shape[1:]))
    if shape != wanted:
        yield Finding(
            f"{told}{wanted}",
            "Return one picture a latent, of one size: use `len(latents)` where `forward` has a fixed batch size, "
            "and nothing like `images[0]` or `images[1:]`.",
        )


def _to_pictures(shape: tuple[int, ...]) -> str:
    if len(shape) == 2:
        for channels in GREY_OR_COLOUR:
            side = math.isqrt(shape[1] // channels)
            if channels * side * side == shape[1]:
                return f"Return `images.view(-1, {channels}, {side}, {side})`."
        return "Return `images.view(-1, CHANNELS, HEIGHT, WIDTH)`."
    if len(shape) == 3:
        return "Return `images.unsqueeze(1)`: grey pictures have one channel."
    if len(shape) == 5:
        return "Return one picture a latent, for instance `images[:, 0]`."
    return "Return images, not their mean or loss."


def takes(module: nn.Module) -> str:
    """How wide the latents of a module seem to be, or what it computes in, as advice."""
    other = next((p.dtype for p in module.parameters() if p.is_floating_point() and p.dtype != torch.float32), None)
    if other is not None:
        return (
            f"It computes in {str(other).removeprefix('torch.')}, latents are float32: call `.float()` on the module."
        )
    width = latent_width(module)
    if width is None:
        return "The module is given latents (n, LATENT_DIM) and returns images (n, c, h, w): mend `forward`."
    number, kind = width
    if kind is nn.Linear:
        return f"Its first layer takes {number} numbers a row: is LATENT_DIM {number}? Else mend `forward`."
    return (
        f"Its first layer is a convolution of {number} channels: is LATENT_DIM {number}? "
        "Begin `forward` with `latents[:, :, None, None]`."
    )


def latent_width(module: nn.Module) -> tuple[int, type[nn.Module]] | None:
    """What the first layer of a module takes, and which kind it is; None where that cannot be told."""
    for part in module.modules():
        if isinstance(part, nn.Linear) and part.in_features:  # 0 where it is not known yet
            return part.in_features, nn.Linear
        if isinstance(part, nn.modules.conv._ConvNd):
            return part.in_channels, type(part)
    return None
