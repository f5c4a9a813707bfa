"""Fully connected conditional GANs whose labels go through an embedding (Mirza and Osindero 2014, as widely coded)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from unfeature.errors import BadOption
from unfeature.generators.chain import picture_shape, place_of_norms, put
from unfeature.generators.conditional import Labels
from unfeature.generators.layers import Layer, Shape, is_path
from unfeature.generators.mlp import ImageRows, linear_network


class ConditionalMLP(ImageRows):
    """Latents (n, d) ~ N(0, 1) -> images (n, c, h, w) in [0, 1], of classes known for each latent.

    The label's row of the embedding and the noise are concatenated and go through linear layers and norms. How d holds
    the noise and the label: unfeature.generators.conditional.Labels.
    """

    assumed = ("label", "labels_first", "activation", "slope", "output", "norm", "eps", "image_shape")
    """Arguments that no shape tells."""

    def __init__(
        self,
        layers: Sequence[Mapping[str, Any]],
        embedding: Sequence[Any],
        image_shape: str | Sequence[int] | None = None,
        label: int | str = "drawn",
        temperature: float = 0.1,
        labels_first: bool = True,
        activation: str | Sequence[str] = "leaky-relu",
        slope: float = 0.2,
        output: str = "tanh",
        norm: str = "before",
        eps: float = 0.8,
    ) -> None:
        """embedding: its name, classes and width; labels_first: before the noise. BadOption, UnknownName."""
        style = {"activation": activation, "slope": slope, "norm": norm, "eps": eps, "keys": ""}
        super().__init__(layers, image_shape, output, **style)
        self._embedding, classes, width = _embedding(embedding, self._plan[0][0].into)
        self.labels = Labels(classes, label, temperature)
        if not isinstance(labels_first, bool):
            raise BadOption(f"labels_first is {labels_first!r}; expected true or false, as in JSON.")
        self.labels_first = labels_first
        put(self, self._embedding, nn.Embedding(classes, width))
        self.latent_dim = self._plan[0][0].into - width + self.labels.width

    @classmethod
    def arguments_of(cls, shapes: Mapping[str, Shape]) -> dict[str, Any] | None:
        """Layers, embedding and the image's shape, with the usual rest; None without a label embedding."""
        found = [key for key, shape in shapes.items() if _is_embedding(key) and len(shape) == 2]
        if len(found) != 1:
            return None
        layers = linear_network({key: shape for key, shape in shapes.items() if key != found[0]})
        classes, width = shapes[found[0]]
        if layers is None or width >= layers[0].into:
            return None
        return {
            "layers": [layer.to_json() for layer in layers],
            "embedding": [found[0].removesuffix(".weight"), classes, width],
            "image_shape": picture_shape(layers[-1].out),
            "label": "drawn",
            "labels_first": True,
            "activation": "leaky-relu",
            "slope": 0.2,
            "output": "tanh",
            "norm": place_of_norms(layers),
            "eps": 0.8,
        }

    @classmethod
    def example(cls) -> dict[str, Any]:
        """Arguments of a tiny one, for the conformance suite."""
        layers = [
            Layer("model.0", "linear", 8, 12),
            Layer("model.2", "linear", 12, 16),
            Layer("model.3", "batch-norm", 16, 16, counter=()),
            Layer("model.5", "linear", 16, 64),
        ]
        return {"layers": [layer.to_json() for layer in layers], "embedding": ["label_emb", 3, 3]}

    def forward(self, latents: Tensor) -> Tensor:
        """(n, d) -> (n, c, h, w) in [0, 1]."""
        noise, weights = self.labels.split(latents)
        said = weights @ self.get_parameter(f"{self._embedding}.weight")
        return self.images(torch.cat([said, noise] if self.labels_first else [noise, said], dim=1))

    def truth(self, latents: Tensor) -> Tensor:
        """(n, d) -> (n, classes) bool: the true class of each image."""
        return self.labels.truth(latents)


def _is_embedding(key: str) -> bool:
    return key.endswith(".weight") and "emb" in key.removesuffix(".weight").lower()


def _embedding(told: Sequence[Any], into: int) -> tuple[str, int, int]:
    """Name, classes and width; BadOption unless some of the first layer's inputs are left for the noise."""
    known = len(told) == 3 and is_path(told[0]) and all(isinstance(n, int) and n > 0 for n in told[1:])
    if known and told[2] < into:
        return told[0], told[1], told[2]
    raise BadOption(f"embedding is {told!r}; expected name, classes and a width below {into}. Leave it to the file.")
