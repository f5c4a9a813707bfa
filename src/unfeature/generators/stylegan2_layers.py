"""The layers of StyleGAN2 (Karras et al. 2020), named as in the official PyTorch release's state dict.

Weights are stored at unit variance and scaled at run time ("equalized learning rate", Karras et al. 2018). Modulation
scales the input and demodulation the output of one ordinary convolution, which equals the per-sample weights of the
paper's equations (1) to (3) and is several times faster on a CPU than a grouped convolution.
"""

from __future__ import annotations

import itertools
import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SLOPE = 0.2
"""Of the leaky ReLU; its output is scaled by sqrt(2) to keep the variance."""

TAPS = (1.0, 3.0, 3.0, 1.0)
"""Low-pass filter of the resampling."""


def second_moment(rows: Tensor) -> Tensor:
    """(n, d) -> (n, d): each row divided by the root of its mean square."""
    return rows * (rows.square().mean(dim=1, keepdim=True) + 1e-8).rsqrt()


def low_pass() -> Tensor:
    """(4, 4): the filter as the state dict has it, summing to 1."""
    taps = torch.tensor(TAPS)
    taps = taps / taps.sum()
    return taps.outer(taps)


def blur_upsampled(maps: Tensor, taps: Tensor) -> Tensor:
    """(n, c, 2h + 1, 2w + 1) of a transposed convolution of stride 2 -> (n, c, 2h, 2w), with the filter's gain of 4."""
    channels = maps.shape[1]
    return F.conv2d(maps, 4 * taps.flip(0, 1).expand(channels, 1, 4, 4), padding=1, groups=channels)


def upsample(images: Tensor, taps: Tensor) -> Tensor:
    """(n, c, h, w) -> (n, c, 2h, 2w) through the low-pass filter."""
    channels = images.shape[1]
    return F.conv_transpose2d(images, 4 * taps.expand(channels, 1, 4, 4), stride=2, padding=1, groups=channels)


def activate(maps: Tensor, bias: Tensor, clamp: float | None) -> Tensor:
    """Bias along dimension 1, leaky ReLU, gain sqrt(2), and the limit that keeps half precision finite."""
    bias = bias.view(1, -1, *[1] * (maps.ndim - 2))
    active = F.leaky_relu(maps + bias, SLOPE) * math.sqrt(2)
    return active if clamp is None else active.clamp(-clamp, clamp)


class Dense(nn.Module):
    """A linear layer whose weight is scaled by rate / sqrt(inputs) and whose bias by rate."""

    def __init__(self, inputs: int, outputs: int, rate: float = 1.0, bias: float = 0.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs) / rate)
        self.bias = nn.Parameter(torch.full((outputs,), bias))
        self.gain, self.rate = rate / math.sqrt(inputs), rate

    def forward(self, rows: Tensor) -> Tensor:
        """(n, inputs) -> (n, outputs)."""
        return F.linear(rows, self.weight * self.gain, self.bias * self.rate)


class Mapping(nn.Module):
    """z (and a label's one-hot c) to w: `layers` dense layers, and the mean of w that truncation pulls towards."""

    def __init__(self, z_dim: int, w_dim: int, layers: int, classes: int, hidden: int, rate: float) -> None:
        super().__init__()
        self.z_dim, self.layers = z_dim, layers
        embedded = w_dim if classes else 0
        widths = [z_dim + embedded, *[hidden] * (layers - 1), w_dim]
        if classes:
            self.embed = Dense(classes, embedded)
        for i, (inputs, outputs) in enumerate(itertools.pairwise(widths)):
            self.add_module(f"fc{i}", Dense(inputs, outputs, rate))
        self.w_avg: Tensor
        self.register_buffer("w_avg", torch.zeros(w_dim))

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """(n, z_dim), (n, classes) -> (n, w_dim), not truncated."""
        rows = second_moment(z)
        if labels is not None:
            rows = torch.cat([rows, second_moment(self.embed(labels))], dim=1)
        for i in range(self.layers):
            layer: Dense = self.get_submodule(f"fc{i}")  # type: ignore[assignment]
            rows = F.leaky_relu(layer(rows), SLOPE) * math.sqrt(2)
        return rows


class Modulated(nn.Module):
    """A 3x3 convolution whose input channels are scaled by a style, its output brought back to unit variance."""

    def __init__(self, inputs: int, outputs: int, w_dim: int, side: int, up: bool, noise: bool) -> None:
        super().__init__()
        self.up, self.side = up, side
        self.affine = Dense(w_dim, inputs, bias=1.0)
        self.weight = nn.Parameter(torch.randn(outputs, inputs, 3, 3))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.resample_filter: Tensor
        self.register_buffer("resample_filter", low_pass())
        self.noise_const: Tensor | None
        if noise:
            self.register_buffer("noise_const", torch.randn(side, side))
            self.noise_strength = nn.Parameter(torch.zeros(()))
        else:
            self.noise_const = None

    def forward(self, maps: Tensor, w: Tensor, noise: Tensor | None, clamp: float | None) -> Tensor:
        """(n, inputs, h, h), (n, w_dim), noise (h', h') or None -> (n, outputs, h', h'), h' doubled where `up`."""
        style = self.affine(w)
        strength = torch.rsqrt(style.square() @ self.weight.square().sum(dim=(2, 3)).t() + 1e-8)
        maps = maps * style[:, :, None, None]
        if self.up:
            maps = F.conv_transpose2d(maps, self.weight.transpose(0, 1), stride=2)
            maps = blur_upsampled(maps, self.resample_filter)
        else:
            maps = F.conv2d(maps, self.weight, padding=1)
        maps = maps * strength[:, :, None, None]
        if noise is not None:
            maps = maps + noise * self.noise_strength
        return activate(maps, self.bias, clamp)


class ToImage(nn.Module):
    """A modulated 1x1 convolution to image channels, without demodulation."""

    def __init__(self, inputs: int, channels: int, w_dim: int) -> None:
        super().__init__()
        self.affine = Dense(w_dim, inputs, bias=1.0)
        self.weight = nn.Parameter(torch.randn(channels, inputs, 1, 1))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.gain = 1 / math.sqrt(inputs)

    def forward(self, maps: Tensor, w: Tensor, clamp: float | None) -> Tensor:
        """(n, inputs, h, h), (n, w_dim) -> (n, channels, h, h)."""
        style = self.affine(w) * self.gain
        images = F.conv2d(maps * style[:, :, None, None], self.weight, self.bias)
        return images if clamp is None else images.clamp(-clamp, clamp)


class Block(nn.Module):
    """One resolution: conv0 (which doubles it; the first block has a learnt constant instead), conv1, image."""

    def __init__(self, inputs: int, outputs: int, channels: int, w_dim: int, side: int, noise: bool) -> None:
        super().__init__()
        self.first = inputs == 0
        self.resample_filter: Tensor
        self.register_buffer("resample_filter", low_pass())
        if self.first:
            self.const = nn.Parameter(torch.randn(outputs, side, side))
        else:
            self.conv0 = Modulated(inputs, outputs, w_dim, side, up=True, noise=noise)
        self.conv1 = Modulated(outputs, outputs, w_dim, side, up=False, noise=noise)
        self.torgb = ToImage(outputs, channels, w_dim)

    def convolutions(self) -> list[Modulated]:
        """In order; each takes a w of its own."""
        return [self.conv1] if self.first else [self.conv0, self.conv1]
