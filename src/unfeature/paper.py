"""The equations of Moon, Cho, Kim: Feature Unlearning for Pre-trained GANs and VAEs (AAAI 2024).

Everything the method computes is on this page; the rest of the package feeds it. Numbers in brackets are those of
docs/explanation/method.md. Where the paper leaves a point open, the choice is an argument here and an option of the
faces; docs/decisions/0002-open-points-of-the-paper.md says which default was measured to be best.

Notation: f frozen original, g the copy that is trained, z latents (n, d), z_e target vector, t threshold, z^ translated
latent; S+ / S- latents of marked / unmarked pictures.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from unfeature.ms_ssim import ms_ssim

L1 = Literal["mean", "sum"]


def target_vector(positives: Tensor, negatives: Tensor) -> Tensor:
    """(1) z_e = mean(S+) - mean(S-): (p, d), (q, d) -> (d,)."""
    return positives.mean(dim=0) - negatives.mean(dim=0)


def unit(vector: Tensor) -> Tensor:
    """z_e / |z_e|: (d,) -> (d,)."""
    scaled: Tensor = vector / torch.linalg.vector_norm(vector)
    return scaled


def project(latents: Tensor, vector: Tensor) -> Tensor:
    """(2) proj(z) = <z_e, z> / |z_e|: (n, d) -> (n,), the length along the direction."""
    return latents @ unit(vector)


def pooled_threshold(collected: Tensor, vector: Tensor) -> float:
    """(3a) t = the mean projection of all samples drawn for marking: (n, d), (d,) -> t."""
    return float(project(collected, vector).mean())


def balanced_threshold(positives: Tensor, negatives: Tensor, vector: Tensor) -> float:
    """(3b) t = the midpoint of the mean projections of marked and unmarked: (p, d), (q, d), (d,) -> t."""
    return float(project(positives, vector).mean() + project(negatives, vector).mean()) / 2


def similarity(latents: Tensor, vector: Tensor, threshold: float) -> Tensor:
    """(4) sim(z) = 1[proj(z) >= t]: (n, d) -> (n,) bool."""
    return project(latents, vector) >= threshold


def translate(latents: Tensor, vector: Tensor, threshold: float, margin: float = 0.0) -> Tensor:
    """(5) z^ = z - (proj(z) - t + m) z_e where sim(z) = 1, else z: (n, d) -> (n, d).

    With the unit vector z^ lands on t - m; the paper has m = 0, and with the raw vector z^ lands elsewhere.
    """
    length = project(latents, vector) - threshold
    return latents - torch.where(length >= 0, length + margin, 0.0).unsqueeze(1) * vector


@dataclass(frozen=True)
class Losses:
    """The terms of equation (9) for one batch, scalars."""

    unlearn: Tensor
    perceptual: Tensor
    reconstruction: Tensor
    total: Tensor


def absolute_difference(g: Tensor, f: Tensor, l1: L1) -> Tensor:
    """|g - f|_1 of each image: (n, c, h, w) twice -> (n,), averaged or summed over its pixels."""
    difference = (g - f).abs().flatten(1)
    return difference.mean(dim=1) if l1 == "mean" else difference.sum(dim=1)


def losses(g: Tensor, f: Tensor, sim: Tensor, *, alpha: float, perceptual: float = 1.0, l1: L1 = "mean") -> Losses:
    """Equations (6) to (9) for a batch of images (n, c, h, w) and (n,) bool.

    `g` is the copy's g(z); `f` is the original's f(z^), which is f(z) wherever sim(z) = 0. `perceptual` scales (7)
    alone; at 0 it is not computed.
    """
    n = g.shape[0]
    absolute = absolute_difference(g, f, l1)
    zero = absolute.new_zeros(())
    unlearn = absolute[sim].sum() / n  # (6) L_unlearn = sim(z) |g(z) - f(z^)|_1
    reconstruction = absolute[~sim].sum() / n  # (8) L_recon = (1 - sim(z)) |g(z) - f(z)|_1
    seen = perceptual > 0 and bool(sim.any())
    percep = (1 - ms_ssim(g[sim], f[sim])).sum() / n if seen else zero  # (7) L_percep = sim(z) (1 - MS-SSIM)
    total = alpha * (unlearn + perceptual * percep) + reconstruction  # (9) L = alpha (L_unlearn + L_percep) + L_recon
    return Losses(unlearn, percep, reconstruction, total)
