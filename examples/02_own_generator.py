"""A generator of your own: a torch module that paints discs unlearns the large ones.

    python examples/02_own_generator.py runs/discs

On the command line:  --generator examples/02_own_generator.py:load --weights runs/discs.safetensors
Expected output, after about 10 s on two cores:

    original: 17.2 % large
    filter: 0.0 % large
    teacher: 0.0 % large
    unlearned: 0.0 % large
"""

import sys
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor, nn

import unfeature as uf

SIZE = 16  # px


def painter() -> nn.Module:
    """Latents (n, 4) -> images (n, 1, 16, 16) in [0, 1]."""
    hidden = (nn.Linear(4, 128), nn.ReLU(), nn.Linear(128, 256), nn.ReLU())
    return nn.Sequential(*hidden, nn.Linear(256, SIZE**2), nn.Sigmoid(), nn.Unflatten(1, (1, SIZE, SIZE)))


def discs(latents: Tensor) -> Tensor:
    """What the painter is trained to paint: latents 0 and 1 are the place, latent 2 is the radius."""
    side = torch.arange(SIZE) - (SIZE - 1) / 2
    left, down, radius = latents[:, :3, None, None].unbind(dim=1)
    distance = ((side - 2 * left.tanh()) ** 2 + (side[:, None] - 2 * down.tanh()) ** 2).sqrt()
    return (2 * (3.5 + radius - distance)).sigmoid()[:, None]


def load():
    """The generator, its weights put in by `weights=` or `--weights`."""
    return uf.from_module("discs", painter(), latent_dim=4)


def is_large(images: Tensor) -> Tensor:
    """The judge: (n, 1, h, w) -> (n,), 1 where more than a quarter of the picture is painted."""
    return (images.mean(dim=(1, 2, 3)) > 0.25).float()


class Places:
    """The extractor: embeds a coarse picture; its four classes are the quarter of the picture a disc is in."""

    name, hash, class_word = "places", "none: no weights", "place"

    def embed(self, images):
        return nn.functional.adaptive_avg_pool2d(images, 4).flatten(1)

    def logits(self, images):
        return nn.functional.adaptive_avg_pool2d(images, 2).flatten(1)


if __name__ == "__main__":
    torch.manual_seed(0)
    module = painter()
    adam = torch.optim.Adam(module.parameters(), lr=2e-3)
    for _ in range(800):
        latents = torch.randn(128, 4)
        adam.zero_grad()
        nn.functional.binary_cross_entropy(module(latents), discs(latents)).backward()
        adam.step()
    run = Path(sys.argv[1])
    run.parent.mkdir(parents=True, exist_ok=True)
    safetensors.torch.save_file(module.state_dict(), f"{run}.safetensors")
    uf.sample(run, f"{__file__}:load", uf.SampleOptions(count=1000), weights=f"{run}.safetensors")
    uf.mark(run, "large discs", by=f"{__file__}:is_large", options=uf.MarkOptions(per_side=80))
    uf.find(run)
    uf.preview(run, uf.PreviewOptions(count=500, extractor=f"{__file__}:Places"))
    uf.unlearn(run, uf.UnlearnOptions(steps=300))
    for row in uf.evaluate(run, uf.EvaluateOptions(count=500, extractor=f"{__file__}:Places")).rows:
        print(f"{row.name}: {100 * row.scores['target_ratio'].value:.1f} % large")
