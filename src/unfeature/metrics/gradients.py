"""A second digit network, which never guides: pictures, architecture and seed are others than those of `mnist-digits`.

Its first layer is not learnt: how strong edges of each direction are in each place, as in histograms of oriented
gradients (Dalal, Triggs 2005). What deceives learnt convolutions need not deceive it.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unfeature.metrics.digits import DigitNet, resized, shipped
from unfeature.once import Once

NAME = "mnist-gradients"
FLAT, EMPTY = 0.05, 0.02
"""Strengths below which an edge, and a place, count as having none."""


class GradientNet(DigitNet):
    """Histograms of edge directions, a hidden layer, an embedding of k values. Weights: recipes/mnist_gradients.py."""

    name = NAME

    def __init__(self, directions: int = 8, hidden: int = 256, k: int = 64) -> None:
        super().__init__()
        self.k, self.directions = k, directions
        places = 7 * 7 + 6 * 6 + 3 * 3
        self.hidden = nn.Sequential(nn.Linear(directions * places, hidden), nn.ReLU(), nn.Dropout(0.2))
        self.embedding = nn.Linear(hidden, k)
        self.classes = nn.Linear(k, 10)
        self._embedded = Once[Tensor]()

    def embed(self, images: Tensor) -> Tensor:
        """(n, 1, h, w) in [0, 1] -> (n, k)."""
        return self._embedded.of(images, lambda: self._embed(images))

    def _embed(self, images: Tensor) -> Tensor:
        return F.relu(self.embedding(self.hidden(histograms(resized(images), self.directions))))


def histograms(images: Tensor, directions: int) -> Tensor:
    """(n, 1, 28, 28) in [0, 1] -> (n, 94 directions): edges of each direction in places of 4 and 8 pixels.

    Those of 4 pixels twice, the second time half a place further. Each is relative to what is around it: faint strokes
    count like strong ones.
    """
    across = F.pad(images[..., 2:] - images[..., :-2], (1, 1))
    down = F.pad(images[..., 2:, :] - images[..., :-2, :], (0, 0, 1, 1))
    edges = torch.cat([across, down], dim=1)
    turns = torch.arange(directions, dtype=edges.dtype, device=edges.device) * (2 * math.pi / directions)
    along = torch.einsum("kc,nchw->nkhw", torch.stack([turns.cos(), turns.sin()], dim=1), edges)
    strength = F.relu(along).square() / (edges.square().sum(dim=1, keepdim=True).sqrt() + FLAT)
    places = [F.avg_pool2d(strength, 4), F.avg_pool2d(strength[..., 2:-2, 2:-2], 4), F.avg_pool2d(strength, 8)]
    return torch.cat([_relative(place).flatten(1) for place in places], dim=1)


def _relative(strength: Tensor) -> Tensor:
    """(n, k, h, w) -> same: root of each place's share of what there is around it."""
    around = F.avg_pool2d(strength.sum(dim=1, keepdim=True), 3, stride=1, padding=1, count_include_pad=False)
    return (strength / (around + EMPTY)).sqrt()


def load_gradient_extractor() -> GradientNet:
    """The shipped `mnist-gradients`."""
    return shipped(GradientNet)
