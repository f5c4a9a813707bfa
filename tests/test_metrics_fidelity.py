"""IS, FD, KID and PRDC against closed forms and against independent computations."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.linalg
import scipy.special
import torch
from numpy.typing import NDArray
from torch import Tensor

from unfeature.artifacts import Score
from unfeature.metrics import fidelity, precision_recall
from unfeature.metrics.fidelity import FrechetDistance, InceptionScore, KernelDistance
from unfeature.metrics.precision_recall import PrecisionRecall
from unfeature.metrics.samples import Samples, count_name
from unfeature.protocols import Look, Paired, Reference

Array = NDArray[np.float64]


def normal(n: int, k: int, seed: int) -> Tensor:
    return torch.randn(n, k, generator=torch.Generator().manual_seed(seed))


def scores(metric: Any, embedding: Tensor, free: Tensor, every: Tensor | None = None) -> dict[str, Score]:
    """The metric's scores of these features, by name; they stand for the logits too."""
    n = len(embedding)
    seen = Look(torch.zeros(n, 1, 2, 2), torch.zeros(n, dtype=torch.bool), embedding, embedding)
    measured = metric(Reference("tiny", free, free if every is None else every))
    measured.update(Paired(seen, None, torch.zeros(n, dtype=torch.bool)))
    return {score.name: score for score in measured.compute()}


def whitened(x: Tensor) -> Tensor:
    """The same samples with mean 0 and covariance 1 exactly."""
    x = (x - x.mean(dim=0)).double()
    covariance = x.T @ x / (len(x) - 1)
    white: Tensor = torch.linalg.solve_triangular(torch.linalg.cholesky(covariance), x.T, upper=False).T
    return white


@pytest.mark.parametrize(("n", "name"), [(0, "0"), (512, "512"), (2000, "2k"), (10_000, "10k"), (10_500, "10500")])
def test_names_show_thousands(n: int, name: str) -> None:
    assert count_name(n) == name


def test_ordered_rows_are_the_rows_in_a_mixed_order() -> None:
    rows = normal(50, 3, 0)
    rows[:, 0] = 0.0  # ties in the first column, as ReLU features have them
    samples = Samples("test")
    samples.add(rows)
    ordered = samples.ordered()
    assert sorted(ordered.tolist()) == sorted(rows.double().tolist())
    assert ordered.tolist() != sorted(rows.double().tolist())


def test_fd_of_equal_gaussians_is_zero_and_of_a_shift_its_square() -> None:
    rows = whitened(normal(500, 6, 0))
    shift = torch.tensor([1.0, -2.0, 0.0, 0.5, 0.0, 0.0], dtype=torch.float64)
    found = scores(FrechetDistance, rows, rows, rows + shift)
    assert list(found) == ["fd500_tiny", "fd500_tiny_to_all"]
    assert found["fd500_tiny"].value == pytest.approx(0.0, abs=1e-9)
    assert found["fd500_tiny_to_all"].value == pytest.approx(float(shift.square().sum()), abs=1e-9)


def test_fd_of_a_scaled_gaussian() -> None:
    rows = whitened(normal(500, 6, 0))
    assert scores(FrechetDistance, 3 * rows, rows)["fd500_tiny"].value == pytest.approx(6 * (3 - 1) ** 2, abs=1e-8)


def test_fd_equals_scipys_matrix_square_root() -> None:
    a, b = normal(400, 12, 1) @ normal(12, 12, 2) + 0.3, normal(700, 12, 3)
    x, y = a.double().numpy(), b.double().numpy()
    s, t = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
    root = scipy.linalg.sqrtm(s @ t)
    expected = np.sum((x.mean(0) - y.mean(0)) ** 2) + np.trace(s + t - 2 * np.real(root))
    assert scores(FrechetDistance, a, b)["fd400_tiny"].value == pytest.approx(expected, rel=1e-9)


def test_fd_interval_matches_the_spread_over_fresh_draws() -> None:
    found = [
        scores(FrechetDistance, 1.3 * normal(400, 5, 2 * i), normal(400, 5, 2 * i + 1))["fd400_tiny"] for i in range(30)
    ]
    true = np.std([score.value for score in found], ddof=1)
    claimed = np.mean([score.high - score.value for score in found]) / 1.96
    assert 0.6 * true < claimed < 1.8 * true  # 30 draws know their spread to 13 %, ten blocks theirs to 24 %


def unbiased_mmd2(x: Array, y: Array) -> float:
    """Gretton et al. 2012, eq. 3, written as sums over pairs, with KID's cubic kernel."""

    def kernel(a: Array, b: Array) -> Array:
        return np.asarray((a @ b.T / a.shape[1] + 1) ** 3)

    def between_others(a: Array) -> float:
        pairs = kernel(a, a)[~np.eye(len(a), dtype=bool)]
        return float(pairs.mean())

    return between_others(x) + between_others(y) - 2 * float(kernel(x, y).mean())


def test_kid_is_the_mean_of_unbiased_mmd_over_subsets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fidelity, "SUBSETS", 3)
    a, b = normal(40, 5, 1) + 0.5, normal(36, 5, 2)
    found = scores(KernelDistance, a, b)["kid40_tiny"]
    assert "3 overlapping subsets of 18" in found.note
    samples = Samples("test")
    samples.add(a)
    x, y = samples.ordered().numpy(), b.double().numpy()
    draw = torch.Generator().manual_seed(0)
    expected = []
    for _ in range(3):
        real, fake = torch.randperm(36, generator=draw)[:18].numpy(), torch.randperm(40, generator=draw)[:18].numpy()
        expected.append(unbiased_mmd2(y[real], x[fake]))
    assert found.value == pytest.approx(np.mean(expected), abs=1e-5)  # float32 kernels


