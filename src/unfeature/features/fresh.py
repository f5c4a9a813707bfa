"""Fresh samples of the original with what a guide says of them: how a few marks become thousands of labels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from unfeature.artifacts import Feedback
from unfeature.drawing import batches, drawn
from unfeature.features.guides import Guide, Helpers, JudgeGuide, ProbeGuide, Progress, check_gradient, unheard
from unfeature.features.noise import Flags, Values, doubtful
from unfeature.features.probes import fit_probe
from unfeature.features.views import PART, Space, reduced, spaces_of
from unfeature.images import rows_at_once
from unfeature.options import FindOptions
from unfeature.protocols import Generator
from unfeature.seeds import stream

PIXELS = 2**26
"""Of all fresh pictures together, at most."""

LEAST = 500
"""Fresh samples, however large the pictures."""

MISSED = 0.03
"""Share of pictures with the feature that may score below the threshold."""


def frozen(generator: Generator) -> Generator:
    """A copy whose weights have no gradient: what a search goes through."""
    twin = generator.copy()
    twin.module.requires_grad_(False)
    return twin


@dataclass(frozen=True)
class Marked:
    """A guide learnt from marks or named by the user, and what it says of the marked pictures."""

    guide: Guide
    labels: Flags
    """(n,): the marks."""
    log_odds: Values
    """(n,): of the marked pictures; by a probe that had not seen the mark, where it is one."""

    def threshold(self) -> float:
        """The log odds that all but MISSED of the pictures with the feature reach: conformal, so without a model.

        The k-th smallest of the n positives' scores, k = MISSED (n + 1): a fresh one is below it with that chance at
        most (Papadopoulos 2002). Marks that look mis-clicked are left out.
        """
        again = doubtful(self.labels, 1 / (1 + np.exp(-self.log_odds)), most=len(self.labels) // 4)
        kept = self.labels.copy()
        kept[again] = False
        scores = np.sort(self.log_odds[kept])
        return float(scores[max(0, int(MISSED * (len(scores) + 1)) - 1)])


def learn(generator: Generator, feedback: Feedback, options: FindOptions, helpers: Helpers, seed: int) -> Marked:
    """The guide that the options name, or a probe of the marks' pictures. TooFewMarks, BadOption."""
    seeds = np.array([*feedback.positives, *feedback.negatives], dtype=np.int64)
    labels = np.arange(len(seeds)) < len(feedback.positives)
    latents, images = drawn(generator, seeds)
    if options.guide:
        named = JudgeGuide(helpers.judge(options.guide), options.guide)
        check_gradient(named, images[:2], options.guide)
        with torch.no_grad():
            said = torch.cat([named.log_odds(part) for part in torch.split(images, PART)])
        return Marked(named, labels, said.double().numpy())
    network = helpers.extractor(options.extractor)
    spaces: tuple[Space, ...] = tuple(space for space in spaces_of(network) if space != "latents")
    small = images if network is not None else reduced(images)
    probe = fit_probe(latents, small, labels, seed=seed, spaces=spaces, extractor=network)
    held_out = np.clip(probe.held_out, 1e-9, 1 - 1e-9)
    return Marked(ProbeGuide(probe, options.extractor), labels, np.log(held_out / (1 - held_out)))


@dataclass(frozen=True)
class Fresh:
    """Samples nobody marked."""

    latents: Tensor
    """(n, d)."""
    said: Tensor
    """(n,) or (n, k): what was asked of the pictures."""


@torch.no_grad()
def draw(
    generator: Generator,
    say: Callable[[Tensor], Tensor],
    options: FindOptions,
    seed: int,
    on_batch: Callable[[Tensor, Tensor, Tensor], None] = lambda latents, images, said: None,
    on_step: Progress = unheard,
) -> Fresh:
    """So many samples as the options ask for, fewer of large pictures, with what `say` tells of them.

    `on_batch` sees latents, pictures and what was said as they pass.
    """
    count = rows_at_once(generator.spec.image_shape, PIXELS, LEAST, options.samples)
    kept, told = [], []
    for latents, images in batches(generator, stream("find", seed, 0, count)):
        kept.append(latents)
        told.append(say(images))
        on_batch(latents, images, told[-1])
        on_step(sum(map(len, kept)), count)
    return Fresh(torch.cat(kept), torch.cat(told))
