"""The teacher's numbers, in seconds and before any training: what the student copies, it cannot beat."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from unfeature.artifacts import Preview, Score
from unfeature.drawing import batches, made, parts, pictures_at_once, shows
from unfeature.images import Pixels, to_pixels
from unfeature.intervals import mean_interval
from unfeature.protocols import Extractor, Feature, Generator, Judge
from unfeature.seeds import stream

PAIRS = 16
"""Pictures in the preview's grid, each original beside teacher."""


KEPT = 2**27
"""Values of the original's pictures that are kept for every teacher; of more each is made again where it is wanted."""


@dataclass(frozen=True)
class Sample:
    """Fresh samples of the original, judged once for every teacher that is compared."""

    generator: Generator
    """The original."""
    latents: Tensor
    """(n, d)."""
    images: Tensor | None
    """(n, c, h, w); None where they are too many to keep."""
    shows: Tensor | None
    """(n,) bool: the judge finds the feature; None where nobody judges."""
    classes: Tensor | None
    """(n,): the extractor's class; None where it has none of its own for the pictures."""

    def part(self, start: int, stop: int) -> Sample:
        """Those from `start` to before `stop`."""
        return self.rows(torch.arange(start, min(stop, len(self.latents))))

    def rows(self, indices: Tensor) -> Sample:
        """Those at the indices (m,)."""
        told = (part if part is None else part[indices] for part in (self.images, self.shows, self.classes))
        return Sample(self.generator, self.latents[indices], *told)

    def pictures(self, indices: Tensor) -> Tensor:
        """(m,) -> (m, c, h, w): the original's at these."""
        return self.images[indices] if self.images is not None else made(self.generator, self.latents[indices])


def draw(generator: Generator, judge: Judge | None, extractor: Extractor | None, n: int, seed: int) -> Sample:
    """`n` fresh samples from the preview stream of run `seed`."""
    keep = n * math.prod(generator.spec.image_shape) <= KEPT
    own = extractor if extractor is not None and hasattr(extractor, "class_word") else None
    latents, kept, found, classes = list[Tensor](), list[Tensor](), list[Tensor](), list[Tensor]()
    for some, images in batches(generator, stream("preview", seed, 0, n)):
        latents.append(some)
        kept += [images] if keep else []
        found += [shows(judge, images)] if judge is not None else []
        classes += [_classes(own, images)] if own is not None else []
    told = (torch.cat(side) if side else None for side in (kept, found, classes))
    return Sample(generator, torch.cat(latents), *told)


def _classes(extractor: Extractor, images: Tensor) -> Tensor:
    with torch.no_grad():
        return torch.cat([extractor.logits(part).argmax(dim=1) for part in pictures_at_once(images)])


def measure(
    generator: Generator,
    feature: Feature,
    sample: Sample,
    judge: Judge | None,
    extractor: Extractor | None,
    name: str,
    *,
    copy: tuple[str, Generator] | None = None,
) -> Preview:
    """Ratio, share rewritten and change on the rest of the teacher f(z^); only rewritten latents are synthesized.

    Of a `copy` and what made it, where one is given: its pictures at all latents as they are.
    """
    made_by, maker = copy or ("teacher", generator)
    flagged = feature.contains(sample.latents)
    n, moved = len(flagged), torch.nonzero(flagged if copy is None else torch.ones_like(flagged)).flatten()
    drift, changed = torch.zeros(n), torch.zeros(n, dtype=torch.bool)
    after = None if judge is None or sample.shows is None else sample.shows.clone()
    with torch.no_grad():
        latents = sample.latents[moved]
        erased = feature.erase(latents) if copy is None and len(moved) else latents
        for at, part in zip(parts(maker, moved), parts(maker, erased), strict=True) if len(moved) else ():
            images = maker.synthesize(part)
            drift[at] = (images - sample.pictures(at)).abs().mean(dim=(1, 2, 3)).cpu()
            if judge is not None and after is not None:
                after[at] = shows(judge, images)
            if extractor is not None and sample.classes is not None:
                changed[at] = _classes(extractor, images) != sample.classes[at]
    rest = ~sample.shows if sample.shows is not None else torch.ones(n, dtype=torch.bool)
    ratio = before = flips = None
    if after is not None and sample.shows is not None:
        before = Score.share("target_ratio", int(sample.shows.sum()), n)
        ratio = Score.share("target_ratio", int(after.sum()), n)
    if extractor is not None and sample.classes is not None:
        flips = Score.share("flips_never_had", int(changed[rest].sum()), int(rest.sum()))
    return Preview(
        feature=name,
        generator=generator.spec.id,
        n=n,
        margin=getattr(feature, "margin", None),
        threshold=getattr(feature, "threshold", None),
        rewritten=Score.share("rewritten", int(flagged.sum()), n),
        drift_rest=_mean_drift(drift[rest].tolist()),
        flips_rest=flips,
        ratio_before=before,
        ratio=ratio,
        made_by=made_by,
    )


def _mean_drift(values: list[float]) -> Score:
    """Of pictures that never had the feature; anything in [0, 1] where there are none."""
    mean, low, high = mean_interval(values) if values else (0.0, 0.0, 1.0)
    note = "" if values else "no such picture"
    return Score("drift_never_had", mean, max(0.0, low), min(1.0, high), len(values), higher_is_better=False, note=note)


def pairs(generator: Generator, feature: Feature, sample: Sample) -> Pixels:
    """(2 PAIRS, h, w[, 3]): rewritten pictures that show the feature where possible, each beside its teacher's.

    Where none is rewritten the first ones, which the teacher leaves as they are.
    """
    flagged = feature.contains(sample.latents)
    first = flagged & sample.shows if sample.shows is not None else flagged
    order = torch.cat([torch.nonzero(first).flatten(), torch.nonzero(flagged & ~first).flatten()])[:PAIRS]
    order = order if len(order) else torch.arange(min(PAIRS, len(flagged)))
    after = made(generator, feature.erase(sample.latents[order]))
    both = torch.stack([sample.pictures(order), after], dim=1).flatten(0, 1)
    return to_pixels(both)
