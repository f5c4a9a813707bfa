"""The finder that chooses: directions and the latent search, each of many thresholds and margins, on fresh samples.

What a teacher leaves is told by a second opinion (`unfeature.features.opinion`), never by the run's judge. optuna looks
for teachers that leave little and change little; those of its rough front are measured again on samples that chose
nothing, so that the one taken does not look better than it is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from unfeature import paper
from unfeature.artifacts import Feedback, Gallery
from unfeature.drawing import drawn, frozen, made
from unfeature.errors import BadOption, NothingLeft
from unfeature.features import fresh
from unfeature.features.base import FinderBase
from unfeature.features.choosing import DIRECTIONS, Choice, Point, pareto, thinned
from unfeature.features.counterfactual import Counterfactual, CounterfactualFeature
from unfeature.features.linear import Linear, LinearFeature
from unfeature.features.noise import Values
from unfeature.features.opinion import Opinion, bounded, check_telling, conformal, second_opinion
from unfeature.features.pseudo import PseudoLabels
from unfeature.images import rows_at_once
from unfeature.protocols import Extractor, Generator
from unfeature.seeds import Seeds, stream

Adjustable = LinearFeature | CounterfactualFeature

OFFSETS = {"linear": (-1.0, 0.5), "pseudo-label": (-1.0, 0.5), "counterfactual": (-0.8, 0.2)}
"""Thresholds tried, from each finder's own, in standard deviations of the projection or of the guide's score."""

MARGINS = (0.1, 1.0)
"""Margins tried, in the same unit: with none to spare, whatever a copy leaves of an edit is beyond the threshold."""

FIRST = {
    "linear": ((0.0, 0.1), (0.0, 0.5), (-0.5, 0.5)),
    "pseudo-label": ((0.0, 0.1), (0.0, 0.5), (-0.5, 0.5)),
    "counterfactual": ((0.0, 0.1), (-0.2, 0.1), (-0.4, 0.2)),
}
"""Offsets and margins that are tried of each finder before any other."""

ROUGH, ROUGH_PIXELS, LEAST_ROUGH = 1000, 2**20, 200
MEASURED, MEASURED_PIXELS, LEAST_MEASURED = 4000, 2**22, 500
"""Fresh samples that teachers are tried and measured on, fewer of large pictures, but so many at least."""

NEAREST = 3
"""Of the gentlest that reach the wanted ratio roughly, so many are measured too, whatever is thinned out."""


@dataclass(frozen=True)
class Bench:
    """Fresh samples on which teachers are compared."""

    generator: Generator
    opinion: Opinion
    latents: Tensor
    images: Tensor
    views: Values
    """(n, 2): of the original's pictures."""
    shares: Values
    rest: Tensor
    """(n,) bool: rather without the feature."""
    extractor: Extractor | None
    """Where its classes are those of the pictures."""
    classes: Tensor | None
    """(n,): of the original's pictures, by that extractor."""

    @classmethod
    def drawn(cls, generator: Generator, opinion: Opinion, seeds: Seeds, extractor: Extractor | None) -> Bench:
        """The samples of the seeds (n,)."""
        latents, images = drawn(generator, seeds)
        views = opinion.views(latents, images)
        shares = opinion.shares(views)
        rest = torch.from_numpy(opinion.chances(views, shares)[0] < 0.5)
        with torch.no_grad():
            classes = extractor.logits(images).argmax(dim=1) if extractor is not None else None
        return cls(generator, opinion, latents, images, views, shares, rest, extractor, classes)

    @torch.no_grad()
    def measure(self, finder: str, feature: Adjustable) -> Point:
        """One teacher; only rewritten latents are synthesized."""
        flagged = feature.contains(self.latents)
        moved = feature.erase(self.latents)[flagged]
        images, before = made(self.generator, moved), self.images[flagged]
        views = self.views.copy()
        views[flagged.numpy()] = self.opinion.views(moved, images)
        ratio, upper = bounded(self.opinion.chances(views, self.shares))
        change = torch.zeros(len(flagged))
        change[flagged] = (images - before).abs().mean(dim=(1, 2, 3))
        flips = None
        if self.extractor is not None and self.classes is not None:
            turned = torch.zeros(len(flagged))
            turned[flagged] = (self.extractor.logits(images).argmax(dim=1) != self.classes[flagged]).float()
            flips = float(turned[self.rest].mean())
        rewritten, drift = float(flagged.float().mean()), float(change[self.rest].mean())
        return Point(finder, feature.threshold, feature.margin, ratio, upper, rewritten, drift, flips)


