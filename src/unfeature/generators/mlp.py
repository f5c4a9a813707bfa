"""Fully connected generators: GANs and decoders of variational autoencoders whose layers are one chain."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from unfeature.errors import BadOption
from unfeature.generators.chain import OUTPUTS, Chain, function, picture_shape, place_of_norms, whole_numbers
from unfeature.generators.layers import Layer, Shape
from unfeature.generators.reading import network


def linear(layer: Layer) -> nn.Module:
    """The layer in torch; BadOption for one of another kind."""
    if layer.kind != "linear":
        raise BadOption(f'layer "{layer.name}" is {layer.kind}; expected linear layers and norms. Pick them by `keys`.')
    return nn.Linear(layer.into, layer.out, bias=layer.bias)


def linear_network(shapes: Mapping[str, Shape]) -> list[Layer] | None:
    """Its layers, where the checkpoint is a chain of linear layers and norms that widens; otherwise None."""
    layers = network(shapes)
    if layers is None or any(not layer.is_norm and layer.kind != "linear" for layer in layers):
        return None
    several = sum(not layer.is_norm for layer in layers) > 1
    return layers if several and layers[-1].out > layers[0].into > 1 else None


class ImageRows(Chain):
    """A chain of linear layers whose last one gives the pixels of an image."""

    def __init__(
        self, layers: Sequence[Mapping[str, Any]], image_shape: str | Sequence[int] | None, output: str, **style: Any
    ) -> None:
        """image_shape: "1x28x28" or (1, 28, 28); output: a name in OUTPUTS; style: as in Chain. BadOption."""
        super().__init__(layers, linear, **style)
        features = self._plan[-1][0].out
        shape = image_shape or picture_shape(features)
        self.image_shape = whole_numbers("image_shape", shape, 3) if shape else (0, 0, 0)
        if math.prod(self.image_shape) != features:
            raise BadOption(
                f"image_shape is {image_shape}; expected {features} values, as the last layer gives. "
                "Say:  --argument image_shape=CHANNELSxHEIGHTxWIDTH"
            )
        self._output = function(OUTPUTS, "output", output)

    def images(self, rows: Tensor) -> Tensor:
        """(n, features of the first layer) -> (n, c, h, w) in [0, 1]."""
        return self._output(self.run(rows)).view(-1, *self.image_shape)


class MLP(ImageRows):
    """Latents (n, d) ~ N(0, 1) -> images (n, c, h, w) in [0, 1], through linear layers, batch norms and layer norms."""

    assumed = ("activation", "slope", "output", "norm", "eps", "image_shape")
    """Arguments that no shape tells."""

    def __init__(
        self,
        layers: Sequence[Mapping[str, Any]],
        image_shape: str | Sequence[int] | None = None,
        activation: str | Sequence[str] = "relu",
        slope: float = 0.2,
        output: str = "sigmoid",
        norm: str = "before",
        eps: float = 1e-5,
        keys: str | Sequence[str] = "",
    ) -> None:
        """Arguments as in ImageRows and Chain; `arguments_of` reads the layers. BadOption, UnknownName."""
        style = {"activation": activation, "slope": slope, "norm": norm, "eps": eps, "keys": keys}
        super().__init__(layers, image_shape, output, **style)
        self.latent_dim = self._plan[0][0].into

    @classmethod
    def arguments_of(cls, shapes: Mapping[str, Shape]) -> dict[str, Any] | None:
        """Layers and the image's shape, with the usual rest; None for anything but one chain of linear layers."""
        layers = linear_network(shapes)
        if layers is None:
            return None
        return {
            "layers": [layer.to_json() for layer in layers],
            "image_shape": picture_shape(layers[-1].out),
            "activation": "relu",
            "slope": 0.2,
            "output": "sigmoid",
            "norm": place_of_norms(layers),
            "eps": 1e-5,
        }

    @classmethod
    def example(cls) -> dict[str, Any]:
        """Arguments of a tiny one, for the conformance suite."""
        layers = [
            Layer("net.0", "linear", 4, 12),
            Layer("net.1", "batch-norm", 12, 12, counter=()),
            Layer("net.3", "linear", 12, 10, bias=False),
            Layer("net.4", "layer-norm", 10, 10),
            Layer("net.6", "linear", 10, 192),
        ]
        return {"layers": [layer.to_json() for layer in layers]}

    def forward(self, latents: Tensor) -> Tensor:
        """(n, d) -> (n, c, h, w) in [0, 1]."""
        return self.images(latents)
