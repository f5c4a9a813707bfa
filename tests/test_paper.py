"""Every equation of the paper, by hand on paper and against numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from unfeature import paper
from unfeature.ms_ssim import ms_ssim


def rows(n: int, d: int, seed: int = 0) -> Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


def pictures(n: int, seed: int) -> Tensor:
    return torch.rand(n, 1, 28, 28, generator=torch.Generator().manual_seed(seed))


POSITIVES, NEGATIVES, LATENTS = rows(20, 5, 1) + 1, rows(30, 5, 2), rows(200, 5, 3)
VECTOR = POSITIVES.mean(0) - NEGATIVES.mean(0)
Z, V = LATENTS.double().numpy(), VECTOR.double().numpy()
SOME = torch.tensor([True, False, True, False])


def test_1_target_vector() -> None:
    by_hand = paper.target_vector(torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([[0.0, 1.0]]))
    assert by_hand.tolist() == [2.0, 2.0]
    expected = POSITIVES.numpy().mean(axis=0) - NEGATIVES.numpy().mean(axis=0)
    np.testing.assert_allclose(paper.target_vector(POSITIVES, NEGATIVES).numpy(), expected, atol=1e-6)


def test_unit() -> None:
    torch.testing.assert_close(paper.unit(torch.tensor([3.0, 4.0])), torch.tensor([0.6, 0.8]))


@pytest.mark.parametrize("scale", [0.1, 1.0, 7.0])
def test_2_project_is_the_length_along_the_direction(scale: float) -> None:
    assert paper.project(torch.tensor([[5.0, 10.0]]), scale * torch.tensor([3.0, 4.0])).item() == pytest.approx(11)
    np.testing.assert_allclose(paper.project(LATENTS, scale * VECTOR).numpy(), Z @ V / np.linalg.norm(V), atol=1e-5)


def test_3a_pooled_threshold() -> None:
    assert paper.pooled_threshold(torch.tensor([[1.0, 9.0], [5.0, 9.0]]), torch.tensor([2.0, 0.0])) == pytest.approx(3)
    assert paper.pooled_threshold(LATENTS, VECTOR) == pytest.approx((Z @ V / np.linalg.norm(V)).mean(), abs=1e-6)


def test_3b_balanced_threshold_weighs_both_sides_alike() -> None:
    many, one = torch.tensor([[0.0], [2.0], [4.0]]), torch.tensor([[-4.0]])
    assert paper.balanced_threshold(many, one, torch.tensor([1.0])) == pytest.approx(-1)
    means = [(side.double().numpy() @ V / np.linalg.norm(V)).mean() for side in (POSITIVES, NEGATIVES)]
    assert paper.balanced_threshold(POSITIVES, NEGATIVES, VECTOR) == pytest.approx(sum(means) / 2, abs=1e-6)


def test_4_similarity_holds_from_the_threshold_on() -> None:
    latents = torch.tensor([[0.9, 5.0], [1.0, 5.0], [1.1, -5.0]])
    assert paper.similarity(latents, torch.tensor([1.0, 0.0]), 1.0).tolist() == [False, True, True]


@pytest.mark.parametrize("margin", [0.0, 0.5])
def test_5_translated_latents_land_on_the_threshold_with_the_unit_vector(margin: float) -> None:
    vector, threshold = paper.unit(VECTOR), 0.3
    moved = paper.translate(LATENTS, vector, threshold, margin)
    flagged = paper.similarity(LATENTS, vector, threshold)
    assert torch.equal(moved[~flagged], LATENTS[~flagged])
    landed = paper.project(moved[flagged], vector)
    torch.testing.assert_close(landed, torch.full_like(landed, threshold - margin), atol=1e-5, rtol=0)
    across = moved - LATENTS  # only along the vector
    torch.testing.assert_close(across, (across @ vector)[:, None] * vector, atol=1e-5, rtol=0)


@pytest.mark.parametrize("scale", [0.5, 2.0])
def test_5_with_the_raw_vector_they_land_elsewhere(scale: float) -> None:
    raw, threshold, margin = scale * paper.unit(VECTOR), 0.3, 0.1
    length = Z @ V / np.linalg.norm(V)
    moved = paper.translate(LATENTS, raw, threshold, margin)
    expected = np.where(length >= threshold, length - scale * (length - threshold + margin), length)
    np.testing.assert_allclose(paper.project(moved, raw).numpy(), expected, atol=1e-5)


@pytest.mark.parametrize(("l1", "expected"), [("mean", 0.25), ("sum", 0.25 * 784)])
def test_absolute_difference_of_each_image(l1: paper.L1, expected: float) -> None:
    f = torch.zeros(3, 1, 28, 28)
    torch.testing.assert_close(paper.absolute_difference(f - 0.25, f, l1), torch.full((3,), expected))


@pytest.mark.parametrize("l1", ["mean", "sum"])
@pytest.mark.parametrize(("alpha", "perceptual"), [(1.0, 1.0), (3.0, 0.5), (2.0, 0.0), (0.0, 1.0)])
def test_6_to_9_against_numpy(l1: paper.L1, alpha: float, perceptual: float) -> None:
    g, f = pictures(4, 1), pictures(4, 2)
    told = paper.losses(g, f, SOME, alpha=alpha, perceptual=perceptual, l1=l1)
    each = np.abs(g.numpy().astype(float) - f.numpy()).reshape(4, -1)
    each = each.mean(axis=1) if l1 == "mean" else each.sum(axis=1)
    sim = SOME.numpy()
    unlearn, recon = (sim * each).mean(), (~sim * each).mean()
    percep = (sim * (1 - ms_ssim(g, f).numpy())).mean() if perceptual else 0.0
    expected = [unlearn, percep, recon, alpha * (unlearn + perceptual * percep) + recon]
    got = [float(v) for v in (told.unlearn, told.perceptual, told.reconstruction, told.total)]
    assert got == pytest.approx(expected, rel=1e-5)


def test_losses_where_no_latent_has_the_feature() -> None:
    told = paper.losses(pictures(4, 1), pictures(4, 2), torch.zeros(4, dtype=torch.bool), alpha=5.0)
    assert float(told.unlearn) == float(told.perceptual) == 0
    assert float(told.total) == float(told.reconstruction) > 0


def test_losses_where_every_latent_has_it() -> None:
    told = paper.losses(pictures(4, 1), pictures(4, 2), torch.ones(4, dtype=torch.bool), alpha=5.0)
    assert float(told.reconstruction) == 0
    assert float(told.total) == pytest.approx(5 * float(told.unlearn + told.perceptual))


def test_without_the_perceptual_loss_any_image_size_will_do() -> None:
    g, f = pictures(4, 1)[..., :6, :6], pictures(4, 2)[..., :6, :6]
    assert float(paper.losses(g, f, SOME, alpha=1.0, perceptual=0.0).perceptual) == 0


def test_losses_vanish_where_the_copy_is_the_teacher_and_their_gradient_is_finite() -> None:
    f = pictures(4, 1)
    g = f.clone().requires_grad_()
    told = paper.losses(g, f, SOME, alpha=1.0)
    assert float(told.total.detach()) == pytest.approx(0, abs=1e-5)
    told.total.backward()
    assert g.grad is not None and bool(g.grad.isfinite().all())
