"""A generator like DCGAN (Radford et al. 2016): linear layers, then transposed convolutions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from unfeature.generators.layers import Shape, builds

_SIDE = 7  # of the first picture-like tensor; doubled twice
_SLOPE = 0.2  # of the leaky ReLUs


class DCGAN(nn.Module):
    """Latents (n, d) ~ N(0, 1) -> images (n, 1, 28, 28) in [0, 1].

    Two fully connected layers come before the first picture-like tensor, so that a copy can learn a
    kink along one latent direction. No normalisation, so a row never depends on its batch: the
    recipe trains with batch norm and folds it into the weights.
    """

    def __init__(self, latent_dim: int, hidden: int = 256, channels: int = 32) -> None:
        """hidden: width of the linear layers; channels: at 7x7 and 14x14, a quarter at 28x28."""
        super().__init__()
        self.latent_dim = latent_dim
        self.layers = nn.Sequential(
            nn.Linear(latent_dim, hidden),
            nn.LeakyReLU(_SLOPE),
            nn.Linear(hidden, hidden),
            nn.LeakyReLU(_SLOPE),
            nn.Linear(hidden, channels * _SIDE * _SIDE),
            nn.LeakyReLU(_SLOPE),
            nn.Unflatten(1, (channels, _SIDE, _SIDE)),
            nn.ConvTranspose2d(channels, channels, 4, stride=2, padding=1),
            nn.LeakyReLU(_SLOPE),  # (n, channels, 14, 14)
            nn.ConvTranspose2d(channels, channels // 4, 4, stride=2, padding=1),
            nn.LeakyReLU(_SLOPE),  # (n, channels / 4, 28, 28)
            nn.Conv2d(channels // 4, 1, 3, padding=1),
            nn.Sigmoid(),
        )

    @classmethod
    def arguments_of(cls, shapes: Mapping[str, Shape]) -> dict[str, Any] | None:
        """Sizes read from the shapes; None unless keys and shapes are exactly those of such a generator."""
        hidden, latent_dim = (*shapes.get("layers.0.weight", ()), 0, 0)[:2]
        channels = (*shapes.get("layers.7.weight", ()), 0)[0]
        if hidden < 1 or latent_dim < 1 or channels < 4:
            return None
        arguments = {"latent_dim": latent_dim, "hidden": hidden, "channels": channels}
        return arguments if builds(cls, arguments, shapes) else None

    @classmethod
    def example(cls) -> dict[str, Any]:
        """Arguments of a tiny one, for the conformance suite."""
        return {"latent_dim": 4, "hidden": 8, "channels": 4}

    def forward(self, latents: Tensor) -> Tensor:
        """(n, d) -> (n, 1, 28, 28) in [0, 1]."""
        values = latents
        for layer in self.layers:
            values = layer(values)
            if isinstance(layer, nn.Unflatten):
                # the last convolution, to one channel, wants the channels last on a CPU: two thirds of a step's time
                values = values.contiguous(memory_format=torch.channels_last)
        return values
