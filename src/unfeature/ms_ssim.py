"""MS-SSIM (Wang, Simoncelli, Bovik 2003) with scales and window that fit the image.

pytorch-msssim asks for sides over 160 px whatever the number of scales, so 28 px and 64 px images need our own; it is
the oracle in the tests where both apply. See docs/decisions/0003-ms-ssim-for-small-images.md.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from unfeature.errors import ShapeError

WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Of the five scales, finest first; fewer scales are renormalised to sum to 1."""

K1, K2 = 0.01, 0.03


@dataclass(frozen=True)
class Fit:
    """How many scales, and how wide a Gaussian window in px, an image size allows."""

    scales: int
    window: int


def fit(height: int, width: int) -> Fit:
    """The widest window of 11, 9, 7, 5 that leaves three scales, else two; at most five. ShapeError under 10 px."""
    side = min(height, width)
    for least in (3, 2):
        for window in (11, 9, 7, 5):
            scales = min(5, int(math.log2(side / window)) + 1) if side >= window else 0
            if scales >= least:
                return Fit(scales, window)
    raise ShapeError(
        f"MS-SSIM does not fit images of {height}x{width} px; expected sides of at least 10 px (two scales, window 5). "
        "Turn the perceptual losses off:  --perceptual 0  (and no --perceptual-rest)"
    )


@functools.lru_cache(maxsize=64)
def _blur(side: int, window: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """(side - window + 1, side): row i holds the Gaussian around pixel i + window // 2, sigma 1.5 at a window of 11.

    A product with this matrix is several times faster than a convolution with one channel, at 28 px and at 256 px.
    """
    offsets = torch.arange(window, dtype=dtype, device=device) - window // 2
    weights = torch.exp(-(offsets**2) / (2 * (1.5 * window / 11) ** 2))
    rows = side - window + 1
    matrix = torch.zeros(rows, side + 1, dtype=dtype, device=device)
    matrix[:, :window] = weights / weights.sum()
    return matrix.flatten()[: rows * side].view(rows, side)  # a row one too long shifts each next one by one


def _local_means(stack: Tensor, window: int) -> Tensor:
    """(n, c, h, w) -> (n, c, h - window + 1, w - window + 1): Gaussian means over rows and columns."""
    h, w = stack.shape[-2:]
    down = _blur(h, window, stack.dtype, stack.device)
    across = _blur(w, window, stack.dtype, stack.device)
    return down @ (stack @ across.T)


def _ssim(x: Tensor, y: Tensor, window: int) -> tuple[Tensor, Tensor]:
    """(n, c) luminance x contrast x structure, and contrast x structure alone, averaged over the image."""
    c = x.shape[1]
    means = _local_means(torch.cat([x, y, x * x, y * y, x * y], dim=1), window)
    mx, my, xx, yy, xy = torch.split(means, c, dim=1)
    contrast = (2 * (xy - mx * my) + K2**2) / ((xx - mx * mx) + (yy - my * my) + K2**2)
    luminance = (2 * mx * my + K1**2) / (mx * mx + my * my + K1**2)
    return (luminance * contrast).mean(dim=(2, 3)), contrast.mean(dim=(2, 3))


def ms_ssim(x: Tensor, y: Tensor) -> Tensor:
    """(n, c, h, w) twice, in [0, 1] -> (n,) in [0, 1]: 1 where the images agree. ShapeError where no scale fits."""
    how = fit(x.shape[-2], x.shape[-1])
    weights = torch.tensor(WEIGHTS[: how.scales], dtype=x.dtype, device=x.device)
    terms = []
    for scale in range(how.scales):
        full, contrast = _ssim(x, y, how.window)
        terms.append(full if scale == how.scales - 1 else contrast)
        if scale < how.scales - 1:
            x, y = F.avg_pool2d(x, 2), F.avg_pool2d(y, 2)
    powers = torch.stack(terms).clamp_min(1e-6) ** (weights / weights.sum()).view(-1, 1, 1)  # (scales, n, c)
    return powers.prod(dim=0).mean(dim=1)
