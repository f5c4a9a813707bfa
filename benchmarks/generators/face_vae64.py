"""The public CelebA VAE at 64 px:  --generator benchmarks/generators/face_vae64.py:load"""

import os
from pathlib import Path

from torch import Tensor, nn

from unfeature.generators.module import ModuleGenerator, from_module


class Decoder(nn.Module):
    """Linear 32 -> 1024, ELU, three transposed convolutions with batch norm and leaky ReLU, a fourth with a sigmoid."""

    def __init__(self) -> None:
        super().__init__()
        self.d1, up, norm = nn.Linear(32, 1024), nn.ConvTranspose2d, nn.BatchNorm2d
        self.d2, self.bn6, self.d3, self.bn7 = up(64, 64, 4, 2, 1), norm(64), up(64, 32, 4, 2, 1), norm(32)
        self.d4, self.bn8, self.d5 = up(32, 32, 4, 2, 1), norm(32), up(32, 3, 4, 2, 1)

    def forward(self, latents: Tensor) -> Tensor:
        x = nn.functional.elu(self.d1(latents)).view(-1, 64, 4, 4)
        for up, norm in ((self.d2, self.bn6), (self.d3, self.bn7), (self.d4, self.bn8)):
            x = nn.functional.leaky_relu(norm(up(x)), 0.2)
        return nn.functional.sigmoid(self.d5(x))


def load() -> ModuleGenerator:
    """The decoder with its public weights."""
    weights = Path(os.environ["UNFEATURE_ASSETS"]) / "generators/face_vae64.safetensors"
    return from_module("face_vae64", Decoder(), 32, weights=weights, licence="MIT")
