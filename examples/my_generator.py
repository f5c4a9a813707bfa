"""Copy this file, put your own network in, then:  unfeature check my_generator.py:load"""

import torch
from torch import Tensor, nn

import unfeature


class Decoder(nn.Module):
    """Latents (n, 64) -> images (n, 3, 16, 16) in [0, 1]: no chance inside, nothing mixed over the batch."""

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 3 * 16 * 16), nn.Tanh())

    def forward(self, latents: Tensor) -> Tensor:
        images = self.net(latents).view(-1, 3, 16, 16)
        return (images + 1) / 2  # from [-1, 1]; not needed behind a sigmoid


def load():
    """What `--generator my_generator.py:load` calls. Your weights: `weights="decoder.pth"` behind latent_dim."""
    torch.manual_seed(0)  # this template has no weights of its own
    return unfeature.from_module("my-generator", Decoder(), latent_dim=64)
