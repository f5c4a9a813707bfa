"""Any torch module as a Generator: the one adapter all families and foreign models go through."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from unfeature import devices
from unfeature.artifacts import GeneratorSpec
from unfeature.errors import BadOption, ShapeError
from unfeature.generators.checkpoints import Opened, open_checkpoint
from unfeature.generators.filling import check_finite, fill
from unfeature.seeds import Seeds, normal_rows


def weights_id(weights: Mapping[str, Tensor]) -> str:
    """The first 16 hex digits of the SHA-256 over names, shapes and bytes of all parameters and buffers."""
    digest = hashlib.sha256()
    for name, value in sorted(weights.items()):
        digest.update(f"{name} {tuple(value.shape)} {value.dtype}".encode())
        flat = value.detach().cpu().flatten()  # batch norm's counter has no dimension, which `view` needs
        digest.update(flat.view(torch.uint8).numpy().tobytes() if value.numel() else b"")
    return digest.hexdigest()[:16]


def weights_hash(module: nn.Module) -> str:
    """`weights_id` of a module's own."""
    return weights_id(module.state_dict())


@dataclass(frozen=True)
class Source:
    """The file that a generator's weights came from."""

    path: Path
    sha256: str
    """Of the file."""
    where: tuple[str, ...]
    """Keys that lead to the weights in its nested object; () at its top."""
    prefix: str
    """Before each name there."""
    format: Literal["safetensors", "torch"]
    """Of the file, by its content."""
    ours: bool = False
    """Whether we wrote it, with facts that are of those weights alone."""

    @classmethod
    def of(cls, opened: Opened) -> Source:
        """Where an opened checkpoint's weights lie."""
        where = opened.path, opened.sha256, opened.where, opened.prefix, opened.format
        return cls(*where, ours="name" in opened.facts)


def clipped(images: Tensor) -> Tensor:
    """Limit to [0, 1] whose gradient is 1 everywhere: a pixel that a copy made too dark or bright can come back."""
    return images.detach().clamp(0, 1) + (images - images.detach())


class ModuleGenerator:
    """A Generator around `module(latents (n, d)) -> images (n, c, h, w)` whose latents are standard normal.

    A module whose latents are something else has `noise_dim` and `latents_of`: (n, noise_dim) ~ N(0, 1) -> (n, d).
    """

    def __init__(self, name: str, module: nn.Module, latent_dim: int, licence: str = "") -> None:
        self.module = module.eval()
        self._name, self._latent_dim, self._licence = name, latent_dim, licence
        self._shape: tuple[int, int, int] | None = None
        self.origin: dict[str, Any] = {}
        """Family and arguments, where the generator is of one of ours: its files can be loaded without other code."""
        self.source: Source | None = None
        """Set where the weights came from a file."""
        self.written_in: Source | None = None
        """The file whose format and names they are written in: the user's, also where ours was filled in after it."""
        self.notes: tuple[str, ...] = ()
        """What was found and assumed on loading, in words."""
        self.given = ""
        """Hash of the arguments given beside the file: the same weights make other pictures with them."""

    @property
    def spec(self) -> GeneratorSpec:
        """Made anew at each call, since the weights may be trained in between."""
        known = self._name, weights_hash(self.module), self._latent_dim, self._image_shape(), self._licence
        return GeneratorSpec(*known, self.given)

    def _image_shape(self) -> tuple[int, int, int]:
        if self._shape is None:
            with torch.no_grad():
                shape = tuple(self.module(torch.zeros(1, self._latent_dim, device=devices.of(self.module))).shape)
            if len(shape) != 4:
                raise ShapeError(f'generator "{self._name}" gives images of shape {shape}; expected (n, c, h, w)')
            self._shape = (shape[1], shape[2], shape[3])
        return self._shape

    def sample_latents(self, seeds: Seeds) -> Tensor:
        """(n,) -> (n, d) on the CPU, row i from seeds[i] alone: standard normal, or what the module makes of those."""
        made: Callable[[Tensor], Tensor] | None = getattr(self.module, "latents_of", None)
        width = self._latent_dim if made is None else int(self.module.noise_dim)  # type: ignore[arg-type]
        normal = torch.from_numpy(normal_rows(seeds, width))
        return normal if made is None else devices.carried(made, self.module, normal)

    def synthesize(self, latents: Tensor) -> Tensor:
        """(n, d) -> (n, c, h, w) in [0, 1], there where the latents are; ShapeError for another d."""
        if latents.ndim != 2 or latents.shape[1] != self._latent_dim:
            raise ShapeError(
                f'generator "{self._name}" got latents of shape {tuple(latents.shape)}; '
                f"expected (n, {self._latent_dim})"
            )
        return devices.carried(self.module, self.module, latents)

    def copy(self) -> ModuleGenerator:
        """The same generator with weights of its own."""
        twin = ModuleGenerator(self._name, copy.deepcopy(self.module), self._latent_dim, self._licence)
        twin.origin, twin.source, twin.notes = dict(self.origin), self.source, self.notes
        twin.given, twin.written_in = self.given, self.written_in
        return twin

    def take(self, opened: Opened) -> None:
        """Fill the module from a checkpoint file, leaving out other parts of it, such as an encoder. BadCheckpoint."""
        left_out = fill(self.module, opened.tensors, str(opened.path), others=True)
        self.came_from(opened)
        self.notes = (*self.notes, *opened.notes, *left_out)

    def came_from(self, opened: Opened) -> None:
        """The weights are those of that file."""
        self.source = Source.of(opened)
        if self.written_in is None or not self.source.ours:
            self.written_in = self.source


def from_module(
    name: str,
    module: nn.Module | Callable[[], nn.Module],
    latent_dim: int,
    *,
    weights: str | Path | None = None,
    licence: str = "",
) -> ModuleGenerator:
    """A Generator from your own module (or a function that builds it): latents (n, d) -> images (n, c, h, w) in [0, 1].

    `weights`: a safetensors or torch file with the module's own names, filled in; nothing in it is run. The module is
    put into evaluation mode. BadFile; BadCheckpoint for NaN weights, or a table of those that do not fit; BadOption for
    TorchScript.
    """
    built = module if isinstance(module, nn.Module) else module()
    if isinstance(built, torch.jit.ScriptModule):
        raise BadOption(
            f'"{name}" is a TorchScript module, of which no copy can be trained; expected the Python class it was made '
            "from. Save its state_dict, and give both:  from_module(NAME, MODULE, LATENT_DIM, weights=FILE)"
        )
    generator = ModuleGenerator(name, built, latent_dim, licence)
    if weights is not None:
        generator.take(open_checkpoint(weights, built.state_dict()))
    check_finite(name, built)
    return generator
