"""The latent search of the counterfactual feature, amortised: one small network that knows where to move every latent.

For a latent z whose picture shows the feature the search wants z' with the least

    J(z') = softplus((s(f(z')) - s*) / T) + DISTANCE |z' - z|^2 / d + SHELL (|z'|^2 - |z|^2)^2 / d
            + PIXELS mean |f(z') - f(z)| + KL(keep(f(z)) || keep(f(z')))                                            (10)

where s is the guide's log odds in standard deviations over the generator's samples, s* what counts as gone, and
latents are in standard deviations of the generator's own. Instead of a search for every z, a network psi with

    z' = z + (s(f(z)) - s*) psi(z)                                                                               (11)

is trained on the mean of J over the latents that show the feature: then neighbours move alike, and training the copy
needs no search at all. A latent on the boundary hardly moves, as in equation (5), where psi is the same for all.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unfeature.features.guides import Keep, Progress
from unfeature.images import rows_at_once
from unfeature.protocols import Generator
from unfeature.scale import Scale

DISTANCE, SHELL, PIXELS, TEMPERATURE = 2.0, 0.03, 1.0, 0.1
"""Weights of (10)."""

HIDDEN, BATCH, RATE = 256, 128, 2e-3
"""Width of psi's two layers, latents a step, and Adam's rate at the start."""

STEP_PIXELS = 2**20
"""Pixels of a step's pictures at most."""


class Eraser(nn.Module):
    """psi: latents (n, d) -> moves (n, d) for each standard deviation of excess; zero before training."""

    def __init__(self, scale: Scale, hidden: int = HIDDEN) -> None:
        super().__init__()
        d = len(scale.mean)
        self.scale = scale
        self.layers = nn.Sequential(
            nn.Linear(d, hidden), nn.SiLU(), nn.Linear(hidden, hidden), nn.SiLU(), nn.Linear(hidden, d)
        )

    def begin(self, generator: torch.Generator) -> None:
        """Random weights, but for the last layer's, which are zero."""
        for layer in self.layers:
            if isinstance(layer, nn.Linear):
                bound = 1 / math.sqrt(layer.in_features)
                for value in (layer.weight, layer.bias):
                    nn.init.uniform_(value, -bound, bound, generator=generator)
        last = self.layers[-1]
        assert isinstance(last, nn.Linear)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)

    def forward(self, latents: Tensor, excess: Tensor) -> Tensor:
        """(11): latents (n, d) and how far their score is above s*, (n,) -> moves (n, d), in the units of latents."""
        psi: Tensor = self.layers(self.scale(latents)) * self.scale.deviation.to(latents)
        return excess.unsqueeze(1) * psi


def shown(scores: Tensor, gone: float) -> Tensor:
    """(n,) -> (n,): softplus((s - s*) / T), what is left of the feature."""
    return F.softplus((scores - gone) / TEMPERATURE)


@dataclass(frozen=True)
class Search:
    """The objective (10), with all that it asks."""

    generator: Generator
    score: Callable[[Tensor], Tensor]
    """Pictures (n, c, h, w) -> (n,): the guide's log odds in standard deviations."""
    gone: float
    """s*: at this score the feature is gone."""
    keep: Keep
    scale: Scale

    def cost(self, latents: Tensor, moved: Tensor, images: Tensor, kept: list[Tensor]) -> Tensor:
        """J of moved latents (n, d): (n,). `images` f(z) and `kept` what is said of them."""
        made = self.generator.synthesize(moved)
        before, after = self.scale(latents), self.scale(moved)
        d = latents.shape[1]
        left = shown(self.score(made), self.gone)
        near = DISTANCE * (after - before).square().sum(dim=1) / d
        length = (after.square().sum(dim=1) - before.square().sum(dim=1)) / d
        drift = PIXELS * (made - images).abs().mean(dim=(1, 2, 3))
        return left + near + SHELL * d * length.square() + drift + self.keep.cost(kept, self.keep.told(made))


def fit_eraser(search: Search, latents: Tensor, images: Tensor, *, steps: int, seed: int, on_step: Progress) -> Eraser:
    """psi trained on latents (n, d) that show it and their pictures (n, c, h, w); equal bytes for equal seed."""
    source = torch.Generator().manual_seed(seed)
    eraser = Eraser(search.scale)
    eraser.begin(source)
    adam = torch.optim.Adam(eraser.parameters(), lr=RATE)
    batch = rows_at_once(search.generator.spec.image_shape, STEP_PIXELS, 8, BATCH)
    with torch.no_grad():
        excess = torch.cat([search.score(x) for x in torch.split(images, batch)]) - search.gone
        kept = [
            torch.cat(parts) for parts in zip(*(search.keep.told(x) for x in torch.split(images, batch)), strict=True)
        ]
    with torch.enable_grad():
        for step in range(steps):
            adam.param_groups[0]["lr"] = RATE * (1 + math.cos(math.pi * step / steps)) / 2
            rows = torch.randint(len(latents), (batch,), generator=source)
            z = latents[rows]
            loss = search.cost(z, z + eraser(z, excess[rows]), images[rows], [part[rows] for part in kept]).mean()
            adam.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            adam.step()
            on_step(step + 1, steps)
    return eraser.requires_grad_(False).eval()
