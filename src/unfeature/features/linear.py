"""The paper's feature: a direction and a threshold, equations (1) to (5) of `unfeature.paper`."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np
from torch import Tensor

from unfeature import paper
from unfeature.artifacts import Feedback, Gallery
from unfeature.errors import BadOption
from unfeature.features import fresh
from unfeature.features.base import FinderBase
from unfeature.features.choosing import sentences
from unfeature.features.guides import Helpers
from unfeature.features.kept import away_from_kept, kept_told
from unfeature.features.strata import translate_along
from unfeature.protocols import Generator


@dataclass(frozen=True)
class LinearFeature:
    """A half-space of latents: those whose projection on the vector is at least the threshold."""

    name: str
    generator: str
    vector: Tensor
    """(d,): z_e, of unit length unless the raw vector was asked for."""
    threshold: float
    """t, in units of the latent space."""
    margin: float = 0.0
    """How far below t erased latents land, in the same units."""
    along: Tensor | None = None
    """(d,): where latents move instead of along the vector, so that what is kept stays."""
    about: dict[str, Any] = field(default_factory=dict)
    """What it keeps, how many marks look wrong, and how it was chosen, where it does, some do, and it was."""

    def contains(self, latents: Tensor) -> Tensor:
        """(n, d) -> (n,) bool: equation (4)."""
        return paper.similarity(latents, self.vector, self.threshold)

    def erase(self, latents: Tensor) -> Tensor:
        """(n, d) -> (n, d): equation (5); latents below the threshold unchanged."""
        if self.along is None:
            return paper.translate(latents, self.vector, self.threshold, self.margin)
        return translate_along(latents, self.vector, self.threshold, self.margin, self.along)

    def adjusted(self, threshold: float, margin: float) -> LinearFeature:
        """The same direction with another threshold and margin."""
        return replace(self, threshold=threshold, margin=margin)

    def told(self) -> list[str]:
        """Where it begins and ends, and what is kept."""
        begins = f"threshold {self.threshold:.3f}, margin {self.margin:.3f} (latent units)."
        keep = self.about.get("keep", [])
        kept_sentence = [f"kept as it is: {', '.join(keep)}."] if keep else []
        return [*self.about.get("marks", []), begins, *kept_sentence, *sentences(self.about)]

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """The vector, and everything else as JSON."""
        facts: dict[str, Any] = {"kind": "linear", "name": self.name, "generator": self.generator}
        facts |= {"about": self.about} if self.about else {}
        tensors = {"vector": self.vector} | ({} if self.along is None else {"along": self.along})
        return tensors, {**facts, "threshold": self.threshold, "margin": self.margin}

    @classmethod
    def from_state(
        cls, tensors: dict[str, Tensor], facts: dict[str, Any], generator: Generator, helpers: Helpers
    ) -> Self:
        """The feature `state` came from."""
        return cls(
            facts["name"],
            facts["generator"],
            tensors["vector"],
            facts["threshold"],
            facts["margin"],
            tensors.get("along"),
            facts.get("about", {}),
        )


class Linear(FinderBase):
    """Finder of the paper's direction and threshold from marked latents."""

    unused = ("search_steps", "trials", "seconds")

    def find(self, generator: Generator, gallery: Gallery, feedback: Feedback) -> LinearFeature:
        """The marked pictures' direction.

        NotEnoughFeedback, WrongGenerator, BadFile for marks outside the gallery, BadOption for a guide.
        """
        self.check(generator.spec.id, gallery, feedback)
        if self.options.guide:
            raise BadOption(
                f'guide is "{self.options.guide}", but --finder linear asks the marks alone; expected a finder that '
                "follows a guide. Leave --guide out, or name one, such as  --finder counterfactual"
            )
        found = self.fitted(generator, gallery, feedback)
        told = fresh.wrong_marks_told(generator, feedback, self.seed)
        return replace(found, about=found.about | {"marks": told}) if told else found

    def fitted(self, generator: Generator, gallery: Gallery, feedback: Feedback) -> LinearFeature:
        """The direction of marks that were checked, which nobody looks through for wrong ones."""
        positives = generator.sample_latents(np.array(feedback.positives, dtype=np.int64))
        negatives = generator.sample_latents(np.array(feedback.negatives, dtype=np.int64))
        vector = paper.target_vector(positives, negatives)
        if self.options.vector == "unit":
            vector = paper.unit(vector)
        threshold = self.options.threshold
        if threshold == "balanced":
            threshold = paper.balanced_threshold(positives, negatives, vector)
        elif isinstance(threshold, str):
            collected = generator.sample_latents(np.array(gallery.seeds, dtype=np.int64))
            threshold = paper.pooled_threshold(collected, vector)
        along = away_from_kept(vector, generator, self.options, self.helpers, self.seed, self.on_step)
        margin, about = self.options.margin or 0.0, kept_told(self.options, self.helpers)
        return LinearFeature(feedback.feature, generator.spec.id, vector.cpu(), threshold, margin, along, about)
