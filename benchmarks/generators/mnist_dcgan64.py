"""The public MNIST DCGAN at 64 px:  --generator benchmarks/generators/mnist_dcgan64.py:load"""

import os
from pathlib import Path

from torch import Tensor, nn

from unfeature.generators.module import ModuleGenerator, from_module


class Generator(nn.Module):
    """Five 4x4 transposed convolutions, batch norm and ReLU after the first four, tanh after the last."""

    def __init__(self) -> None:
        super().__init__()
        for i, (wide, next_wide) in enumerate(((100, 128), (128, 64), (64, 32), (32, 16), (16, 1)), start=1):
            self.add_module(f"deconv{i}", nn.ConvTranspose2d(wide, next_wide, 4, *((1, 0) if i == 1 else (2, 1))))
            self.add_module(f"deconv{i}_bn", nn.BatchNorm2d(next_wide) if i < 5 else nn.Tanh())

    def forward(self, latents: Tensor) -> Tensor:
        x = latents[:, :, None, None]
        for layer in self.children():
            x = layer(x).relu() if isinstance(layer, nn.BatchNorm2d) else layer(x)
        return (x + 1) / 2


def load() -> ModuleGenerator:
    """The generator with its public weights."""
    weights = Path(os.environ["UNFEATURE_ASSETS"]) / "generators/mnist_dcgan64.safetensors"
    return from_module("mnist_dcgan64", Generator(), 100, weights=weights, licence="none stated")
