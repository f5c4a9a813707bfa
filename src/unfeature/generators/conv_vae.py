"""The decoder of a convolutional variational autoencoder (Kingma and Welling 2014)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unfeature.generators.layers import Shape, builds


class ConvDecoder(nn.Module):
    """Latents (n, d) ~ N(0, 1) -> images (n, 1, 28, 28) in [0, 1].

    Two fully connected layers come before the first picture-like tensor, so that a copy can learn a
    kink along one latent direction. No normalisation: a row never depends on its batch. Most of the
    arithmetic is at 7x7 and below, and none at 28x28, which is what makes it fast on a CPU.
    """

    def __init__(self, latent_dim: int, hidden: int = 256, channels: int = 32) -> None:
        super().__init__()
        self.latent_dim = latent_dim
        self.channels = channels
        self.fc1 = nn.Linear(latent_dim, hidden)
        self.fc2 = nn.Linear(hidden, hidden)
        self.fc3 = nn.Linear(hidden, channels * 7 * 7)
        self.up = nn.ConvTranspose2d(channels, channels // 2, 4, stride=2, padding=1)
        self.out = nn.Conv2d(channels // 2, 4, 3, padding=1)

    @classmethod
    def arguments_of(cls, shapes: Mapping[str, Shape]) -> dict[str, Any] | None:
        """Sizes read from the shapes; None unless keys and shapes are exactly those of such a decoder."""
        hidden, latent_dim = (*shapes.get("fc1.weight", ()), 0, 0)[:2]
        channels = (*shapes.get("up.weight", ()), 0)[0]
        if hidden < 1 or latent_dim < 1 or channels < 2:
            return None
        arguments = {"latent_dim": latent_dim, "hidden": hidden, "channels": channels}
        return arguments if builds(cls, arguments, shapes) else None

    @classmethod
    def example(cls) -> dict[str, Any]:
        """Arguments of a tiny one, for the conformance suite."""
        return {"latent_dim": 4, "hidden": 8, "channels": 4}

    def logits(self, latents: Tensor) -> Tensor:
        """(n, d) -> (n, 1, 28, 28): the images before the sigmoid."""
        hidden = F.relu(self.fc2(F.relu(self.fc1(latents))))
        picture = F.relu(self.fc3(hidden)).view(-1, self.channels, 7, 7)
        picture = F.relu(self.up(picture))  # (n, channels / 2, 14, 14)
        return F.pixel_shuffle(self.out(picture), 2)  # 4 values at 14x14 -> 1 at 28x28

    def forward(self, latents: Tensor) -> Tensor:
        """(n, d) -> (n, 1, 28, 28) in [0, 1]."""
        return torch.sigmoid(self.logits(latents))
