"""The distance of latents: by hand, against torchmetrics', and with fewer samples than dimensions."""

from __future__ import annotations

import pytest
import torch

from unfeature.features.frechet import frechet
from unfeature.metrics.fidelity import _frechet


def test_of_shifted_and_of_stretched_normals_it_is_what_the_formula_says() -> None:
    rows = torch.randn(4000, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert frechet(rows, rows) == pytest.approx(0.0, abs=1e-9)
    assert frechet(rows, rows + torch.tensor([1.0, 2.0, 0.0])) == pytest.approx(5.0)
    assert frechet(rows, 3 * rows - 2 * rows.mean(dim=0)) == pytest.approx(4 * float(rows.var(dim=0).sum()))


@pytest.mark.parametrize(("n", "m", "d"), [(500, 300, 12), (20, 300, 64), (30, 12, 100)])
def test_it_is_that_of_torchmetrics(n: int, m: int, d: int) -> None:
    draw = torch.Generator().manual_seed(d)
    mix = torch.randn(d, d, generator=draw, dtype=torch.float64)
    one = torch.randn(n, d, generator=draw, dtype=torch.float64) @ mix
    other = torch.randn(m, d, generator=draw, dtype=torch.float64) + 0.5
    assert frechet(one, other) == pytest.approx(_frechet(one, other), rel=1e-6)
    assert frechet(one, other) == pytest.approx(frechet(other, one), rel=1e-9)
