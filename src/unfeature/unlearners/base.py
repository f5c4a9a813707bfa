"""What every unlearner is made with and refuses."""

from __future__ import annotations

from unfeature.errors import WrongGenerator
from unfeature.options import UnlearnOptions
from unfeature.protocols import Checkpoint, Feature, Generator
from unfeature.unlearners.stopping import SequentialWilson


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

    @staticmethod
    def check(generator: Generator, feature: Feature) -> None:
        """WrongGenerator for a feature of another."""
        if feature.generator != generator.spec.id:
            raise WrongGenerator("feature", feature.generator, generator.spec.id)
