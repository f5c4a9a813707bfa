"""The sequential stop rule: seldom wrong however often it looks, and quick where the answer is clear."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from unfeature.intervals import wilson
from unfeature.unlearners.stopping import ERROR, SequentialWilson

SPEC = SimpleNamespace(image_shape=(1, 1, 1))
BLANK: Any = SimpleNamespace(
    spec=SPEC,
    sample_latents=lambda seeds: torch.zeros(len(seeds), 1),
    synthesize=lambda latents: latents.view(-1, 1, 1, 1),
)
"""A generator of nothing: the judges here throw dice."""


class Dice:
    """A judge that finds the feature in a share of all images."""

    about: dict[str, Any] = {"name": "dice"}  # noqa: RUF012

    def __init__(self, share: float, seed: int) -> None:
        self.share, self.random = share, np.random.default_rng(seed)

    def score(self, images: Tensor) -> Tensor:
        return torch.from_numpy((self.random.random(len(images)) < self.share).astype(np.float32))


def training_stops(share: float, goal: float, seed: int, tests: int) -> bool:
    """Whether one of the tests of a training run says the ratio is below the goal."""
    rule = SequentialWilson(Dice(share, seed), goal)
    drawn = looks = 0
    for _ in range(tests):
        verdict = rule.test(BLANK, 0, drawn, looks)
        drawn, looks = drawn + verdict.ratio.n, verdict.looks
        if verdict.below:
            return True
    return False


@pytest.mark.parametrize("goal", [0.0042, 0.02, 0.1])
def test_a_ratio_at_the_goal_stops_at_most_one_training_in_twenty(goal: float) -> None:
    """Four tests of up to 12 looks in each of 400 trainings; three standard errors of slack."""
    wrong = sum(training_stops(goal, goal, seed, tests=4) for seed in range(400))
    assert wrong / 400 <= ERROR + 3 * (ERROR * (1 - ERROR) / 400) ** 0.5


@pytest.mark.slow
@pytest.mark.parametrize("goal", [0.0042, 0.02, 0.1])
def test_a_ratio_at_the_goal_stops_at_most_one_training_in_twenty_in_many(goal: float) -> None:
    wrong = sum(training_stops(goal, goal, 10_000 + seed, tests=10) for seed in range(3000))
    assert wilson(wrong, 3000)[0] <= ERROR
    assert wrong / 3000 <= ERROR


@pytest.mark.parametrize(("share", "below"), [(0.0, True), (0.01, True), (0.3, False), (1.0, False)])
def test_a_ratio_far_from_the_goal_is_settled_by_the_first_draw(share: float, below: bool) -> None:
    verdict = SequentialWilson(Dice(share, 0), 0.1).test(BLANK, 0, 0, 0)
    assert (verdict.below, verdict.looks, verdict.ratio.n) == (below, 1, 500)
    assert verdict.ratio.low <= verdict.ratio.value <= verdict.ratio.high


def test_a_ratio_at_the_goal_is_given_up_after_the_most_draws() -> None:
    half = SimpleNamespace(about={}, score=lambda images: (torch.arange(len(images)) % 2).float())
    verdict = SequentialWilson(half, 0.5, draw=100, most=1000).test(BLANK, 0, 0, 3)
    assert (verdict.below, verdict.looks, verdict.ratio.n, verdict.ratio.value) == (False, 13, 1000, 0.5)


def test_a_well_removed_feature_stops_the_training() -> None:
    assert sum(training_stops(0.001, 0.0042, seed, tests=3) for seed in range(100)) >= 90


def test_every_test_looks_at_fresh_latents() -> None:
    seen: list[int] = []

    def sample(seeds: Any) -> Tensor:
        seen.extend(seeds.tolist())
        return torch.zeros(len(seeds), 1)

    generator: Any = SimpleNamespace(spec=SPEC, sample_latents=sample, synthesize=BLANK.synthesize)
    rule = SequentialWilson(Dice(0.1, 0), 0.1, draw=50, most=200)
    first = rule.test(generator, 0, 0, 0)
    rule.test(generator, 0, first.ratio.n, first.looks)
    assert len(set(seen)) == len(seen) > 200


def test_large_pictures_are_made_and_judged_a_few_at_a_time() -> None:
    sizes: list[int] = []

    def make(latents: Tensor) -> Tensor:
        sizes.append(len(latents))
        return torch.zeros(len(latents), 1, 256, 256)

    generator: Any = SimpleNamespace(
        spec=SimpleNamespace(image_shape=(1, 256, 256)), sample_latents=BLANK.sample_latents, synthesize=make
    )
    judge = SimpleNamespace(about={}, score=lambda images: torch.ones(len(images)))
    verdict = SequentialWilson(judge, 0.5, draw=20, most=20).test(generator, 0, 0, 0)
    assert verdict.ratio.value == 1 and sum(sizes) == 20 and max(sizes) <= 500 * 28**2 / 256**2


def test_later_looks_ask_for_more() -> None:
    """The same data settle the first look and not the thousandth: each spends less of the error."""
    few = SimpleNamespace(about={}, score=lambda images: (torch.arange(len(images)) < 5).float())
    early, late = (SequentialWilson(few, 0.022, draw=500, most=500).test(BLANK, 0, 0, looks) for looks in (0, 1000))
    assert early.ratio == late.ratio
    assert (early.below, late.below) == (wilson(5, 500)[1] < 0.022, False)
