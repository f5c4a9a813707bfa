"""Families read from a checkpoint's shapes make the very images of the network that was saved."""

from __future__ import annotations

import os
import random
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unfeature.artifacts import StepRecord
from unfeature.errors import BadOption, UnknownName
from unfeature.features.linear import LinearFeature
from unfeature.generators import GENERATORS
from unfeature.generators.chain import FixedNorm
from unfeature.generators.conditional import conditional
from unfeature.generators.conditional_mlp import ConditionalMLP
from unfeature.generators.deconv import Deconv
from unfeature.generators.hierarchical_vae import HierarchicalDecoder
from unfeature.generators.layers import Layer, picked_shapes
from unfeature.generators.mlp import MLP
from unfeature.generators.module import ModuleGenerator, from_module
from unfeature.generators.reading import network
from unfeature.options import UnlearnOptions
from unfeature.seeds import stream
from unfeature.tables import resolve
from unfeature.testing import check_generator
from unfeature.unlearners.distillation import Distillation

Shapes = dict[str, tuple[int, ...]]


def settled(module: nn.Module) -> nn.Module:
    """In evaluation mode, with random values in every parameter and statistic."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(1)
        for name, value in module.state_dict().items():
            if value.is_floating_point():
                value.copy_(torch.rand_like(value) + 0.5 if name.endswith("var") else torch.randn_like(value) / 3)
    return module.eval()


def named(**parts: nn.Module) -> nn.Module:
    return settled(nn.ModuleDict(parts))


def shapes_of(weights: dict[str, Tensor]) -> Shapes:
    return {key: tuple(value.shape) for key, value in weights.items()}


def read(family: Any, weights: dict[str, Tensor], **more: Any) -> Any:
    """The family's module for these weights, filled; `more` over the arguments it read."""
    module = family(**{**family.arguments_of(shapes_of(weights)), **more}).eval()
    module.load_state_dict(weights)
    assert module.state_dict().keys() == weights.keys()
    return module


def latents(d: int, n: int = 5) -> Tensor:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(2)
        return torch.randn(n, d)


def scrambled(weights: dict[str, Tensor]) -> list[dict[str, Tensor]]:
    """As saved, as safetensors sorts it, and in another order."""
    names = list(weights)
    random.Random(0).shuffle(names)
    return [weights, dict(sorted(weights.items())), {name: weights[name] for name in names}]


def recognised(shapes: Shapes) -> list[str]:
    families = {name: resolve("generator family", GENERATORS, name) for name in GENERATORS}
    return [name for name, family in families.items() if family.arguments_of(shapes) is not None]


def few_steps(generator: ModuleGenerator) -> list[StepRecord]:
    """Distillation on a linear feature; SSIM needs larger images than these."""
    vector = F.normalize(torch.ones(generator.spec.latent_dim), dim=0)
    feature = LinearFeature("first", generator.spec.id, vector, 0.0, 1.0)
    records: list[StepRecord] = []
    options = UnlearnOptions(steps=3, batch=4, check_every=3, perceptual=0)
    unlearned = Distillation(options).unlearn(generator, feature, on_step=records.append)
    assert (
        unlearned.spec != generator.spec
        and unlearned.module.state_dict().keys() == generator.module.state_dict().keys()
    )
    check_generator(unlearned)
    return records


# Fully connected


@pytest.mark.parametrize("which", range(3))
def test_mlp_with_norms_makes_the_images_of_the_saved_network(which: int) -> None:
    leaky = nn.LeakyReLU(0.1)
    layers = [nn.Linear(6, 20), leaky, nn.Linear(20, 30), nn.BatchNorm1d(30), leaky, nn.Linear(30, 20, bias=False)]
    layers += [nn.LayerNorm(20), leaky, nn.Linear(20, 20), leaky, nn.Linear(20, 300)]
    saved = named(model=nn.Sequential(*layers))
    module = read(MLP, scrambled(saved.state_dict())[which], activation="leaky-relu", slope=0.1, output="tanh")
    z = latents(6)
    assert module.latent_dim == 6 and module.image_shape == (3, 10, 10)
    assert torch.equal(module(z), ((torch.tanh(saved["model"](z)) + 1) / 2).view(-1, 3, 10, 10))


