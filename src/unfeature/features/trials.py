"""Which teachers are tried, and which of them is taken.

optuna looks for those that leave little and change little; those of its rough front are measured again on samples that
chose nothing, so that the one taken does not look better than it is. None goes much farther than a plain direction:
where that is too near to reach the wanted ratio, optuna looks again for what leaves least.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from unfeature import paper
from unfeature.features.bench import Adjustable, Bench
from unfeature.features.choosing import DIRECTIONS, Choice, Point, pareto, thinned
from unfeature.features.counterfactual import CounterfactualFeature
from unfeature.features.guides import Progress
from unfeature.options import FindOptions

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
"""Where a finder begins by itself; how far directions go there says how far any teacher may."""

NEAREST = 3
"""Of the gentlest that reach the wanted ratio roughly, so many are measured too, whatever is thinned out."""


@dataclass
class Trials:
    """Teachers of the finders' own features, at other thresholds and margins, on the samples that rough looks take."""

    variants: Mapping[str, Adjustable]
    bench: Bench
    options: FindOptions
    seed: int
    on_step: Progress
    tried: list[Point] = field(default_factory=list)
    asked: int = 0
    """How many were to be tried."""
    began: float = field(default_factory=time.monotonic)

    @property
    def seconds(self) -> float | None:
        """Left, where the options say how long it may take."""
        return None if self.options.seconds is None else self.options.seconds - (time.monotonic() - self.began)

    def look(
        self, cost: Callable[[Point], float], margins: tuple[float, float], first: tuple[tuple[float, float], ...] = ()
    ) -> list[Point]:
        """So many more as the options say, where little of that cost is expected; fewer where the seconds are up."""
        before, begin = len(self.tried), {name: (*first, *FIRST[name]) for name in self.variants}
        units = {name: self._unit(base) for name, base in self.variants.items()}
        self.asked += self.options.trials

        def told(finder: str, offset: float, margin: float) -> float:
            base, unit = self.variants[finder], units[finder]
            self.tried.append(self.bench.measure(finder, base.adjusted(base.threshold + offset * unit, margin * unit)))
            self.on_step(len(self.tried), self.asked)
            return cost(self.tried[-1])

        searched(told, begin, margins, self.options.trials, self.seconds, self.seed)
        return self.tried[before:]

    def _unit(self, base: Adjustable) -> float:
        """A standard deviation of what its threshold is compared with."""
        if isinstance(base, CounterfactualFeature):
            return 1.0
        return float(paper.project(self.bench.latents, base.vector).std())

    def measured(self, points: Iterable[Point], bench: Bench) -> list[Point]:
        """Those teachers on other samples."""
        return [bench.measure(p.finder, self.variants[p.finder].adjusted(p.threshold, p.margin)) for p in points]

    def plain(self, bench: Bench) -> list[Point]:
        """The directions as their finders begin them, without a margin."""
        directions = [(name, base) for name, base in self.variants.items() if name in DIRECTIONS]
        return [bench.measure(name, base.adjusted(base.threshold, 0.0)) for name, base in directions]


def chosen(trials: Trials, bench: Bench, wanted: float) -> Choice:
    """The gentlest of those tried that leaves at most the wanted ratio; else the least that is left near enough."""
    tried = trials.look(lambda point: gentle(point, wanted), MARGINS)
    plain = trials.plain(bench)
    points = [*trials.measured(measured_again(tried, wanted), bench), *plain]
    choice = Choice.of(points, wanted, farthest(plain, bench))
    if choice.reached or (trials.seconds is not None and trials.seconds <= 0):
        return choice
    limit = farthest(trials.plain(trials.bench), trials.bench)
    again = trials.look(lambda point: lowest(point, wanted, limit), (0.0, MARGINS[1]), (PLAIN,))
    near = [point for point in again if point.near(wanted, limit)]
    known = {(point.finder, point.threshold, point.margin) for point in points}
    front = [near[i] for i in thinned(pareto([point.cost for point in near]))]
    new = [point for point in front if (point.finder, point.threshold, point.margin) not in known]
    return Choice.of([*points, *trials.measured(new, bench)], wanted, choice.limit)


def farthest(plain: Sequence[Point], bench: Bench) -> float:
    """How far a plain direction goes, or the feature itself where there is none: measure of how far a teacher may."""
    return max((point.distance for point in plain), default=bench.origin)


def gentle(point: Point, wanted: float) -> float:
    """The harm of a teacher that leaves little enough; of others what they leave, worse than any harm."""
    return point.harm if point.left <= wanted else 1 + point.left


def lowest(point: Point, wanted: float, limit: float) -> float:
    """What a teacher leaves that goes no farther than it may; of others how far they go, worse than anything left."""
    return point.ratio if point.near(wanted, limit) else 1 + point.distance / limit


def measured_again(tried: Sequence[Point], wanted: float) -> list[Point]:
    """Of the rough front some, evenly; the gentlest that roughly reach the wanted ratio; each kind's lowest."""
    front = pareto([point.cost for point in tried])
    kept = set(thinned(front)) | set([i for i in front if tried[i].left <= wanted][:NEAREST])
    for finder in OFFSETS:
        own = [i for i, point in enumerate(tried) if point.finder == finder]
        enough = [i for i in own if tried[i].left <= wanted]
        if enough:
            kept.add(min(enough, key=lambda i: tried[i].cost))
        elif own:
            kept.add(min(own, key=lambda i: tried[i].cost[::-1]))
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
