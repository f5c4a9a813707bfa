"""Every conversion between images as tensors, bytes and files. Nothing here imports torch."""

from __future__ import annotations

import base64
import io
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from unfeature.errors import BadFile

if TYPE_CHECKING:
    from torch import Tensor

Pixels = NDArray[np.uint8]

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
"""Of files that are taken for pictures in a folder."""


CELL = 320
"""Pixels of the longer side of a sheet's pictures, at most: as large as the page shows one."""


def cell(shape: tuple[int, int, int]) -> tuple[int, int, int]:
    """What a picture (c, h, w) measures on a sheet: k x k pixels are one there, where it is larger than CELL."""
    k = -(-max(shape[1:]) // CELL)
    return shape[0], max(1, shape[1] // k), max(1, shape[2] // k)


def to_cells(images: Tensor) -> Pixels:
    """(n, c, h, w) float in [0, 1] -> (n, h', w'[, 3]) uint8 as on a sheet, by averaging areas."""
    _, c, h, w = images.shape
    _, height, width = cell((c, h, w))
    if (height, width) != (h, w):
        from torch.nn.functional import adaptive_avg_pool2d

        images = adaptive_avg_pool2d(images, (height, width))
    return to_pixels(images)


def rows_at_once(shape: tuple[int, int, int], pixels: int, least: int, most: int) -> int:
    """How many pictures (c, h, w) of together about `pixels` pixels are made in one pass: what bounds memory."""
    return max(least, min(most, pixels // (shape[1] * shape[2])))


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


def sheet(pixels: Pixels, columns: int) -> bytes:
    """(n, h, w[, 3]) uint8 -> PNG, row by row without gaps, packed quickly, not tightly; empty cells are black."""
    from PIL import Image

    n, h, w = pixels.shape[:3]
    rows = -(-n // columns)
    cells = np.zeros((rows * columns, *pixels.shape[1:]), dtype=np.uint8)
    cells[:n] = pixels
    whole = (
        cells.reshape(rows, columns, *pixels.shape[1:]).swapaxes(1, 2).reshape(rows * h, columns * w, *pixels.shape[3:])
    )
    out = io.BytesIO()
    Image.fromarray(whole).save(out, format="PNG", compress_level=1)
    return out.getvalue()


def data_uri(picture: Pixels, zoom: int = 1) -> str:
    """(h, w[, 3]) uint8 -> `data:image/png;base64,...` for a page that asks nobody for anything."""
    return "data:image/png;base64," + base64.b64encode(png(picture, zoom)).decode()


def pixels_of(uri: str) -> Pixels:
    """(h, w[, 3]) uint8 of what `data_uri` made."""
    from PIL import Image

    return np.array(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))), dtype=np.uint8)


def read_picture(path: Path) -> Tensor:
    """An image file -> (1, 3, h, w) float32 in [0, 1], the right way up, transparency over black; BadFile."""
    import torch
    from PIL import Image, ImageOps

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as picture:
                pixels = np.array(ImageOps.exif_transpose(picture).convert("RGBA"), dtype=np.float32) / 255
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        told = getattr(error, "strerror", None) or str(error).partition("\n")[0]
        raise BadFile(f"cannot read {path} as a picture: {told}. Expected PNG, JPEG, WebP or BMP; check it.") from error
    return torch.from_numpy(pixels[..., :3] * pixels[..., 3:]).permute(2, 0, 1)[None]
