"""What a generator promises, checked one promise after the other; every broken one comes with what to do about it."""

from __future__ import annotations

import inspect
from collections import abc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias, TypeVar

import torch
from torch import Tensor, nn

from unfeature.artifacts import GeneratorSpec
from unfeature.errors import BadCheckpoint
from unfeature.generators.filling import check_finite
from unfeature.protocols import Generator
from unfeature.seeds import stream
from unfeature.testing import culprits
from unfeature.testing.remedies import Finding, for_range, for_shape, takes

TOLERANCE = 1e-5
"""How much a row may differ between batches: float32 sums in another order."""

ROWS = 6
"""Pictures that are made to check one generator."""

LATENT_TOLERANCE = 1e-5
"""How much a latent may differ between batches: a mapping network's float32 sums in another order."""

MEMBERS = ("spec", "module", "sample_latents", "synthesize", "copy")
"""Of protocols.Generator."""

Made = TypeVar("Made")
Findings: TypeAlias = abc.Generator[Finding, None, Made]


def check_generator(generator: Generator) -> None:
    """A Generator: images in [0, 1] of the shape it says, rows independent, differentiable, copies independent.

    AssertionError with the first thing that is wrong; `unfeature check` tells all of them.
    """
    for finding in findings(generator):
        raise AssertionError(str(finding))


def findings(generator: Any) -> Iterator[Finding]:
    """Every promise of protocols.Generator that this object breaks, those first that explain the later ones.

    Once layers in training mode are told of, the rest is checked as if they were in evaluation mode. What else goes
    wrong in the code of others is a finding too.
    """
    try:
        yield from _findings(generator)
    except Exception as error:
        yield Finding(f"the check could not go on: {_told(error)}", "Mend what raises this, then check again.")


def _findings(generator: Any) -> Iterator[Finding]:
    if lacking(generator) or not isinstance(generator.module, nn.Module):
        told = f"{type(generator).__name__} lacks a member of protocols.Generator: "
        told += ", ".join(lacking(generator)) or "`module` is no nn.Module"
        yield Finding(told, "Make it with  unfeature.from_module(NAME, MODULE, LATENT_DIM).")
        return
    weights = list(_weights(generator.module))
    yield from weights
    if weights:
        return
    yield from _modes(generator.module)
    with _evaluation(generator.module):
        spec, problem = _attempt(lambda: generator.spec)
        latents = yield from _latents(generator, spec)
        images = (yield from _pictures(generator, latents, spec)) if latents is not None else None
        if latents is None or images is None:
            return
        steady = (yield from _repeats(generator, latents)) if len(images) == len(latents) else False
        yield from _gradient(generator, latents)
        if problem is None:
            yield from _copy(generator, latents, spec, steady)
        elif steady and images.ndim == 4:  # else what is wrong has been told
            yield Finding(f"spec cannot be made: {_told(problem)}", "Mend the `spec` of your generator.")


def lacking(generator: Any) -> list[str]:
    """Members of protocols.Generator that an object does not have; none of them is run."""
    return [name for name in MEMBERS if inspect.getattr_static(generator, name, None) is None]


@contextmanager
def _evaluation(module: nn.Module) -> Iterator[None]:
    """Evaluation mode for a while."""
    training = [part for part in module.modules() if part.training]
    module.eval()
    try:
        yield
    finally:
        for part in training:
            part.training = True


def _attempt(job: Callable[[], Made]) -> tuple[Made, None] | tuple[None, Exception]:
    try:
        return job(), None
    except Exception as error:  # whatever the user's code raises is what is reported
        return None, error


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).partition(chr(10))[0].rstrip('. ')}"


def _weights(module: nn.Module) -> Iterator[Finding]:
    """What will be trained is there, and finite."""
    if not any(True for _ in module.parameters()):
        yield Finding("the module has no parameters", "There is nothing to train: give the network itself.")
        return
    try:
        check_finite(type(module).__name__, module)
    except BadCheckpoint as error:
        wrong, _, remedy = str(error).partition(". ")
        yield Finding(wrong, remedy)


