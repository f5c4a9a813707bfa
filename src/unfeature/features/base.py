"""What every finder is made with and refuses."""

from __future__ import annotations

from typing import ClassVar

from unfeature.artifacts import Feedback, Gallery
from unfeature.errors import BadFile, NotEnoughFeedback, WrongGenerator
from unfeature.features.guides import ALONE, Helpers, Progress, unheard
from unfeature.options import FindOptions
from unfeature.problems import check_unused

USERS = {"trials": "auto", "seconds": "auto", "search_steps": "counterfactual", "vector": "linear"}
"""Option of some finders only -> one that uses it."""


class FinderBase:
    """Constructed as the table says; a subclass has `find`."""

    unused: ClassVar[tuple[str, ...]] = ()
    """Options of others, which it does not look at: refused where they are given."""

    def __init__(
        self, options: FindOptions, helpers: Helpers = ALONE, seed: int = 0, on_step: Progress = unheard
    ) -> None:
        self.options, self.helpers, self.seed, self.on_step = options, helpers, seed, on_step

    def check(self, generator: str, gallery: Gallery, feedback: Feedback) -> None:
        """NotEnoughFeedback, WrongGenerator; BadFile for marks outside the gallery.

        BadOption for an option of others that was given, not by a preset.
        """
        check_unused(self.options, self.unused, f"finder {self.options.finder}", lambda name: f"--finder {USERS[name]}")
        for what, made_for in (("gallery", gallery.generator), ("feedback", feedback.generator)):
            if made_for != generator:
                raise WrongGenerator(what, made_for, generator)
        if not feedback.positives or not feedback.negatives:
            raise NotEnoughFeedback(feedback.feature, len(feedback.positives), len(feedback.negatives))
        strangers = {*feedback.positives, *feedback.negatives, *feedback.unsure} - set(gallery.seeds)
        if strangers:
            raise BadFile(
                f"{len(strangers)} marked seeds are not in the gallery (for example {min(strangers)}); "
                "expected seeds of its pictures. Mark pictures of this gallery."
            )
