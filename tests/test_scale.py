"""Rows in standard deviations of their own, and back."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from unfeature.scale import Scale


@settings(deadline=None)
@given(st.floats(-5, 5), st.floats(0.01, 100), st.integers(2, 50))
def test_scaled_rows_have_mean_0_and_deviation_1_and_come_back(middle: float, spread: float, count: int) -> None:
    rows = middle + spread * torch.randn(count, 3, generator=torch.Generator().manual_seed(count), dtype=torch.float64)
    scale = Scale.of(rows)
    torch.testing.assert_close(scale(rows).mean(dim=0), torch.zeros(3, dtype=torch.float64), atol=1e-9, rtol=0)
    torch.testing.assert_close(scale(rows).std(dim=0), torch.ones(3, dtype=torch.float64))
    torch.testing.assert_close(scale.back(scale(rows)), rows)


def test_what_does_not_vary_keeps_its_unit() -> None:
    rows = torch.tensor([[3.0, 1.0], [3.0, 2.0], [3.0, 3.0]])
    torch.testing.assert_close(Scale.of(rows)(torch.tensor([[5.0, 2.0]])), torch.tensor([[2.0, 0.0]]))
