"""The finder that chooses: directions and the latent search, each of many thresholds and margins, on fresh samples.

What a teacher leaves is told by a second opinion (`unfeature.features.opinion`), never by the run's judge. optuna looks
for teachers that leave little and change little; those of its rough front are measured again on samples that chose
nothing, so that the one taken does not look better than it is. None goes farther than a plain direction: where
that is too near to reach the wanted ratio, optuna looks again for what leaves least.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from unfeature import paper
from unfeature.artifacts import Feedback, Gallery
from unfeature.drawing import frozen
from unfeature.errors import BadOption, NothingLeft
from unfeature.features import fresh
from unfeature.features.base import FinderBase
from unfeature.features.bench import Adjustable, Bench
from unfeature.features.choosing import DIRECTIONS, Choice, Point, pareto, thinned
from unfeature.features.counterfactual import Counterfactual, CounterfactualFeature
from unfeature.features.linear import Linear, LinearFeature
from unfeature.features.opinion import check_telling, conformal, second_opinion
from unfeature.features.pseudo import PseudoLabels
from unfeature.images import rows_at_once
from unfeature.protocols import Generator
from unfeature.seeds import Seeds, stream

OFFSETS = {"linear": (-1.0, 0.5), "pseudo-label": (-1.0, 0.5), "counterfactual": (-0.8, 0.2)}
"""Thresholds tried, from each finder's own, in standard deviations of the projection or of the guide's score."""

MARGINS = (0.1, 1.0)
"""Margins tried, in the same unit: with none to spare, whatever a copy leaves of an edit is beyond the threshold. Only
where the wanted ratio is out of reach they begin at none."""

FIRST = {
    "linear": ((0.0, 0.1), (0.0, 0.5), (-0.5, 0.5)),
    "pseudo-label": ((0.0, 0.1), (0.0, 0.5), (-0.5, 0.5)),
    "counterfactual": ((0.0, 0.1), (-0.2, 0.1), (-0.4, 0.2)),
}
"""Offsets and margins that are tried of each finder before any other."""

PLAIN = (0.0, 0.0)
"""Where a finder begins by itself; how far directions go there is how far any teacher may."""

ROUGH, ROUGH_PIXELS, LEAST_ROUGH = 1000, 2**20, 200
MEASURED, MEASURED_PIXELS, LEAST_MEASURED = 4000, 2**22, 500
"""Fresh samples that teachers are tried and measured on, fewer of large pictures, but so many at least."""

NEAREST = 3
"""Of the gentlest that reach the wanted ratio roughly, so many are measured too, whatever is thinned out."""


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
        tried, asked, limit = self._search(variants, Bench.drawn(original, opinion, self._seeds(original, 0), knows))
        fine = Bench.drawn(original, opinion, self._seeds(original, 1), knows)
        kept = measured_again(tried, self.helpers.wanted_ratio, limit)
        points = [fine.measure(p.finder, variants[p.finder].adjusted(p.threshold, p.margin)) for p in kept]
        plain = plainest(variants, fine)
        choice = Choice.of([*points, *plain], self.helpers.wanted_ratio, farthest(plain, fine))
        taken = choice.points[choice.picked]
        found = variants[taken.finder].adjusted(taken.threshold, taken.margin)
        told = [*choice.told(), *missing, *self._told(len(tried), asked, fine, marked, found)]
        about = {**choice.to_json(), "told": told, "tried": len(tried)}
        return replace(found, about={**found.about, "choice": about})

    def _variants(
        self, original: Generator, gallery: Gallery, feedback: Feedback, marked: fresh.Marked
    ) -> tuple[dict[str, Adjustable], list[str]]:
        """Each finder's own feature, fitted to the same samples, in the order of OFFSETS; and why some are missing."""
        parts = self.options, self.helpers, self.seed, self.on_step
        search, samples = Counterfactual(*parts).fitted(original, marked, feedback.feature)
        directions: dict[str, Callable[[], LinearFeature]] = {
            "linear": lambda: Linear(*parts).fitted(original, gallery, feedback),
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

    def _search(self, variants: Mapping[str, Adjustable], bench: Bench) -> tuple[list[Point], int, float]:
        """Teachers tried roughly, how many should be, and how far they may go.

        As many as the options say, and as many again where none of them reaches the wanted ratio within that distance.
        """
        limit, wanted, trials = (
            farthest(plainest(variants, bench), bench),
            self.helpers.wanted_ratio,
            self.options.trials,
        )
        spread = {
            name: 1.0
            if isinstance(base, CounterfactualFeature)
            else float(paper.project(bench.latents, base.vector).std())
            for name, base in variants.items()
        }
        points, asked, began, seconds = list[Point](), trials, time.monotonic(), self.options.seconds

        def tell(finder: str, offset: float, margin: float) -> Point:
            base, unit = variants[finder], spread[finder]
            points.append(bench.measure(finder, base.adjusted(base.threshold + offset * unit, margin * unit)))
            self.on_step(len(points), asked)
            return points[-1]

        first, parts = {name: FIRST[name] for name in variants}, (trials, seconds, self.seed)
        searched(lambda *teacher: gentle(tell(*teacher), wanted), first, MARGINS, *parts)
        left = None if seconds is None else seconds - (time.monotonic() - began)
        if not any(reaching(point, wanted, limit) for point in points) and (left is None or left > 0):
            asked += trials
            plain = {name: (PLAIN, *FIRST[name]) for name in variants}
            searched(lambda *teacher: lowest(tell(*teacher), limit), plain, (0.0, MARGINS[1]), trials, left, self.seed)
        return points, asked, limit

    def _told(self, tried: int, asked: int, bench: Bench, marked: fresh.Marked, found: Adjustable) -> list[str]:
        """What the choice stands on."""
        told = [bench.opinion.told()]
        if tried < asked:
            told.append(
                f"stopped after {tried} of {asked} teachers, {self.options.seconds:g} s being up: another machine may "
                "choose otherwise."
            )
        if isinstance(found, CounterfactualFeature):
            chance, count = conformal(marked, found.threshold * found.spread + found.centre)
            told.append(
                f"of pictures that show it, at most {chance:.1%} are expected not to be moved (conformal, {count} "
                "marks)."
            )
        return told


def plainest(variants: Mapping[str, Adjustable], bench: Bench) -> list[Point]:
    """The directions as their finders begin them, without a margin."""
    named = [name for name in variants if name in DIRECTIONS]
    return [bench.measure(name, variants[name].adjusted(variants[name].threshold, 0.0)) for name in named]


def farthest(plain: Sequence[Point], bench: Bench) -> float:
    """How far a teacher may go: as far as a plain direction; where there is none, as the feature itself."""
    return max((point.distance for point in plain), default=bench.origin)


def reaching(point: Point, wanted: float, limit: float) -> bool:
    """Whether it leaves little enough and goes no farther than it may."""
    return point.left <= wanted and point.distance <= limit


def gentle(point: Point, wanted: float) -> float:
    """The harm of a teacher that leaves little enough; of others what they leave, worse than any harm."""
    return point.harm if point.left <= wanted else 1 + point.left


def lowest(point: Point, limit: float) -> float:
    """What a teacher leaves that goes no farther than it may; of others how far they go, worse than anything left."""
    return point.ratio if point.distance <= limit else 1 + point.distance / limit


def measured_again(tried: Sequence[Point], wanted: float, limit: float) -> list[Point]:
    """Of the rough front some, evenly; the gentlest that roughly reach the wanted ratio; each kind's lowest.

    And of the front of those that go no farther than they may, where none of these reaches it.
    """
    front = pareto([point.cost for point in tried])
    kept = set(thinned(front)) | set([i for i in front if tried[i].left <= wanted][:NEAREST])
    for finder in OFFSETS:
        own = [i for i, point in enumerate(tried) if point.finder == finder]
        enough = [i for i in own if tried[i].left <= wanted]
        if enough:
            kept.add(min(enough, key=lambda i: tried[i].cost))
        elif own:
            kept.add(min(own, key=lambda i: tried[i].cost[::-1]))
    if not any(reaching(point, wanted, limit) for point in tried):
        near = [i for i, point in enumerate(tried) if point.distance <= limit]
        kept |= {near[i] for i in thinned(pareto([tried[i].cost for i in near]))}
    return [tried[i] for i in sorted(kept)]


def searched(
    cost: Callable[[str, float, float], float],
    first: Mapping[str, Sequence[tuple[float, float]]],
    margins: tuple[float, float],
    trials: int,
    seconds: float | None,
    seed: int,
) -> None:
    """Asks for so many costs of (finder, offset, margin), where little is expected, after each finder's `first`.

    The number of trials is the budget, so equal arguments ask the same; `seconds` ends it earlier.
    """
    import optuna

    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)

    def ask(trial: Any) -> float:
        finder = trial.suggest_categorical("finder", tuple(first))
        offset = trial.suggest_float(f"{finder} offset", *OFFSETS[finder])
        return cost(finder, offset, trial.suggest_float(f"{finder} margin", *margins))

    try:
        sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=sum(map(len, first.values())))
        study = optuna.create_study(sampler=sampler)
        for step in zip(*first.values(), strict=True):
            for finder, (offset, margin) in zip(first, step, strict=True):
                study.enqueue_trial({"finder": finder, f"{finder} offset": offset, f"{finder} margin": margin})
        study.optimize(ask, n_trials=trials, timeout=seconds)
    finally:
        optuna.logging.set_verbosity(verbosity)