def test_norm_behind_the_activation_is_seen_from_the_numbers() -> None:
    layers = [nn.Linear(6, 20), nn.ReLU(), nn.BatchNorm1d(20), nn.Linear(20, 20), nn.ReLU(), nn.BatchNorm1d(20)]
    saved = named(main=nn.Sequential(*layers, nn.Linear(20, 100)))
    z = latents(6)
    wanted = torch.sigmoid(saved["main"](z)).view(-1, 1, 10, 10)
    assert torch.equal(read(MLP, saved.state_dict())(z), wanted)
    assert not torch.allclose(read(MLP, saved.state_dict(), norm="before")(z), wanted, atol=1e-3)


@pytest.mark.parametrize("which", range(3))
def test_norms_of_one_size_find_their_layers_by_number(which: int) -> None:
    saved = named(
        fc1=nn.Linear(5, 16), bn1=nn.BatchNorm1d(16, affine=False), fc2=nn.Linear(16, 16), fc3=nn.Linear(16, 16),
        bn3=nn.BatchNorm1d(16, eps=0.1), out=nn.Linear(16, 144),
    )  # fmt: skip
    saved["bn1"].eps = 0.1
    z = latents(5)
    x = F.elu(saved["fc2"](F.elu(saved["bn1"](saved["fc1"](z)))))
    wanted = saved["out"](F.elu(saved["bn3"](saved["fc3"](x)))).clamp(0, 1).view(-1, 1, 12, 12)
    module = read(MLP, scrambled(saved.state_dict())[which], activation="elu", output="clip", eps=0.1)
    assert torch.equal(module(z), wanted)


def test_each_hidden_layer_may_have_its_own_activation() -> None:
    saved = named(a=nn.Linear(3, 8), b=nn.Linear(8, 9), c=nn.Linear(9, 64))
    z = latents(3)
    wanted = torch.sigmoid(saved["c"](torch.tanh(saved["b"](F.silu(saved["a"](z)))))).view(-1, 1, 8, 8)
    for names in ("silu,tanh", ["silu", "tanh"]):
        assert torch.equal(read(MLP, saved.state_dict(), activation=names)(z), wanted)


def test_batch_norm_stays_in_evaluation_mode() -> None:
    module = MLP(**MLP.example()).train()
    z = latents(4)
    before = {key: value.clone() for key, value in module.state_dict().items()}
    assert torch.equal(module(z), module.eval()(z)) and torch.allclose(module(z)[:1], module(z[:1]), atol=1e-6)
    assert all(torch.equal(value, before[key]) for key, value in module.state_dict().items())
    assert any(isinstance(part, FixedNorm) for part in module.modules())


# Convolutional


def test_dcgan_of_the_widespread_layout() -> None:
    """`main.0` to `main.12`: 64 px, three channels; sorted by safetensors, `main.10` comes before `main.3`."""
    widths, layers = (20, 16, 12, 8, 4), list[nn.Module]()
    for i, (into, out) in enumerate(pairwise(widths)):
        up = nn.ConvTranspose2d(into, out, 4, 2 if i else 1, 1 if i else 0, bias=False)
        layers += [up, nn.BatchNorm2d(out), nn.ReLU(True)]
    saved = named(main=nn.Sequential(*layers, nn.ConvTranspose2d(4, 3, 4, 2, 1, bias=False), nn.Tanh()))
    z = latents(20)
    for weights in scrambled(saved.state_dict()):
        module = read(Deconv, weights)
        assert torch.equal(module(z), (saved["main"](z[:, :, None, None]) + 1) / 2)
        assert module.latent_dim == 20 and module.image_shape == (3, 64, 64)


@pytest.mark.parametrize("which", range(3))
def test_linear_layers_then_transposed_and_plain_convolutions(which: int) -> None:
    saved = named(
        fc1=nn.Linear(5, 12), fc2=nn.Linear(12, 8 * 9), norm=nn.BatchNorm2d(8), up1=nn.ConvTranspose2d(8, 6, 2, 2),
        conv1=nn.Conv2d(6, 6, 5, padding=2), up2=nn.ConvTranspose2d(6, 4, 6, 2, 2), conv2=nn.Conv2d(4, 1, 1),
    )  # fmt: skip
    z = latents(5)
    x = F.gelu(saved["norm"](saved["fc2"](F.gelu(saved["fc1"](z))).view(-1, 8, 3, 3)))
    x = F.gelu(saved["up2"](F.gelu(saved["conv1"](F.gelu(saved["up1"](x))))))
    module = read(Deconv, scrambled(saved.state_dict())[which], activation="gelu", output="sigmoid")
    assert torch.equal(module(z), torch.sigmoid(saved["conv2"](x))) and module.image_shape == (1, 12, 12)


