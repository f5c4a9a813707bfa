"""The finder that chooses: directions and the latent search, each of many thresholds and margins, on fresh samples.

What a teacher leaves is told by a second opinion (`unfeature.features.opinion`), never by the run's judge; which are
tried and which is taken says `unfeature.features.trials`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from unfeature.artifacts import Feedback, Gallery
from unfeature.drawing import frozen
from unfeature.errors import BadOption, NothingLeft
from unfeature.features import fresh
from unfeature.features.base import FinderBase
from unfeature.features.bench import Adjustable, Bench
from unfeature.features.choosing import DIRECTIONS
from unfeature.features.counterfactual import Counterfactual, CounterfactualFeature
from unfeature.features.linear import Linear, LinearFeature
from unfeature.features.opinion import Opinion, check_telling, conformal, second_opinion
from unfeature.features.pseudo import PseudoLabels
from unfeature.features.trials import Trials, chosen
from unfeature.images import rows_at_once
from unfeature.protocols import Generator
from unfeature.seeds import Seeds, stream

ROUGH, ROUGH_PIXELS, LEAST_ROUGH = 1000, 2**20, 200
MEASURED, MEASURED_PIXELS, LEAST_MEASURED = 4000, 2**22, 500
"""Fresh samples that teachers are tried and measured on, fewer of large pictures, but so many at least."""


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
        rough, fine = (Bench.drawn(original, opinion, self._seeds(original, part), knows) for part in (0, 1))
        trials = Trials(variants, rough, self.options, self.seed, self.on_step)
        choice = chosen(trials, fine, self.helpers.wanted_ratio)
        taken = choice.points[choice.picked]
        found = variants[taken.finder].adjusted(taken.threshold, taken.margin)
        told = [*choice.told(), *missing, *self._told(trials, opinion, marked, found)]
        about = {**choice.to_json(), "told": told, "tried": len(trials.tried)}
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

    def _told(self, trials: Trials, opinion: Opinion, marked: fresh.Marked, found: Adjustable) -> list[str]:
        """What the choice stands on."""
        told = [opinion.told()]
        if len(trials.tried) < trials.asked:
            told.append(
                f"stopped after {len(trials.tried)} of {trials.asked} teachers, {self.options.seconds:g} s being up: "
                "another machine may choose otherwise."
            )
        if isinstance(found, CounterfactualFeature):
            chance, count = conformal(marked, found.threshold * found.spread + found.centre)
            told.append(
                f"of pictures that show it, at most {100 * chance:.1f} % are expected not to be moved (conformal, "
                f"{count} marks)."
            )
        return told