def _modes(module: nn.Module) -> Iterator[Finding]:
    remedy = "Call `module.eval()`, and nowhere `.train()`."
    normalising = culprits.in_training(module, nn.modules.batchnorm._BatchNorm)
    if normalising:
        told = f"batch norm {normalising} is in training mode; expected module.eval()"
        yield Finding(f"{told}: a picture depends on the others of its batch", remedy)
    bare = culprits.without_statistics(module)
    if bare:
        told = f"batch norm {bare} keeps no running statistics: a picture depends on the others of its batch"
        yield Finding(told, "Use `track_running_stats=True` and train with it, or group or instance norm.")
    dropping = culprits.in_training(module, nn.modules.dropout._DropoutNd)
    if dropping:
        told = f"dropout {dropping} is in training mode; expected module.eval()"
        yield Finding(f"{told}: a latent's picture is another one each time", remedy)


def _latents(generator: Any, spec: GeneratorSpec | None) -> Findings[Tensor | None]:
    """Latents (n, d) float32, row i from seeds[i] alone; returns them, or None where nothing can be made of them."""
    seeds = stream("check", 0, 0, ROWS)
    latents, problem = _attempt(lambda: generator.sample_latents(seeds))
    normal = "Draw them with  torch.from_numpy(unfeature.seeds.normal_rows(seeds, d))."
    if problem is not None:
        yield Finding(f"sample_latents failed: {_told(problem)}", normal)
        return None
    if not isinstance(latents, Tensor):
        yield Finding(f"sample_latents gave a {type(latents).__name__}; expected a tensor (n, d)", normal)
        return None
    fits = latents.ndim == 2 and len(latents) == ROWS
    wanted = (ROWS, spec.latent_dim if spec else latents.shape[1] if fits else "d")
    if tuple(latents.shape) != wanted:
        told = f"sample_latents gave {tuple(latents.shape)}; expected {str(wanted).replace(chr(39), '')}"
        yield Finding(told, "Return one row a seed, as wide as spec.latent_dim: several layers are concatenated.")
        if not fits:
            return None
    if latents.dtype != torch.float32:
        yield Finding(f"latents are {latents.dtype}; expected torch.float32", "Return `latents.float()`.")
    again = generator.sample_latents(seeds)
    alone = torch.cat([generator.sample_latents(seeds[i : i + 1]) for i in range(ROWS)])
    if not torch.equal(latents, again) or not torch.allclose(latents, alone, rtol=0, atol=LATENT_TOLERANCE):
        yield Finding("sample_latents: row i depends on more than seeds[i]", normal)
    elif torch.equal(latents, latents[:1].expand_as(latents)):
        yield Finding("sample_latents gave the same latent for every seed", normal)
    return latents


def _pictures(generator: Any, latents: Tensor, spec: GeneratorSpec | None) -> Findings[Tensor | None]:
    """Images (n, c, h, w) float32 in [0, 1]; returns them, or None where nothing more can be checked."""
    kept = latents.clone()
    with torch.no_grad():
        images, problem = _attempt(lambda: generator.synthesize(latents))
    if problem is not None:
        yield Finding(
            f"no picture comes out of latents {tuple(latents.shape)}: {_told(problem)}", takes(generator.module)
        )
        return None
    if not isinstance(images, Tensor):
        told = f"the module returns a {type(images).__name__}; expected a tensor of images (n, c, h, w)"
        yield Finding(told, "Return the images alone from `forward`, for instance `images[0]` or `images.sample`.")
        return None
    if not torch.equal(latents, kept):
        yield Finding(
            "synthesize changed the latents it was given",
            "Leave out what works in place: `latents * 2` instead of `latents *= 2`.",
        )
        return None
    yield from for_shape(images, len(latents), spec)
    if images.dtype != torch.float32:
        told = f"images are {images.dtype}; expected torch.float32"
        yield Finding(told, "Call `.float()` on the module, or on the images before any rounding.")
    if bool(images.isnan().any()):
        yield Finding(
            "synthesize gave NaN; expected values in [0, 1]",
            "Look for a division by 0, log or sqrt of 0 or less, or half precision that overflows.",
        )
        return None
    if images.numel():
        yield from for_range(float(images.min()), float(images.max()))
    same = images.ndim > 0 and len(images) > 1 and torch.equal(images, images[:1].expand_as(images))
    if same:
        told = f"all {len(images)} pictures are the same"
        yield Finding(told, "Check that the weights are loaded and that `forward` uses its latents.")
    return None if same or images.ndim == 0 else images


