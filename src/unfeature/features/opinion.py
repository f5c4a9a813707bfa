"""A second opinion on what an edit leaves: how likely pictures show the feature, for choosing. NEVER a judge.

The guide alone cannot tell what is left, since a search goes where the guide sees nothing. So the marked pictures are
also looked at in another space, and a logistic regression of the marks on both held-out log odds says what each is
worth; where marks look wrong, through the rates of wrong ones (Patrini et al. 2017). Marks are half of each kind and
pictures are not: the share of pictures that show it is found by EM on fresh samples (Saerens, Latinne, Decaestecker
2002), which also corrects for the errors that the held-out marks show, as Rogan and Gladen's estimate does at one cut.

How sure that is depends on the marks, of which there are few, rather than on the samples: the regression is made again
from marks drawn with replacement, and a bound is what 19 of 20 of those stay below.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import minimize
from scipy.special import expit, logit
from torch import Tensor

from unfeature.drawing import drawn
from unfeature.errors import TooFewMarks
from unfeature.features.fresh import Marked
from unfeature.features.guides import Guide, ProbeGuide
from unfeature.features.noise import Flags, Values, noise_rates
from unfeature.features.probes import Probe, fit_probe
from unfeature.features.views import Space, in_parts, spaces_of
from unfeature.protocols import Extractor, Generator
from unfeature.seeds import Seeds

AGAIN = 40
"""Times that marks are drawn again."""

SURE = 0.95
"""Share of those that a bound is at least as large as."""

Z = 1.6448536269514722
"""One-sided normal quantile of SURE."""

CLIP = 1e-9
"""Scores this near to 0 and 1 are as sure as a probe can be."""

ROUNDS = 200
"""Of EM, at most."""

TELLING = 3.0
"""Standard deviations by which the guide's AUC must be above 0.5, which is what marks made at random would get."""


@dataclass(frozen=True)
class Opinion:
    """Guide and second probe, weighed by the marks."""

    guide: Guide
    second: Probe
    lines: Values
    """(1 + AGAIN, 3): weights of both log odds and an offset at even odds; first those of all the marks."""

    @torch.no_grad()
    def views(self, latents: Tensor, images: Tensor) -> Values:
        """(n, d), (n, c, h, w) in [0, 1] -> (n, 2): log odds of guide and second probe."""
        if not len(images):
            return np.zeros((0, 2))
        guide, second = [], []
        for z, part in zip(in_parts(latents), in_parts(images), strict=True):
            guide.append(self.guide.log_odds(part).double().cpu().numpy())
            second.append(self.second.score(z, part))
        seen = logit(np.clip(np.concatenate(second), CLIP, 1 - CLIP))
        return np.stack([np.concatenate(guide), seen], axis=1)

    def evidence(self, views: Values) -> Values:
        """(n, 2) -> (1 + AGAIN, n): log odds at even odds, by each line."""
        return np.asarray(self.lines[:, :2] @ views.T + self.lines[:, 2:], dtype=np.float64)

    def shares(self, views: Values) -> Values:
        """Views (n, 2) of the generator's own pictures -> (1 + AGAIN,): the share that shows it, by each line."""
        return np.array([prevalence(evidence) for evidence in self.evidence(views)])

    def chances(self, views: Values, shares: Values) -> Values:
        """(n, 2) and what `shares` found -> (1 + AGAIN, n): how likely each shows it."""
        return np.asarray(expit(self.evidence(views) + logit(shares)[:, None]), dtype=np.float64)

    def told(self) -> str:
        """Who it is, in a sentence."""
        return f"second opinion: a probe of {self.second.told}, held-out AUC {self.second.auc:.3f}."


def prevalence(evidence: Values) -> float:
    """Log odds (n,) of fresh pictures at even odds -> the share that shows it, by EM; within [1 / 2n, 1 - 1 / 2n]."""
    least = 0.5 / len(evidence)
    share = 0.5
    for _ in range(ROUNDS):
        found = float(np.clip(expit(evidence + logit(share)).mean(), least, 1 - least))
        if abs(found - share) < 1e-6:
            break
        share = found
    return found


def bounded(chances: Values) -> tuple[float, float]:
    """(1 + AGAIN, n) -> the ratio, and what it is below with confidence SURE: marks and samples both vary."""
    ratios = chances.mean(axis=1)
    by_marks = max(0.0, float(np.quantile(ratios[1:], SURE)) - float(ratios[0]))
    by_samples = Z * float(chances[0].std()) / math.sqrt(chances.shape[1])
    return float(ratios[0]), min(1.0, float(ratios[0]) + math.hypot(by_marks, by_samples) + 1 / chances.shape[1])