def test_kid_nears_the_estimate_on_all_images() -> None:
    a, b = normal(200, 5, 1) * 1.2, normal(200, 5, 2)
    found = scores(KernelDistance, a, b)["kid200_tiny"]
    expected = unbiased_mmd2(a.double().numpy(), b.double().numpy())
    assert found.low < expected < found.high
    assert found.value == pytest.approx(expected, abs=0.5 * (found.high - found.value))


def test_kids_interval_is_as_wide_as_chance_makes_it() -> None:
    """Of 60 pairs of different sources 57 should hold the mean: 56 do, with the spread of subsets as it is 47 did."""
    found = [
        scores(KernelDistance, normal(300, 5, 2 * i), normal(300, 5, 2 * i + 1) + 0.3)["kid300_tiny"] for i in range(60)
    ]
    mean = np.mean([score.value for score in found])
    half = np.mean([(score.high - score.low) / 2 for score in found])
    assert half == pytest.approx(1.96 * np.std([score.value for score in found], ddof=1), rel=0.25)
    assert sum(score.low <= mean <= score.high for score in found) >= 54


def test_kid_of_equal_sources_holds_zero() -> None:
    found = scores(KernelDistance, normal(300, 5, 1), normal(300, 5, 2))["kid300_tiny"]
    assert found.low < 0.0 < found.high


def test_is_of_undecided_images_is_1_and_of_sure_ones_the_number_of_classes() -> None:
    assert scores(InceptionScore, torch.zeros(500, 10), torch.zeros(4, 10))["is500_tiny"].value == pytest.approx(1.0)
    sure = 1000.0 * torch.eye(10).repeat(1000, 1)
    found = scores(InceptionScore, sure, torch.zeros(4, 10))["is10k_tiny"]
    assert found.value == pytest.approx(10.0, rel=0.01)  # a split of 1,000 has not exactly 100 of each
    assert found.value < 10.0


def test_is_of_a_collapsed_generator_is_1_however_sure() -> None:
    """Classes of probability 0 in float64 make no NaN."""
    sure = torch.tensor([[2000.0, 0.0, -2000.0]]).repeat(400, 1)
    assert scores(InceptionScore, sure, torch.zeros(4, 3))["is400_tiny"].value == pytest.approx(1.0)


def test_is_equals_numpys() -> None:
    logits = 2 * normal(400, 7, 5)
    samples = Samples("test")
    samples.add(logits)
    order = torch.randperm(400, generator=torch.Generator().manual_seed(0))
    probability = scipy.special.softmax(samples.ordered()[order].numpy(), axis=1)
    expected = []
    for p in np.split(probability, 4):
        divergence = np.sum(p * np.log(p), axis=1) - p @ np.log(p.mean(axis=0))
        expected.append(np.exp(divergence.mean()))
    found = scores(InceptionScore, logits, torch.zeros(4, 7))["is400_tiny"]
    assert found.value == pytest.approx(np.mean(expected), rel=1e-9)
    assert found.high - found.value == pytest.approx(3.182446 * np.std(expected, ddof=1) / 2, rel=1e-6), (
        "Student, 4 splits"
    )


def prdc_by_brute_force(real: Array, fake: Array, k: int) -> dict[str, float]:
    def radii(x: Array) -> Array:
        return np.array([sorted(np.linalg.norm(x - row, axis=1))[k] for row in x])  # [0] is the point itself

    balls, fakes = radii(real), radii(fake)
    distance = np.array([[np.linalg.norm(r - f) for f in fake] for r in real])
    inside = distance < balls[:, None]
    return {
        "precision": float(np.mean(inside.any(axis=0))),
        "recall": float(np.mean((distance < fakes[None, :]).any(axis=1))),
        "density": float(inside.sum() / k / len(fake)),
        "coverage": float(np.mean(distance.min(axis=1) < balls)),
    }


def test_prdc_equals_brute_force_on_disjoint_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision_recall, "BLOCK", 40)
    real, fake = normal(100, 4, 1), 0.8 * normal(95, 4, 2) + 0.4
    samples = Samples("test")
    samples.add(fake)
    x, y = samples.ordered().numpy(), real.double().numpy()
    blocks = [prdc_by_brute_force(y[s : s + 40], x[s : s + 40], 5) for s in (0, 40)]
    found = scores(PrecisionRecall, fake, real)
    assert list(found) == ["precision40_tiny", "recall40_tiny", "density40_tiny", "coverage40_tiny"]
    for figure in ("precision", "recall", "density", "coverage"):
        score = found[f"{figure}40_tiny"]
        assert score.value == pytest.approx((blocks[0][figure] + blocks[1][figure]) / 2, abs=1e-9)
        assert score.n == 80


def test_a_collapsed_generator_has_high_precision_and_low_recall_and_coverage() -> None:
    real = normal(300, 4, 1)
    collapsed = 0.01 * normal(300, 4, 2)
    found = scores(PrecisionRecall, collapsed, real)
    assert found["precision300_tiny"].value > 0.95
    assert found["recall300_tiny"].value < 0.05
    assert found["coverage300_tiny"].value < 0.2


def test_a_generator_gone_astray_has_no_precision() -> None:
    found = scores(PrecisionRecall, normal(300, 4, 2) + 50, normal(300, 4, 1))
    assert all(score.value == 0.0 for score in found.values())
