"""The counterfactual feature: what a guide sees is contained, and a latent search takes it out.

`contains` asks the guide about the original's picture; `erase` moves the latent to one nearby whose picture the guide
takes for one without it, everything else kept. The search itself is `unfeature.features.eraser`, equation (10).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Self

import torch
from torch import Tensor

from unfeature.artifacts import Feedback, Gallery
from unfeature.drawing import frozen, parts
from unfeature.errors import BadOption
from unfeature.features import fresh
from unfeature.features.base import FinderBase
from unfeature.features.choosing import sentences
from unfeature.features.eraser import HIDDEN, Eraser, Search, fit_eraser, shown
from unfeature.features.guides import Guide, Helpers, Keep, kept_by_judge, load_guide
from unfeature.once import Once
from unfeature.options import FindOptions
from unfeature.protocols import Extractor, Generator
from unfeature.scale import Scale

MARGIN = 0.1
"""How far below the threshold the feature is gone, unless told: in standard deviations of the guide's log odds."""

STRETCHES = (1.25, 1.5, 2.0, 3.0)
"""Where the guide still sees the feature after a move, longer ones of the same direction are tried in turn."""

BANK = 256
"""Latents without the feature that are kept, for those that no move of theirs can help."""

LEAST = 32
"""Fresh samples with the feature that a search is learnt from, at least."""