@pytest.mark.parametrize("bias", [True, False])
def test_odd_transposed_convolutions_double_the_sides(bias: bool) -> None:
    ups = [nn.ConvTranspose2d(8, 4, 5, 2, 2, 1, bias=bias), nn.ConvTranspose2d(4, 3, 3, 2, 1, 1, bias=bias)]
    saved = named(fc=nn.Linear(6, 8 * 16), up=nn.Sequential(*ups))
    z = latents(6)
    wanted = torch.sigmoid(ups[1](F.relu(ups[0](F.relu(saved["fc"](z)).view(-1, 8, 4, 4)))))
    assert torch.equal(read(Deconv, saved.state_dict(), output="sigmoid")(z), wanted) and wanted.shape[-1] == 16


def test_strides_paddings_and_view_can_be_said() -> None:
    ups = [nn.ConvTranspose2d(10, 8, 3, 2), nn.ConvTranspose2d(8, 4, 4, 1), nn.ConvTranspose2d(4, 1, 4, 2)]
    saved = named(gen=nn.Sequential(ups[0], nn.ReLU(), ups[1], nn.ReLU(), ups[2]))
    z = latents(10)
    module = read(Deconv, saved.state_dict(), strides="2,1,2", paddings=0)
    assert torch.equal(module(z), (torch.tanh(saved["gen"](z[:, :, None, None])) + 1) / 2)
    wide = named(fc=nn.Linear(4, 8 * 6), up=nn.ConvTranspose2d(8, 1, 4, 2, 1))
    with pytest.raises(BadOption, match=r"expected 8 channels.*and 48 values in all.*--argument view=8xHEIGHTxWIDTH"):
        read(Deconv, wide.state_dict())
    module = read(Deconv, wide.state_dict(), view="8x2x3", output="sigmoid")
    z = latents(4)
    assert torch.equal(module(z), torch.sigmoid(wide["up"](F.relu(wide["fc"](z)).view(-1, 8, 2, 3))))


def test_a_square_odd_kernel_is_transposed_where_its_name_or_the_user_says_so() -> None:
    saved = named(
        fc=nn.Linear(4, 64), deconv1=nn.ConvTranspose2d(4, 4, 3, 2, 1, 1), deconv2=nn.ConvTranspose2d(4, 1, 4, 2, 1)
    )
    z = latents(4)
    x = F.relu(saved["deconv1"](F.relu(saved["fc"](z)).view(-1, 4, 4, 4)))
    assert torch.equal(read(Deconv, saved.state_dict(), output="sigmoid")(z), torch.sigmoid(saved["deconv2"](x)))
    weights = {key.replace("deconv", "layer"): value for key, value in saved.state_dict().items()}
    assert read(Deconv, weights).image_shape == (1, 8, 8)
    turned = read(Deconv, weights, transposed="layer1", strides=2, output="sigmoid")
    assert torch.equal(turned(z), torch.sigmoid(saved["deconv2"](x)))


# What is not recognised


def linears(*sizes: tuple[str, int, int]) -> Shapes:
    return {f"{name}.{key}": shape for name, i, o in sizes for key, shape in (("weight", (o, i)), ("bias", (o,)))}


