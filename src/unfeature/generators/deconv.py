"""Generators like DCGAN and convolutional decoders: linear layers, then transposed convolutions and convolutions."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from unfeature.errors import BadOption
from unfeature.generators.chain import OUTPUTS, Chain, function, place_of_norms, whole_numbers
from unfeature.generators.dcgan import DCGAN
from unfeature.generators.layers import Layer, Shape, is_named, picked_layers
from unfeature.generators.reading import network

Numbers = str | int | Sequence[int]


class Deconv(Chain):
    """Latents (n, d) ~ N(0, 1) -> images (n, c, h, w) in [0, 1].

    Linear layers if any, a view as a picture (1x1 without linear layers), then transposed convolutions, convolutions
    that keep the size, and batch norms. A transposed convolution on a 1x1 picture makes it as large as its kernel; any
    other doubles the sides.
    """

    assumed = ("activation", "slope", "output", "norm", "eps", "view", "strides", "paddings")
    """Arguments that no shape tells."""

    def __init__(
        self,
        layers: Sequence[Mapping[str, Any]],
        view: str | Sequence[int] | None = None,
        activation: str | Sequence[str] = "relu",
        slope: float = 0.2,
        output: str = "tanh",
        strides: Numbers | None = None,
        paddings: Numbers | None = None,
        output_paddings: Numbers | None = None,
        transposed: str | Sequence[str] = "",
        norm: str = "before",
        eps: float = 1e-5,
        keys: str | Sequence[str] = "",
    ) -> None:
        """view: the first picture, "128x7x7"; strides, paddings, output_paddings: one number for each convolution.

        transposed: names of square odd kernels that were taken for plain convolutions. The rest as in Chain; what is
        None follows the rules. BadOption, UnknownName.
        """
        known = [Layer.from_json(layer) for layer in layers]
        turned = picked_layers(known, transposed) if is_named(transposed) else []
        known = [replace(layer, kind="transposed") if layer in turned else layer for layer in known]
        picked = [layer for layer in picked_layers(known, keys) if not layer.is_norm]
        pictures = [layer for layer in picked if layer.kind != "linear"]
        if not pictures:
            raise BadOption("there is no convolution among the layers; expected at least one. Name it in `keys`.")
        first = _view(view, picked, pictures[0])
        sizes = _Sizes(pictures, first, strides, paddings, output_paddings)

        def make(layer: Layer) -> nn.Module:
            return sizes.module(layer) if layer in pictures else nn.Linear(layer.into, layer.out, bias=layer.bias)

        told = [layer.to_json() for layer in known]
        super().__init__(told, make, activation=activation, slope=slope, norm=norm, eps=eps, keys=keys)
        self.latent_dim = picked[0].into
        self.image_shape = (pictures[-1].out, *sizes.image)
        self._view = {pictures[0].name: first}
        self._output = function(OUTPUTS, "output", output)

    @classmethod
    def arguments_of(cls, shapes: Mapping[str, Shape]) -> dict[str, Any] | None:
        """Layers and sizes by the usual rules; None for anything but one chain that ends in 1 or 3 channels."""
        layers = None if DCGAN.arguments_of(shapes) else network(shapes)
        if layers is None or layers[-1].out not in (1, 3) or layers[0].into < 2:
            return None
        weighted = [layer for layer in layers if not layer.is_norm]
        pictures = [layer for layer in weighted if layer.kind != "linear"]
        grown = [layer for layer in pictures if layer.kind == "transposed" and layer.kernel > 1]
        guessed = any(layer.kind == "conv" and layer.into == layer.out and layer.kernel > 1 for layer in pictures)
        if not grown or (guessed and any(layer.kernel % 2 for layer in grown)):
            return None
        view = _natural_view(weighted, pictures[0])
        steps = [_step(layer, i == 0 and view is not None and view[1] == 1) for i, layer in enumerate(pictures)]
        return {
            "layers": [layer.to_json() for layer in layers],
            "view": view,
            "activation": "relu",
            "slope": 0.2,
            "output": "tanh",
            "strides": [stride for stride, _ in steps],
            "paddings": [padding for _, padding in steps],
            "norm": place_of_norms(layers),
            "eps": 1e-5,
        }

    @classmethod
    def example(cls) -> dict[str, Any]:
        """Arguments of a tiny one, for the conformance suite."""
        layers = [
            Layer("main.0", "transposed", 5, 8, 4, bias=False),
            Layer("main.1", "batch-norm", 8, 8, counter=()),
            Layer("main.3", "transposed", 8, 6, 4, bias=False),
            Layer("main.4", "batch-norm", 6, 6, counter=(1,)),
            Layer("main.6", "conv", 6, 4, 3),
            Layer("main.8", "transposed", 4, 3, 2),
        ]
        return {"layers": [layer.to_json() for layer in layers]}

    def forward(self, latents: Tensor) -> Tensor:
        """(n, d) -> (n, c, h, w) in [0, 1]."""
        return self._output(self.run(latents, self._view))


def _natural_view(weighted: Sequence[Layer], first: Layer) -> list[int] | None:
    """The square picture that the features before the first convolution make; None where it would not be square."""
    at = weighted.index(first)
    features = weighted[at - 1].out if at else first.into
    side = math.isqrt(features // first.into)
    return [first.into, side, side] if first.into * side * side == features else None


def _view(given: str | Sequence[int] | None, weighted: Sequence[Layer], first: Layer) -> tuple[int, ...]:
    at = weighted.index(first)
    features = weighted[at - 1].out if at else first.into
    asked = given or _natural_view(weighted, first)
    view = whole_numbers("view", asked, 3) if asked else (0, 0, 0)
    if view[0] == first.into and math.prod(view) == features:
        return view
    raise BadOption(
        f'view is {given}; expected {first.into} channels, as "{first.name}" takes, and {features} values in all. '
        f"Say:  --argument view={first.into}xHEIGHTxWIDTH"
    )


def _step(layer: Layer, alone: bool) -> tuple[int, int]:
    """Stride and padding by the rules; `alone`: on a 1x1 picture."""
    if layer.kind == "conv":
        return 1, (layer.kernel - 1) // 2
    return (1, 0) if alone else (2, (layer.kernel - 1) // 2)


class _Sizes:
    """Strides and paddings of all convolutions, and the sides of what they make."""

    def __init__(
        self,
        pictures: Sequence[Layer],
        view: tuple[int, ...],
        strides: Numbers | None,
        paddings: Numbers | None,
        output_paddings: Numbers | None,
    ) -> None:
        count, natural = len(pictures), [_step(p, i == 0 and view[1:] == (1, 1)) for i, p in enumerate(pictures)]
        asked_strides = [stride for stride, _ in natural] if strides is None else strides
        asked_paddings = [padding for _, padding in natural] if paddings is None else paddings
        self.strides = whole_numbers("strides", asked_strides, count)
        self.paddings = whole_numbers("paddings", asked_paddings, count, least=0)
        doubling = [  # what a stride of 2 needs besides to double the side: 1 for odd kernels, 0 for even ones
            max(0, min(s - 1, s + 2 * p - layer.kernel)) if layer.kind == "transposed" else 0
            for layer, s, p in zip(pictures, self.strides, self.paddings, strict=True)
        ]
        asked = doubling if output_paddings is None else output_paddings
        self.output_paddings = whole_numbers("output_paddings", asked, count, least=0)
        self.places = {layer.name: i for i, layer in enumerate(pictures)}
        self.image = view[1:]
        for layer in pictures:
            self.image = tuple(self._side(layer, side) for side in self.image)

    def _side(self, layer: Layer, side: int) -> int:
        at = self.places[layer.name]
        stride, padding, more = self.strides[at], self.paddings[at], self.output_paddings[at]
        if layer.kind == "conv":
            made = (side + 2 * padding - layer.kernel) // stride + 1
        else:
            made = (side - 1) * stride - 2 * padding + layer.kernel + more
        if made >= 1 and (more == 0 or (layer.kind == "transposed" and more < stride)):
            return made
        raise BadOption(
            f'"{layer.name}" with stride {stride}, padding {padding}, output padding {more} makes {made} px of {side}; '
            "expected at least 1 px, and an output padding below the stride of a transposed convolution. "
            "Say:  --argument strides=... --argument paddings=..."
        )

    def module(self, layer: Layer) -> nn.Module:
        """The convolution in torch."""
        at = self.places[layer.name]
        sizes = (layer.into, layer.out, layer.kernel, self.strides[at], self.paddings[at])
        if layer.kind == "conv":
            return nn.Conv2d(*sizes, bias=layer.bias)
        return nn.ConvTranspose2d(*sizes, self.output_paddings[at], bias=layer.bias)