class Automatic(FinderBase):
    """Finder that takes the gentlest of directions and latent searches which removes enough."""

    def find(self, generator: Generator, gallery: Gallery, feedback: Feedback) -> Adjustable:
        """The feature the marks show, and in its `about` how it was chosen.

        NotEnoughFeedback, TooFewMarks where the marks tell nothing, WrongGenerator, BadFile, BadOption.
        """
        self.check(generator.spec.id, gallery, feedback)
        if self.options.threshold != "auto" or self.options.margin is not None:
            raise BadOption(
                f"threshold is {self.options.threshold} and margin {self.options.margin}, but --finder auto chooses "
                "both; expected neither. Leave them out, or name another finder."
            )
        original = frozen(generator)
        marked = fresh.learn(original, feedback, self.options, self.helpers, self.seed)
        check_telling(marked, feedback.feature)
        network = self.helpers.extractor(self.options.extractor)
        opinion = second_opinion(original, fresh.sides(feedback)[0], marked, network, self.seed)
        variants, missing = self._variants(original, gallery, feedback, marked)
        knows = network if hasattr(network, "class_word") else None
        rough = Bench.drawn(original, opinion, self._seeds(original, 0), knows)
        tried = self._search(variants, rough)
        fine = Bench.drawn(original, opinion, self._seeds(original, 1), knows)
        kept = measured_again(tried, self.helpers.wanted_ratio)
        points = [fine.measure(p.finder, variants[p.finder].adjusted(p.threshold, p.margin)) for p in kept]
        choice = Choice.of(points, self.helpers.wanted_ratio)
        taken = points[choice.picked]
        found = variants[taken.finder].adjusted(taken.threshold, taken.margin)
        told = [*choice.told(), *missing, *self._told(tried, fine, marked, found)]
        about = {**choice.to_json(), "told": told, "tried": len(tried)}
        return replace(found, about={**found.about, "choice": about})

    def _variants(
        self, original: Generator, gallery: Gallery, feedback: Feedback, marked: fresh.Marked
    ) -> tuple[dict[str, Adjustable], list[str]]:
        """Each finder's own feature, fitted to the same samples, in the order of OFFSETS; and why some are missing."""
        parts = self.options, self.helpers, self.seed, self.on_step
        search, samples = Counterfactual(*parts).fitted(original, marked, feedback.feature)
        directions: dict[str, Callable[[], LinearFeature]] = {
            "linear": lambda: Linear(*parts).find(original, gallery, feedback),
            "pseudo-label": lambda: PseudoLabels(*parts).fitted(original, samples, feedback.feature),
        }
        found, missing = dict[str, Adjustable](), list[str]()
        for name, direction in directions.items():
            try:
                found[name] = direction()
            except NothingLeft as error:
                missing.append(f"{DIRECTIONS[name]} is not compared: {error}")
        return {**found, "counterfactual": search}, missing

    def _seeds(self, generator: Generator, part: int) -> Seeds:
        """Of samples that nobody else sees: for trying (0) and for measuring (1)."""
        shape = generator.spec.image_shape
        tried = rows_at_once(shape, ROUGH_PIXELS, LEAST_ROUGH, ROUGH)
        measured = rows_at_once(shape, MEASURED_PIXELS, LEAST_MEASURED, MEASURED)
        return stream("choose", self.seed, *((0, tried) if part == 0 else (tried, tried + measured)))

    def _search(self, variants: dict[str, Adjustable], bench: Bench) -> list[Point]:
        """So many teachers as the options say, tried roughly."""
        spread = {
            name: 1.0
            if isinstance(base, CounterfactualFeature)
            else float(paper.project(bench.latents, base.vector).std())
            for name, base in variants.items()
        }
        points: list[Point] = []

        def tell(finder: str, offset: float, margin: float) -> tuple[float, float]:
            base, unit = variants[finder], spread[finder]
            points.append(bench.measure(finder, base.adjusted(base.threshold + offset * unit, margin * unit)))
            self.on_step(len(points), self.options.trials)
            return points[-1].cost

        wanted = self.helpers.wanted_ratio
        trials, seconds = self.options.trials, self.options.seconds
        searched(tell, tuple(variants), wanted=wanted, trials=trials, seconds=seconds, seed=self.seed)
        return points

    def _told(self, tried: Sequence[Point], bench: Bench, marked: fresh.Marked, found: Adjustable) -> list[str]:
        """What the choice stands on."""
        told = [bench.opinion.told()]
        if len(tried) < self.options.trials:
            told.append(
                f"stopped after {len(tried)} of {self.options.trials} teachers, {self.options.seconds:g} s being up: "
                "another machine may choose otherwise."
            )
        if isinstance(found, CounterfactualFeature):
            chance, count = conformal(marked, found.threshold * found.spread + found.centre)
            told.append(
                f"of pictures that show it, at most {chance:.1%} are expected not to be moved (conformal, {count} "
                "marks)."
            )
        return told