def _repeats(generator: Any, latents: Tensor) -> Findings[bool]:
    """Equal bytes for equal latents, and row i from latents[i] alone; returns whether both hold."""
    with torch.no_grad():
        whole = generator.synthesize(latents)
        if not torch.equal(whole, generator.synthesize(latents)):
            yield Finding(
                "synthesize: the same input gave two results; expected equal bytes",
                culprits.of_chance(generator, latents),
            )
            return False
        alone, problem = _attempt(lambda: torch.cat([generator.synthesize(row) for row in torch.split(latents, 1)]))
        if alone is None or alone.shape != whole.shape:
            told = _told(problem) if problem is not None else f"images of shape {tuple(alone.shape)}"  # type: ignore[union-attr]
            yield Finding(
                f"latents (1, d), one at a time, gave {told}; expected one picture a latent",
                "Use `len(latents)` where `forward` has a fixed batch size, and no `squeeze()` without a dimension.",
            )
            return False
    apart = (whole.double() - alone.double()).abs().flatten(1).amax(dim=1)
    allowed = TOLERANCE * max(1.0, float(whole.abs().max()))
    if float(apart.max()) > allowed:
        yield Finding(
            f"synthesize: a row depends on the rest of its batch, by {float(apart.max()):.2g} > {allowed:.2g}",
            culprits.of_mixing(generator, latents, int(apart.argmax())),
        )
        return False
    return True


def _gradient(generator: Any, latents: Tensor) -> Iterator[Finding]:
    """Training needs the gradient of the pictures with respect to latents and weights."""
    with torch.enable_grad():
        moved = latents.detach().clone().requires_grad_()
        images, problem = _attempt(lambda: generator.synthesize(moved))
        if images is None:
            yield Finding(
                f"synthesize passes no gradient to the latents: {_told(problem)}",  # type: ignore[arg-type]
                "Stay in torch from latents to images: no `.numpy()`, nothing in place.",
            )
            return
        slope = None
        if images.requires_grad:
            (slope,) = torch.autograd.grad(images.sum(), moved, allow_unused=True)
    if slope is None:
        yield Finding("synthesize passes no gradient to the latents", culprits.of_no_gradient(generator, latents))
    elif not bool(slope.isfinite().all()):
        yield Finding(
            "the gradient to the latents is NaN or infinite",
            "Look for sqrt, log, norm or a power of exactly 0; add a small number inside.",
        )
    elif not bool((slope != 0).any()):
        yield Finding(
            "synthesize passes no gradient to the latents: it is 0 everywhere",
            "Leave out argmax, round, sign and comparisons; a last layer that is saturated everywhere does it too.",
        )


def _copy(generator: Any, latents: Tensor, before: GeneratorSpec | None, steady: bool) -> Iterator[Finding]:
    """The copy makes the same pictures, where they are steady, from weights of its own."""
    twin, problem = _attempt(generator.copy)
    deep = "Return a generator around `copy.deepcopy(self.module)`."
    if twin is None:
        told = f"copy failed: {_told(problem)}" if problem else "copy gave None; expected a generator"
        yield Finding(told, "Keep no generator-made tensor as an attribute of the module: deepcopy must work.")
        return
    if twin.spec != before:
        yield Finding(f"the copy is {twin.spec}; expected the same as the original, {before}", deep)
        return
    with torch.no_grad():
        if steady and not torch.equal(twin.synthesize(latents), generator.synthesize(latents)):
            told = "the copy makes other images than the original at the same latents"
            yield Finding(told, "Keep all that makes a picture in the module's parameters and buffers.")
        for value in twin.module.state_dict().values():
            if value.is_floating_point():
                value.add_(1)
    if generator.spec != before:
        yield Finding("the copy shares weights with the original: changing one changed the other", deep)
