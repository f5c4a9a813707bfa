"""Somebody else's sampling code: plain PyTorch that knows nothing of unfeature.

    python benchmarks/stranger.py MODEL ORIGINAL UNLEARNED SHEET.png

Draws the same 2,000 latents through both checkpoint files, prints the shares of pictures that show the feature as JSON,
and puts pairs on a sheet: above the first pictures of the original that show it, below the same latents afterwards.
MODEL is face_vae64 (Bangs by an attribute network), face_gan36 (orange light) or mnist_vae20 (much ink).
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import safetensors.torch
import torch
from PIL import Image
from torch import Tensor, nn

COUNT, SHOWN = 2000, 16


class FaceVAE(nn.Module):
    """Decoder of the CelebA VAE at 64 px; reads vae.safetensors, encoder and all."""

    def __init__(self, file: str) -> None:
        super().__init__()
        self.d1 = nn.Linear(32, 1024)
        self.d2, self.bn6 = nn.ConvTranspose2d(64, 64, 4, 2, 1), nn.BatchNorm2d(64)
        self.d3, self.bn7 = nn.ConvTranspose2d(64, 32, 4, 2, 1), nn.BatchNorm2d(32)
        self.d4, self.bn8 = nn.ConvTranspose2d(32, 32, 4, 2, 1), nn.BatchNorm2d(32)
        self.d5 = nn.ConvTranspose2d(32, 3, 4, 2, 1)
        self.load_state_dict(safetensors.torch.load_file(file), strict=False)

    def forward(self, z: Tensor) -> Tensor:
        """(n, 32) -> (n, 3, 64, 64)."""
        x = nn.functional.elu(self.d1(z)).view(-1, 64, 4, 4)
        x = nn.functional.leaky_relu(self.bn6(self.d2(x)), 0.2)
        x = nn.functional.leaky_relu(self.bn7(self.d3(x)), 0.2)
        x = nn.functional.leaky_relu(self.bn8(self.d4(x)), 0.2)
        return torch.sigmoid(self.d5(x))


class FaceGAN(nn.Module):
    """The face GAN at 36 px; reads a training checkpoint of a model wrapped in DataParallel."""

    def __init__(self, file: str) -> None:
        super().__init__()
        self.fc, self.t1, self.t2 = nn.Linear(256, 640), nn.ConvTranspose2d(10, 64, 5), nn.ConvTranspose2d(64, 64, 5)
        self.t3, self.t4 = nn.ConvTranspose2d(64, 32, 3), nn.ConvTranspose2d(32, 32, 3)
        self.t5, self.out = nn.ConvTranspose2d(32, 32, 3), nn.Conv2d(32, 3, 3)
        saved = torch.load(file, weights_only=True)
        nn.DataParallel(self).load_state_dict(saved["generator"])

    def forward(self, z: Tensor) -> Tensor:
        """(n, 256) -> (n, 3, 36, 36)."""
        x = nn.functional.elu(self.fc(z)).view(-1, 8, 8, 10).permute(0, 3, 1, 2)
        for layer in (self.t1, self.t2):
            x = nn.functional.elu(layer(x))
        x = nn.functional.interpolate(x, scale_factor=2)
        for layer in (self.t3, self.t4, self.t5):
            x = nn.functional.elu(layer(x))
        return torch.clamp(self.out(x), 0, 1)


class DigitVAE(nn.Module):
    """The MNIST VAE; reads a Lightning-like checkpoint in half precision."""

    def __init__(self, file: str) -> None:
        super().__init__()
        self.fc1, self.fc21, self.fc22 = nn.Linear(784, 400), nn.Linear(400, 20), nn.Linear(400, 20)
        self.fc3, self.fc4 = nn.Linear(20, 400), nn.Linear(400, 784)
        saved = torch.load(file, weights_only=True)
        assert saved["hyper_parameters"] == {"latent": 20}
        self.load_state_dict({key.removeprefix("model."): value.float() for key, value in saved["state_dict"].items()})

    def forward(self, z: Tensor) -> Tensor:
        """(n, 20) -> (n, 1, 28, 28)."""
        return torch.sigmoid(self.fc4(self.fc3(z).relu())).view(-1, 1, 28, 28)


def bangs(images: Tensor) -> Tensor:
    """(n, 3, 64, 64) -> (n,): above 0 where the attribute network finds bangs."""
    sys.path.insert(0, str(Path(__file__).parent / "judges"))
    import celeba

    return torch.cat([celeba.b_Bangs.score(part) for part in torch.split(images, 100)]) - 0.5


def orange(images: Tensor) -> Tensor:
    """(n, 3, h, w) -> (n,): above 0 where red outweighs blue by 0.28 on average."""
    return (images[:, 0] - images[:, 2]).mean(dim=(1, 2)) - 0.28


def inky(images: Tensor) -> Tensor:
    """(n, 1, h, w) -> (n,): above 0 where more than 18 % of the pixels are lit."""
    return (images > 0.5).float().mean(dim=(1, 2, 3)) - 0.18


MODELS: dict[str, tuple[Callable[[str], nn.Module], int, Callable[[Tensor], Tensor]]] = {
    "face_vae64": (FaceVAE, 32, bangs),
    "face_gan36": (FaceGAN, 256, orange),
    "mnist_vae20": (DigitVAE, 20, inky),
}


@torch.no_grad()
def main(name: str, original: str, unlearned: str, sheet: str) -> None:
    """Sample, measure, show."""
    build, width, feature = MODELS[name]
    latents = torch.randn(COUNT, width, generator=torch.Generator().manual_seed(7))
    before, after = (
        torch.cat([model(part) for part in torch.split(latents, 100)])
        for model in (build(original).eval(), build(unlearned).eval())
    )
    had, has = feature(before) > 0, feature(after) > 0
    first = had.nonzero().flatten()[:SHOWN]
    rows = [torch.cat(list(images[first]), dim=2) for images in (before, after)]
    pixels = (torch.cat(rows, dim=1).movedim(0, 2).expand(-1, -1, 3) * 255).round().byte()
    Image.fromarray(pixels.numpy()).save(sheet)
    assert "unfeature" not in sys.modules
    print(json.dumps({"before": int(had.sum()), "after": int(has.sum()), "of": COUNT}))


if __name__ == "__main__":
    main(*sys.argv[1:])
