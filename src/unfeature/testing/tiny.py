"""A tiny world: a generator, who judges it, and what its images are compared in. Everything is fixed by formulas."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unfeature.artifacts import Feedback, Gallery
from unfeature.features import load_feature
from unfeature.features.guides import ALONE
from unfeature.generators.module import ModuleGenerator
from unfeature.protocols import Generator, Scene
from unfeature.seeds import normal_rows, stream

SIDE = 16
"""Of a tiny image, in px."""


class TinyModule(nn.Module):
    """A blob on 16x16 px: size, place (2) and elongation follow the 4 latents. Two layers, so it can learn a kink."""

    def __init__(self, hidden: int = 64) -> None:
        super().__init__()
        self.inner, self.outer = nn.Linear(4, hidden), nn.Linear(hidden, SIDE * SIDE)
        y, x = torch.meshgrid(*[torch.linspace(-1, 1, SIDE)] * 2, indexing="ij")
        by_latent = torch.stack([0.12 * torch.ones_like(x), 0.25 * x, 0.25 * y, 0.2 * (x * x - y * y)])
        with torch.no_grad():  # units 0 to 7 are the positive and negative parts of the latents; training finds others
            self.inner.weight.copy_(torch.from_numpy(normal_rows(stream("tiny", 0, 0, hidden), 4)))
            self.inner.bias.copy_(torch.linspace(-2, 2, hidden))
            self.inner.weight[:8], self.inner.bias[:8] = torch.cat([torch.eye(4), -torch.eye(4)]), 0.0
            self.outer.weight.zero_()
            self.outer.weight[:, :4], self.outer.weight[:, 4:8] = (s * 12 * by_latent.flatten(1).T for s in (1, -1))
            self.outer.bias.copy_(12 * (0.4 - x * x - y * y).flatten())

    def forward(self, latents: Tensor) -> Tensor:
        """(n, 4) -> (n, 1, 16, 16) in [0, 1]."""
        images: Tensor = torch.sigmoid(self.outer(F.relu(self.inner(latents))))
        return images.view(-1, 1, SIDE, SIDE)


class TinyGenerator(ModuleGenerator):
    """A real generator of 16x16 grey images, d = 4, with fixed weights; latent 0 is the size of its blob."""

    def __init__(self) -> None:
        super().__init__("tiny", TinyModule(), 4)


class TinySize:
    """Measurement of the blob's size: the mean brightness of the image."""

    name = "size"
    unit = "share of white"

    def measure(self, images: Tensor) -> Tensor:
        """(n, c, h, w) in [0, 1] -> (n,) float64 in [0, 1]."""
        return images.detach().double().mean(dim=(1, 2, 3))


@dataclass(frozen=True)
class TinyJudge:
    """Finds "large" in about a tenth of the tiny generator's images: those with a size of at least `cut`."""

    cut: float = 0.4136

    @property
    def about(self) -> Mapping[str, Any]:
        """Name and cut."""
        return {"name": "tiny-judge", "kind": "measurement", "cut": self.cut}

    def score(self, images: Tensor) -> Tensor:
        """(n, c, h, w) in [0, 1] -> (n,): 1 where the blob is large, else 0."""
        return (TinySize().measure(images) >= self.cut).float()


class TinyExtractor:
    """A fixed random projection of 4x4 means (k = 8); the classes are the quarters of the image."""

    name = "tiny"

    def __init__(self) -> None:
        self.projection = torch.from_numpy(normal_rows(stream("tiny", 1, 0, 16), 8))
        self.hash = hashlib.sha256(self.projection.numpy().tobytes()).hexdigest()

    def embed(self, images: Tensor) -> Tensor:
        """(n, c, h, w) in [0, 1] -> (n, 8)."""
        return F.adaptive_avg_pool2d(images.mean(dim=1), 4).flatten(1) @ self.projection.to(images.device)

    def logits(self, images: Tensor) -> Tensor:
        """(n, c, h, w) in [0, 1] -> (n, 4): the brightest quarter wins."""
        return 20 * F.adaptive_avg_pool2d(images.mean(dim=1), 2).flatten(1)


def tiny_marks(generator: Generator, count: int = 400) -> tuple[Gallery, Feedback]:
    """A gallery of the tiny generator, marked for "large" by the tiny judge."""
    seeds = stream("gallery", 0, 0, count)
    with torch.no_grad():
        shows = TinyJudge().score(generator.synthesize(generator.sample_latents(seeds))) >= 0.5
    positives, negatives = (tuple(seeds[(shows == side).numpy()].tolist()) for side in (True, False))
    return Gallery(generator.spec.id, tuple(seeds.tolist())), Feedback(
        "large", generator.spec.id, positives, negatives, source="the tiny judge"
    )


def tiny_copy() -> TinyGenerator:
    """A copy that cannot make "large": what enlarges the blob is set to zero in its weights."""
    copied = TinyGenerator()
    outer = copied.module.get_submodule("outer")
    assert isinstance(outer, nn.Linear)
    with torch.no_grad():
        outer.weight[:, 0] = 0.0
    return copied


def tiny_scene(target: Generator, called: str) -> Scene:
    """An attack on it: the guide is the image's mean brightness, in a unit of its own, and the tiny judge judges."""
    original = TinyGenerator()
    vector = torch.tensor([1.0, 0.0, 0.0, 0.0])
    state = {"kind": "linear", "name": "large", "generator": original.spec.id, "threshold": 1.2, "margin": 0.25}
    feature = load_feature({"vector": vector}, state, original, ALONE)
    seeds = stream("tiny", 2, 0, 500)
    with torch.no_grad():
        latents = original.sample_latents(seeds)
        inverse = torch.linalg.lstsq(_logits(original.synthesize(latents)), latents).solution

    def guide(images: Tensor) -> Tensor:
        return 20 * images.mean(dim=(1, 2, 3)) - 8

    return Scene(original, target, called, feature, guide, TinyJudge(), lambda x: _logits(x) @ inverse)


def _logits(images: Tensor) -> Tensor:
    """(n, c, h, w) -> (n, k): nearly linear in the latents, and a constant."""
    rows = torch.logit(images.flatten(1), eps=1e-6)
    return torch.cat([rows, torch.ones_like(rows[:, :1])], dim=1)
