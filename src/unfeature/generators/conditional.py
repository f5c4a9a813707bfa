"""Class-conditional generators as generators of one flat latent: the label is fixed, drawn, or part of the latent."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from scipy.special import ndtri
from torch import Tensor, nn

from unfeature.errors import BadOption, UnknownName
from unfeature.generators.chain import above_zero

LABELS = ("drawn", "latent")
"""Beside a class number."""

TAKES = ("one-hot", "index")
"""What a conditional module is given: (n, classes) float, or (n,) class numbers."""


class Labels:
    """How the last coordinates of a latent say the class.

    A number: every image is of that class, no coordinate. "drawn": one coordinate, whose quantile under N(0, 1) is cut
    into `classes` equal parts; the image does not change smoothly with it, so no gradient reaches it. "latent": one
    coordinate for each class, and the class weights are softmax(coordinates / temperature): differentiable, in most
    samples close to one class, and halfway between two where their coordinates are close.
    """

    def __init__(self, classes: int, label: int | str = "drawn", temperature: float = 0.1) -> None:
        """BadOption, UnknownName."""
        label = int(label) if isinstance(label, str) and label.isdecimal() else label
        self.classes, self.label, self.temperature = classes, label, above_zero("temperature", temperature)
        if isinstance(label, str) and label not in LABELS:
            raise UnknownName("label", label, [*LABELS, f"a class number below {classes}"])
        if classes < 1 or not (isinstance(label, str) or (isinstance(label, int) and 0 <= label < classes)):
            raise BadOption(f"label is {label}; expected drawn, latent or 0..{classes - 1}. Say:  --argument label=0")
        cuts = ndtri(np.arange(1, classes) / classes)
        above = np.nextafter(cuts.astype(np.float32), np.float32(np.inf))
        self._cuts = torch.from_numpy(np.where(cuts.astype(np.float32) < cuts, above, cuts.astype(np.float32)))
        """(classes - 1,) the least float32 of each class but the first; other runtimes have no quantile in float64."""

    @property
    def width(self) -> int:
        """Coordinates of a latent that say the class."""
        return {"drawn": 1, "latent": self.classes}[self.label] if isinstance(self.label, str) else 0

    def split(self, latents: Tensor) -> tuple[Tensor, Tensor]:
        """(n, d) -> the rest (n, d - width) and the class weights (n, classes), which sum to 1."""
        rest, said = latents[:, : latents.shape[1] - self.width], latents[:, latents.shape[1] - self.width :]
        if self.label == "latent":
            return rest, torch.softmax(said / self.temperature, dim=1)
        return rest, F.one_hot(self._numbers(said), self.classes).to(latents.dtype)

    def numbers(self, latents: Tensor) -> Tensor:
        """(n, d) -> (n,) the class of each; where the label is "latent", the one that weighs most."""
        return self._numbers(latents[:, latents.shape[1] - self.width :])

    def _numbers(self, said: Tensor) -> Tensor:
        if self.label == "latent":
            return said.argmax(dim=1)
        if self.label == "drawn":
            passed: Tensor = said[:, :1].detach() >= self._cuts.to(said)
            return passed.sum(dim=1)
        return torch.full((said.shape[0],), int(self.label), dtype=torch.long, device=said.device)

    def truth(self, latents: Tensor) -> Tensor:
        """(n, d) -> (n, classes) bool: the true class of each image."""
        return F.one_hot(self.numbers(latents), self.classes).bool()


class Conditional(nn.Module):
    """A conditional module as a module of flat latents: (n, d) -> what the module makes, one class a row.

    It owns no weights: parameters, buffers and children are the module's own, under the module's own names, so a
    checkpoint of the module fits.
    """

    def __init__(self, module: nn.Module, latent_dim: int, labels: Labels, takes: str) -> None:
        super().__init__()
        self.labels, self.takes = labels, takes
        self.latent_dim = latent_dim + labels.width
        self.__dict__["inner"] = module  # not a child, which would prefix every name
        for shared in ("_parameters", "_buffers", "_modules", "_non_persistent_buffers_set"):
            self.__dict__[shared] = module.__dict__[shared]

    def train(self, mode: bool = True) -> Conditional:
        """Mode of this and of the module inside."""
        self.__dict__["inner"].train(mode)
        return super().train(mode)

    def forward(self, latents: Tensor) -> Tensor:
        """(n, d) -> images: the module's own, given latents and labels."""
        rest, weights = self.labels.split(latents)
        given = weights if self.takes == "one-hot" else self.labels.numbers(latents)
        images: Tensor = self.__dict__["inner"](rest, given)
        return images

    def truth(self, latents: Tensor) -> Tensor:
        """(n, d) -> (n, classes) bool: the true class of each image."""
        return self.labels.truth(latents)


def conditional(
    module: nn.Module,
    latent_dim: int,
    classes: int,
    *,
    label: int | str = "drawn",
    temperature: float = 0.1,
    takes: str = "one-hot",
) -> Conditional:
    """A module `forward(latents (n, latent_dim), labels)` -> a module of flat latents; `.latent_dim` says how long.

    label: a class number, "drawn" or "latent"; see Labels. takes: labels are "one-hot" (n, classes) or "index" (n,).
    BadOption, UnknownName.
    """
    if takes not in TAKES:
        raise UnknownName("kind of labels a module takes", takes, TAKES)
    if takes == "index" and label == "latent":
        raise BadOption(
            'label is "latent" for a module that takes class numbers, which have no gradient; expected a module that '
            'takes one-hot rows. Use  label="drawn".'
        )
    return Conditional(module, latent_dim, Labels(classes, label, temperature), takes)
