"""Any torch module as a Generator: the one adapter all families and foreign models go through."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from unfeature.artifacts import GeneratorSpec
from unfeature.errors import BadCheckpoint, ShapeError
from unfeature.seeds import Seeds, normal_rows


def weights_hash(module: nn.Module) -> str:
    """The first 16 hex digits of the SHA-256 over names, shapes and bytes of all parameters and buffers."""
    digest = hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):
        digest.update(f"{name} {tuple(value.shape)} {value.dtype}".encode())
        flat = value.detach().cpu().flatten()  # batch norm's counter has no dimension, which `view` needs
        digest.update(flat.view(torch.uint8).numpy().tobytes() if value.numel() else b"")
    return digest.hexdigest()[:16]


def check_finite(name: str, module: nn.Module) -> None:
    """BadCheckpoint, naming the first tensor, where a weight is NaN or infinite."""
    for key, value in module.state_dict().items():
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise BadCheckpoint(
                f'generator "{name}" has NaN or infinite values in weight "{key}"; expected finite numbers. '
                "The file is damaged or its training diverged: use another checkpoint."
            )


class ModuleGenerator:
    """A Generator around `module(latents (n, d)) -> images (n, c, h, w)` whose latents are standard normal."""

    def __init__(self, name: str, module: nn.Module, latent_dim: int, licence: str = "") -> None:
        self.module = module.eval()
        self._name, self._latent_dim, self._licence = name, latent_dim, licence
        self._shape: tuple[int, int, int] | None = None
        self.origin: dict[str, Any] = {}
        """Family and arguments, where the generator is of one of ours: its files can be loaded without other code."""

    @property
    def spec(self) -> GeneratorSpec:
        """Made anew at each call, since the weights may be trained in between."""
        return GeneratorSpec(
            self._name, weights_hash(self.module), self._latent_dim, self._image_shape(), self._licence
        )

    @property
    def device(self) -> torch.device:
        """Where the weights lie."""
        return next(self.module.parameters()).device

    def _image_shape(self) -> tuple[int, int, int]:
        if self._shape is None:
            with torch.no_grad():
                shape = tuple(self.module(torch.zeros(1, self._latent_dim, device=self.device)).shape)
            if len(shape) != 4:
                raise ShapeError(f'generator "{self._name}" gives images of shape {shape}; expected (n, c, h, w)')
            self._shape = (shape[1], shape[2], shape[3])
        return self._shape

    def sample_latents(self, seeds: Seeds) -> Tensor:
        """(n,) -> (n, d) standard normal, row i from seeds[i] alone."""
        return torch.from_numpy(normal_rows(seeds, self._latent_dim)).to(self.device)

    def synthesize(self, latents: Tensor) -> Tensor:
        """(n, d) -> (n, c, h, w) in [0, 1]; ShapeError for another d."""
        if latents.ndim != 2 or latents.shape[1] != self._latent_dim:
            raise ShapeError(
                f'generator "{self._name}" got latents of shape {tuple(latents.shape)}; '
                f"expected (n, {self._latent_dim})"
            )
        images: Tensor = self.module(latents)
        return images

    def copy(self) -> ModuleGenerator:
        """The same generator with weights of its own."""
        twin = ModuleGenerator(self._name, copy.deepcopy(self.module), self._latent_dim, self._licence)
        twin.origin = dict(self.origin)
        return twin


def from_module(
    name: str, module: nn.Module | Callable[[], nn.Module], latent_dim: int, *, licence: str = ""
) -> ModuleGenerator:
    """A Generator from your own module (or a function that builds it): latents (n, d) -> images (n, c, h, w) in [0, 1].

    The module is put into evaluation mode. BadCheckpoint for NaN weights.
    """
    built = module if isinstance(module, nn.Module) else module()
    check_finite(name, built)
    return ModuleGenerator(name, built, latent_dim, licence)
