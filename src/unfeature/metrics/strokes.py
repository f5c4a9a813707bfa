"""Thickness and slant of a drawn stroke, measured on the image as Morpho-MNIST defines them.

Castro, Tan, Kainz, Konukoglu, Glocker: Morpho-MNIST, JMLR 20 (2019). Row i of a result depends on image i alone.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import cache

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from skimage.morphology import skeletonize
from torch import Tensor

from unfeature.errors import BadCheckpoint, ShapeError
from unfeature.images import rows_at_once

SCALE = 2
"""Upscaling before the stroke is binarised. Morpho-MNIST has 4 and the medial axis: many times slower, and 0.986
correlated with this on real digits (tests/test_strokes.py)."""
MOSAIC = 2**17
"""Pixels of the images in one mosaic, at most."""
THREADS = 2
"""Half of the time is the skeleton's, which releases the interpreter's lock."""
BLANK = 1.0 / 255.0
"""An image whose values span less than one 8-bit step shows nothing."""


class Thickness:
    """Mean width of the stroke in pixels of the original image; 0 for a blank one."""

    name: str = "thickness"
    unit: str = "px"

    def measure(self, images: Tensor) -> Tensor:
        """(n, c, h, w) in [0, 1] -> (n,) float64 in px; ShapeError, BadCheckpoint for images with NaN."""
        grey = _grey(images).cpu()
        chunks = torch.split(grey, rows_at_once((1, *grey.shape[1:]), MOSAIC, 1, MOSAIC))
        with ThreadPoolExecutor(THREADS) as pool:
            values = list(pool.map(_mosaic_thickness, chunks))
        return torch.from_numpy(np.concatenate(values)).to(images.device)


class Slant:
    """Angle of the stroke against the vertical in degrees, positive where it leans right; 0 for a blank image."""

    name: str = "slant"
    unit: str = "degrees"

    def measure(self, images: Tensor) -> Tensor:
        """(n, c, h, w) in [0, 1] -> (n,) float64 in degrees; ShapeError, BadCheckpoint for images with NaN."""
        grey = _grey(images).double()
        height, width = grey.shape[1:]
        y = torch.arange(height, dtype=torch.float64, device=grey.device)[:, None]  # grows downwards
        x = torch.arange(width, dtype=torch.float64, device=grey.device)
        mass = grey.sum(dim=(1, 2)).clamp_min(1e-12)
        dy = y - ((grey * y).sum(dim=(1, 2)) / mass)[:, None, None]
        dx = x - ((grey * x).sum(dim=(1, 2)) / mass)[:, None, None]
        mu11 = (grey * dx * dy).sum(dim=(1, 2))
        mu02 = (grey * dy * dy).sum(dim=(1, 2))
        flat = _blank(grey) | (mu02 <= 1e-9 * mass)
        shear = torch.where(flat, 0.0, -mu11 / torch.where(flat, 1.0, mu02))
        return torch.rad2deg(torch.atan(shear))


def _grey(images: Tensor) -> Tensor:
    """(n, c, h, w) -> (n, h, w), detached: the mean over channels."""
    if images.ndim != 4:
        raise ShapeError(
            f"images to measure have shape {tuple(images.shape)}; expected (n, c, h, w). Add the missing dimensions."
        )
    grey = images.detach().float().mean(dim=1)
    if not bool(torch.isfinite(grey).all()):
        raise BadCheckpoint(
            "images to measure hold NaN or infinity; expected values in [0, 1]. "
            "Check the weights of the generator that made them."
        )
    return grey


def _blank(grey: Tensor) -> Tensor:
    """(n, h, w) -> (n,) bool."""
    return grey.amax(dim=(1, 2)) - grey.amin(dim=(1, 2)) < BLANK


def _mosaic_thickness(grey: Tensor) -> NDArray[np.float64]:
    """(n, h, w) -> (n,): twice the mean, over the skeleton, of the distance to the background, in px.

    One background pixel around every image keeps skeleton and distance from reaching into the neighbour.
    """
    if not len(grey):
        return np.zeros(0)
    large = F.interpolate(grey[:, None], scale_factor=SCALE, mode="bicubic", align_corners=False)[:, 0]
    low, high = large.amin(dim=(1, 2)), large.amax(dim=(1, 2))
    stroke = (large > (low + 0.5 * (high - low))[:, None, None]) & ~_blank(grey)[:, None, None]
    tiles = F.pad(stroke, (1, 1, 1, 1))  # (n, 2h + 2, 2w + 2)
    mosaic = tiles.reshape(-1, tiles.shape[2]).numpy()
    skeleton = np.flatnonzero(skeletonize(mosaic))  # type: ignore[no-untyped-call]
    of = skeleton // (tiles.shape[1] * tiles.shape[2])
    total = np.bincount(of, _to_background(mosaic, skeleton, max(tiles.shape[1:])), minlength=len(tiles))
    return 2.0 * total / np.maximum(np.bincount(of, minlength=len(tiles)), 1) / SCALE


def _to_background(mosaic: NDArray[np.bool_], places: NDArray[np.intp], side: int) -> NDArray[np.float64]:
    """(rows, columns), (m,) places in its flat array, pixels of a tile's side -> (m,) Euclidean distance in pixels.

    Exact: the neighbours are looked at from the nearest on. None is in another tile, whose border is nearer. A whole
    distance transform costs six times as much, since a skeleton is a hundredth of the mosaic.
    """
    squared, down, right = _neighbours(side // 2 + 1)
    flat, found = mosaic.ravel(), np.zeros(len(places))
    left, step = np.arange(len(places)), 0
    while len(left):
        step += 1
        background = ~flat[places[left] + down[step] * mosaic.shape[1] + right[step]]
        found[left[background]] = squared[step]
        left = left[~background]
    return np.sqrt(found)


@cache
def _neighbours(radius: int) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]:
    """Squared distance, rows down and columns to the right of all within a square, from the nearest on."""
    down, right = (side.ravel() for side in np.mgrid[-radius : radius + 1, -radius : radius + 1])
    squared = down**2 + right**2
    order = np.argsort(squared, kind="stable")
    return squared[order], down[order], right[order]
