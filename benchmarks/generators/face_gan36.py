"""The public face GAN at 36 px:  --generator benchmarks/generators/face_gan36.py:load"""

import os
from pathlib import Path

from torch import Tensor, nn

from unfeature.generators.module import ModuleGenerator, clipped, from_module


class Generator(nn.Module):
    """Linear 256 -> 640, two 5x5 transposed convolutions, twice as large, three 3x3 ones, a 3x3 convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.fc, self.out = nn.Linear(256, 640), nn.Conv2d(32, 3, 3)
        self.t1, self.t2 = nn.ConvTranspose2d(10, 64, 5), nn.ConvTranspose2d(64, 64, 5)
        self.t3, self.t4, self.t5 = (nn.ConvTranspose2d(width, 32, 3) for width in (64, 32, 32))

    def forward(self, latents: Tensor) -> Tensor:
        elu = nn.functional.elu
        x = elu(self.t2(elu(self.t1(elu(self.fc(latents)).view(-1, 8, 8, 10).movedim(3, 1)))))
        x = nn.functional.interpolate(x, scale_factor=2)
        return clipped(self.out(elu(self.t5(elu(self.t4(elu(self.t3(x))))))))


def load() -> ModuleGenerator:
    """The generator with its public weights."""
    weights = Path(os.environ["UNFEATURE_ASSETS"]) / "generators/face_gan36.safetensors"
    return from_module("face_gan36", Generator(), 256, weights=weights, licence="none stated")
