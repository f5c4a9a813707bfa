"""From a picture to a latent whose picture is like it: all that somebody without the latents can do."""

from __future__ import annotations

import torch
from torch import Tensor

from unfeature.attacks.scenes import rows_of
from unfeature.attacks.searching import SAMPLES, climb
from unfeature.attacks.typical import Typical
from unfeature.drawing import frozen, made
from unfeature.errors import ShapeError
from unfeature.ms_ssim import fit, ms_ssim
from unfeature.options import AttackOptions
from unfeature.protocols import Generator
from unfeature.seeds import stream


def has_scales(generator: Generator) -> bool:
    """Whether its pictures are large enough for MS-SSIM."""
    try:
        fit(*generator.spec.image_shape[1:])
    except ShapeError:
        return False
    return True


def distance(one: Tensor, other: Tensor, scales: bool) -> Tensor:
    """(n, c, h, w) twice -> (n,): mean absolute difference, plus 1 - MS-SSIM where the pictures have `scales`."""
    apart = (one - other).abs().mean(dim=(1, 2, 3))
    return apart + 1 - ms_ssim(one, other) if scales else apart


def inverted(
    generator: Generator, images: Tensor, options: AttackOptions, seed: int, purpose: str
) -> tuple[Tensor, Tensor]:
    """Pictures (n, c, h, w) -> latents (n, d) of the generator, and (n,) how far their pictures are from those.

    Of several starts the one that ends nearest; latents stay among usual ones.
    """
    still, n, many = frozen(generator), len(images), options.inversion_restarts
    scales = has_scales(generator)
    typical = Typical.of(still.sample_latents(stream("attack typical", seed, 0, SAMPLES)))
    start = still.sample_latents(stream(purpose, seed, 0, n * many))
    targets = images.repeat_interleave(many, dim=0)
    (found,) = climb(
        lambda rows, which: -distance(still.synthesize(rows), targets[which], scales),
        start,
        typical,
        at=[options.inversion_steps],
        rate=options.search_rate,
        rows=rows_of(still, len(start)),
    )
    with torch.no_grad():
        apart = distance(made(still, found), targets, scales).view(n, many)
    nearest = apart.argmin(dim=1)
    return found.view(n, many, -1)[torch.arange(n), nearest], apart[torch.arange(n), nearest]
