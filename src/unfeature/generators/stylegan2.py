"""StyleGAN2 (Karras et al. 2020, "Analyzing and Improving the Image Quality of StyleGAN"), 32 to 1024 px and beyond.

Reads the state dict of `G_ema` in the layout of the official PyTorch release; sizes come from its own shapes.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping as Table
from typing import Any, Literal

import torch
from torch import Tensor, nn

from unfeature.errors import BadOption
from unfeature.generators.module import clipped
from unfeature.generators.stylegan2_layers import Block, Mapping, Modulated, upsample
from unfeature.seeds import normal_rows, stream

Space = Literal["z", "w", "w+"]
Noise = Literal["const", "random", "none"]


class Synthesis(nn.Module):
    """Styles (n, layers, w_dim) -> images (n, c, side, side), about -1 to 1: blocks b4, b8, b16, ..."""

    def __init__(self, widths: tuple[int, ...], channels: int, w_dim: int, noise: bool) -> None:
        super().__init__()
        self.sides = [4 << i for i in range(len(widths))]
        for side, inputs, outputs in zip(self.sides, (0, *widths), widths, strict=False):
            self.add_module(f"b{side}", Block(inputs, outputs, channels, w_dim, side, noise))
        self.layers = 2 * len(widths)
        """How many styles a picture takes: one a convolution, and one for the last image layer."""

    def blocks(self) -> list[Block]:
        """From 4x4 up."""
        return [self.get_submodule(f"b{side}") for side in self.sides]  # type: ignore[misc]

    def forward(self, styles: Tensor, noises: list[Tensor | None], clamp: float | None) -> Tensor:
        """(n, layers, w_dim), one noise (h, h) or None a convolution -> (n, c, side, side)."""
        used = 0
        images: Tensor | None = None
        maps: Tensor = self.blocks()[0].const.expand(styles.shape[0], -1, -1, -1)
        for block in self.blocks():
            for convolution in block.convolutions():
                maps = convolution(maps, styles[:, used], noises[used], clamp)
                used += 1
            added = block.torgb(maps, styles[:, used], clamp)  # the image shares the next convolution's style
            images = added if images is None else upsample(images, block.resample_filter) + added
        assert images is not None
        return images


class StyleGAN2(nn.Module):
    """Latents (n, d) in z, w or w+ -> images (n, c, h, w) in [0, 1].

    In `w` and `w+` training changes the synthesis network alone, since the latents come out of the mapping network.
    The weights fit the original's own sampling code in every case.
    """

    def __init__(
        self,
        widths: list[int],
        channels: int = 3,
        z_dim: int = 512,
        w_dim: int = 512,
        mapping_layers: int = 8,
        hidden: int | None = None,
        classes: int = 0,
        has_noise: bool = True,
        *,
        space: Space = "z",
        truncation_psi: float = 1.0,
        truncation_cutoff: int | None = None,
        noise: Noise = "const",
        noise_seed: int = 0,
        label: int | None = None,
        clamp: float | None = 256.0,
        mapping_rate: float = 0.01,
    ) -> None:
        """What shapes tell: widths (feature maps at 4x4, 8x8, ...), channels, z_dim ... has_noise. The rest is yours.

        space: where features are found and erased. truncation_psi, truncation_cutoff: how far each w is pulled to the
        mean, and for how many of the first layers. noise: the stored fields, fields drawn once from `noise_seed`, or
        none. label: the class of a conditional network. clamp: of feature maps, as in the official configurations;
        None for one trained without. mapping_rate: the mapping network's learning-rate multiplier. BadOption.
        """
        super().__init__()
        self.mapping = Mapping(z_dim, w_dim, mapping_layers, classes, hidden or w_dim, mapping_rate)
        self.synthesis = Synthesis(tuple(widths), channels, w_dim, has_noise)
        _check(space, noise, classes, label)
        self.space, self.noise, self.clamp, self.noise_seed = space, noise if has_noise else "none", clamp, noise_seed
        self.truncation_psi, self.truncation_cutoff = truncation_psi, truncation_cutoff
        self.classes, self.label = classes, label
        self.noise_dim = z_dim
        self.latent_dim = {"z": z_dim, "w": w_dim, "w+": w_dim * self.synthesis.layers}[space]
        self.fields = self._drawn_fields() if self.noise == "random" else []

    @classmethod
    def arguments_of(cls, shapes: Table[str, tuple[int, ...]]) -> dict[str, Any] | None:
        """Sizes read from the keys and shapes of an official `G_ema` state dict; None for any other."""
        found = {int(m[1]) for key in shapes if (m := re.fullmatch(r"synthesis\.b(\d+)\.conv1\.weight", key))}
        sides = [4 << i for i in range(len(found))]
        depth = sum(bool(re.fullmatch(r"mapping\.fc\d+\.weight", key)) for key in shapes)
        images = [shapes.get(f"synthesis.b{side}.torgb.weight") for side in sides]
        if not found or found != set(sides) or not depth or "mapping.w_avg" not in shapes or None in images:
            return None
        classes = shapes.get("mapping.embed.weight", (0, 0))[1]
        w_dim = shapes["mapping.w_avg"][0]
        return {
            "widths": [shapes[f"synthesis.b{side}.conv1.weight"][0] for side in sides],
            "channels": shapes[f"synthesis.b{sides[-1]}.torgb.weight"][0],
            "z_dim": shapes["mapping.fc0.weight"][1] - (w_dim if classes else 0),
            "w_dim": w_dim,
            "mapping_layers": depth,
            "hidden": shapes["mapping.fc0.weight"][0],
            "classes": classes,
            "has_noise": "synthesis.b4.conv1.noise_const" in shapes,
        }

    @classmethod
    def example(cls) -> dict[str, Any]:
        """Arguments of a tiny one, for the conformance suite."""
        return {"widths": [6, 5, 4], "z_dim": 6, "w_dim": 7, "mapping_layers": 2}

    def wider(self) -> dict[str, StyleGAN2]:
        """The same weights as modules of latents in w and w+, as far as these are wider than its own space."""
        spaces: tuple[Space, ...] = ("z", "w", "w+")
        found = dict[str, StyleGAN2]()
        for space in spaces[spaces.index(self.space) + 1 :]:
            twin = copy.copy(self)
            twin.space = space
            twin.latent_dim = self.mapping.w_avg.numel() * (self.synthesis.layers if space == "w+" else 1)
            found[space] = twin
        return found

    def latents_of(self, normal: Tensor) -> Tensor:
        """(n, z_dim) ~ N(0, 1) -> (n, d): the latents themselves in z, mapped but not truncated in w and w+."""
        if self.space == "z":
            return normal
        with torch.no_grad():
            w = self.mapped(normal)
        return w if self.space == "w" else w.repeat(1, self.synthesis.layers)

    def mapped(self, z: Tensor) -> Tensor:
        """(n, z_dim) -> (n, w_dim), not truncated."""
        labels = None
        if self.classes:
            labels = z.new_zeros(z.shape[0], self.classes)
            labels[:, self.label] = 1
        rows: Tensor = self.mapping(z, labels)
        return rows

    def truncated(self, styles: Tensor) -> Tensor:
        """(n, layers, w_dim) -> the same, the first `truncation_cutoff` layers (or all) pulled towards the mean w."""
        if self.truncation_psi == 1:
            return styles
        cut = self.synthesis.layers if self.truncation_cutoff is None else self.truncation_cutoff
        pulled = self.mapping.w_avg.lerp(styles[:, :cut], self.truncation_psi)
        return torch.cat([pulled, styles[:, cut:]], dim=1)

    def forward(self, latents: Tensor) -> Tensor:
        """(n, d) -> (n, c, h, w) in [0, 1]."""
        return clipped((self.signed(latents) + 1) / 2)

    def signed(self, latents: Tensor) -> Tensor:
        """(n, d) -> (n, c, h, w), about -1 to 1: what the official networks return and are trained on."""
        w = self.mapped(latents) if self.space == "z" else latents
        styles = w.view(w.shape[0], -1, self.mapping.w_avg.numel()).expand(-1, self.synthesis.layers, -1)
        images: Tensor = self.synthesis(self.truncated(styles), self._noises(), self.clamp)
        return images

    def _convolutions(self) -> list[Modulated]:
        return [one for block in self.synthesis.blocks() for one in block.convolutions()]

    def _drawn_fields(self) -> list[Tensor]:
        """A field for each convolution, from `noise_seed` alone."""
        sides = [one.side for one in self._convolutions()]
        seeds = stream("noise", self.noise_seed, 0, len(sides))
        rows = (normal_rows(seeds[i : i + 1], side * side) for i, side in enumerate(sides))
        return [torch.from_numpy(row).view(side, side) for row, side in zip(rows, sides, strict=True)]

    def _noises(self) -> list[Tensor | None]:
        if self.noise == "random":
            return [field.to(self.mapping.w_avg.device) for field in self.fields]
        return [one.noise_const if self.noise == "const" else None for one in self._convolutions()]


def _check(space: str, noise: str, classes: int, label: int | None) -> None:
    for what, got, known in (("space", space, ("z", "w", "w+")), ("noise", noise, ("const", "random", "none"))):
        if got not in known:
            raise BadOption(f'{what} is "{got}"; expected one of {", ".join(known)}')
    if classes and (label is None or not 0 <= label < classes):
        raise BadOption(
            f"this StyleGAN2 has {classes} classes and label is {label}; expected 0 to {classes - 1}. "
            "Name the class to make:  --argument label=0"
        )
    if not classes and label is not None:
        raise BadOption(f"label is {label}, but this StyleGAN2 has no classes; leave it out")
