"""The instant edit: one layer's weights, fitted in closed form to the teacher's output of that layer.

For every layer that is linear in its weights: least squares from its input at z to its output at z^, where the teacher
is the original at z^. Of the edited layers the one whose images come nearest to the teacher's is taken. No gradient,
two passes over some thousand latents. See docs/explanation/instant-edit.md.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from unfeature import paper
from unfeature.artifacts import StepRecord
from unfeature.errors import BadOption
from unfeature.images import rows_at_once
from unfeature.options import UnlearnOptions
from unfeature.protocols import Feature, Generator
from unfeature.seeds import stream
from unfeature.unlearners.base import Unlearning
from unfeature.unlearners.least_squares import MOST_COLUMNS, Editable, NormalEquations

FITTED, FITTED_PIXELS = 4096, 2**23
"""Latents the least squares see; fewer for large pictures."""

HELD_OUT, HELD_OUT_PIXELS = 512, 2**20
"""Latents on which the edited layers are compared."""

ROWS = 2**15
"""Rows of one layer's least squares at most: a convolution is looked at in some places of each picture."""

PASS_PIXELS = 2**18
"""Pixels made in one pass."""


UNUSED = ("against_search", "shortfall", "warm_start", "perceptual_rest", "penalty", "device")
"""Options of training; an edit is made where the generator lies."""


@dataclass(frozen=True)
class Edit:
    """The best edit of a single layer."""

    layer: str
    weights: dict[str, Tensor]
    """New values of the layer's parameters, by their names in the module."""
    distance: float
    """Mean absolute pixel distance of the edited copy's images to the teacher's on held-out latents, in [0, 1]."""
    before: float
    """The original's."""
    tried: dict[str, float]
    """Distance of every layer's edit."""

    def put(self, module: nn.Module) -> None:
        """Write the weights into a copy of the original's module."""
        with torch.no_grad():
            for name, value in self.weights.items():
                module.get_parameter(name).copy_(value)


class InstantEdit(Unlearning):
    """Unlearner without training; `stop` is not asked, since there is nothing to stop."""

    def unlearn(
        self, generator: Generator, feature: Feature, *, on_step: Callable[[StepRecord], None] = lambda record: None
    ) -> Generator:
        """An edited copy; `generator` never changes. WrongGenerator, BadOption where no layer can be edited.

        With a `checkpoint` the weights are saved, and a new call takes them from there.
        """
        self.check(generator, feature, UNUSED)
        student = generator.copy()
        saved = self.checkpoint.load() if self.checkpoint is not None else None
        if saved is not None:
            student.module.load_state_dict({key: saved[0][f"module.{key}"] for key in student.module.state_dict()})
            return student
        fitting = _Fitting(generator, feature, self.seed)
        edit = fitting.best()
        if edit is None:
            raise BadOption(
                f'no layer of generator "{generator.spec.name}" can be edited in closed form; expected a linear or '
                "convolutional layer with weights of its own, used once for an image, and finite images. Train the "
                "copy instead:  --unlearner distillation"
            )
        edit.put(student.module)
        edit.put(fitting.own.module)
        record = _told(edit, fitting.losses(self.options))
        if self.checkpoint is not None:
            kept = {f"module.{key}": value for key, value in student.module.state_dict().items()}
            self.checkpoint.save(kept, {"step": 1, "stopped": record.stopped, "records": [record.to_json()]})
        on_step(record)
        return student


def _told(edit: Edit, losses: paper.Losses) -> StepRecord:
    return StepRecord(
        step=1,
        steps=1,
        loss=float(losses.total),
        unlearn=float(losses.unlearn),
        perceptual=float(losses.perceptual),
        reconstruction=float(losses.reconstruction),
        distance=edit.distance,
        stopped=f'layer "{edit.layer}" was edited in closed form',
    )


def best_edit(generator: Generator, feature: Feature, seed: int) -> Edit | None:
    """The single layer's edit whose images are nearest to the teacher's; None where no layer can be edited."""
    return _Fitting(generator, feature, seed).best()


@contextmanager
def _put(layer: nn.Module, weights: dict[str, Tensor]) -> Iterator[None]:
    """Other weights for a while."""
    kept = {key: layer.get_parameter(key).detach().clone() for key in weights}
    try:
        with torch.no_grad():
            for key, value in weights.items():
                layer.get_parameter(key).copy_(value)
        yield
    finally:
        with torch.no_grad():
            for key, value in kept.items():
                layer.get_parameter(key).copy_(value)


