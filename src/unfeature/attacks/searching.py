"""Searches through a frozen generator: Adam from fresh starts, kept among usual latents after every step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from unfeature.artifacts import Curve, Score
from unfeature.attacks.scenes import Best, curve, rows_of
from unfeature.attacks.typical import Typical
from unfeature.drawing import shows
from unfeature.intervals import mean_interval
from unfeature.options import AttackOptions
from unfeature.protocols import Generator, Scene
from unfeature.seeds import Seeds, stream

SAMPLES, VALUES = 2000, 2**25
"""From which it is learnt what is usual; fewer where they are wide."""


def checks(steps: int) -> list[int]:
    """0, 1, 2, 5, 10, 20, 50, ... up to `steps`, which is the last."""
    found, power = {0, steps}, 1
    while power <= steps:
        found |= {factor * power for factor in (1, 2, 5) if factor * power <= steps}
        power *= 10
    return sorted(found)


@dataclass(frozen=True)
class Place:
    """Somewhere in a frozen generator that a picture can be made from."""

    name: str
    generator: Generator
    starts: Callable[[Seeds], Tensor]
    """(n,) -> (n, k): what the generator itself puts there, row i from seeds[i] alone."""
    synthesize: Callable[[Tensor], Tensor]
    """(n, k) -> (n, c, h, w) in [0, 1], differentiable."""


def latents_of(generator: Generator) -> Place:
    """The latents of a frozen generator."""
    return Place("latents", generator, generator.sample_latents, generator.synthesize)


def climb(
    aim: Callable[[Tensor, slice], Tensor],
    start: Tensor,
    typical: Typical,
    *,
    at: Sequence[int],
    rate: float,
    rows: int,
) -> list[Tensor]:
    """Where Adam is after the steps `at`, ascending, on its way from `start` (n, k) to more of `aim`; each (n, k).

    `aim`: (m, k) and which rows they are -> (m,). Only `rows` at a time, each row by itself.
    """
    parts = []
    for first in range(0, len(start), rows):
        which = slice(first, min(first + rows, len(start)))
        here = typical.projected(typical.scale(start[which])).requires_grad_()
        adam, kept = torch.optim.Adam([here], lr=rate), []
        for step in range(at[-1] + 1):
            if step in at:
                kept.append(typical.scale.back(here.detach()).clone())
            if step == at[-1]:
                break
            with torch.enable_grad():
                loss = -aim(typical.scale.back(here), which).sum()
            (here.grad,) = torch.autograd.grad(loss, here)
            adam.step()
            with torch.no_grad():
                here.copy_(typical.projected(here))
        parts.append(kept)
    return [torch.cat(side) for side in zip(*parts, strict=True)]


class Search:
    """More and more of what the guide sees, from a place; the judge decides what was found."""

    def __init__(self, scene: Scene, place: Place, options: AttackOptions, seed: int) -> None:
        self.scene, self.place, self.options, self.seed = scene, place, options, seed
        self.rows = rows_of(place.generator, options.restarts)
        width = self._starts("attack typical", 0, 1).shape[1]
        self.typical = Typical.of(self._starts("attack typical", 0, max(32, min(SAMPLES, VALUES // width))))

    @torch.no_grad()
    def _starts(self, purpose: str, first: int, last: int) -> Tensor:
        seeds = stream(purpose, self.seed, first, last)
        return torch.cat([self.place.starts(seeds[i : i + self.rows]) for i in range(0, len(seeds), self.rows)])

    @torch.no_grad()
    def _made(self, rows: Tensor) -> Tensor:
        return torch.cat([self.place.synthesize(part) for part in torch.split(rows, self.rows)])

    def guided(self, best: Best) -> tuple[Curve, Tensor, Tensor]:
        """Success against steps; where the searches end (n, k), and (n,) whether the judge finds the feature there."""
        at = checks(self.options.search_steps)
        start = self._starts("attack search", 0, self.options.restarts)
        found = climb(
            lambda rows, _: self.scene.guide(self.place.synthesize(rows)),
            start,
            self.typical,
            at=at,
            rate=self.options.search_rate,
            rows=self.rows,
        )
        points = []
        for steps, rows in zip(at, found, strict=True):
            images = self._made(rows)
            shown = shows(self.scene.judge, images)
            points.append((steps, _success(int(shown.sum()), len(shown))))
        best.see(images, shown)
        return curve(f"search, {self.place.name}", "steps", points), rows, shown

    def random(self, best: Best) -> Curve:
        """Success against pictures: of so many drawn, the one that the guide likes best."""
        wanted = checks(self.options.search_steps)[1:]
        n, points = self.options.restarts, []
        images = said = None
        for tried in range(1, wanted[-1] + 1):
            made = self._made(self._starts("attack random", (tried - 1) * n, tried * n))
            with torch.no_grad():
                told = torch.cat([self.scene.guide(part) for part in torch.split(made, self.rows)])
            if images is None or said is None:
                images, said = made, told
            better = told > said
            images[better], said[better] = made[better], told[better]
            if tried in wanted:
                shown = shows(self.scene.judge, images)
                points.append((tried, _success(int(shown.sum()), n)))
        assert images is not None
        best.see(images, shown)
        return curve("random", "pictures", points)

    def winners(self, rows: Tensor, shown: Tensor, name: str) -> list[Score]:
        """How long the latents are that show the feature; nothing where none does."""
        if not bool(shown.any()):
            return []
        mean, low, high = mean_interval(self.typical.percentiles(rows[shown]).tolist())
        return [Score(name, mean, max(0.0, low), min(100.0, high), int(shown.sum()), "percentile")]


def _success(hits: int, n: int) -> Score:
    return Score.share("success", hits, n, higher_is_better=False)
