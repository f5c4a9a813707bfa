"""What all attacks do alike: draw, ask the judge, keep the best picture, write it down."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from unfeature.artifacts import AttackResult, Curve, Point, Score
from unfeature.drawing import BATCH, batches, made, shows
from unfeature.errors import NotApplicable
from unfeature.images import data_uri, rows_at_once, to_pixels
from unfeature.intervals import mean_interval
from unfeature.protocols import Generator, Scene
from unfeature.seeds import Seeds, stream

PIXELS = 2**18
"""Of pictures that go through generator and guide at a time: what an attack keeps in memory."""

SHOWN = 128
"""Pixels a side of the picture that is kept, at most."""

MOST_DRAWN = 50
"""Pictures that are looked through for each one that is wanted."""


def rows_of(generator: Generator, most: int) -> int:
    """How many pictures of it are made at a time."""
    return rows_at_once(generator.spec.image_shape, PIXELS, 1, most)


@dataclass
class Best:
    """The picture with most of the feature that was seen: one that the judge takes for it, where there is any."""

    scene: Scene
    _rank: tuple[bool, float] = (False, float("-inf"))
    _picture: Tensor | None = field(default=None, repr=False)

    @torch.no_grad()
    def see(self, images: Tensor, shown: Tensor) -> None:
        """Take in images (n, c, h, w), n >= 1, and whether the judge finds the feature in each."""
        among = images[shown] if bool(shown.any()) else images
        said = torch.cat([self.scene.guide(part).cpu() for part in torch.split(among, BATCH)])
        first = int(said.argmax())
        rank = bool(shown.any()), float(said[first])
        if self._picture is None or rank > self._rank:
            self._rank, self._picture = rank, among[first : first + 1].clone()

    def result(
        self, name: str, figures: Sequence[Score], curves: Sequence[Curve] = (), facts: dict[str, Any] | None = None
    ) -> AttackResult:
        """What is written down."""
        assert self._picture is not None, "an attack looks at one picture at least"
        picture = self._picture
        if max(picture.shape[-2:]) > SHOWN:
            picture = F.interpolate(picture, scale_factor=SHOWN / max(picture.shape[-2:]), mode="area")
        uri = data_uri(to_pixels(picture)[0])
        scene, more = self.scene, facts or {}
        return AttackResult(
            name, scene.called, scene.target.spec.id, tuple(figures), tuple(curves), {**more, "shows": self._rank[0]},
            uri,
        )  # fmt: skip


def ratio(generator: Generator, best: Best, seeds: Seeds, name: str = "target_ratio") -> Score:
    """Share of the seeds' pictures that show the feature, which `best` sees too."""
    hits = 0
    for _, images in batches(generator, seeds):
        shown = shows(best.scene.judge, images)
        best.see(images, shown)
        hits += int(shown.sum())
    return Score.share(name, hits, len(seeds), higher_is_better=False)


def curve(name: str, x: str, points: Iterable[tuple[float, Score]]) -> Curve:
    """Scores at what was spent."""
    return Curve(name, x, tuple(Point(float(spent), score) for spent, score in points))


def pictures(scene: Scene, purpose: str, seed: int, count: int, *, with_it: bool) -> tuple[Tensor, Tensor]:
    """Latents (m, d) and pictures (m, c, h, w) of the original that show the feature, or do not; m <= count.

    Fewer where it is rare; NotApplicable where there is none.
    """
    found: list[tuple[Tensor, Tensor]] = []
    for start in range(0, MOST_DRAWN * count, BATCH):
        for latents, images in batches(scene.original, stream(purpose, seed, start, start + BATCH)):
            keep = shows(scene.judge, images) == with_it
            found.append((latents[keep], images[keep]))
        if sum(len(images) for _, images in found) >= count:
            break
    latents, images = (torch.cat(side)[:count] for side in zip(*found, strict=True))
    if not len(images):
        raise NotApplicable(
            f"none of {MOST_DRAWN * count} pictures of the original {'shows' if with_it else 'lacks'} the feature; "
            "expected one at least. Check the judge:  unfeature evaluate RUN"
        )
    return latents, images


def matched(scene: Scene, seed: int, count: int) -> tuple[Tensor, Tensor]:
    """Pictures (m, c, h, w) of the original that show the feature, and the same ones erased; m <= count.

    Pictures whose erased ones still show it are left out; NotApplicable where none is left.
    """
    latents, images = pictures(scene, "attack pictures", seed, count, with_it=True)
    with torch.no_grad():
        erased = made(scene.original, scene.feature.erase(latents))
    free = ~shows(scene.judge, erased)
    if not bool(free.any()):
        raise NotApplicable(
            f"none of {len(images)} pictures with the feature loses it when it is erased; expected some, to compare "
            "with. Find the feature again with a larger --margin:  unfeature find RUN"
        )
    return images[free], erased[free]


def gap(with_it: Tensor, without: Tensor) -> list[Score]:
    """(m,), (m,): how far pictures with the feature are missed, how far the same without it, and the difference."""
    sides = {"distance_with": with_it, "distance_without": without, "gap": with_it - without}
    scores = [Score(name, *mean_interval(values.tolist()), len(values)) for name, values in sides.items()]
    return [score if score.name == "gap" else replace(score, low=max(0.0, score.low)) for score in scores]
