"""Is this a generator the other verbs can work with? Everything that is wrong with it at once, or what it is like."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from unfeature.artifacts import GeneratorSpec
from unfeature.drawing import drawn
from unfeature.generators.loading import load_generator
from unfeature.generators.module import from_module
from unfeature.images import grid, png, to_pixels
from unfeature.options import UnlearnOptions
from unfeature.plugins import call_object, is_file_reference, name_code
from unfeature.protocols import Generator
from unfeature.seeds import stream
from unfeature.store import write_atomic
from unfeature.testing.generators import findings, lacking
from unfeature.testing.remedies import Finding, latent_width
from unfeature.workflow.marking import enlarge

PICTURES = 64
"""On the sheet, at most; also made at a time when speed is measured."""

PATIENCE = 1.0
"""Seconds that a timed batch may take, about."""


@dataclass(frozen=True)
class Facts:
    """What a generator that keeps all promises is like on this machine."""

    spec: GeneratorSpec
    parameters: int
    pictures_per_second: float
    unlearning: float
    """Seconds that `unlearn` takes with its default options, about, where it uses all its steps."""
    notes: tuple[str, ...]
    """What was assumed in loading it."""


@dataclass(frozen=True)
class Checked:
    """The outcome of a check: findings, or facts."""

    findings: tuple[Finding, ...]
    facts: Facts | None


def check(
    name: str,
    weights: str | Path | None = None,
    arguments: Mapping[str, Any] | None = None,
    sheet: str | Path | None = None,
) -> Checked:
    """Check a shipped generator, a checkpoint or FILE.py:FUNCTION against every promise of protocols.Generator.

    `sheet`: a PNG file to write pictures to, where they can be made. Errors of loading as in `load_generator`.
    """
    found: list[Finding] = []
    name_code(name)
    if is_file_reference(name) and weights is None and not arguments:
        generator, found = _returned(name)
    else:
        generator = load_generator(name, weights, arguments)
    if generator is None:
        return Checked(tuple(found), None)
    found += findings(generator)
    if found:
        return Checked(tuple(found), None)
    facts = _facts(generator)
    if sheet is not None:
        write_atomic(Path(sheet), _sheet(generator, max(8, min(PICTURES, int(5 * facts.pictures_per_second)))))
    return Checked((), facts)


def _returned(reference: str) -> tuple[Any, list[Finding]]:
    """What the user's function returns, as a generator if there is a way, and what is wrong with returning that."""
    made = call_object(reference)
    if not isinstance(made, type) and not lacking(made):
        return made, []
    file, _, function = reference.rpartition(":")
    width = latent_width(made) if isinstance(made, nn.Module) else None
    call = f'unfeature.from_module("{Path(file).stem}", MODULE, latent_dim={width[0] if width else "LATENT_DIM"})'
    kind = f"the class {made.__name__}" if isinstance(made, type) else f"something of type {type(made).__name__}"
    finding = Finding(f"{function}() returned {kind}; expected a Generator", f"End the function with:  return {call}")
    if width is None:
        return None, [finding]
    try:
        generator = from_module(Path(file).stem, made, width[0])
        generator.spec  # noqa: B018 - makes a picture, which tells whether the guess is right
    except Exception:
        return None, [finding]
    return generator, [finding]


def _facts(generator: Generator) -> Facts:
    """Times as many pictures at once as take no longer than PATIENCE, without and with a gradient."""
    rows, forward = 1, _seconds(generator, 1)
    while rows < PICTURES and 4 * forward < PATIENCE:
        rows *= 4
        forward = _seconds(generator, rows)
    training = _seconds(generator.copy(), rows, gradient=True)
    options = UnlearnOptions()
    return Facts(
        generator.spec,
        sum(parameter.numel() for parameter in generator.module.parameters()),
        rows / forward,
        options.steps * options.batch / rows * (forward + training),
        tuple(getattr(generator, "notes", ())),
    )


def _seconds(generator: Generator, rows: int, gradient: bool = False) -> float:
    """The fastest of three passes over `rows` latents; with `gradient`, forward and backward."""
    latents = generator.sample_latents(stream("check", 0, 0, rows))
    if gradient:
        generator = generator.copy()
        generator.module.requires_grad_(True)  # the user's may be frozen
    spent = []
    for _ in range(3):
        start = time.perf_counter()
        with torch.set_grad_enabled(gradient):
            images = generator.synthesize(latents)
            if gradient:
                images.mean().backward()  # type: ignore[no-untyped-call]
                if torch.cuda.is_available():
                    torch.cuda.synchronize()  # the pictures have come back, the gradients have not
        spent.append(time.perf_counter() - start)
    return min(spent)


def _sheet(generator: Generator, count: int) -> bytes:
    """The first `count` pictures of a gallery, as PNG."""
    _, images = drawn(generator, stream("gallery", 0, 0, count))
    return png(grid(to_pixels(images), columns=8), zoom=enlarge(images.shape[-1]))
