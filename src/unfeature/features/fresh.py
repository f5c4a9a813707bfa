"""Fresh samples of the original with what a guide says of them: how a few marks become thousands of labels."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.special import expit, ndtri
from torch import Tensor

from unfeature.artifacts import Feedback
from unfeature.drawing import batches, drawn
from unfeature.features.guides import Guide, Helpers, JudgeGuide, ProbeGuide, Progress, check_gradient, unheard
from unfeature.features.noise import LEAST as NOISE_LEAST
from unfeature.features.noise import (
    Flags,
    NoiseRates,
    Values,
    doubtful,
    noise_rates,
    robust_weights,
)
from unfeature.features.probes import Probe, fit_probe
from unfeature.features.views import SPACES, drawn_small, guiding, in_parts
from unfeature.images import rows_at_once
from unfeature.options import FindOptions
from unfeature.protocols import Extractor, Generator
from unfeature.seeds import Seeds, stream

PIXELS = 2**26
"""Of all fresh pictures together, at most."""

LEAST = 500
"""Fresh samples, however large the pictures."""

MISSED = 0.01
"""Share of pictures with the feature that may score below the threshold.

At 0.03 what 100 marks a side let through was up to a tenth: on mnist_vae20 the teacher left 0.009 of slant, at 0.01 it
left 0.003. The smallest of 20 scores lets through 0.005 of all pictures, on average of eight features that a tenth of
them shows, the normal's quantile 0.002; of 100 scores, a fifth of them wrong, 0.0023 and 0.0009."""


BETA, ODDS, TELLS = 2.0, 2000, 0.01
"""Of the F-measure that a network's threshold is best for, by its own odds of so many fresh pictures: a missed picture
counts as four that are taken wrongly (van Rijsbergen 1979). Its marks can be its own, and then say nothing of what it
misses: of the pictures in which another network found bangs, a fifth had less than even odds by the first."""

TOLD_BY = 100
"""Marks a side that tell how many are wrong, at most: from thousands a probe would take longer than all else."""

TRIMMED = 5
"""Times that a probe is fitted without the marks that the one before doubts, at most. With a fifth of 100 marks a side
wrong once, twice and five times gave an AUC of 0.978, 0.981 and 0.982 on fresh pictures of eight features, and found
0.57, 0.78 and 0.82 of the wrong marks."""


