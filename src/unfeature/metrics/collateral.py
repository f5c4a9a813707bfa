"""What happened to images that were none of the feature's business: paired figures at the same latents."""

from __future__ import annotations

from math import inf

import torch
from torch import Tensor

from unfeature.artifacts import Score
from unfeature.errors import ShapeError
from unfeature.intervals import Z95
from unfeature.protocols import Look, Paired, Reference

NOBODY = "no such image in this row"


class Drift:
    """Mean absolute pixel change, in [0, 1], on latents that had the feature, never had it, or were left alone."""

    paired = True

    def __init__(self, reference: Reference) -> None:
        self.changes: list[Tensor] = []
        self.groups: list[dict[str, Tensor]] = []

    def update(self, batch: Paired) -> None:
        """Keep one number an image."""
        before = looked_at_before(batch, "drift")
        change = (batch.after.images.detach() - before.images).abs().double().mean(dim=(1, 2, 3))
        self.changes.append(change.cpu())
        self.groups.append(_groups(batch, before))

    def compute(self) -> list[Score]:
        """`drift_had`, `drift_never_had`, `drift_untouched` (never had it, not rewritten); intervals are normal."""
        names = ("had", "never_had", "untouched")
        return [_mean_score(f"drift_{name}", _members(self.changes, self.groups, name)) for name in names]


class ClassFlips:
    """Share of images whose most likely class changed at the same latent."""

    paired = True

    def __init__(self, reference: Reference) -> None:
        self.flips: list[Tensor] = []
        self.groups: list[dict[str, Tensor]] = []

    def update(self, batch: Paired) -> None:
        """Keep one bit an image."""
        before = looked_at_before(batch, "class flips")
        self.flips.append((batch.after.logits.argmax(dim=1) != before.logits.argmax(dim=1)).cpu())
        self.groups.append(_groups(batch, before))

    def compute(self) -> list[Score]:
        """`flips_had`, `flips_never_had`, `flips_untouched`, `flips_edited` (rewritten); intervals are Wilson's."""
        scores = []
        for name in ("had", "never_had", "untouched", "edited"):
            flips = _members(self.flips, self.groups, name)
            note = "" if len(flips) else NOBODY
            scores.append(Score.share(f"flips_{name}", int(flips.sum()), len(flips), higher_is_better=False, note=note))
        return scores


class AttributeFlips:
    """Share of the judge's other attributes that changed at the same latent: how much else an edit moves."""

    paired = True

    def __init__(self, reference: Reference) -> None:
        self.flips: list[Tensor] = []
        self.groups: list[dict[str, Tensor]] = []

    def update(self, batch: Paired) -> None:
        """Keep one number an image, its share of flipped attributes; nothing where the judge tells none."""
        before = looked_at_before(batch, "attribute flips")
        if before.attributes is None or batch.after.attributes is None:
            return
        flips = (batch.after.attributes != before.attributes).double().mean(dim=1)
        self.flips.append(flips.cpu())
        self.groups.append(_groups(batch, before))

    def compute(self) -> list[Score]:
        """`attribute_flips_all`, `_had`, `_never_had`, `_untouched`, `_edited`; none where the judge tells none."""
        if not self.flips:
            return []
        names = ("all", "had", "never_had", "untouched", "edited")
        return [_mean_score(f"attribute_flips_{name}", _members(self.flips, self.groups, name)) for name in names]


MOST_LOOKED_AT = 2000
"""Pairs whose perceptual distance is taken, the first: a pair costs three times what all other figures of it do."""


class PerceptualDistance:
    """How different images at the same latent look to the extractor's layers. Not LPIPS: nothing in it was fitted."""

    paired = True

    def __init__(self, reference: Reference) -> None:
        self.reference = reference
        self.distances: list[Tensor] = []
        self.groups: list[dict[str, Tensor]] = []

    def update(self, batch: Paired) -> None:
        """Keep one number an image, until there are enough; nothing where the extractor has no `distance`."""
        before = looked_at_before(batch, "the perceptual distance")
        if self.reference.distance is None or sum(map(len, self.distances)) >= MOST_LOOKED_AT:
            return
        changed = (batch.after.images != before.images).flatten(1).any(dim=1)  # equal ones need no network
        distances = torch.zeros(len(changed), dtype=torch.float64)
        with torch.no_grad():
            if bool(changed.any()):
                found = self.reference.distance(batch.after.images[changed], before.images[changed])
                distances[changed.cpu()] = found.double().cpu()
        self.distances.append(distances)
        self.groups.append(_groups(batch, before))

    def compute(self) -> list[Score]:
        """`perceptual_EXTRACTOR_had`, `_never_had`, `_untouched`, `_edited`; none where the extractor tells none."""
        if not self.distances:
            return []
        names, start = ("had", "never_had", "untouched", "edited"), f"perceptual_{self.reference.extractor}"
        return [_mean_score(f"{start}_{name}", _members(self.distances, self.groups, name), inf) for name in names]


def looked_at_before(batch: Paired, what: str) -> Look:
    """The batch's `before`, which `what` is about; ShapeError where it has none, or another number of images."""
    if batch.before is None:
        raise ShapeError(
            f"{what} got a batch without images from before; expected both at the same latents. "
            "Leave metrics with `paired = True` out of rows that have none."
        )
    if len(batch.before.images) != len(batch.after.images):
        raise ShapeError(
            f"{what} got {len(batch.before.images)} images from before and {len(batch.after.images)} from after; "
            "expected one of each at every latent."
        )
    return batch.before


def _groups(batch: Paired, before: Look) -> dict[str, Tensor]:
    """Group -> (n,) bool."""
    had, rewritten = before.shows.cpu().bool(), batch.rewritten.cpu().bool()
    groups = {"had": had, "never_had": ~had, "untouched": ~had & ~rewritten, "edited": rewritten}
    return groups | {"all": torch.ones_like(had)}


def _members(values: list[Tensor], groups: list[dict[str, Tensor]], name: str) -> Tensor:
    """All values of one group, over the batches."""
    parts = [value[group[name]] for value, group in zip(values, groups, strict=True)]
    return torch.cat(parts) if parts else torch.empty(0)


def _mean_score(name: str, values: Tensor, most: float = 1.0) -> Score:
    """Mean of n independent values in [0, most] with its normal interval; anything in [0, 1] where there are none."""
    n = len(values)
    if n == 0:
        return Score(name, 0.0, 0.0, 1.0, 0, higher_is_better=False, note=NOBODY)
    mean = float(values.mean())
    half = Z95 * float(values.std()) / n**0.5 if n > 1 else 0.0
    return Score(name, mean, max(0.0, mean - half), min(most, mean + half), n, higher_is_better=False)