def second_opinion(
    generator: Generator, seeds: Seeds, marked: Marked, extractor: Extractor | None, seed: int
) -> Opinion:
    """From the marked pictures' seeds (n,) and what the guide says of them. TooFewMarks."""
    latents, images = drawn(generator, seeds)
    taken = marked.guide.probe.spaces if isinstance(marked.guide, ProbeGuide) else ()
    others: tuple[Space, ...] = tuple(s for s in spaces_of(extractor) if s not in taken)
    second = fit_probe(latents, images, marked.labels, seed=seed, spaces=others, extractor=extractor)
    held = logit(np.clip(second.held_out, CLIP, 1 - CLIP))
    views = np.stack([marked.log_odds, held], axis=1)
    wrong = marked.rates is not None and marked.rates.significant
    return Opinion(marked.guide, second, weighed(views, marked.labels, seed, wrong=wrong))


def weighed(views: Values, labels: Flags, seed: int, *, wrong: bool = False) -> Values:
    """Held-out log odds (n, 2), the guide's first, and marks (n,) -> `Opinion.lines`; equal for equal arguments.

    Whether some marks are `wrong`: then how many is estimated from every draw anew.
    """
    rng, sides = np.random.default_rng(seed), (np.flatnonzero(labels), np.flatnonzero(~labels))
    rows = [np.arange(len(labels))]
    rows += [np.concatenate([rng.choice(side, len(side)) for side in sides]) for _ in range(AGAIN)]
    lines = []
    for some in rows:
        rates = noise_rates(labels[some], views[some, 0]) if wrong else None
        shares = (rates.positives.value, rates.negatives.value) if rates is not None else (0.0, 0.0)
        lines.append(line(views[some], labels[some], *shares))
    return np.array(lines)


def line(views: Values, labels: Flags, wrong_yes: float = 0.0, wrong_no: float = 0.0) -> Values:
    """Log odds (n, 2), marks (n,) and the shares of wrong ones -> (3,): weights and offset of the truth's log odds.

    At even odds, either side of the marks weighing the same. Truth is p = expit(w v + b), and a mark says yes with
    probability (1 - missed) p + false (1 - p). The weights have a normal prior of deviation 1: log odds that are right
    have weight 1.
    """
    shows = (1 - wrong_yes + wrong_no) / 2
    missed, false = wrong_no / 2 / shows, wrong_yes / 2 / (1 - shows)
    rows = np.column_stack([views, np.ones(len(views))])
    weight, sign = np.where(labels, 0.5 / labels.mean(), 0.5 / (1 - labels.mean())), np.where(labels, 1.0, -1.0)
    floor = np.where(labels, false, missed)

    def cost(at: Values) -> tuple[float, Values]:
        right = expit(sign * (rows @ at))
        said = floor + (1 - missed - false) * right
        slope = weight * sign * (1 - missed - false) * right * (1 - right) / said
        shrunk = np.append(at[:2], 0.0)
        return float(-(weight * np.log(said)).sum() + shrunk @ shrunk / 2), shrunk - slope @ rows

    found = np.asarray(minimize(cost, np.array([0.5, 0.5, 0.0]), jac=True, method="BFGS").x, dtype=np.float64)
    found[2] -= logit(shows)
    return found


def check_telling(marked: Marked, name: str) -> None:
    """TooFewMarks where the guide tells the marks apart no better than it would marks made at random."""
    if not isinstance(marked.guide, ProbeGuide):
        return
    shows, without = int(marked.labels.sum()), int((~marked.labels).sum())
    least = min(0.95, 0.5 + TELLING * math.sqrt((shows + without + 1) / (12 * shows * without)))
    if marked.guide.probe.auc < least:
        raise TooFewMarks(
            f"{shows} marks with {name} and {without} without give a probe with a held-out AUC of "
            f"{marked.guide.probe.auc:.2f}; expected at least {least:.2f}, since marks made at random come close to "
            "that. Mark more pictures, look again at those you were unsure of, or name a network:  --guide FILE.py:NAME"
        )


def conformal(marked: Marked, log_odds: float) -> tuple[float, int]:
    """How likely at most, on average over sets of marks, a picture with the feature scores below; positives' number.

    (k + 1) / (n + 1) where k of the n positives' held-out scores are below (Papadopoulos 2002). It holds without a
    model, for positives that were drawn like those to come.
    """
    scores = marked.log_odds[marked.labels]
    return (int((scores < log_odds).sum()) + 1) / (len(scores) + 1), len(scores)
