"""Extension points. Adding one of a kind = one file and one table line; `unfeature.testing` checks it.

Letters for shapes: n batch, d latent, c h w image, k embedding.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from torch import Tensor, nn

    from unfeature.artifacts import AttackResult, Feedback, Gallery, GeneratorSpec, Score, StepRecord
    from unfeature.seeds import Seeds


@runtime_checkable
class Generator(Protocol):
    """A pre-trained image generator with one flat latent space."""

    @property
    def spec(self) -> GeneratorSpec:
        """Name, weights' hash, latent and image shape."""

    @property
    def module(self) -> nn.Module:
        """What is trained and saved."""

    def sample_latents(self, seeds: Seeds) -> Tensor:
        """(n,) -> (n, d): row i depends on seeds[i] alone."""

    def synthesize(self, latents: Tensor) -> Tensor:
        """(n, d) -> (n, c, h, w) in [0, 1], differentiable, where the latents are; row i from latents[i] alone."""

    def copy(self) -> Generator:
        """An independent generator with the same weights."""


@runtime_checkable
class Feature(Protocol):
    """Does a latent's image contain the feature, and which nearby latent's does not."""

    @property
    def generator(self) -> str:
        """Id of the generator it was found for."""

    def contains(self, latents: Tensor) -> Tensor:
        """(n, d) -> (n,) bool."""

    def erase(self, latents: Tensor) -> Tensor:
        """(n, d) -> (n, d): flagged latents moved to where the feature is not, others unchanged."""

    def told(self) -> list[str]:
        """What was found, in sentences."""

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Tensors and JSON from which `load_feature` makes it again."""


@runtime_checkable
class GuidedFeature(Feature, Protocol):
    """A feature whose guide can tell of any picture, a copy's too, how much of it is left."""

    def remaining(self, images: Tensor) -> Tensor:
        """(n, c, h, w) in [0, 1] -> (n,), differentiable, at least 0: near 0 where the feature is gone."""


class Finder(Protocol):
    """Finds a feature from marks."""

    def find(self, generator: Generator, gallery: Gallery, feedback: Feedback) -> Feature:
        """The feature the marks show; NotEnoughFeedback, WrongGenerator."""


class Checkpoint(Protocol):
    """Where a long job keeps its state, so that a killed process goes on to the same bytes."""

    def load(self) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """What `save` wrote last, or None at the start."""

    def save(self, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
        """Replace the state, all or nothing."""


class Unlearner(Protocol):
    """Trains a copy of the generator to make at every latent what the original makes at the erased one."""

    def unlearn(
        self, generator: Generator, feature: Feature, *, on_step: Callable[[StepRecord], None] = ...
    ) -> Generator:
        """A new generator; the given one never changes."""


@runtime_checkable
class Judge(Protocol):
    """Decides whether an image shows the feature. Whatever guides is never what judges."""

    @property
    def about(self) -> Mapping[str, Any]:
        """At least `name`; what it stands on, and `true_positive_rate` / `false_positive_rate` where known."""

    def score(self, images: Tensor) -> Tensor:
        """(n, c, h, w) in [0, 1] -> (n,) in [0, 1]; the feature is there from 0.5 on."""


@runtime_checkable
class AttributeJudge(Judge, Protocol):
    """A judge that tells other attributes of an image too; `about["attribute"]` is the one that `score` decides."""

    @property
    def attributes(self) -> tuple[str, ...]:
        """k names, its own among them where it has one."""

    def attribute_scores(self, images: Tensor) -> Tensor:
        """(n, c, h, w) in [0, 1] -> (n, k) in [0, 1]; an attribute is there from 0.5 on."""


class Measurement(Protocol):
    """A continuous property measured on the image itself."""

    @property
    def name(self) -> str:
        """As the table calls it."""

    @property
    def unit(self) -> str:
        """Of the values."""

    def measure(self, images: Tensor) -> Tensor:
        """(n, c, h, w) in [0, 1] -> (n,) float64 in `unit`."""


class Extractor(Protocol):
    """A frozen network whose features stand behind FD, KID, PRDC, and whose classes behind IS and flips.

    One that can also tell how different two images look has `distance`: (n, c, h, w) twice -> (n,), 0 for equal ones.
    One whose classes are those of the pictures, as a digit network's are of digits, has `class_word`, the noun for
    them: only then does a picture that changes class count as damaged. `about` may tell what it was trained on.
    """

    @property
    def name(self) -> str:
        """Part of every metric's name."""

    @property
    def hash(self) -> str:
        """SHA-256 of its weights."""

    def embed(self, images: Tensor) -> Tensor:
        """(n, c, h, w) in [0, 1] -> (n, k)."""

    def logits(self, images: Tensor) -> Tensor:
        """(n, c, h, w) in [0, 1] -> (n, classes)."""


@dataclass(frozen=True)
class Look:
    """What judge and extractor saw in a batch of images, each computed once for all metrics."""

    images: Tensor
    """(n, c, h, w) in [0, 1]."""
    shows: Tensor
    """(n,) bool: the judge finds the feature."""
    embedding: Tensor
    """(n, k)."""
    logits: Tensor
    """(n, classes)."""
    attributes: Tensor | None = None
    """(n, k) bool: attributes other than the feature; None where the judge tells none."""


@dataclass(frozen=True)
class Paired:
    """A batch of one row: images after, and before at the same latents where the row has them."""

    after: Look
    before: Look | None
    rewritten: Tensor
    """(n,) bool: the feature flags the latent, so the teacher moves it. All False where there is no `before`."""
    teacher: Tensor | None = None
    """(n, c, h, w): the teacher's images at the same latents, where the row has them."""


@dataclass(frozen=True)
class Reference:
    """What distances are measured to: embeddings of the original's samples."""

    extractor: str
    """The extractor's name: part of the metric's."""
    free: Tensor
    """(n, k): samples in which the judge does not find the feature."""
    all: Tensor
    """(n, k): all samples."""
    distance: Callable[[Tensor, Tensor], Tensor] | None = None
    """The extractor's, where it has one."""


class Metric(Protocol):
    """Streams over the batches of one row. Constructed as `METRICS[name](reference)`."""

    paired: bool
    """Needs `before`: skipped for rows that have none. Others look at nothing but `after`."""

    def update(self, batch: Paired) -> None:
        """Take in one batch; the order of batches does not matter beyond float addition."""

    def compute(self) -> list[Score]:
        """The figures so far, each with n and a 95 % interval."""


@dataclass(frozen=True)
class Scene:
    """What an attack is given: the generator it is made on, and all that may help it."""

    original: Generator
    """What the feature was found in."""
    target: Generator
    called: str
    """The target: "original", "unlearned" or "control"."""
    feature: Feature
    """Of the original."""
    guide: Callable[[Tensor], Tensor]
    """(n, c, h, w) -> (n,), differentiable: the more, the more of the feature. NEVER the judge."""
    judge: Judge
    """Decides what the attack brought back, and nothing else."""
    encoder: Callable[[Tensor], Tensor] | None = None
    """(n, c, h, w) -> latents (n, d), where there is one."""


class Attack(Protocol):
    """Tries to bring the feature back. Constructed as `ATTACKS[name](options, seed=)`."""

    def run(self, scene: Scene) -> AttackResult:
        """What it got out of the target; nothing in the scene changes. NotApplicable."""
