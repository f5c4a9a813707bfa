"""A hierarchical variational autoencoder's decoder: several latent layers, concatenated into one flat latent."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unfeature.errors import BadOption
from unfeature.generators.chain import OUTPUTS, above_zero, activation_function, function
from unfeature.generators.layers import Shape, builds


class Level(nn.Module):
    """One latent layer below the top: its prior's mean and log variance from the picture so far, and what mixes it in.

    The names are this project's own; so is the layout, which follows Sonderby et al. 2016 (ladder VAE) in its top-down
    half.
    """

    def __init__(self, channels: int, latents: int, out: int) -> None:
        super().__init__()
        self.mean = nn.Conv2d(channels, latents, 1)
        self.log_variance = nn.Conv2d(channels, latents, 1)
        self.mix = nn.Conv2d(channels + latents, out, 3, padding=1)

    def forward(self, picture: Tensor, eps: Tensor | None) -> Tensor:
        """(n, channels, s, s) and (n, latents, s, s), None for the mean -> (n, out, s, s)."""
        latent: Tensor = self.mean(picture)
        if eps is not None:
            latent = latent + torch.exp(self.log_variance(picture) / 2) * eps
        mixed: Tensor = self.mix(torch.cat([picture, latent], dim=1))
        return mixed


class HierarchicalDecoder(nn.Module):
    """Latents (n, d) ~ N(0, 1) -> images (n, c, h, w) in [0, 1].

    The top latent becomes a picture of `side` px. Each level draws its latent as mean + exp(log variance / 2) * eps,
    mixes it in and doubles the sides. d concatenates the top latent and the eps of all levels, coarse to fine, each as
    (latents, s, s) in rows: all standard normal, so one flat space.
    """

    assumed = ("activation", "slope", "output", "levels")
    """Arguments that no shape tells."""

    def __init__(
        self,
        top: int,
        side: int,
        channels: Sequence[int],
        latents: Sequence[int],
        image_channels: int,
        levels: int | None = None,
        activation: str = "relu",
        slope: float = 0.2,
        output: str = "sigmoid",
    ) -> None:
        """channels: of the first picture and behind each level; latents: of each level, per pixel.

        levels: how many are part of d, coarse ones first; the others stay at their mean. None: all. BadOption,
        UnknownName.
        """
        super().__init__()
        count = len(latents)
        free = count if levels is None else levels
        if len(channels) != count + 1 or not isinstance(free, int) or not 0 <= free <= count:
            raise BadOption(
                f"{count} levels with channels {list(channels)}, {levels} of them free; expected one more channel than "
                f"levels, and 0..{count} free. Say:  --argument levels={count}"
            )
        self._top, self._side, self._free = top, side, free
        self._activation = activation_function(activation, above_zero("slope", slope))
        self._output = function(OUTPUTS, "output", output)
        self.top = nn.Linear(top, channels[0] * side * side)
        self.levels = nn.ModuleList(map(Level, channels[:-1], latents, channels[1:]))
        self.out = nn.Conv2d(channels[-1], image_channels, 3, padding=1)
        self._sizes = [latents[i] * (side << i) ** 2 for i in range(free)]
        self.latent_dim = top + sum(self._sizes)

    @classmethod
    def arguments_of(cls, shapes: Mapping[str, Shape]) -> dict[str, Any] | None:
        """Sizes read from `top`, `levels.I.mean|log_variance|mix` and `out`; None for other keys or shapes."""
        count = sum(bool(re.fullmatch(r"levels\.\d+\.mix\.weight", key)) for key in shapes)
        means = [shapes.get(f"levels.{i}.mean.weight", ()) for i in range(count)]
        top, out = shapes.get("top.weight", ()), shapes.get("out.weight", ())
        if (
            not count
            or any(len(shape) != 4 for shape in (*means, out))
            or len(top) != 2
            or 0 in (*top, *out, *means[0])
        ):
            return None
        arguments: dict[str, Any] = {
            "top": top[1],
            "side": math.isqrt(top[0] // means[0][1]),
            "channels": [*(mean[1] for mean in means), out[1]],
            "latents": [mean[0] for mean in means],
            "image_channels": out[0],
        }
        told = {"levels": count, "activation": "relu", "slope": 0.2, "output": "sigmoid"}
        return {**arguments, **told} if arguments["side"] and builds(cls, arguments, shapes) else None

    @classmethod
    def example(cls) -> dict[str, Any]:
        """Arguments of a tiny one, for the conformance suite."""
        return {"top": 3, "side": 2, "channels": [6, 5, 4], "latents": [2, 1], "image_channels": 1}

    def forward(self, latents: Tensor) -> Tensor:
        """(n, d) -> (n, c, h, w) in [0, 1]."""
        first, *rest = torch.split(latents, [self._top, *self._sizes], dim=1)
        picture = self._activation(self.top(first)).view(latents.shape[0], -1, self._side, self._side)
        for i, level in enumerate(self.levels):
            side = picture.shape[-1]
            eps = rest[i].view(latents.shape[0], -1, side, side) if i < self._free else None
            picture = F.interpolate(self._activation(level(picture, eps)), scale_factor=2)
        return self._output(self.out(picture))
