"""Thickness and slant: on drawn bars, and against Morpho-MNIST's definition on real digits."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt
from skimage.morphology import skeletonize
from torch import Tensor

from unfeature.errors import BadCheckpoint, ShapeError
from unfeature.metrics.judges import load_measurement
from unfeature.metrics.strokes import Slant, Thickness
from unfeature.protocols import Measurement

MEASUREMENTS = [Thickness(), Slant()]


def bar(width: int, slope: float = 0.0, side: int = 28) -> Tensor:
    """(1, 1, side, side): a bar `width` px wide whose top leans right by `slope` px a row, its edges antialiased."""
    rows, columns = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    middle = side / 2 - slope * (rows + 0.5 - side / 2)
    inside = (width / 2 + 0.5 - (columns + 0.5 - middle).abs()).clamp(0, 1)
    inside = inside * ((rows >= 4) & (rows < side - 4))
    return inside[None, None].float()


def blobs(n: int, seed: int) -> Tensor:
    """(n, 1, 28, 28): smooth random shapes, a few of them blank."""
    noise = torch.rand(n, 1, 7, 7, generator=torch.Generator().manual_seed(seed))
    images = torch.nn.functional.interpolate(noise, size=(28, 28), mode="bicubic", align_corners=False).clamp(0, 1)
    images[::9] = 0.0
    return images


def real_digits(n: int) -> Tensor:
    if not (assets := os.environ.get("UNFEATURE_ASSETS")):
        pytest.skip("UNFEATURE_ASSETS does not name the folder with data/mnist.npz")
    with np.load(Path(assets) / "data" / "mnist.npz") as data:
        return torch.from_numpy(data["x_test"][:n]).float().reshape(-1, 1, 28, 28) / 255


@pytest.mark.parametrize("width", [2, 3, 4, 5, 6, 8])
def test_thickness_of_a_bar_is_its_width(width: int) -> None:
    # At scale 2 the distance is off by up to half an upscaled pixel on either side, and the skeleton's ends taper.
    assert float(Thickness().measure(bar(width))) == pytest.approx(width, abs=0.5)


def test_thickness_is_in_pixels_whatever_the_contrast() -> None:
    assert torch.equal(Thickness().measure(0.5 * bar(4)), Thickness().measure(bar(4)))


@pytest.mark.parametrize("slope", [-0.5, -0.2, 0.0, 0.2, 0.5])
def test_slant_of_a_sheared_bar_is_its_angle(slope: float) -> None:
    assert float(Slant().measure(bar(3, slope))) == pytest.approx(np.degrees(np.arctan(slope)), abs=0.3)


@pytest.mark.parametrize("measurement", MEASUREMENTS, ids=lambda m: m.name)
@pytest.mark.parametrize("grey", [0.0, 1.0, 0.3])
def test_blank_images_measure_0(measurement: Measurement, grey: float) -> None:
    noise = 1e-4 * torch.rand(3, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    values = measurement.measure(torch.full((3, 1, 28, 28), grey) + noise)
    assert values.dtype == torch.float64
    assert values.tolist() == [0.0, 0.0, 0.0]


def test_slant_of_a_single_row_is_0() -> None:
    image = torch.zeros(1, 1, 9, 9)
    image[..., 4, 2:7] = 1.0
    assert Slant().measure(image).tolist() == [0.0]


@pytest.mark.parametrize("measurement", MEASUREMENTS, ids=lambda m: m.name)
@settings(max_examples=15, deadline=None)
@given(order=st.permutations(range(23)), size=st.integers(1, 23))
def test_a_row_depends_on_its_image_alone(measurement: Measurement, order: list[int], size: int) -> None:
    images = blobs(23, 0)
    whole = measurement.measure(images)
    parts = torch.cat([measurement.measure(part) for part in images[order].split(size)])  # type: ignore[no-untyped-call]
    assert torch.equal(parts, whole[order])


@pytest.mark.parametrize("measurement", MEASUREMENTS, ids=lambda m: m.name)
def test_rows_are_the_same_across_mosaics(measurement: Measurement) -> None:
    images = blobs(230, 1)
    alone = torch.cat([measurement.measure(images[i : i + 1]) for i in (0, 1, 99, 100, 101, 229)])
    assert torch.equal(alone, measurement.measure(images)[[0, 1, 99, 100, 101, 229]])


def test_strokes_that_touch_the_border_do_not_meet_their_neighbours() -> None:
    full_height = torch.zeros(3, 1, 28, 28)
    full_height[..., 12:16] = 1.0
    assert torch.equal(Thickness().measure(full_height), Thickness().measure(full_height[:1]).repeat(3))


@pytest.mark.parametrize("shape", [(28, 28), (20, 37), (64, 64)])
def test_the_distance_is_that_of_a_whole_transform(shape: tuple[int, int]) -> None:
    images = torch.nn.functional.interpolate(blobs(8, 3), size=shape, mode="bicubic", align_corners=False)
    images[0] = 1.0
    images[0, 0, 0, 0] = 0.0  # one stroke over all, as wide as it can be
    expected = []
    for image in torch.nn.functional.interpolate(images, scale_factor=2, mode="bicubic", align_corners=False)[:, 0]:
        middle = (image.min() + image.max()) / 2
        stroke = np.pad((image > middle).numpy(), 1)
        depth = distance_transform_edt(stroke)[skeletonize(stroke)]  # type: ignore[no-untyped-call]
        expected.append(float(depth.mean()) if len(depth) else 0.0)
    assert Thickness().measure(images).tolist() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("measurement", MEASUREMENTS, ids=lambda m: m.name)
def test_colour_counts_as_its_mean_and_no_images_as_none(measurement: Measurement) -> None:
    grey = blobs(5, 2)
    assert torch.allclose(measurement.measure(grey.repeat(1, 3, 1, 1)), measurement.measure(grey), atol=1e-4)
    assert measurement.measure(grey[:0]).shape == (0,)


@pytest.mark.parametrize("measurement", MEASUREMENTS, ids=lambda m: m.name)
def test_wrong_images_are_errors(measurement: Measurement) -> None:
    with pytest.raises(ShapeError, match=r"shape \(28, 28\); expected \(n, c, h, w\)"):
        measurement.measure(torch.zeros(28, 28))
    with pytest.raises(BadCheckpoint, match="NaN"):
        measurement.measure(torch.full((1, 1, 28, 28), float("nan")))


def test_measurements_are_found_by_name() -> None:
    assert [(m.name, m.unit) for m in map(load_measurement, ("thickness", "slant"))] == [
        ("thickness", "px"),
        ("slant", "degrees"),
    ]


def morpho_mnist_thickness(image: NDArray[np.float64]) -> float:
    """The definition: scale 4, spline of order 3, medial axis."""
    from skimage.morphology import medial_axis
    from skimage.transform import pyramid_expand

    large = pyramid_expand(image, upscale=4, order=3)  # type: ignore[no-untyped-call]
    stroke = large > large.min() + 0.5 * (large.max() - large.min())
    skeleton, distance = medial_axis(stroke, return_distance=True)  # type: ignore[no-untyped-call]
    return float(2.0 * distance[skeleton].mean() / 4)


def test_thickness_follows_the_definition_on_real_digits() -> None:
    images = real_digits(60)
    expected = np.array([morpho_mnist_thickness(image) for image in images[:, 0].double().numpy()])
    found = Thickness().measure(images).numpy()
    assert np.corrcoef(expected, found)[0, 1] >= 0.98  # 0.986
    assert abs(float(np.mean(found - expected))) <= 0.1  # px; 0.05


def test_slant_follows_the_moments_of_skimage_on_real_digits() -> None:
    from skimage.measure import moments_central

    images = real_digits(100)
    digits = images[:, 0].double().numpy()
    mu = [moments_central(digit, order=2) for digit in digits]  # type: ignore[no-untyped-call]
    expected = [np.degrees(np.arctan(-m[1, 1] / m[2, 0])) for m in mu]  # m[power of the row, of the column]
    assert Slant().measure(images).tolist() == pytest.approx(expected, abs=1e-8)
