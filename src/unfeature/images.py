"""Every conversion between images as tensors, bytes and files. Nothing here imports torch."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

Pixels = NDArray[np.uint8]


def to_pixels(images: Tensor) -> Pixels:
    """(n, c, h, w) float in [0, 1] -> (n, h, w) or (n, h, w, 3) uint8."""
    array: Pixels = (images.detach().clamp(0, 1) * 255).round().byte().cpu().numpy()
    return array[:, 0] if array.shape[1] == 1 else array.transpose(0, 2, 3, 1)


def grid(pixels: Pixels, columns: int) -> Pixels:
    """(n, h, w[, 3]) -> one picture, row by row, with 2 px of grey between; empty cells are grey too."""
    n, h, w = pixels.shape[:3]
    rows = -(-n // columns)
    sheet = np.full((rows * (h + 2) - 2, columns * (w + 2) - 2, *pixels.shape[3:]), 128, dtype=np.uint8)
    for i, picture in enumerate(pixels):
        top, left = i // columns * (h + 2), i % columns * (w + 2)
        sheet[top : top + h, left : left + w] = picture
    return sheet


def png(picture: Pixels, zoom: int = 1) -> bytes:
    """(h, w[, 3]) uint8 -> the bytes of a PNG file, each pixel `zoom` px wide."""
    from PIL import Image

    enlarged = picture.repeat(zoom, axis=0).repeat(zoom, axis=1)
    out = io.BytesIO()
    Image.fromarray(enlarged).save(out, format="PNG")
    return out.getvalue()


def data_uri(picture: Pixels, zoom: int = 1) -> str:
    """(h, w[, 3]) uint8 -> `data:image/png;base64,...` for a page that asks nobody for anything."""
    return "data:image/png;base64," + base64.b64encode(png(picture, zoom)).decode()
