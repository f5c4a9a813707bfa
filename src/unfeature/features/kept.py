"""A direction that leaves what is kept alone: at right angles to all that tells it from the latents.

Marks of a kept feature can tell its direction better than an opinion of pictures does: grey hair is part of what a
network calls old, and whoever keeps that opinion moves the label. So a line through the marks' latents is taken where
it tells held-out marks at least as well as the probe of their pictures (docs/explanation/correlated-features.md).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from unfeature import paper
from unfeature.features import fresh
from unfeature.features.guides import Helpers, ProbeJudge, Progress, kept_by_judge
from unfeature.features.noise import Flags
from unfeature.features.probes import fit_probe
from unfeature.features.strata import orthogonalised, readouts
from unfeature.options import FindOptions
from unfeature.protocols import Extractor, Generator, Judge


@torch.no_grad()
def away_from_kept(
    vector: Tensor, generator: Generator, options: FindOptions, helpers: Helpers, seed: int, on_step: Progress
) -> Tensor | None:
    """The vector (d,) without what moves the kept features, of unit length; None where nothing is kept.

    What moves them is the line of their marks, or is read out of fresh samples: the mean difference of marks, or their
    strata, would leave half of the leak. BadOption where nothing of the vector is left.
    """
    if not options.keep:
        return None
    judges = [(name, helpers.judge(reference)) for name, reference in options.kept]
    lines = [line for _, judge in judges if (line := _line(judge)) is not None]
    opinions = [kept_by_judge(judge, name) for name, judge in judges if _line(judge) is None]
    kept = torch.stack(lines).to(vector) if lines else vector.new_zeros(0, len(vector))
    if opinions:

        def say(images: Tensor) -> Tensor:
            return torch.cat([opinion(images) for opinion in opinions], dim=1)

        samples = fresh.draw(generator, say, options, seed, on_step=on_step)
        kept = torch.cat([kept, readouts(samples.latents, samples.said.double().numpy()).to(vector)])
    return paper.unit(orthogonalised(vector, kept)).cpu()


def kept_told(options: FindOptions, helpers: Helpers) -> dict[str, Any]:
    """What a feature says of itself: who tells each kept feature; empty where nothing is kept."""
    told = [f"{name} ({_teller(helpers.judge(reference))})" for name, reference in options.kept]
    return {"keep": told} if told else {}


def _teller(judge: Judge) -> str:
    if not isinstance(judge, ProbeJudge):
        return f"by {judge.about['name']}"
    by, probe = ("latents", judge.latents) if judge.latents is not None else ("pictures", judge.probe)
    return f"by the {by} of its marks, held-out AUC {probe.auc:.3f}"


def _line(judge: Judge) -> Tensor | None:
    """(d,): the direction in which marks of latents tell what is kept."""
    if not isinstance(judge, ProbeJudge) or judge.latents is None:
        return None
    return torch.from_numpy(judge.latents.parts[0].weights).float()


@torch.no_grad()
def shows_kept(judge: Judge, name: str, latents: Tensor, images: Tensor) -> Flags:
    """(n, d), (n, c, h, w) in [0, 1] -> (n, k): whether each shows each feature that the judge keeps by that name."""
    if isinstance(judge, ProbeJudge) and judge.latents is not None:
        return judge.latents.score(latents)[:, None] >= 0.5
    return np.asarray(kept_by_judge(judge, name)(images).cpu().numpy() >= 0)


def by_marks(
    latents: Tensor, images: Tensor, labels: Flags, *, seed: int, extractor: Extractor | None, name: str
) -> ProbeJudge:
    """What marks (n,) of latents (n, d) and their pictures (n, c, h, w) in [0, 1] say of what is to be kept.

    A probe of the pictures, and the line through the latents where its held-out AUC is no smaller. TooFewMarks,
    ShapeError.
    """
    probe, *_ = fresh.fit_robust(latents, images, labels, seed=seed, extractor=extractor)
    line = fit_probe(latents, images, labels, seed=seed, spaces=("latents",))
    return ProbeJudge(probe, name, line if line.auc >= probe.auc else None)
