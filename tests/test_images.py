"""Tensors, bytes and files of images."""

from __future__ import annotations

import base64
import io
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from unfeature.images import cell, data_uri, grid, png, to_cells, to_pixels


def test_no_torch_is_imported() -> None:
    code = "import sys, unfeature.images; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_pixels_are_rounded_and_clipped() -> None:
    images = torch.tensor([-0.5, 0.0, 0.4 / 255, 0.6 / 255, 0.5, 1.0, 1.5], requires_grad=True).view(1, 1, 1, 7)
    assert to_pixels(images).tolist() == [[[0, 0, 0, 1, 128, 255, 255]]]


def test_every_byte_survives() -> None:
    grey = torch.arange(256).view(1, 1, 16, 16)
    assert np.array_equal(to_pixels(grey / 255)[0], grey[0, 0].numpy())


def test_colour_goes_last() -> None:
    images = torch.rand(2, 3, 4, 5)
    pixels = to_pixels(images)
    assert (pixels.shape, pixels.dtype) == ((2, 4, 5, 3), np.uint8)
    assert pixels[1, 2, 3].tolist() == (images[1, :, 2, 3] * 255).round().int().tolist()


@pytest.mark.parametrize(
    ("side", "shown"),
    [((28, 28), (28, 28)), ((320, 320), (320, 320)), ((321, 200), (160, 100)), ((1024, 512), (256, 128))],
)
def test_large_pictures_are_small_on_a_sheet(side: tuple[int, int], shown: tuple[int, int]) -> None:
    assert cell((3, *side)) == (3, *shown)
    assert to_cells(torch.zeros(2, 3, *side)).shape == (2, *shown, 3)
    assert to_cells(torch.zeros(2, 1, *side)).shape == (2, *shown)


def test_a_large_pictures_cell_is_the_mean_of_its_pixels() -> None:
    means = torch.arange(200 * 200).view(200, 200) % 247 + 4
    noise = torch.tensor([[-4.0, 4.0], [2.0, -2.0]]).repeat(200, 200)
    large = means.repeat_interleave(2, 0).repeat_interleave(2, 1) + noise
    assert np.array_equal(to_cells(large[None, None] / 255)[0], means.numpy())


def test_grid_goes_row_by_row_with_grey_between() -> None:
    pixels = np.stack([np.full((2, 3), 10 * i, dtype=np.uint8) for i in range(5)])
    sheet = grid(pixels, columns=3)
    assert sheet.shape == (2 * 2 + 2, 3 * 3 + 2 * 2)
    assert (sheet[:2, :3] == 0).all() and (sheet[:2, 5:8] == 10).all() and (sheet[4:, :3] == 30).all()
    assert (sheet[2:4] == 128).all() and (sheet[4:, 10:] == 128).all()  # between, and the empty cell
    assert grid(np.zeros((1, 2, 2, 3), dtype=np.uint8), columns=1).shape == (2, 2, 3)


def test_png_is_read_back_and_zoomed() -> None:
    picture = np.arange(12, dtype=np.uint8).reshape(3, 4)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(png(picture)))), picture)
    large = np.asarray(Image.open(io.BytesIO(png(picture, zoom=3))))
    assert large.shape == (9, 12) and np.array_equal(large[::3, ::3], picture)
    colour = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(png(colour)))), colour)


def test_data_uri_holds_the_png() -> None:
    picture = np.zeros((2, 2), dtype=np.uint8)
    head, _, body = data_uri(picture, zoom=2).partition(",")
    assert head == "data:image/png;base64"
    assert base64.b64decode(body) == png(picture, zoom=2)
