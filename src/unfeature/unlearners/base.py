"""What every unlearner is made with and refuses."""

from __future__ import annotations

from collections.abc import Sequence

from unfeature.errors import WrongGenerator
from unfeature.options import UnlearnOptions
from unfeature.problems import check_unused
from unfeature.protocols import Checkpoint, Feature, Generator
from unfeature.unlearners import UNLEARNERS
from unfeature.unlearners.stopping import SequentialWilson

USERS = {"penalty": "amnesia"}
"""Option -> an unlearner that uses it, where that is not distillation."""


class Unlearning:
    """Constructed as the table says; a subclass has `unlearn`."""

    def __init__(
        self,
        options: UnlearnOptions,
        *,
        seed: int = 0,
        checkpoint: Checkpoint | None = None,
        stop: SequentialWilson | None = None,
    ) -> None:
        self.options, self.seed, self.checkpoint, self.stop = options, seed, checkpoint, stop

    def check(self, generator: Generator, feature: Feature, unused: Sequence[str] = ()) -> None:
        """WrongGenerator for a feature of another; BadOption for an `unused` option that was given, not by a preset."""
        if feature.generator != generator.spec.id:
            raise WrongGenerator("feature", feature.generator, generator.spec.id)
        who = f"unlearner {self._named()}"
        check_unused(self.options, unused, who, lambda name: f"--unlearner {USERS.get(name, 'distillation')}")

    def _named(self) -> str:
        """As the table calls it."""
        home = f"{type(self).__module__}:{type(self).__name__}"
        return next((name for name, listed in UNLEARNERS.items() if listed == home), home)
