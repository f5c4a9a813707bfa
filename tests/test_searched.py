"""Training against a search for latents: who climbs where, what it needs, the same bytes after a stop, less to find."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
import torch.nn.functional as F
from test_distillation import FEATURE, GENERATOR, Memory
from torch import Tensor

from unfeature.artifacts import StepRecord
from unfeature.errors import BadOption
from unfeature.features.linear import LinearFeature
from unfeature.options import UnlearnOptions
from unfeature.testing import TinyJudge
from unfeature.unlearners.distillation import Distillation
from unfeature.unlearners.saliency import Saliency
from unfeature.unlearners.searched import CLIMB, Pool
from unfeature.unlearners.training import Training

OPTIONS = UnlearnOptions(steps=60, check_every=20, batch=32, tolerance=1e-6, shortfall=1.0, against_search=16)


@dataclass(frozen=True)
class Guided(LinearFeature):
    """Large blobs, and a guide that sees how bright a picture is."""

    def remaining(self, images: Tensor) -> Tensor:
        return F.softplus((images.mean(dim=(1, 2, 3)) - 0.4) * 100)


GUIDED = Guided("large", GENERATOR.spec.id, FEATURE.vector, 0.3, 0.25)


def test_a_pool_climbs_at_its_own_length_and_begins_anew_in_turn() -> None:
    pool = Pool.begun(GENERATOR, 100, 3)
    first = pool.latents.clone()
    with torch.no_grad():
        seen = [float(GUIDED.remaining(GENERATOR.synthesize(first)).mean())]
    for step in range(1, 11):
        before = pool.latents.clone()
        pool.climb(step, GENERATOR, GUIDED)
        stayed = (torch.arange(100) + step) % CLIMB != 0
        assert int((~stayed).sum()) == 2
        lengths = [pool.scale(x).norm(dim=1)[stayed] for x in (before, pool.latents)]
        assert torch.allclose(*lengths, rtol=1e-4)
    with torch.no_grad():
        seen.append(float(GUIDED.remaining(GENERATOR.synthesize(pool.latents)).mean()))
    assert seen[1] > 1.5 * seen[0]


@pytest.mark.parametrize("size", [1, 7, 40])
def test_the_half_that_shows_most_is_learnt_from_before_it_moves(size: int) -> None:
    pool = Pool.begun(GENERATOR, size, 4)
    before = pool.latents.clone()
    found = pool.climb(1, GENERATOR, GUIDED)
    with torch.no_grad():
        shown = GUIDED.remaining(GENERATOR.synthesize(before))
        most = GUIDED.remaining(GENERATOR.synthesize(found))
    assert torch.allclose(most, shown.sort(descending=True).values[: (size + 1) // 2])
    assert not torch.equal(pool.latents, before)


@pytest.mark.parametrize("unlearner", [Distillation, Saliency])
def test_only_a_guided_feature_can_be_searched_for(unlearner: type[Training]) -> None:
    with pytest.raises(BadOption, match=r"against_search is 16, .*--finder counterfactual"):
        unlearner(OPTIONS).unlearn(GENERATOR, FEATURE)


def test_through_the_mask_it_learns_from_what_is_found_too() -> None:
    options = OPTIONS.model_copy(update={"steps": 10})
    copies = [
        Saliency(options.model_copy(update={"against_search": n})).unlearn(GENERATOR, GUIDED).spec for n in (0, 16)
    ]
    assert copies[0] != copies[1]


@pytest.mark.parametrize("unlearner", [Distillation, Saliency])
def test_stopped_and_gone_on_with_gives_the_same_bytes(unlearner: type[Training]) -> None:
    whole = unlearner(OPTIONS, seed=1).unlearn(GENERATOR, GUIDED).module.state_dict()
    memory = Memory()

    def stop(record: StepRecord) -> None:
        if record.step == 25:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        unlearner(OPTIONS, seed=1, checkpoint=memory).unlearn(GENERATOR, GUIDED, on_step=stop)
    resumed = unlearner(OPTIONS, seed=1, checkpoint=memory).unlearn(GENERATOR, GUIDED).module.state_dict()
    assert all(torch.equal(value, resumed[name]) for name, value in whole.items())


def test_what_a_search_finds_in_the_original_it_does_not_find_in_the_copy() -> None:
    copy = Distillation(OPTIONS.model_copy(update={"steps": 300}), seed=2).unlearn(GENERATOR, GUIDED)
    copy.module.requires_grad_(False)
    found = []
    for searched in (GENERATOR, copy):
        pool = Pool.begun(GENERATOR, 200, 9)
        for step in range(1, 31):
            pool.climb(step, searched, GUIDED)
        with torch.no_grad():
            found.append(float(TinyJudge().score(searched.synthesize(pool.latents)).mean()))
    assert found[0] > 0.5 and found[1] <= 0.01
