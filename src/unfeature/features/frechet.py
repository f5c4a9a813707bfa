"""How far moved latents are from those of pictures without a feature, so that no edit is taken that moves too far."""

from __future__ import annotations

import torch
from torch import Tensor


def frechet(one: Tensor, other: Tensor) -> float:
    """Fréchet distance of the normal distributions of latents (n, d) and (m, d), n and m at least 2; >= 0.

    |mu1 - mu2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2)) (Dowson, Landau 1982). The trace of that root is the sum of the
    singular values of R1 R2^T where the centred latents are Q R, of which there are min(n, m, d): so few samples of
    many dimensions are quick, too.
    """
    one, other = one.double(), other.double()
    roots = [_root(side) for side in (one, other)]
    common = float(torch.linalg.svdvals(roots[0] @ roots[1].T).sum())
    apart = float((one.mean(dim=0) - other.mean(dim=0)).square().sum())
    return max(0.0, apart + sum(float(root.square().sum()) for root in roots) - 2 * common)


def _root(latents: Tensor) -> Tensor:
    """(n, d) -> (min(n, d), d): R with R^T R their covariance."""
    centred = (latents - latents.mean(dim=0)) / (len(latents) - 1) ** 0.5
    root: Tensor = torch.linalg.qr(centred, mode="r").R
    return root
