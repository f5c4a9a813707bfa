"""A probe of the marks: what it takes to show the feature, and which marks to look at again.

Learnt from the marks themselves, so it only guides whoever marks. It NEVER judges a result: whatever guides is never
what judges, and a copy that fools the probe may still show the feature.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.special import expit
from torch import Tensor

from unfeature.artifacts import Score
from unfeature.errors import ShapeError, TooFewMarks
from unfeature.features.lines import Marks, auc, best_line, stacked, values_of
from unfeature.features.noise import Flags, Values
from unfeature.features.views import MAPS, Space, rows_of, spaces_of
from unfeature.protocols import Extractor

LEAST = 3
"""Marks of a side below which nothing is learnt."""

NETWORKS: tuple[Space, ...] = (*MAPS, "embedding")
"""Spaces that a network makes."""


@dataclass(frozen=True)
class Part:
    """What a probe takes from one space."""

    space: Space
    weights: Values
    """(d,), (c h w,) of the reduced picture or (k,) of the network's: a part of the calibrated log odds."""


@dataclass(frozen=True)
class Probe:
    """How likely a picture shows the feature, going by the marks.

    A score of 0.5 means even odds where the feature is as frequent as among the marks: scores are calibrated to the
    marks' own prevalence, not to the generator's.
    """

    parts: tuple[Part, ...]
    """What it looks at, at least one: spaces that helped to tell marks it had not seen."""
    offset: float
    """What the parts' sum lacks to the calibrated log odds."""
    held_out: Values
    """(n,) in [0, 1]: the scores of the marked pictures, each by lines that never saw its mark."""
    auc: float
    """Of those scores. The stack was fitted to them: marks made at random, 50 a side, got 0.58 instead of 0.5, and what
    right marks got was 0.02 too low to 0.01 too high on average of 4 sets (docs/explanation/probes.md)."""
    precision: Score
    """Share of the marks scored 0.5 or more, held out, that show it; `n` is 0 where none is. Wrong marks lower it."""
    recall: Score
    """Share of the marks that show it which score 0.5 or more, held out."""

    extractor: Extractor | None = None
    """The network it looks through, in the spaces that have one."""

    @property
    def spaces(self) -> tuple[Space, ...]:
        """Of its parts."""
        return tuple(part.space for part in self.parts)

    @property
    def told(self) -> str:
        """Its spaces, in words."""
        *most, last = self.spaces
        return f"{', '.join(most)} and {last}" if most else last

    def score(self, latents: Tensor | None, images: Tensor | None = None) -> Values:
        """(n, d), (n, c, h, w) in [0, 1] -> (n,) in [0, 1]; latents are needed in their space alone, as are images.

        ShapeError.
        """
        with torch.no_grad():
            sums = [self._rows(p, latents, images).double().numpy() @ p.weights for p in self.parts]
        return np.asarray(expit(sum(sums[1:], sums[0]) + self.offset), dtype=np.float64)

    def log_odds(self, images: Tensor) -> Tensor:
        """(n, c, h, w) in [0, 1] -> (n,): of `score`, differentiable; ShapeError for a probe of latents."""
        sums = []
        for part in self.parts:
            rows = self._rows(part, None, images)
            sums.append(rows @ torch.from_numpy(part.weights).to(rows))
        return torch.stack(sums).sum(dim=0) + self.offset

    def _rows(self, part: Part, latents: Tensor | None, images: Tensor | None) -> Tensor:
        rows = rows_of(part.space, latents, images, self.extractor).flatten(1).float()
        if rows.shape[1] != len(part.weights):
            raise ShapeError(
                f"the probe was given {part.space} of {rows.shape[1]} values; expected {len(part.weights)}. "
                "Give what the generator of the marks makes."
            )
        return rows


def fit_probe(
    latents: Tensor,
    images: Tensor,
    labels: Flags,
    *,
    seed: int,
    spaces: tuple[Space, ...] | None = None,
    extractor: Extractor | None = None,
    left_out: Flags | None = None,
) -> Probe:
    """Marked latents (n, d), their pictures (n, c, h, w) in [0, 1], and (n,) whether each shows it -> their probe.

    Logistic regressions in each of `spaces`, by default all that the extractor gives, each of the strength whose
    held-out scores have the best AUC; those scores are stacked. Latents and pictures after the n marked ones are of
    unsure marks, half a mark of each side. Marks `left_out` (n,) are scored, but not learnt from. The same arguments
    give the same probe. TooFewMarks where a side has fewer than LEAST marks to learn from, ShapeError.
    """
    labels = np.asarray(labels, dtype=np.bool_)
    if not len(latents) == len(images) >= len(labels):
        raise ShapeError(
            f"{len(labels)} marks were given with {len(latents)} latents and {len(images)} pictures; expected as many."
        )
    out = np.zeros(len(labels), dtype=np.bool_) if left_out is None else left_out
    _check_sides(int((labels & ~out).sum()), int((~labels & ~out).sum()))
    marks = Marks(labels, out, len(latents) - len(labels))
    looked_at = spaces_of(extractor) if spaces is None else spaces
    lines, held = [], []
    for space in looked_at:
        with torch.no_grad():
            rows = values_of(rows_of(space, latents, images, extractor))
        line, values = best_line(rows, marks, space, seed)
        lines.append(line)
        held.append(values)
    slopes, offset = stacked(np.stack(held), marks)
    told = slopes @ np.stack(held) + offset
    scores = np.asarray(expit(told), dtype=np.float64)
    found = scores >= 0.5
    hits = int((found & labels).sum())
    precision = Score.share("probe_precision", hits, int(found.sum()), higher_is_better=True)
    recall = Score.share("probe_recall", hits, int(labels.sum()), higher_is_better=True)
    counted = [i for i, slope in enumerate(slopes) if slope > 0]
    parts = tuple(Part(looked_at[i], slopes[i] * lines[i].weights) for i in counted)
    offset += float(sum(slopes[i] * lines[i].offset for i in counted))
    network = extractor if any(part.space in NETWORKS for part in parts) else None
    return Probe(parts, offset, scores, auc(labels, told), precision, recall, network)


def _check_sides(shows: int, without: int) -> None:
    if min(shows, without) >= LEAST:
        return
    missing = [f"{LEAST - n} more that {s}" for n, s in ((shows, "show it"), (without, "do not")) if n < LEAST]
    raise TooFewMarks(
        f"{shows} pictures are marked as showing it and {without} as not; a probe needs at least {LEAST} of each. "
        f"Mark {' and '.join(missing)}."
    )
