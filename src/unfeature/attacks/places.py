"""Places inside a generator where a search can begin: behind a mapping network, behind the first and a middle layer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from unfeature import devices
from unfeature.attacks.searching import Place
from unfeature.protocols import Generator
from unfeature.seeds import Seeds, normal_rows, stream


@dataclass(frozen=True)
class Layer:
    """A layer without layers inside that is called once a pass, and whose output depends on the latent."""

    name: str
    module: nn.Module
    shape: tuple[int, ...]
    """Of its output, without the batch."""


def inner_places(generator: Generator) -> list[Place]:
    """Of a frozen generator: wider latent spaces where its module names some in `wider`, else outputs of two layers.

    `wider`, where a module has it: () -> {name: module of these latents with the same weights}, each with `noise_dim`
    and `latents_of`. Empty where nothing lies between latents and picture.
    """
    wider: Callable[[], dict[str, nn.Module]] | None = getattr(generator.module, "wider", None)
    spaces = wider() if wider is not None else {}
    if spaces:
        return [_space(generator, name, module) for name, module in spaces.items()]
    layers = _layers(generator)
    chosen = {layer.name: layer for layer in (*layers[:1], *layers[len(layers) // 2 : len(layers) // 2 + 1])}
    return [_behind(generator, layer) for layer in chosen.values()]


def _space(generator: Generator, name: str, module: Any) -> Place:
    def starts(seeds: Seeds) -> Tensor:
        return devices.carried(module.latents_of, module, torch.from_numpy(normal_rows(seeds, module.noise_dim)))

    return Place(name, generator, starts, lambda rows: devices.carried(module, module, rows))


def _behind(generator: Generator, layer: Layer) -> Place:
    """What comes behind the layer; a part of the latent that passes it by another way stays that of one sample."""
    aside = generator.sample_latents(stream("attack aside", 0, 0, 1))

    def starts(seeds: Seeds) -> Tensor:
        seen: list[Tensor] = []
        with _hooked(layer.module, lambda module, given, output: seen.append(output)):
            generator.synthesize(generator.sample_latents(seeds))
        return seen[0].flatten(1).clone().cpu()

    def synthesize(rows: Tensor) -> Tensor:
        put = rows.view(len(rows), *layer.shape).to(devices.of(generator.module))
        with _hooked(layer.module, lambda module, given, output: put):
            return generator.synthesize(aside.expand(len(rows), -1))

    return Place(layer.name, generator, starts, synthesize)


@contextmanager
def _hooked(module: nn.Module, hook: Callable[[nn.Module, Any, Any], Any]) -> Iterator[None]:
    handle = module.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


@torch.no_grad()
def _layers(generator: Generator) -> list[Layer]:
    """In the order of their calls, without the last one, which makes the picture itself."""
    calls: list[tuple[str, nn.Module, Any]] = []

    def note(name: str) -> Callable[[nn.Module, Any, Any], None]:
        return lambda module, given, output: calls.append((name, module, output))

    leaves = [(name, part) for name, part in generator.module.named_modules() if name and not list(part.children())]
    handles = [part.register_forward_hook(note(name)) for name, part in leaves]
    try:
        generator.synthesize(generator.sample_latents(stream("attack aside", 0, 0, 2)))
    finally:
        for handle in handles:
            handle.remove()
    often = [name for name, _, _ in calls]
    return [
        Layer(name, part, tuple(output.shape[1:]))
        for name, part, output in calls[:-1]
        if often.count(name) == 1 and _varies(output)
    ]


def _varies(output: Any) -> bool:
    """Whether it is one row a latent, other for other latents."""
    fits = isinstance(output, Tensor) and output.is_floating_point() and output.ndim >= 2 and len(output) == 2
    return fits and not torch.equal(output[0], output[1])
