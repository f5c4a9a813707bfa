"""The public MNIST VAE of gan-vae-pretrained-pytorch:  --generator benchmarks/generators/mnist_vae20.py:load"""

import os
from pathlib import Path

from torch import Tensor, nn

from unfeature.generators.module import ModuleGenerator, from_module


class Decoder(nn.Module):
    """fc3 20 -> 400, ReLU, fc4 400 -> 784, sigmoid."""

    def __init__(self) -> None:
        super().__init__()
        self.fc3, self.fc4 = nn.Linear(20, 400), nn.Linear(400, 784)

    def forward(self, latents: Tensor) -> Tensor:
        return nn.functional.sigmoid(self.fc4(self.fc3(latents).relu())).view(-1, 1, 28, 28)


def load() -> ModuleGenerator:
    """The decoder with its public weights."""
    weights = Path(os.environ["UNFEATURE_ASSETS"]) / "generators/mnist_vae20.safetensors"
    return from_module("mnist_vae20", Decoder(), 20, weights=weights, licence="MIT")
