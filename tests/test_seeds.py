"""One seed per image: disjoint streams, exact values, independent normal numbers."""

from __future__ import annotations

import itertools
import math
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from unfeature.errors import BadOption
from unfeature.generators.loading import load_generator
from unfeature.seeds import STREAM_LENGTH, normal_rows, stream

PURPOSES = ("gallery", "train", "probe", "stop", "preview", "calibrate", "reference", "filter", "evaluate")

GOLDEN = [[-0.7013069, -0.4673746, 0.6018428], [1.3568496, 0.0584697, 0.3965783], [-1.8331479, -0.8669037, 2.4940567]]
"""Rows of seeds 0, 1 and 2^52."""
GOLDEN_IMAGES = {
    "mnist-vae": [[0.18505, 0.01658, 0.0024], [0.95642, 0.89094, 0.51054], [0.85483, 0.93133, 0.95019]],
    "mnist-gan": [[0.07563, 0.98418, 0.8901], [0.21018, 0.99305, 0.70106], [0.37776, 0.97924, 0.32112]],
}
"""Made by the shipped weights; new weights need new values."""


def test_no_torch_is_imported() -> None:
    code = "import sys, unfeature.seeds; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_gallery_of_run_seed_0_starts_at_0() -> None:
    assert stream("gallery", 0, 0, 4).tolist() == [0, 1, 2, 3]
    assert stream("gallery", 0, 10, 12).tolist() == [10, 11]
    assert stream("gallery", 1, 0, 1).tolist() == [STREAM_LENGTH]


def test_streams_of_all_purposes_and_many_run_seeds_are_disjoint() -> None:
    firsts = [int(stream(purpose, run, 0, 1)[0]) for purpose, run in itertools.product(PURPOSES, range(20))]
    assert len(set(firsts)) == len(firsts)
    assert all(first % STREAM_LENGTH == 0 for first in firsts)  # so whole streams are disjoint, too


@given(st.sampled_from(PURPOSES), st.integers(0, 2**21 - 1))
def test_every_seed_is_exact_in_json(purpose: str, run_seed: int) -> None:
    last = stream(purpose, run_seed, STREAM_LENGTH - 1, STREAM_LENGTH)[0]
    assert 0 <= last < 2**53


def test_a_stream_is_cut_anywhere() -> None:
    parts = [stream("train", 3, 0, 70), stream("train", 3, 70, 100)]
    assert np.array_equal(np.concatenate(parts), stream("train", 3, 0, 100))
    assert len(stream("train", 3, 5, 5)) == 0


@pytest.mark.parametrize(
    ("run", "start", "stop"), [(-1, 0, 1), (2**21, 0, 1), (0, -1, 1), (0, 2, 1), (0, 0, 2**31 + 1)]
)
def test_seeds_outside_their_stream_are_refused(run: int, start: int, stop: int) -> None:
    with pytest.raises(BadOption, match=f"seeds {start}..{stop} of run seed {run}; expected 0..{STREAM_LENGTH}"):
        stream("train", run, start, stop)


def test_golden_values() -> None:
    rows = normal_rows(np.array([0, 1, 2**52], dtype=np.int64), 3)
    assert rows.dtype == np.float32
    np.testing.assert_allclose(rows, GOLDEN, atol=1e-6)


def independent_rows(seed: int, columns: int) -> list[float]:
    """SplitMix64 and Box-Muller in Python's own whole numbers."""
    mask, golden = 2**64 - 1, 0x9E3779B97F4A7C15

    def mix(x: int) -> int:
        x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 & mask
        x = (x ^ (x >> 27)) * 0x94D049BB133111EB & mask
        return x ^ (x >> 31)

    pairs = (columns + 1) // 2
    start = mix((seed + golden) & mask)
    u = [((mix((start + golden * i) & mask) >> 11) + 0.5) / 2**53 for i in range(1, 2 * pairs + 1)]
    radius = [math.sqrt(-2 * math.log(v)) for v in u[:pairs]]
    angle = [2 * math.pi * v for v in u[pairs:]]
    both = [r * math.cos(a) for r, a in zip(radius, angle, strict=True)]
    return (both + [r * math.sin(a) for r, a in zip(radius, angle, strict=True)])[:columns]


@given(st.integers(0, 2**53 - 1), st.integers(1, 9))
def test_rows_are_splitmix_and_box_muller(seed: int, columns: int) -> None:
    rows = normal_rows(np.array([seed], dtype=np.int64), columns)
    np.testing.assert_allclose(rows[0], independent_rows(seed, columns), rtol=1e-5, atol=1e-6)


def test_row_i_depends_on_seed_i_alone() -> None:
    seeds = stream("train", 0, 0, 50)
    whole = normal_rows(seeds, 7)
    assert np.array_equal(whole[::-1], normal_rows(seeds[::-1], 7))
    assert np.array_equal(whole[17:18], normal_rows(seeds[17:18], 7))


@pytest.mark.parametrize("purpose", ["gallery", "train"])
def test_values_are_standard_normal(purpose: str) -> None:
    values = normal_rows(stream(purpose, 0, 0, 20_000), 11)
    assert stats.kstest(values.ravel(), "norm").pvalue > 0.01
    for column in values.T:
        assert stats.kstest(column, "norm").pvalue > 0.001
    assert all(stats.kstest(row, "norm").pvalue > 1e-6 for row in normal_rows(stream(purpose, 0, 0, 50), 1000))


def test_neighbouring_seeds_and_columns_are_independent() -> None:
    n, d = 40_000, 12
    values = normal_rows(stream("gallery", 0, 0, n), d).astype(np.float64)
    five_sigma = 5 / np.sqrt(n)
    for power in (values, values**2):  # the squares catch a dependence of the sizes only
        columns = np.corrcoef(power.T) - np.eye(d)
        neighbours = [np.corrcoef(power[1:, i], power[:-1, i])[0, 1] for i in range(d)]
        assert np.abs(columns).max() < five_sigma
        assert np.abs(neighbours).max() < five_sigma


@pytest.mark.parametrize(("name", "corner"), GOLDEN_IMAGES.items())
def test_golden_images(name: str, corner: list[list[float]]) -> None:
    """A 3x3 piece of the image of seed 0, where there is ink."""
    generator = load_generator(name)
    with torch.no_grad():
        image = generator.synthesize(generator.sample_latents(stream("gallery", 0, 0, 1)))[0, 0]
    np.testing.assert_allclose(image[13:16, 13:16].numpy(), corner, atol=1e-4)
