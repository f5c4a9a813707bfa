"""The public MNIST VAE of gan-vae-pretrained-pytorch:  --generator benchmarks/generators/mnist_vae20.py:load"""

import os
from pathlib import Path

import safetensors.torch
from torch import Tensor, nn

from unfeature.generators.module import ModuleGenerator, from_module


class Decoder(nn.Module):
    """fc3 20 -> 400, ReLU, fc4 400 -> 784, sigmoid."""

    def __init__(self) -> None:
        super().__init__()
        self.fc3, self.fc4 = nn.Linear(20, 400), nn.Linear(400, 784)

    def forward(self, latents: Tensor) -> Tensor:
        """(n, 20) -> (n, 1, 28, 28) in [0, 1]."""
        return nn.functional.sigmoid(self.fc4(self.fc3(latents).relu())).view(-1, 1, 28, 28)


def load() -> ModuleGenerator:
    """The decoder with its public weights."""
    weights = safetensors.torch.load_file(Path(os.environ["UNFEATURE_ASSETS"]) / "generators/mnist_vae20.safetensors")
    decoder = Decoder()
    decoder.load_state_dict({key: value for key, value in weights.items() if key.startswith(("fc3", "fc4"))})
    return from_module("mnist_vae20", decoder, latent_dim=20, licence="MIT")
