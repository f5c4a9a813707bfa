"""The decoder of a convolutional variational autoencoder (Kingma and Welling 2014)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


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

    def logits(self, latents: Tensor) -> Tensor:
        """(n, d) -> (n, 1, 28, 28): the images before the sigmoid."""
        hidden = F.relu(self.fc2(F.relu(self.fc1(latents))))
        picture = F.relu(self.fc3(hidden)).view(-1, self.channels, 7, 7)
        picture = F.relu(self.up(picture))  # (n, channels / 2, 14, 14)
        return F.pixel_shuffle(self.out(picture), 2)  # 4 values at 14x14 -> 1 at 28x28

    def forward(self, latents: Tensor) -> Tensor:
        """(n, d) -> (n, 1, 28, 28) in [0, 1]."""
        return torch.sigmoid(self.logits(latents))
