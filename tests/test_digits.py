"""The two shipped digit networks: one for finders, one for measuring, nothing in common."""

from __future__ import annotations

import pytest
import torch

from unfeature import zoo
from unfeature.drawing import drawn
from unfeature.fingerprints import weights
from unfeature.generators.loading import load_generator
from unfeature.judging import load_extractor
from unfeature.metrics.gradients import histograms
from unfeature.options import AttackOptions, EvaluateOptions, FindOptions, PreviewOptions
from unfeature.seeds import stream

GUIDE, MEASURES = FindOptions().extractor, EvaluateOptions().extractor


def stroke(strength: float, *, upright: bool = True) -> torch.Tensor:
    image = torch.zeros(1, 1, 28, 28)
    image[:, :, 4:24, 12:16] = strength
    return image if upright else image.transpose(2, 3)


def test_what_measures_has_nothing_in_common_with_what_guides() -> None:
    assert AttackOptions().extractor == GUIDE != MEASURES == PreviewOptions().extractor
    images = torch.rand(4, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    guide, other = (weights(load_extractor(name).logits, images) for name in (GUIDE, MEASURES))  # type: ignore[union-attr]
    assert guide and other and not guide & other
    cards = [zoo.cards("extractor")[name] for name in (GUIDE, MEASURES)]
    assert len({card["family"] for card in cards}) == len({card["seed"] for card in cards}) == 2
    assert ["60,000 training" in cards[0]["trained_on"], "10,000 test" in cards[1]["trained_on"]] == [True, True]


def test_histograms_know_directions_places_and_no_strength() -> None:
    told = histograms(stroke(1.0), 8)[:, : 8 * 49].view(8, 7, 7)
    assert float(told[[2, 6], 2:5].max()) < 1e-6, "the middle of an upright stroke has no horizontal edge"
    rising, falling = (set((told[side, 3] > 1e-3).nonzero().flatten().tolist()) for side in (0, 4))
    assert (rising, falling) == ({2, 3}, {3, 4}), "columns 11 and 12, and columns 15 and 16, in places of 4 pixels"
    turned = histograms(stroke(1.0, upright=False), 8)[:, : 8 * 49].view(8, 7, 7)
    assert torch.allclose(turned[2], told[0].T, atol=1e-6)
    assert torch.equal(histograms(torch.full((2, 1, 28, 28), 0.0), 8), torch.zeros(2, 8 * 94))
    faint = histograms(stroke(0.5), 8)
    assert float((faint - histograms(stroke(1.0), 8)).abs().mean()) < 0.2 * float(faint.mean())


@pytest.mark.parametrize("name", [GUIDE, MEASURES])
def test_other_sizes_are_looked_at_as_28_px(name: str) -> None:
    network, (_, images) = load_extractor(name), drawn(load_generator("mnist-vae"), stream("gallery", 0, 0, 200))
    assert network is not None
    large = torch.nn.functional.interpolate(images, scale_factor=2, mode="bilinear")
    same = network.logits(large).argmax(dim=1) == network.logits(images).argmax(dim=1)
    assert float(same.double().mean()) > 0.9