def measured_again(tried: Sequence[Point], wanted: float) -> list[Point]:
    """Of the rough front some, evenly; the gentlest that roughly reach the wanted ratio; each kind's lowest."""
    front = pareto([point.cost for point in tried])
    kept = set(thinned(front)) | set([i for i in front if tried[i].left <= wanted][:NEAREST])
    for finder in OFFSETS:
        own = [i for i, point in enumerate(tried) if point.finder == finder]
        reaching = [i for i in own if tried[i].left <= wanted]
        if reaching:
            kept.add(min(reaching, key=lambda i: tried[i].cost))
        elif own:
            kept.add(min(own, key=lambda i: tried[i].cost[::-1]))
    return [tried[i] for i in sorted(kept)]


def searched(
    tell: Callable[[str, float, float], tuple[float, float]],
    finders: Sequence[str] = tuple(OFFSETS),
    *,
    wanted: float,
    trials: int,
    seconds: float | None,
    seed: int,
) -> None:
    """Asks for so many costs of (finder, offset, margin), where optuna expects little harm of those that remove enough.

    Those that do not count as worse than any harm, by their ratio. The number of trials is the budget, so equal
    arguments ask the same; `seconds` ends it earlier.
    """
    import optuna

    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)

    def ask(trial: Any) -> float:
        finder = trial.suggest_categorical("finder", finders)
        offset = trial.suggest_float(f"{finder} offset", *OFFSETS[finder])
        harm, left = tell(finder, offset, trial.suggest_float(f"{finder} margin", *MARGINS))
        return harm if left <= wanted else 1 + left

    try:
        begin = {finder: FIRST[finder] for finder in finders}
        sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=sum(map(len, begin.values())))
        study = optuna.create_study(sampler=sampler)
        for step in zip(*begin.values(), strict=True):
            for finder, (offset, margin) in zip(begin, step, strict=True):
                study.enqueue_trial({"finder": finder, f"{finder} offset": offset, f"{finder} margin": margin})
        study.optimize(ask, n_trials=trials, timeout=seconds)
    finally:
        optuna.logging.set_verbosity(verbosity)
