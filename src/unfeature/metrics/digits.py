"""Our own small networks for pictures of handwritten digits: what both share, and the one that may guide.

The other, `unfeature.metrics.gradients`, judges.
"""

import hashlib
from collections.abc import Iterator, Mapping
from typing import TypeVar

import safetensors.torch
import torch.nn.functional as F
from torch import Tensor, nn

from unfeature import zoo
from unfeature.errors import BadCheckpoint
from unfeature.once import Once

NAME, SIDE = "mnist-digits", 28


class DigitNet(nn.Module):
    """An embedding of k values of which ten class scores are a linear function. Rows never depend on their batch."""

    name: str
    class_word = "digit"
    hash: str = ""  # SHA-256 of the loaded weights file; empty for a network made from scratch
    about: Mapping[str, str] = {}
    """What the card says that it was trained on, its architecture and seed."""
    k: int
    classes: nn.Linear

    def embed(self, images: Tensor) -> Tensor:
        """(n, 1, h, w) in [0, 1] -> (n, k); pictures of other sizes are made 28x28."""
        raise NotImplementedError

    def logits(self, images: Tensor) -> Tensor:
        """(n, 1, h, w) in [0, 1] -> (n, 10): unnormalised log-probabilities of the digits."""
        scores: Tensor = self.classes(self.embed(images))
        return scores

    def forward(self, images: Tensor) -> Tensor:
        """Same as `logits`."""
        return self.logits(images)


def resized(images: Tensor) -> Tensor:
    """(n, 1, h, w) -> (n, 1, 28, 28)."""
    if images.shape[-2:] == (SIDE, SIDE):
        return images
    return F.interpolate(images, (SIDE, SIDE), mode="bilinear", antialias=True)


class ConvNet(DigitNet):
    """Three strided stages of 3x3 convolutions and global average pooling. Weights: recipes/mnist_digits.py.

    Group norm keeps every row independent of its batch.
    """

    name = NAME

    def __init__(self, channels: int = 24, k: int = 64) -> None:
        super().__init__()
        self.k = k
        self.stages = nn.Sequential(
            _stage(1, channels, stride=2),  # (n, channels, 14, 14)
            _stage(channels, 2 * channels, stride=2),  # (n, 2 channels, 7, 7)
            _stage(2 * channels, 2 * channels, stride=1),
            _stage(2 * channels, 4 * channels, stride=2),  # (n, 4 channels, 4, 4)
        )
        self.embedding = nn.Linear(4 * channels, k)
        self.classes = nn.Linear(k, 10)
        self._maps = Once[list[Tensor]]()

    def layers(self, images: Tensor) -> list[Tensor]:
        """(n, 1, h, w) in [0, 1] -> maps (n, c, h', w') after each stage."""
        return self._maps.of(images, lambda: list(self._stages(images)))

    def _stages(self, images: Tensor) -> Iterator[Tensor]:
        x = resized(images)
        for stage in self.stages:
            x = stage(x)
            yield x

    def embed(self, images: Tensor) -> Tensor:
        """(n, 1, h, w) in [0, 1] -> (n, k)."""
        *_, last = self.layers(images)
        pooled = last.mean(dim=(2, 3))
        return F.relu(self.embedding(pooled))


def _stage(inputs: int, outputs: int, *, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False),
        nn.GroupNorm(4, outputs),
        nn.ReLU(),
    )


Net = TypeVar("Net", bound=DigitNet)


def shipped(kind: type[Net]) -> Net:
    """A network of the zoo in evaluation mode; BadCheckpoint where its weights have not the card's SHA-256."""
    card, weights = zoo.cards("extractor")[kind.name], zoo.weights(kind.name)
    found = hashlib.sha256(weights).hexdigest()
    if found != card["sha256"]:
        raise BadCheckpoint(
            f"{kind.name}.safetensors has SHA-256 {found}, its card says {card['sha256']}. "
            "The installed file is damaged: install unfeature again."
        )
    network = kind(**card["arguments"])
    network.load_state_dict(safetensors.torch.load(weights))
    network.hash = found
    network.about = {"trained_on": card["trained_on"], "architecture": card["family"], "seed": str(card["seed"])}
    network.eval()
    return network.requires_grad_(False)


def load_digit_extractor() -> ConvNet:
    """The shipped `mnist-digits`."""
    return shipped(ConvNet)