@dataclass(frozen=True)
class CounterfactualFeature:
    """Bound to a frozen copy of its generator, whose pictures it has to look at."""

    name: str
    generator: str
    original: Generator
    guide: Guide
    centre: float
    """Mean of the guide's log odds over the generator's samples."""
    spread: float
    """Their standard deviation."""
    threshold: float
    """Contained from here on, in standard deviations above the mean."""
    margin: float
    """How far below the threshold the search went, in the same unit."""
    eraser: Eraser
    bank: Tensor
    """(b, d): latents without the feature."""
    about: dict[str, Any]
    """What it was made with and what it keeps."""
    _seen: Once[Tensor] = field(default_factory=Once, compare=False, repr=False)

    def score(self, images: Tensor) -> Tensor:
        """(n, c, h, w) in [0, 1] -> (n,): the guide's log odds in standard deviations; differentiable."""
        return (self.guide.log_odds(images) - self.centre) / self.spread

    def remaining(self, images: Tensor) -> Tensor:
        """(n, c, h, w) in [0, 1] -> (n,): the first term of (10)."""
        return shown(self.score(images), self.threshold - self.margin)

    def contains(self, latents: Tensor) -> Tensor:
        """(n, d) -> (n,) bool."""
        return self._remembered(latents) >= self.threshold

    def _remembered(self, latents: Tensor) -> Tensor:
        """Scores (n,) of the original's pictures, made once for one and the same tensor."""
        with torch.no_grad():
            return self._seen.of(latents, lambda: self._scores(latents))

    @torch.no_grad()
    def _scores(self, latents: Tensor) -> Tensor:
        return torch.cat([self.score(self.original.synthesize(part)) for part in parts(self.original, latents)])

    @torch.no_grad()
    def erase(self, latents: Tensor) -> Tensor:
        """(n, d) -> (n, d): the eraser's move, a longer one where that is not enough, else the nearest one without."""
        scores = self._remembered(latents)
        rows = torch.nonzero(scores >= self.threshold).flatten()
        if not len(rows):
            return latents.clone()
        start = latents[rows]
        move = self.eraser(start, scores[rows] - (self.threshold - self.margin))
        moved = start + move
        left = torch.nonzero(self._scores(moved) >= self.threshold).flatten()
        for stretch in STRETCHES:
            if not len(left):
                break
            moved[left] = start[left] + stretch * move[left]
            left = left[self._scores(moved[left]) >= self.threshold]
        if len(left):
            scale = self.eraser.scale
            nearest = torch.cdist(scale(start[left]), scale(self.bank)).argmin(dim=1)
            moved[left] = self.bank[nearest]
        erased = latents.clone()
        erased[rows] = moved
        return erased

    @cached_property
    def _bank_scores(self) -> Tensor:
        return self._scores(self.bank)

    def adjusted(self, threshold: float, margin: float) -> CounterfactualFeature:
        """The same search with another threshold and margin, which (11) takes in where latents are moved.

        Of the bank stays what is without the feature at that margin too, or the one latent that shows it least.
        """
        free = _free(self._bank_scores, threshold - margin)
        return replace(self, threshold=threshold, margin=margin, bank=self.bank[free])

    def told(self) -> list[str]:
        """Who guides, how good it is, and what is kept."""
        begins = f"threshold {self.threshold:.3f}, margin {self.margin:.3f} (standard deviations of the guide's score)."
        keep = self.about["keep"]
        kept_sentence = [f"kept as it is: {', '.join(keep)}."] if keep else []
        return [self.guide.told(), *self.about["marks"], begins, *kept_sentence, *sentences(self.about)]

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Eraser, bank and guide, and everything else as JSON."""
        tensors, facts = self.guide.state()
        tensors |= {f"eraser.{key}": value for key, value in self.eraser.state_dict().items()}
        scale = self.eraser.scale
        tensors |= {"mean": scale.mean, "deviation": scale.deviation, "bank": self.bank}
        own = ("name", "generator", "centre", "spread", "threshold", "margin", "about")
        return tensors, facts | {"kind": "counterfactual"} | {key: getattr(self, key) for key in own}

    @classmethod
    def from_state(
        cls, tensors: dict[str, Tensor], facts: dict[str, Any], generator: Generator, helpers: Helpers
    ) -> Self:
        """The feature `state` came from, bound to a copy of its generator."""
        eraser = Eraser(Scale(tensors["mean"], tensors["deviation"]), facts["about"]["hidden"])
        weights = {key.removeprefix("eraser."): v for key, v in tensors.items() if key.startswith("eraser.")}
        eraser.load_state_dict(weights)
        own = ("name", "generator", "centre", "spread", "threshold", "margin", "about")
        return cls(
            original=frozen(generator),
            guide=load_guide(tensors, facts, helpers),
            eraser=eraser.requires_grad_(False).eval(),
            bank=tensors["bank"],
            **{key: facts[key] for key in own},
        )


class Counterfactual(FinderBase):
    """Finder: a guide from the marks, thousands of fresh samples, and the search learnt on those that show it."""

    unused = ("trials", "seconds", "vector")

    def find(self, generator: Generator, gallery: Gallery, feedback: Feedback) -> CounterfactualFeature:
        """The feature the marks show. NotEnoughFeedback, TooFewMarks, WrongGenerator, BadFile, BadOption."""
        self.check(generator.spec.id, gallery, feedback)
        if self.options.threshold in ("pooled", "balanced"):
            raise BadOption(
                f"threshold is {self.options.threshold}, which is along a direction; expected auto or a number of "
                "standard deviations of the guide's score here."
            )
        original = frozen(generator)
        marked = fresh.learn(original, feedback, self.options, self.helpers, self.seed)
        return self.fitted(original, marked, feedback.feature)[0]

    def fitted(self, original: Generator, marked: fresh.Marked, name: str) -> tuple[CounterfactualFeature, fresh.Fresh]:
        """The feature of that name for a guide, and the fresh samples it was fitted to; `original` is frozen."""
        chosen = self.options.threshold
        auto = isinstance(chosen, str)
        least = fresh.with_odds(original, marked, self.options, self.seed).threshold() if auto else -math.inf
        passed: list[tuple[Tensor, Tensor, Tensor]] = []

        def collect(latents: Tensor, images: Tensor, log_odds: Tensor) -> None:
            mask = log_odds >= least  # in standard deviations it is known once all have passed
            passed.append((latents[mask], images[mask], log_odds[mask]))

        samples = fresh.draw(original, marked.guide.log_odds, self.options, self.seed, collect, self.on_step)
        centre, spread = float(samples.said.mean()), float(samples.said.std())
        threshold = (least - centre) / spread if auto else float(chosen)
        flagged = [(x[mask], y[mask]) for x, y, said in passed for mask in [(said - centre) / spread >= threshold]]
        latents, images = (torch.cat(side) for side in zip(*flagged, strict=True))
        _check_share(len(latents), len(samples.latents), name)
        margin = MARGIN if self.options.margin is None else self.options.margin
        keep = kept(self.helpers.extractor(self.options.extractor), self.options, self.helpers)
        scale = Scale.of(samples.latents)
        search = Search(
            original, lambda x: (marked.guide.log_odds(x) - centre) / spread, threshold - margin, keep, scale
        )
        eraser = fit_eraser(
            search,
            latents,
            images,
            steps=self.options.search_steps,
            seed=self.seed,
            on_step=self.on_step,
        )
        free = samples.latents[_free((samples.said - centre) / spread, threshold - margin)][:BANK]
        about = {
            "hidden": HIDDEN,
            "samples": len(samples.latents),
            "shown": len(latents),
            "keep": list(keep.names),
            "marks": marked.told(),
        }
        numbers = centre, spread, threshold, margin
        found = CounterfactualFeature(name, original.spec.id, original, marked.guide, *numbers, eraser, free, about)
        return found, samples


def _free(scores: Tensor, under: float) -> Tensor:
    """(n,) -> (n,) bool: which are under it; those that show least, where none is."""
    free = scores < under
    return free if bool(free.any()) else scores == scores.min()


def _check_share(shown: int, of: int, name: str) -> None:
    if LEAST <= shown <= of - LEAST:
        return
    raise BadOption(
        f"the guide finds {name} in {shown} of {of} fresh samples; expected at least {LEAST} with it and {LEAST} "
        "without. Mark more pictures, look for wrong marks, or choose --threshold."
    )


def kept(extractor: Extractor | None, options: FindOptions, helpers: Helpers) -> Keep:
    """What the search leaves as it is: the extractor's classes where it knows such pictures, and the keep list."""
    attributes = tuple(kept_by_judge(helpers.judge(reference), name) for name, reference in options.kept)
    knows = extractor is not None and hasattr(extractor, "class_word")
    names = ((str(getattr(extractor, "class_word", "")),) if knows else ()) + tuple(name for name, _ in options.kept)
    return Keep(extractor.logits if extractor is not None and knows else None, attributes, names)
