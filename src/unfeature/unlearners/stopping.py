"""When to stop: a sequential test on fresh latents, so that no fixed small batch can be lucky."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist

from unfeature.artifacts import Score
from unfeature.drawing import batches
from unfeature.intervals import wilson
from unfeature.protocols import Generator, Judge
from unfeature.seeds import stream

ERROR = 0.05
"""Chance, over a whole training run, to stop although the ratio is at the goal or above."""


@dataclass(frozen=True)
class Verdict:
    """What one test found."""

    ratio: Score
    below: bool
    """The ratio is under the goal, beyond doubt."""
    looks: int
    """How often the data have been looked at, this test included."""


@dataclass(frozen=True)
class SequentialWilson:
    """Draws fresh latents until a Wilson interval of the target ratio leaves `goal` behind, or `most` are drawn.

    Look k spends ERROR / (k (k + 1)), which sums to ERROR over any number of looks, so stopping early or testing often
    does not make a false stop more likely.
    """

    judge: Judge
    goal: float
    """Target ratio to get under."""
    draw: int = 500
    most: int = 6000

    def test(self, generator: Generator, seed: int, drawn: int, looks: int) -> Verdict:
        """Judge `generator` on the stop stream of run `seed`, from its latent number `drawn` on."""
        hits = n = 0
        while n < self.most:
            seeds = stream("stop", seed, drawn + n, drawn + n + self.draw)
            shown = sum(int((self.judge.score(images) >= 0.5).sum()) for _, images in batches(generator, seeds))
            hits, n, looks = hits + shown, n + self.draw, looks + 1
            low, high = wilson(hits, n, NormalDist().inv_cdf(1 - ERROR / (looks * (looks + 1))))
            if high < self.goal or low > self.goal:
                break
        return Verdict(Score.share("target_ratio", hits, n), high < self.goal, looks)
