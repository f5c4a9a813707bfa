"""MS-SSIM against pytorch-msssim where that applies, and its table of sizes."""

from __future__ import annotations

import pytest
import pytorch_msssim
import torch
from torch import Tensor

from unfeature.errors import ShapeError
from unfeature.ms_ssim import WEIGHTS, Fit, fit, ms_ssim


def pair(side: int, channels: int = 1, noise: float = 0.1, n: int = 3) -> tuple[Tensor, Tensor]:
    """Smooth random images, and the same with noise."""
    draw = torch.Generator().manual_seed(side)
    coarse = torch.rand(n, channels, max(side // 8, 2), max(side // 8, 2), generator=draw)
    x = torch.nn.functional.interpolate(coarse, size=side, mode="bilinear", align_corners=False)
    return x, (x + noise * torch.randn(x.shape, generator=draw)).clamp(0, 1)


@pytest.mark.parametrize("noise", [0.02, 0.1, 0.4])
@pytest.mark.parametrize(("side", "channels"), [(176, 1), (256, 3)])
def test_equals_pytorch_msssim_to_1e_5(side: int, channels: int, noise: float) -> None:
    """The tolerance is float32 rounding of Gaussian sums in another order.

    Its weights are given: those of the paper sum to 1.0001, and ours are normalised.
    """
    x, y = pair(side, channels, noise)
    weights = [weight / sum(WEIGHTS) for weight in WEIGHTS]
    theirs = pytorch_msssim.ms_ssim(x, y, data_range=1.0, size_average=False, weights=weights)
    assert fit(side, side) == Fit(5, 11)
    torch.testing.assert_close(ms_ssim(x, y), theirs, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("side", "expected"),
    [
        (10, (2, 5)),
        (14, (2, 7)),
        (28, (3, 7)),
        (32, (3, 7)),
        (36, (3, 9)),
        (64, (3, 11)),
        (128, (4, 11)),
        (256, (5, 11)),
    ],
)
def test_table_of_scales_and_window(side: int, expected: tuple[int, int]) -> None:
    assert fit(side, side) == fit(side, 1000) == fit(1000, side) == Fit(*expected)


@pytest.mark.parametrize("side", range(10, 300, 7))
def test_the_window_fits_the_coarsest_scale(side: int) -> None:
    how = fit(side, side)
    assert side // 2 ** (how.scales - 1) >= how.window
    assert 2 <= how.scales <= len(WEIGHTS)


@pytest.mark.parametrize("shape", [(9, 9), (28, 9), (1, 1)])
def test_too_small_images_are_refused(shape: tuple[int, int]) -> None:
    message = rf"images of {shape[0]}x{shape[1]} px; expected sides of at least 10 px .* --perceptual 0"
    with pytest.raises(ShapeError, match=message):
        ms_ssim(torch.rand(1, 1, *shape), torch.rand(1, 1, *shape))


@pytest.mark.parametrize("side", [10, 16, 28, 64, 176])
def test_1_for_equal_images_and_less_for_others(side: int) -> None:
    x, y = pair(side)
    torch.testing.assert_close(ms_ssim(x, x), torch.ones(3), atol=1e-5, rtol=0)
    flat = torch.zeros(1, 1, side, side)
    torch.testing.assert_close(ms_ssim(flat, flat), torch.ones(1), atol=1e-5, rtol=0)
    little, much = ms_ssim(x, y), ms_ssim(x, 1 - x)
    assert bool((much < little).all()) and bool((little < 0.999).all()) and bool((much >= 0).all())


def test_rows_are_independent_and_arguments_symmetric() -> None:
    x, y = pair(28)
    torch.testing.assert_close(ms_ssim(x, y), ms_ssim(y, x))
    torch.testing.assert_close(ms_ssim(x, y)[1:2], ms_ssim(x[1:2], y[1:2]), atol=1e-6, rtol=0)


@pytest.mark.parametrize("other", ["same", "noisy", "black", "inverse"])
def test_gradients_are_finite(other: str) -> None:
    x, y = pair(28)
    target = {"same": x, "noisy": y, "black": torch.zeros_like(x), "inverse": 1 - x}[other]
    made = x.clone().requires_grad_()
    (1 - ms_ssim(made, target)).sum().backward()
    assert made.grad is not None and bool(made.grad.isfinite().all())


def test_descending_the_gradient_brings_images_together() -> None:
    x, y = pair(28)
    made = y.clone().requires_grad_()
    adam = torch.optim.Adam([made], lr=0.01)
    for _ in range(40):
        adam.zero_grad()
        (1 - ms_ssim(made, x)).sum().backward()
        adam.step()
    assert bool((ms_ssim(made.detach(), x) > ms_ssim(y, x)).all())
