"""Training a target on a few pictures, as somebody would who has no latents: invert them, then fit the weights."""

from __future__ import annotations

import torch
from torch import Tensor

from unfeature.artifacts import Curve, Score
from unfeature.attacks.inverting import inverted
from unfeature.attacks.scenes import Best, curve, ratio, rows_of
from unfeature.attacks.searching import checks
from unfeature.options import AttackOptions
from unfeature.protocols import Scene
from unfeature.seeds import Seeds, stream
from unfeature.steps import groups

FRESH = "attack samples"
"""The stream of the samples behind every share: the same latents for all."""


def fresh_seeds(options: AttackOptions, seed: int) -> Seeds:
    """Of the samples behind every share."""
    return stream(FRESH, seed, 0, options.samples)


def tuned(scene: Scene, images: Tensor, options: AttackOptions, seed: int, best: Best, name: str) -> Curve:
    """Share of fresh samples that show the feature against steps of Adam on pictures (m, c, h, w).

    The latents are found by inversion; then the weights learn to make the pictures from them, by mean absolute
    difference.
    """
    latents, _ = inverted(scene.target, images, options, seed, "attack tuning")
    student, seeds = scene.target.copy(), fresh_seeds(options, seed)
    student.module.requires_grad_(True)
    adam = torch.optim.Adam(groups(student.module.parameters(), options.tuning_rate))
    at, rows, points = checks(options.tuning_steps), rows_of(student, len(images)), list[tuple[float, Score]]()
    for step in range(at[-1] + 1):
        if step in at:
            points.append((step, ratio(student, best, seeds)))
        if step == at[-1]:
            break
        adam.zero_grad(set_to_none=True)
        with torch.enable_grad():
            for z, x in zip(torch.split(latents, rows), torch.split(images, rows), strict=True):
                loss = (student.synthesize(z) - x).abs().mean(dim=(1, 2, 3)).sum() / len(images)
                loss.backward()  # type: ignore[no-untyped-call]
        adam.step()
    return curve(name, "steps", points)


def steps_to(told: Curve, wanted: float) -> int | None:
    """The first of the curve's steps whose share reaches `wanted`; None where none does."""
    return next((int(point.x) for point in told.points if point.score.value >= wanted), None)
