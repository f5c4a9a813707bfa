"""Copies that are no unlearning get a failing verdict from the report's own evaluation; one that is, does not."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from unfeature.artifacts import Evaluation
from unfeature.errors import ShapeError
from unfeature.evaluation import Evaluator
from unfeature.generators.module import ModuleGenerator
from unfeature.options import UnlearnOptions
from unfeature.protocols import Feature, Generator
from unfeature.reports import verdict
from unfeature.reports.verdicts import Verdict
from unfeature.rows import floor
from unfeature.seeds import stream
from unfeature.testing import TinyExtractor, TinyGenerator, TinyJudge, tiny_scene
from unfeature.unlearners.distillation import Distillation

ORIGINAL, JUDGE = TinyGenerator(), TinyJudge()
FEATURE: Feature = tiny_scene(ORIGINAL, "original").feature
N = 600


class Made(nn.Module):
    """Latents to images by any function."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function, self.original = function, ORIGINAL.module

    def forward(self, latents: Tensor) -> Tensor:
        return self.function(latents)


def made(function: Callable[[Tensor], Tensor]) -> Generator:
    return ModuleGenerator("broken", Made(function), 4)


def negatives(count: int) -> tuple[Tensor, Tensor]:
    """Latents and pictures without the feature."""
    latents = ORIGINAL.sample_latents(stream("memory", 0, 0, 4 * count))
    with torch.no_grad():
        images = ORIGINAL.synthesize(latents)
    free = JUDGE.score(images) < 0.5
    return latents[free][:count], images[free][:count]


def memorised(count: int) -> Callable[[Tensor], Tensor]:
    """One of so many remembered negatives, by a hash of the latent."""
    images = negatives(count)[1]
    return lambda z: images[(z.mul(1e4).sum(dim=1).long() % count).abs()]


def one_for_all(z: Tensor) -> Tensor:
    return negatives(1)[1].expand(len(z), -1, -1, -1)


def one_for_the_feature(z: Tensor) -> Tensor:
    """The original everywhere, but a single remembered picture where the feature was."""
    images, shown = ORIGINAL.synthesize(z), FEATURE.contains(z)
    return torch.where(shown[:, None, None, None], negatives(1)[1], images)


def few_for_the_feature(z: Tensor) -> Tensor:
    images, shown = ORIGINAL.synthesize(z), FEATURE.contains(z)
    return torch.where(shown[:, None, None, None], memorised(50)(z), images)


def pleases_the_judge(z: Tensor) -> Tensor:
    """As few of the brightest pixels black as make the judge, who goes by brightness, say no; the blob is as large."""
    images = ORIGINAL.synthesize(z).flatten(1)
    order = images.argsort(dim=1, descending=True)
    left = images.mean(dim=1, keepdim=True) - images.gather(1, order).cumsum(dim=1) / images.shape[1]
    needed = (left >= JUDGE.cut).sum(dim=1, keepdim=True) + 1
    large = images.mean(dim=1, keepdim=True) >= JUDGE.cut
    black = (torch.arange(images.shape[1]) < needed) & large
    return images.masked_fill(torch.zeros_like(black).scatter(1, order, black), 0.0).view(-1, 1, 16, 16)


def judged(copy: Generator) -> Verdict:
    evaluator = Evaluator(JUDGE, TinyExtractor(), N, 0, lambda done, total: None)
    rows = evaluator.rows(ORIGINAL)
    evaluator.rejection_filter(ORIGINAL, rows)
    collateral = evaluator.paired(ORIGINAL, {"unlearned": copy}, FEATURE, rows)
    table = rows.finish(JUDGE)
    result = Evaluation(
        "large blobs", ORIGINAL.spec, copy.spec, dict(JUDGE.about), {"name": "tiny"}, N, {}, 0.03, table,
        floor(table), collateral,
    )  # fmt: skip
    return verdict(result)


BROKEN: dict[str, tuple[Callable[[Tensor], Tensor], str]] = {
    "identity": (ORIGINAL.synthesize, "still there"),
    "collapsed to one picture": (one_for_all, "collapsed"),
    "black": (lambda z: torch.zeros(len(z), 1, 16, 16), "collapsed"),
    "8 memorised negatives": (memorised(8), "collapsed"),
    "500 memorised negatives": (memorised(500), "damaged"),
    "darker": (lambda z: 0.9 * ORIGINAL.synthesize(z), "damaged"),
    "shuffled": (lambda z: ORIGINAL.synthesize(FEATURE.erase(z).roll(1, dims=1)), "damaged"),
    "one picture where the feature was": (one_for_the_feature, "replaced"),
    "50 memorised negatives where the feature was": (few_for_the_feature, "replaced"),
    "specks that please the judge": (pleases_the_judge, "of the edit was made"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_unlearner_fails(kind: str) -> None:
    function, words = BROKEN[kind]
    outcome = judged(made(function))
    assert outcome.status == "failed", outcome.sentence
    assert words in outcome.sentence


def test_no_number_is_no_verdict() -> None:
    with pytest.raises(ShapeError, match="NaN or infinity"):
        judged(made(lambda z: torch.full((len(z), 1, 16, 16), float("nan"))))


def test_what_removes_the_feature_and_keeps_the_rest_does_not_fail() -> None:
    outcome = judged(made(lambda z: ORIGINAL.synthesize(FEATURE.erase(z))))
    assert outcome.status == "removed", outcome.sentence
    trained = Distillation(UnlearnOptions(steps=600, check_every=100, learning_rate=1e-2), seed=0).unlearn(
        ORIGINAL, FEATURE
    )
    outcome = judged(trained)
    assert outcome.status != "failed", outcome.sentence
