"""StyleGAN2 against a slow reference in float64 that follows the official arithmetic, written here for this purpose.

The reference modulates a kernel per sample, upsamples by putting zeros between pixels, and filters with scipy.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy.signal import convolve2d
from torch import Tensor

from unfeature.artifacts import StepRecord
from unfeature.errors import BadOption
from unfeature.features.linear import LinearFeature
from unfeature.generators.module import clipped, from_module
from unfeature.generators.stylegan2 import StyleGAN2
from unfeature.options import UnlearnOptions
from unfeature.seeds import stream
from unfeature.testing import check_generator
from unfeature.unlearners.distillation import Distillation

Array = np.ndarray[Any, Any]
SMALL = {"widths": [8, 7, 6, 5], "z_dim": 9, "w_dim": 10, "mapping_layers": 3}


def made(seed: int = 0, **more: Any) -> StyleGAN2:
    """A network whose every parameter and buffer is random, so that none is without effect."""
    torch.manual_seed(seed)
    network = StyleGAN2(**{**SMALL, **more}).eval()  # type: ignore[arg-type]
    with torch.no_grad():
        for name, value in network.named_parameters():
            if name.endswith(("bias", "noise_strength")):
                value.add_(torch.randn_like(value) * 0.3)
        network.mapping.w_avg.normal_()
    return network


def latents(network: StyleGAN2, n: int = 3) -> Tensor:
    return from_module("s", network, network.latent_dim).sample_latents(stream("check", 0, 0, n))


class Reference:
    """The official generator's arithmetic on a state dict, one sample at a time, in float64."""

    def __init__(self, network: StyleGAN2) -> None:
        self.state = {key: value.double().numpy() for key, value in network.state_dict().items()}
        self.sides = network.synthesis.sides

    def dense(self, name: str, row: Array, rate: float = 1.0) -> Array:
        weight = self.state[f"{name}.weight"]
        return weight @ row * rate / math.sqrt(weight.shape[1]) + self.state[f"{name}.bias"] * rate  # type: ignore[no-any-return]

    def mapping(self, z: Array, label: Array | None = None) -> Array:
        row = z / math.sqrt((z**2).mean() + 1e-8)
        if label is not None:
            y = self.dense("mapping.embed", label)
            row = np.concatenate([row, y / math.sqrt((y**2).mean() + 1e-8)])
        i = 0
        while f"mapping.fc{i}.weight" in self.state:
            row = self.dense(f"mapping.fc{i}", row, rate=0.01)
            row = np.where(row > 0, row, 0.2 * row) * math.sqrt(2)
            i += 1
        return row

    def kernel(self, name: str, w: Array, demodulate: bool) -> Array:
        weight, style = self.state[f"{name}.weight"], self.dense(f"{name}.affine", w)
        if not demodulate:
            style = style / math.sqrt(weight.shape[1])
        kernel = weight * style[None, :, None, None]
        if demodulate:
            kernel = kernel / np.sqrt((kernel**2).sum(axis=(1, 2, 3), keepdims=True) + 1e-8)
        return kernel  # type: ignore[no-any-return]

    def filtered(self, name: str, plane: Array) -> Array:
        return convolve2d(plane, 4 * self.state[f"{name}.resample_filter"])  # type: ignore[no-any-return]

    def convolved(self, name: str, maps: Array, w: Array, up: bool, noise: str, clamp: float) -> Array:
        kernel = self.kernel(name, w, demodulate=True)
        out = []
        for row in kernel:
            total: Any = 0.0
            for plane, one in zip(maps, row, strict=True):
                if up:
                    spread = np.zeros((2 * len(plane) - 1, 2 * len(plane) - 1))
                    spread[::2, ::2] = plane
                    total = total + convolve2d(spread, one)
                else:
                    total = total + convolve2d(plane, one[::-1, ::-1], mode="same")
            if up:  # 2h + 1 wide; the filter adds 3, and 2 are cut off each side
                total = self.filtered(name, total)[2:-2, 2:-2]
            out.append(total)
        found = np.stack(out)
        if noise == "const":
            found = found + self.state[f"{name}.noise_const"] * self.state[f"{name}.noise_strength"]
        found = found + self.state[f"{name}.bias"][:, None, None]
        return np.clip(np.where(found > 0, found, 0.2 * found) * math.sqrt(2), -clamp, clamp)

    def synthesis(self, styles: Array, noise: str = "const", clamp: float = 256.0) -> Array:
        maps, image, used = self.state["synthesis.b4.const"], None, 0
        for side in self.sides:
            for layer in ("conv0", "conv1")[side == 4 :]:
                maps = self.convolved(f"synthesis.b{side}.{layer}", maps, styles[used], layer == "conv0", noise, clamp)
                used += 1
            name = f"synthesis.b{side}.torgb"
            added = np.einsum("oi,ihw->ohw", self.kernel(name, styles[used], demodulate=False)[:, :, 0, 0], maps)
            added = np.clip(added + self.state[f"{name}.bias"][:, None, None], -clamp, clamp)
            image = added if image is None else self.upsampled(f"synthesis.b{side}", image) + added
        assert image is not None
        return image  # type: ignore[no-any-return]

    def upsampled(self, name: str, image: Array) -> Array:
        out = []
        for plane in image:
            spread = np.zeros((2 * len(plane), 2 * len(plane)))
            spread[::2, ::2] = plane
            out.append(self.filtered(name, spread)[1:-2, 1:-2])
        return np.stack(out)