class _Fitting:
    """A copy of the original that is looked into, and the latents it is looked at with."""

    def __init__(self, generator: Generator, feature: Feature, seed: int) -> None:
        self.own, self.feature, self.seed = generator.copy(), feature, seed
        shape = generator.spec.image_shape
        self.rows = rows_at_once(shape, PASS_PIXELS, 1, FITTED)
        self.count = rows_at_once(shape, FITTED_PIXELS, 1024, FITTED)
        n = rows_at_once(shape, HELD_OUT_PIXELS, 32, HELD_OUT)
        self.held_out = self.own.sample_latents(stream("held out", seed, 0, n))
        self.target = self._made(feature.erase(self.held_out))

    @torch.no_grad()
    def _made(self, latents: Tensor) -> Tensor:
        return torch.cat([self.own.synthesize(part) for part in torch.split(latents, self.rows)])

    def best(self) -> Edit | None:
        """Every layer's edit is solved and compared; None where there is none."""
        before, tried = self.distance(), dict[str, float]()
        best: Edit | None = None
        for name, equations in self.equations().items():
            solved = equations.solve()
            if solved is None:
                continue
            with _put(equations.editable.layer, solved):
                tried[name] = distance = self.distance()
            if math.isfinite(distance) and (best is None or distance < best.distance):
                weights = {f"{name}.{key}".lstrip("."): value for key, value in solved.items()}
                best = Edit(name, weights, distance, before, tried)
        return best

    def distance(self) -> float:
        """Mean absolute pixel distance to the teacher on the held-out latents, with the weights as they are."""
        return float((self._made(self.held_out) - self.target).abs().mean())

    def losses(self, options: UnlearnOptions) -> paper.Losses:
        """The paper's losses there."""
        made, sim = self._made(self.held_out), self.feature.contains(self.held_out)
        return paper.losses(made, self.target, sim, alpha=options.alpha, perceptual=options.perceptual, l1=options.l1)

    @torch.no_grad()
    def equations(self) -> dict[str, NormalEquations]:
        """The normal equations of every layer that can be edited, from one pass at z and one at z^."""
        editable = {part.name: part for part in Editable.of(self.own.module) if part.columns <= MOST_COLUMNS}
        found: dict[str, NormalEquations] | None = None
        for first in range(0, self.count, self.rows):
            seeds = stream("instant", self.seed, first, min(first + self.rows, self.count))
            latents = self.own.sample_latents(seeds)
            at = self._seen(editable, latents)
            wanted = self._seen(editable, self.feature.erase(latents))
            if found is None:
                found = _begun(editable, at)
            found = {name: equations for name, equations in found.items() if _pair(at, wanted, name)}
            for name, equations in found.items():
                (x, y), (_, y_hat) = at[name], wanted[name]
                for place in self._places(equations.editable.places(y), first):
                    equations.add(*equations.editable.rows(x, place, y_hat - y))
        return found or {}

    def _places(self, places: int, first: int) -> list[int]:
        """Where in this batch's pictures a layer is looked at: everywhere, or in some places drawn anew."""
        most = max(1, ROWS // self.count)
        if places <= most:
            return list(range(places))
        drawn: list[int] = torch.randperm(places, generator=torch.Generator().manual_seed(first))[:most].tolist()
        return drawn

    def _seen(self, editable: dict[str, Editable], latents: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
        """Input and output of each layer that took one tensor, gave one, and was called once."""
        calls: dict[str, list[Any]] = {name: [] for name in editable}
        hooks = [
            part.layer.register_forward_hook(lambda _, inputs, output, name=name: calls[name].append((*inputs, output)))
            for name, part in editable.items()
        ]
        try:
            self.own.synthesize(latents)
        finally:
            for hook in hooks:
                hook.remove()
        seen = {name: of[0] for name, of in calls.items() if len(of) == 1 and len(of[0]) == 2}
        return {name: (x, y) for name, (x, y) in seen.items() if _is_batch(x, latents) and _is_batch(y, latents)}


def _is_batch(value: Any, latents: Tensor) -> bool:
    """A tensor of real numbers with a row for each latent."""
    return isinstance(value, Tensor) and value.is_floating_point() and value.ndim > 1 and len(value) == len(latents)


def _pair(at: dict[str, Any], wanted: dict[str, Any], name: str) -> bool:
    return name in at and name in wanted and at[name][1].shape == wanted[name][1].shape


def _begun(editable: dict[str, Editable], at: dict[str, tuple[Tensor, Tensor]]) -> dict[str, NormalEquations]:
    """Empty equations of the layers that do what is expected of their kind."""
    gains = {name: editable[name].gains(x[:8]) for name, (x, _) in at.items()}
    return {name: NormalEquations(editable[name], gain) for name, gain in gains.items() if gain is not None}