REFUSED: dict[str, Shapes] = {
    "a classifier": linears(("fc1", 784, 100), ("fc2", 100, 10)),
    "an autoencoder": linears(("fc1", 784, 20), ("fc2", 20, 784)),
    "a whole VAE": linears(("fc1", 784, 40), ("fc21", 40, 9), ("fc22", 40, 9), ("fc3", 9, 40), ("fc4", 40, 784)),
    "one layer": linears(("fc", 9, 784)),
    "two orders": linears(("b", 9, 9), ("a", 9, 9), ("in", 5, 9), ("out", 9, 784)),
    "a discriminator": {f"main.{i}.weight": (o, c, 4, 4) for i, (c, o) in enumerate([(3, 8), (8, 16), (16, 1)])},
    "nearest upsampling": {**linears(("fc", 9, 128)), "a.0.weight": (8, 8, 3, 3), "a.3.weight": (3, 8, 3, 3)},
    "square odd kernels": {
        **linears(("fc", 9, 128)), "a.0.weight": (8, 4, 3, 3), "a.2.weight": (4, 4, 3, 3), "a.4.weight": (4, 3, 4, 4)
    },
    "a tensor of no layer": {**linears(("fc1", 9, 40), ("fc2", 40, 784)), "w_avg": (9,)},
    "a group norm": {**linears(("fc", 9, 128)), "n.weight": (8,), "n.bias": (8,), "up.weight": (8, 3, 4, 4)},
    "weights without a name": {"weight": (784, 9), "bias": (784,)},
    "empty tensors": linears(("fc1", 9, 0), ("fc2", 0, 784)),
    "a norm of no layer's size": {
        **linears(("fc1", 9, 40), ("fc2", 40, 784)), "bn.running_mean": (7,), "bn.running_var": (7,)
    },
    "an endless chain": linears(*[(f"l{i}", 9 + i, 10 + i) for i in range(2000)]),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_what_shapes_cannot_tell_is_not_recognised(what: str) -> None:
    assert recognised(REFUSED[what]) == []


def test_a_search_among_many_orders_ends() -> None:
    squares = {f"{stem}{i}.weight": (8, 8) for stem in "abcdef" for i in range(9)}
    assert network({**squares, "z.weight": (7, 9)}) is None


# What is said wrong


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"activation": "rellu"}, r'unknown activation "rellu".*Did you mean "relu"'),
        ({"activation": "relu,relu,relu"}, r"activation names 3; expected 1, or one for each of the 2 layers"),
        ({"activation": [["relu"]]}, "unknown activation"),
        ({"output": "softmax"}, r'unknown output "softmax"; expected one of clip, sigmoid, tanh'),
        ({"norm": "inside"}, "unknown place of the norms"),
        ({"slope": "steep"}, r"slope is 'steep'; expected a number above 0"),
        ({"eps": 0}, r"eps is 0; expected a number above 0"),
        ({"image_shape": "3x8x9"}, r"expected 192 values.*--argument image_shape=CHANNELSxHEIGHTxWIDTH"),
        ({"image_shape": "wide"}, r"image_shape is 'wide'; expected 3 whole numbers from 1"),
        ({"keys": "net.0,net.6"}, r"are no chain; expected each to take.*--argument keys=NAME,NAME"),
        ({"keys": "decoder"}, r'keys names "decoder", but no weights lie under it; the file has net'),
        ({"keys": 5}, r'keys names "5", but no weights'),
        ({"keys": 0}, r'keys names "0", but no weights'),
        ({"layers": []}, "the layers none are no chain"),
        ({"layers": [{"name": "a"}]}, r"layer \{'name': 'a'\} cannot be read"),
        ({"layers": [{"name": "a", "kind": "linear", "into": -1, "out": 2}]}, "cannot be read"),
        ({"layers": [{"name": "a..b", "kind": "linear", "into": 1, "out": 2}]}, "cannot be read"),
        (
            {"layers": [{"name": "forward", "kind": "linear", "into": 4, "out": 192}]},
            "which a torch module cannot have",
        ),
        ({"layers": [{"name": "a", "kind": "conv", "into": 4, "out": 192}]}, r'layer "a" is conv; expected linear'),
    ],
)
def test_wrong_arguments_are_errors_that_say_what_to_do(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises((BadOption, UnknownName), match=message):
        MLP(**{**MLP.example(), **arguments})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"strides": "2,2"}, r"strides is '2,2'; expected 4 whole numbers from 1"),
        ({"strides": [1, 2, 2, 0]}, "expected 4 whole numbers from 1"),
        ({"strides": [1, 2, 1.5, 2]}, "expected 4 whole numbers from 1"),
        ({"paddings": [3, 1, 1, 0]}, r'"main.0" with stride 1, padding 3, output padding 0 makes -2 px of 1'),
        ({"output_paddings": [1, 0, 0, 0]}, "an output padding below the stride"),
        ({"view": "5x2x2"}, r'view is 5x2x2; expected 5 channels, as "main.0" takes, and 5 values in all'),
        ({"transposed": "main.7"}, "no weights lie under it"),
        ({"layers": [{"name": "a", "kind": "linear", "into": 4, "out": 192}]}, "no convolution among the layers"),
    ],
)
def test_wrong_sizes_are_errors_that_say_what_to_do(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(BadOption, match=message):
        Deconv(**{**Deconv.example(), **arguments})


def test_an_image_of_unusual_width_is_asked_for() -> None:
    saved = named(a=nn.Linear(3, 8), b=nn.Linear(8, 80))
    with pytest.raises(BadOption, match="image_shape is None; expected 80 values"):
        read(MLP, saved.state_dict())
    assert read(MLP, saved.state_dict(), image_shape="1x8x10").image_shape == (1, 8, 10)


def test_layers_survive_json() -> None:
    for layer in (
        Layer("a", "linear", 3, 4, bias=False),
        Layer("b", "batch-norm", 3, 3, counter=()),
        Layer("c", "conv", 1, 2, 3),
    ):
        assert Layer.from_json(layer.to_json()) == layer


# Several latent layers


def test_hierarchical_decoder_is_the_ladder_written_out() -> None:
    module = settled(HierarchicalDecoder(**HierarchicalDecoder.example(), activation="elu"))
    w = module.state_dict()
    z = latents(module.latent_dim)
    top, first, second = z[:, :3], z[:, 3:11].view(-1, 2, 2, 2), z[:, 11:].view(-1, 1, 4, 4)
    h = F.elu(F.linear(top, w["top.weight"], w["top.bias"])).view(-1, 6, 2, 2)
    for i, eps in enumerate((first, second)):
        mean, log_variance = (
            F.conv2d(h, w[f"levels.{i}.{k}.weight"], w[f"levels.{i}.{k}.bias"]) for k in ("mean", "log_variance")
        )
        mixed = torch.cat([h, mean + torch.exp(log_variance / 2) * eps], dim=1)
        mixed = F.conv2d(mixed, w[f"levels.{i}.mix.weight"], w[f"levels.{i}.mix.bias"], padding=1)
        h = F.elu(mixed).repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    wanted = torch.sigmoid(F.conv2d(h, w["out.weight"], w["out.bias"], padding=1))
    assert torch.equal(module(z), wanted)


@pytest.mark.parametrize(("levels", "width"), [(2, 27), (1, 11), (0, 3)])
def test_levels_that_are_not_free_stay_at_their_mean(levels: int, width: int) -> None:
    whole = settled(HierarchicalDecoder(**HierarchicalDecoder.example()))
    part = read(HierarchicalDecoder, whole.state_dict(), levels=levels)
    assert part.latent_dim == width
    z = latents(width)
    assert torch.equal(part(z), whole(F.pad(z, (0, 27 - width))))
    with pytest.raises(BadOption, match=r"0\.\.2 free"):
        read(HierarchicalDecoder, whole.state_dict(), levels=3)


# Labels


class Net(nn.Module):
    """A foreign conditional module, with a buffer and a parameter of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.fc, self.scale = nn.Linear(7, 64), nn.Parameter(torch.ones(1))
        self.register_buffer("shift", torch.zeros(64))
        self.norm = nn.BatchNorm1d(64)

    def forward(self, noise: Tensor, one_hot: Tensor) -> Tensor:
        rows = self.norm(self.fc(torch.cat([noise, one_hot], dim=1))) * self.scale + self.shift
        return torch.sigmoid(rows).view(-1, 1, 8, 8)


class ByNumber(Net):
    def forward(self, noise: Tensor, one_hot: Tensor) -> Tensor:
        assert one_hot.dtype == torch.long
        return super().forward(noise, F.one_hot(one_hot, 3).float())


@pytest.mark.parametrize(("label", "width"), [(1, 4), ("1", 4), ("drawn", 5), ("latent", 7)])
def test_a_conditional_module_becomes_a_generator_of_flat_latents(label: Any, width: int) -> None:
    inner = Net()
    module = conditional(inner, 4, 3, label=label)
    assert module.latent_dim == width and module.state_dict().keys() == Net().state_dict().keys()
    generator = from_module("net", module, module.latent_dim)
    assert not inner.training
    check_generator(generator)
    few_steps(generator)
    z = latents(width, 2000)
    truth = module.truth(z)
    assert truth.dtype == torch.bool and truth.shape == (2000, 3) and bool((truth.sum(1) == 1).all())
    shares = truth.double().mean(0)
    wanted = torch.tensor([0.0, 1.0, 0.0] if width == 4 else [1 / 3] * 3, dtype=torch.float64)
    assert torch.allclose(shares, wanted, atol=0.04)
    hard = inner(z[:, :4], truth.float())
    same = (module(z) - hard).abs().amax(dim=(1, 2, 3)) < 1e-6
    sizes = ({0: torch.export.Dim("n", min=1, max=64)},)
    program = torch.export.export(module, (z[:3],), dynamic_shapes=sizes)
    assert torch.allclose(program.module()(z[:5]), module(z[:5]), atol=1e-6)
    assert module.double()(z.double()).dtype == torch.float64
    assert bool(same.all()) if label != "latent" else 0.05 < float(same.float().mean()) < 1


def test_a_latent_label_passes_gradients_and_hardens_as_it_cools() -> None:
    inner = Net().eval()
    z = latents(7, 200).requires_grad_()
    gradient = torch.autograd.grad(conditional(inner, 4, 3, label="latent", temperature=1)(z).sum(), z)[0]
    assert bool((gradient[:, 4:] != 0).any(dim=1).all())
    gaps = []
    for temperature in (1.0, 0.1, 0.001):
        module = conditional(inner, 4, 3, label="latent", temperature=temperature)
        gaps.append(float((module(z) - inner(z[:, :4], module.truth(z).float())).abs().mean().detach()))
    assert gaps[0] > gaps[1] > gaps[2] and gaps[2] < 1e-3


def test_class_numbers_are_given_to_modules_that_take_them() -> None:
    inner, z = ByNumber().eval(), latents(5, 50)
    by_number, by_row = conditional(inner, 4, 3, takes="index"), conditional(Net().eval(), 4, 3)
    by_row.load_state_dict(inner.state_dict())
    assert torch.equal(by_number(z), by_row(z))
    far = torch.tensor([[0.0] * 4 + [40.0], [0.0] * 4 + [-40.0]])
    assert by_row.truth(far).tolist() == [[False, False, True], [True, False, False]]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"label": "random"}, r'unknown label "random"'),
        ({"label": 3}, r"label is 3; expected drawn, latent or 0\.\.2"),
        ({"label": 0.5}, "expected drawn, latent or"),
        ({"temperature": 0}, "temperature is 0; expected a number above 0"),
        ({"takes": "embedding"}, "unknown kind of labels"),
        ({"takes": "index", "label": "latent"}, "which have no gradient"),
    ],
)
def test_wrong_labels_are_errors(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises((BadOption, UnknownName), match=message):
        conditional(Net(), 4, 3, **arguments)


def test_conditional_gan_of_the_widespread_layout() -> None:
    """`label_emb` and `model.0` to `model.7`, batch norm with eps 0.8 from the second layer on."""
    leaky = nn.LeakyReLU(0.2)
    layers = [nn.Linear(15, 16), leaky, nn.Linear(16, 24), nn.BatchNorm1d(24, 0.8), leaky]
    layers += [nn.Linear(24, 32), nn.BatchNorm1d(32, 0.8), leaky, nn.Linear(32, 144), nn.Tanh()]
    saved = named(label_emb=nn.Embedding(5, 5), model=nn.Sequential(*layers))
    z, labels = latents(10), torch.tensor([3, 0, 4, 1, 2])
    images = (saved["model"](torch.cat([saved["label_emb"](labels), z], dim=1)).view(-1, 1, 12, 12) + 1) / 2
    for weights in scrambled(saved.state_dict()):
        coordinate = torch.special.ndtri((labels.double() + 0.5) / 5).float()[:, None]
        drawn = read(ConditionalMLP, weights)
        assert drawn.latent_dim == 11 and drawn.truth(torch.cat([z, coordinate], dim=1)).long().argmax(1).equal(labels)
        assert torch.allclose(drawn(torch.cat([z, coordinate], dim=1)), images, atol=1e-6)
        latent = read(ConditionalMLP, weights, label="latent")
        assert torch.allclose(latent(torch.cat([z, 50.0 * F.one_hot(labels, 5)], dim=1)), images, atol=1e-6)
        fixed = read(ConditionalMLP, weights, label=4)
        assert torch.allclose(fixed(z)[2], images[2], atol=1e-6)
    last = read(ConditionalMLP, saved.state_dict(), labels_first=False, label=4)
    swapped = torch.cat([z, saved["label_emb"](torch.full((5,), 4))], dim=1)
    assert torch.allclose(last(z), (saved["model"](swapped).view(-1, 1, 12, 12) + 1) / 2, atol=1e-6)


def test_the_place_of_the_label_is_true_or_false() -> None:
    with pytest.raises(BadOption, match="labels_first is 'no'; expected true or false"):
        ConditionalMLP(**ConditionalMLP.example(), labels_first="no")  # type: ignore[arg-type]


# All of them unlearn


@pytest.mark.parametrize("name", ["mlp", "conditional-mlp", "deconv", "hierarchical-vae"])
def test_distillation_trains_the_family(name: str) -> None:
    family = resolve("generator family", GENERATORS, name)
    module = settled(family(**family.example()))
    records = few_steps(from_module(name, module, module.latent_dim))
    assert len(records) == 3 and records[-1].distance is not None


# Public checkpoints


def asset(name: str, keys: str = "") -> dict[str, Tensor]:
    if not (assets := os.environ.get("UNFEATURE_ASSETS")):
        pytest.skip(f"UNFEATURE_ASSETS does not name the folder with generators/{name}.safetensors")
    weights = safetensors.torch.load_file(Path(assets) / "generators" / f"{name}.safetensors")
    return {key: weights[key] for key in picked_shapes(shapes_of(weights), keys)}


def batch_norm(x: Tensor, w: dict[str, Tensor], name: str) -> Tensor:
    mean, var, weight, bias = (w[f"{name}.{key}"] for key in ("running_mean", "running_var", "weight", "bias"))
    return F.batch_norm(x, mean, var, weight, bias)


def unlearns(name: str, module: Any) -> None:
    generator = from_module(name, module, module.latent_dim)
    check_generator(generator)
    few_steps(generator)


def drawn(d: int) -> Tensor:
    return from_module("z", nn.Linear(1, 1), d).sample_latents(stream("test", 0, 0, 8))


def test_mnist_vae20() -> None:
    assert recognised(shapes_of(asset("mnist_vae20"))) == []  # an encoder lies beside the decoder
    w, z = asset("mnist_vae20", "fc3,fc4"), drawn(20)
    module = read(MLP, w)
    hidden = F.relu(F.linear(z, w["fc3.weight"], w["fc3.bias"]))
    wanted = torch.sigmoid(F.linear(hidden, w["fc4.weight"], w["fc4.bias"])).view(-1, 1, 28, 28)
    assert torch.equal(module(z), wanted)
    unlearns("mnist_vae20", module)


def test_mnist_dcgan64() -> None:
    w, z = asset("mnist_dcgan64"), drawn(100)
    assert recognised(shapes_of(w)) == ["deconv"]
    x = z[:, :, None, None]
    for i in range(1, 6):
        stride, padding = (1, 0) if i == 1 else (2, 1)
        x = F.conv_transpose2d(x, w[f"deconv{i}.weight"], w[f"deconv{i}.bias"], stride, padding)
        x = torch.tanh(x) if i == 5 else F.relu(batch_norm(x, w, f"deconv{i}_bn"))
    module = read(Deconv, w)
    assert torch.equal(module(z), (x + 1) / 2) and module.image_shape == (1, 64, 64)
    unlearns("mnist_dcgan64", module)


@pytest.mark.parametrize("keys", ["d1,d2,bn6,d3,bn7,d4,bn8,d5", "bn6,bn7,bn8,d1,d2,d3,d4,d5"])
def test_face_vae64(keys: str) -> None:
    assert recognised(shapes_of(asset("face_vae64"))) == []
    w, z = asset("face_vae64", keys), drawn(32)
    assert recognised(shapes_of(w)) == ["deconv"]
    x = F.elu(F.linear(z, w["d1.weight"], w["d1.bias"])).view(-1, 64, 4, 4)
    for up, norm in (("d2", "bn6"), ("d3", "bn7"), ("d4", "bn8")):
        x = F.conv_transpose2d(x, w[f"{up}.weight"], w[f"{up}.bias"], 2, 1)
        x = F.leaky_relu(batch_norm(x, w, norm), 0.2)
    wanted = torch.sigmoid(F.conv_transpose2d(x, w["d5.weight"], w["d5.bias"], 2, 1))
    module = read(Deconv, w, activation="elu,leaky-relu,leaky-relu,leaky-relu", output="sigmoid")
    assert torch.equal(module(z), wanted)
    unlearns("face_vae64", module)


@pytest.mark.parametrize("name", ["face_gan36", "face_cvae40"])
def test_checkpoints_that_need_code_are_not_recognised(name: str) -> None:
    assert recognised(shapes_of(asset(name))) == []
