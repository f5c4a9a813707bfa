"""Our own small digit network: the shipped extractor for pictures of handwritten digits."""

import hashlib
from collections.abc import Iterator

import safetensors.torch
import torch.nn.functional as F
from torch import Tensor, nn

from unfeature import zoo
from unfeature.errors import BadCheckpoint
from unfeature.once import Once

NAME, SIDE = "mnist-digits", 28


class DigitNet(nn.Module):
    """Three strided stages of 3x3 convolutions, global average pooling, an embedding of k values.

    Works on 28x28. Group norm keeps every row independent of its batch. Weights: recipes/mnist_digits.py.
    """

    name: str = NAME
    class_word = "digit"
    hash: str = ""  # SHA-256 of the loaded weights file; empty for a network made from scratch

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
        """(n, 1, h, w) in [0, 1] -> maps (n, c, h', w') after each stage; pictures of other sizes are made 28x28."""
        return self._maps.of(images, lambda: list(self._stages(images)))

    def _stages(self, images: Tensor) -> Iterator[Tensor]:
        x = images
        if x.shape[-2:] != (SIDE, SIDE):
            x = F.interpolate(x, (SIDE, SIDE), mode="bilinear", antialias=True)
        for stage in self.stages:
            x = stage(x)
            yield x

    def embed(self, images: Tensor) -> Tensor:
        """(n, 1, h, w) in [0, 1] -> (n, k): what the class scores are a linear function of."""
        *_, last = self.layers(images)
        pooled = last.mean(dim=(2, 3))
        return F.relu(self.embedding(pooled))

    def logits(self, images: Tensor) -> Tensor:
        """(n, 1, h, w) in [0, 1] -> (n, 10): unnormalised log-probabilities of the digits."""
        scores: Tensor = self.classes(self.embed(images))
        return scores

    def forward(self, images: Tensor) -> Tensor:
        """Same as `logits`."""
        return self.logits(images)


def _stage(inputs: int, outputs: int, *, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False),
        nn.GroupNorm(4, outputs),
        nn.ReLU(),
    )


def load_digit_extractor() -> DigitNet:
    """The shipped network in evaluation mode, its weights checked against the card's SHA-256."""
    card, weights = zoo.cards("extractor")[NAME], zoo.weights(NAME)
    found = hashlib.sha256(weights).hexdigest()
    if found != card["sha256"]:
        raise BadCheckpoint(
            f"{NAME}.safetensors has SHA-256 {found}, its card says {card['sha256']}. "
            "The installed file is damaged: install unfeature again."
        )
    network = DigitNet(**card["arguments"])
    network.load_state_dict(safetensors.torch.load(weights))
    network.hash = found
    network.eval()
    return network.requires_grad_(False)