@pytest.mark.parametrize("noise", ["const", "none"])
def test_images_equal_the_reference(noise: str) -> None:
    network = made(noise=noise)
    z, reference = latents(network), Reference(network)
    wanted = [reference.synthesis(np.tile(reference.mapping(row), (8, 1)), noise) for row in z.double().numpy()]
    got = network.signed(z).detach().numpy()
    assert got.shape == (3, 3, 32, 32) and np.abs(got).max() > 0.5
    np.testing.assert_allclose(got, np.stack(wanted), atol=1e-4)


def test_the_clamp_limits_feature_maps_as_officially() -> None:
    network = made(clamp=0.4)
    z, reference = latents(network, 1), Reference(network)
    styles = np.tile(reference.mapping(z[0].double().numpy()), (8, 1))
    np.testing.assert_allclose(network.signed(z)[0].detach(), reference.synthesis(styles, clamp=0.4), atol=1e-4)
    assert not np.allclose(network.signed(z)[0].detach(), reference.synthesis(styles), atol=1e-2)


def test_a_cutoff_of_no_layers_truncates_none() -> None:
    plain, none, whole = (
        made(truncation_psi=psi, truncation_cutoff=cut) for psi, cut in ((1, None), (0.3, 0), (0.3, None))
    )
    z = torch.randn(3, plain.latent_dim, generator=torch.Generator().manual_seed(1))
    assert torch.equal(none(z), plain(z)) and not torch.equal(whole(z), plain(z))


@pytest.mark.parametrize("cutoff", [None, 2])
@pytest.mark.parametrize("space", ["z", "w", "w+"])
def test_truncation_is_that_of_the_reference_in_every_space(space: str, cutoff: int | None) -> None:
    network = made(space=space, truncation_psi=0.6, truncation_cutoff=cutoff)
    reference = Reference(network)
    normal = latents(made())
    wanted = []
    for row in normal.double().numpy():
        styles, mean = np.tile(reference.mapping(row), (8, 1)), reference.state["mapping.w_avg"]
        styles[:cutoff] = mean + 0.6 * (styles[:cutoff] - mean)
        wanted.append(reference.synthesis(styles))
    np.testing.assert_allclose(network.signed(latents(network)).detach(), np.stack(wanted), atol=1e-4)


def test_a_label_goes_through_the_embedding() -> None:
    network = made(classes=4, label=2)
    z, reference = latents(network, 1), Reference(network)
    styles = np.tile(reference.mapping(z[0].double().numpy(), np.eye(4)[2]), (8, 1))
    np.testing.assert_allclose(network.signed(z)[0].detach(), reference.synthesis(styles), atol=1e-4)


def test_random_noise_is_one_field_a_seed() -> None:
    images = [made(noise="random", noise_seed=seed)(latents(made())) for seed in (0, 0, 1)]
    assert torch.equal(images[0], images[1])
    assert float((images[0] - images[2]).detach().abs().mean()) > 0.01


@pytest.mark.parametrize("space", ["z", "w", "w+"])
@pytest.mark.parametrize("more", [{}, {"noise": "random"}, {"classes": 3, "label": 0}, {"truncation_psi": 0.5}])
def test_generators_conform(space: str, more: dict[str, Any]) -> None:
    network = made(space=space, **more)
    check_generator(from_module("small", network, network.latent_dim))
    assert network.latent_dim == {"z": 9, "w": 10, "w+": 80}[space]


def test_in_w_plus_every_layer_has_a_style_of_its_own() -> None:
    network = made(space="w+")
    w = latents(network)
    changed = w.clone()
    changed[:, 70:] += 1  # the last image layer's
    delta = (network.signed(changed) - network.signed(w)).abs().sum()
    assert delta > 0
    torch.testing.assert_close(made(space="w").signed(w[:, :10]), network.signed(w))