@dataclass(frozen=True)
class Marked:
    """A guide learnt from marks or named by the user, and what it says of the marked pictures."""

    guide: Guide
    labels: Flags
    """(n,): the marks."""
    log_odds: Values
    """(n,): of the marked pictures; by a probe that had not seen the mark, where it is one."""
    rates: NoiseRates | None = None
    """How many marks are wrong; None from fewer than can tell."""
    left_out: int = 0
    """Doubted marks that the probe was not fitted to."""
    unsure: int = 0
    """Unsure marks that it was fitted to, as half a mark of each side."""
    most: float = math.inf
    """The log odds that count as shown whatever the marks say."""

    def threshold(self) -> float:
        """The log odds that all but MISSED of the pictures with the feature reach.

        Conformal, so without a model: the k-th smallest of the n positives' scores, k = MISSED (n + 1), and a fresh one
        is below it with that chance at most (Papadopoulos 2002). Marks that look mis-clicked are left out: at most a
        quarter, or all of them where the rates say that some are wrong. Then, and where k is below 1, the smallest is
        not low enough: a normal's quantile of MISSED is taken if that is lower. Never above `most`.
        """
        return min(self.most, self._by_marks())

    def _by_marks(self) -> float:
        wrong = self.rates is not None and self.rates.significant
        again = doubtful(self.labels, expit(self.log_odds), most=len(self.labels) // (1 if wrong else 4))
        kept = self.labels.copy()
        kept[again] = False
        scores = np.sort(self.log_odds[kept])
        reached = float(scores[max(0, int(MISSED * (len(scores) + 1)) - 1)])
        if not wrong and MISSED * (int(self.labels.sum()) + 1) >= 1:
            return reached
        return min(reached, float(scores.mean()) + float(ndtri(MISSED)) * float(scores.std()))

    def told(self) -> list[str]:
        """How many marks look wrong, where some do; how many were left out, and how many unsure ones counted."""
        told = []
        if self.rates is not None and self.rates.significant:
            out = f"; {self.left_out} doubted marks were left out" if self.left_out else ""
            told.append(f"{self.rates.told}{out}.")
        if self.unsure:
            told.append(f"{self.unsure} unsure marks near the cut count as half a mark of each side.")
        return told


def sides(feedback: Feedback) -> tuple[Seeds, Flags]:
    """Seeds (n,) of the sure marks, and (n,) whether each says that the feature is there."""
    seeds = np.array([*feedback.positives, *feedback.negatives], dtype=np.int64)
    return seeds, np.arange(len(seeds)) < len(feedback.positives)


def learn(generator: Generator, feedback: Feedback, options: FindOptions, helpers: Helpers, seed: int) -> Marked:
    """The guide that the options name, or a probe of the marks' pictures. TooFewMarks, BadOption."""
    seeds, labels = sides(feedback)
    if options.guide:
        named = JudgeGuide(helpers.judge(options.guide), options.guide)
        check_gradient(named, drawn(generator, seeds[:2])[1], options.guide)
        with torch.no_grad():
            said = torch.cat(
                [named.log_odds(part) for _, images in batches(generator, seeds) for part in in_parts(images)]
            )
        log_odds = said.double().numpy()
        return Marked(named, labels, log_odds, _rates(labels, log_odds))
    network = helpers.extractor(options.extractor)
    draw_marked = drawn if network else drawn_small
    latents, images = draw_marked(generator, np.array([*seeds, *feedback.unsure], dtype=np.int64))
    probe, rates, out, unsure = fit_robust(latents, images, labels, seed=seed, extractor=network)
    held_out = np.clip(probe.held_out, 1e-9, 1 - 1e-9)
    guide = ProbeGuide(probe, options.extractor)
    return Marked(guide, labels, np.log(held_out / (1 - held_out)), rates, out, unsure)


def with_odds(generator: Generator, marked: Marked, options: FindOptions, seed: int) -> Marked:
    """The same; a network that the user named has its `most` from its own odds of fresh pictures."""
    if not isinstance(marked.guide, JudgeGuide):
        return marked
    few = options.model_copy(update={"samples": min(ODDS, options.samples)})
    odds = draw(generator, marked.guide.log_odds, few, seed)
    return replace(marked, most=best_by_odds(odds.said.double().numpy()))


def best_by_odds(log_odds: Values) -> float:
    """(n,) of fresh pictures -> the one from which on taking all gives the largest F-measure that these odds expect.

    Infinite where that is hardly more than taking every picture gives: such odds tell nothing apart.
    """
    falling = np.sort(log_odds)[::-1]
    shares = expit(falling)
    right, taken = np.cumsum(shares), np.arange(1, len(shares) + 1)
    measure = (1 + BETA**2) * right / (BETA**2 * shares.sum() + taken)
    return float(falling[int(np.argmax(measure))]) if measure.max() > measure[-1] + TELLS else math.inf


def wrong_marks_told(generator: Generator, feedback: Feedback, seed: int) -> list[str]:
    """For a finder that learns no probe: how many marks look wrong by one of latents and pixels, where some do."""
    draw = np.random.default_rng(seed)
    some = [draw.permutation(np.sort(side))[:TOLD_BY] for side in (feedback.positives, feedback.negatives)]
    if min(map(len, some)) < NOISE_LEAST:
        return []
    seeds, labels = np.concatenate(some), np.arange(sum(map(len, some))) < len(some[0])
    rates = noise_rates(labels, fit_probe(*drawn_small(generator, seeds), labels, seed=seed, spaces=SPACES).held_out)
    return [f"{rates.told}; all of them count. The page shows which to look at again."] if rates.significant else []


def fit_robust(
    latents: Tensor, images: Tensor, labels: Flags, *, seed: int, extractor: Extractor | None
) -> tuple[Probe, NoiseRates | None, int, int]:
    """A probe of pictures (n + m, c, h, w), the last m of unsure marks; the noise rates; how many marks it left out.

    Fitted again where wrong marks are to be left out, or unsure ones lie near the cut: these alone help, and the probe
    before tells (docs/explanation/wrong-marks.md). Without its worst marks a probe finds more of the wrong ones: it is
    fitted until they stay the same, TRIMMED times at most. Last comes how many unsure marks count. TooFewMarks,
    ShapeError.
    """
    n = len(labels)
    out, near = np.zeros(n, dtype=np.bool_), np.zeros(len(latents), dtype=np.bool_)

    def fitted() -> Probe:
        rows = torch.from_numpy(np.flatnonzero(np.r_[np.ones(n, dtype=np.bool_), near[n:]]))
        spaces = guiding(extractor)
        return fit_probe(
            latents[rows], images[rows], labels, seed=seed, spaces=spaces, extractor=extractor, left_out=out
        )

    probe = fitted()
    first = rates = _rates(labels, probe.held_out)
    for _ in range(TRIMMED):
        before = out.copy(), near.copy()
        out = _doubted(labels, probe.held_out, rates, out)
        near[n:] = _between(probe, images[n:], labels)
        if all(np.array_equal(*side) for side in zip(before, (out, near), strict=True)):
            break
        probe = fitted()
        rates = _rates(labels, probe.held_out)
    return probe, first, int(out.sum()), int(near.sum())


def _doubted(labels: Flags, held_out: Values, rates: NoiseRates | None, before: Flags) -> Flags:
    """(n,) marks, held-out scores and rates -> which are to be left out; `before` where a side would lose half."""
    if rates is None:
        return before
    doubted = robust_weights(labels, held_out, rates) == 0
    return doubted if all(doubted[labels == side].mean() <= 0.5 for side in (True, False)) else before


def _between(probe: Probe, images: Tensor, labels: Flags) -> Flags:
    """Pictures (m, c, h, w) of unsure marks -> (m,): whether they score between both sides' means."""
    if not len(images):
        return np.zeros(0, dtype=np.bool_)
    scores = probe.score(None, images)
    without, shows = (float(probe.held_out[labels == side].mean()) for side in (False, True))
    return np.asarray((scores > without) & (scores < shows))


def _rates(labels: Flags, scores: Values) -> NoiseRates | None:
    """None where a side has too few marks to tell."""
    if min(int(labels.sum()), int((~labels).sum())) < NOISE_LEAST:
        return None
    return noise_rates(labels, scores)


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