@pytest.mark.parametrize("side", [32, 64, 128, 256, 512, 1024])
def test_sizes_are_read_from_the_official_layout(side: int) -> None:
    widths = [min(64, 2048 // (4 << i)) for i in range(int(math.log2(side)) - 1)]
    with torch.device("meta"):
        network = StyleGAN2(widths, classes=2, label=1)
    shapes = {key: tuple(value.shape) for key, value in network.state_dict().items()}
    arguments = StyleGAN2.arguments_of(shapes)
    assert arguments is not None and arguments["widths"] == widths and arguments["classes"] == 2
    assert arguments["z_dim"] == 512 and f"synthesis.b{side}.conv0.noise_const" in shapes
    with torch.device("meta"):
        again = StyleGAN2(**arguments, label=0)
    assert {key: tuple(value.shape) for key, value in again.state_dict().items()} == shapes


def test_keys_are_the_official_ones() -> None:
    keys = set(made(classes=2, label=0).state_dict())
    for key in (
        "mapping.embed.weight",
        "mapping.fc2.bias",
        "mapping.w_avg",
        "synthesis.b4.const",
        "synthesis.b4.resample_filter",
        "synthesis.b4.conv1.affine.bias",
        "synthesis.b8.conv0.resample_filter",
        "synthesis.b8.conv0.noise_const",
        "synthesis.b8.conv0.noise_strength",
        "synthesis.b32.torgb.affine.weight",
        "synthesis.b32.torgb.bias",
    ):
        assert key in keys
    assert "synthesis.b4.conv0.weight" not in keys


@pytest.mark.parametrize("gone", ["synthesis.b16.conv1.weight", "mapping.w_avg", "synthesis.b8.torgb.weight"])
def test_other_layouts_are_not_taken_for_it(gone: str) -> None:
    shapes = {key: tuple(value.shape) for key, value in made().state_dict().items() if key != gone}
    assert StyleGAN2.arguments_of(shapes) is None
    assert StyleGAN2.arguments_of({"0.weight": (3, 4)}) is None


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"space": "s"}, 'space is "s"; expected one of z, w, w'),
        ({"noise": "some"}, 'noise is "some"; expected one of const, random, none'),
        ({"classes": 3}, "has 3 classes and label is None; expected 0 to 2"),
        ({"label": 1}, "has no classes; leave it out"),
    ],
)
def test_bad_options_are_told(more: dict[str, Any], message: str) -> None:
    with pytest.raises(BadOption, match=message):
        made(**more)


def test_the_limit_to_0_and_1_keeps_gradients() -> None:
    pixels = torch.tensor([-3.7, 0.0, 0.3, 1.0, 100.1], requires_grad=True)
    limited = clipped(pixels)
    assert torch.equal(limited, torch.tensor([0, 0, 0.3, 1, 1]))
    limited.sum().backward()
    assert pixels.grad is not None and pixels.grad.tolist() == [1.0] * 5


class Memory:
    """A Checkpoint in memory."""

    state: Any = None

    def load(self) -> Any:
        return self.state

    def save(self, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
        self.state = {key: value.clone() for key, value in tensors.items()}, {**facts, "records": [*facts["records"]]}


def test_in_w_the_mapping_network_stays_and_training_resumes_to_the_same_bytes() -> None:
    network = made(space="w")
    generator = from_module("small", network, 10)
    vector = torch.nn.functional.one_hot(torch.tensor(1), 10).float()
    feature = LinearFeature("x", generator.spec.id, vector, float(latents(network, 100)[:, 1].median()), 0.1)
    options = UnlearnOptions(steps=6, check_every=2, batch=4, tolerance=1e-6)

    def stop(record: StepRecord) -> None:
        if record.step == 4:
            raise KeyboardInterrupt

    whole = Distillation(options).unlearn(generator, feature)
    memory = Memory()
    with pytest.raises(KeyboardInterrupt):
        Distillation(options, checkpoint=memory).unlearn(generator, feature, on_step=stop)
    resumed = Distillation(options, checkpoint=memory).unlearn(generator, feature)
    assert resumed.spec == whole.spec
    for name, value in whole.module.mapping.state_dict().items():  # type: ignore[union-attr,operator]
        assert torch.equal(value, network.mapping.state_dict()[name])
    changed = [not torch.equal(a, b) for a, b in pairwise_values(whole.module, network)]
    assert any(changed)


def pairwise_values(one: torch.nn.Module, other: torch.nn.Module) -> list[tuple[Tensor, Tensor]]:
    return list(zip(one.state_dict().values(), other.state_dict().values(), strict=True))
