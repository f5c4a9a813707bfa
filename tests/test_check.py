"""`unfeature check`: every fault of a foreign generator is told in plain words with what to do, all at once."""

from __future__ import annotations

import re
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Command
from PIL import Image

from unfeature.errors import BadOption
from unfeature.generators.module import from_module
from unfeature.testing import culprits, findings
from unfeature.workflow import check

ROOT = Path(__file__).parent.parent
TEMPLATE = ROOT / "examples" / "my_generator.py"

HEAD = """
import torch, unfeature
import torch.nn.functional as F
from torch import nn
from unfeature.generators.module import ModuleGenerator

def net(last=None, d=4, c=1, between=None):
    torch.manual_seed(0)
    middle = [] if between is None else [between]
    sides = [nn.Linear(d, 32), nn.ReLU(), *middle, nn.Linear(32, c * 64)]
    return nn.Sequential(*sides, last or nn.Sigmoid(), nn.Unflatten(1, (c, 8, 8)))

class Then(nn.Module):
    def __init__(self, then, **more):
        super().__init__()
        self.net, self.then = net(**more), then
    def forward(self, z):
        return self.then(self.net(z))

def made(module, d=4):
    return unfeature.from_module("x", module, d)

def trains(module):
    generator = made(module)
    generator.module.train()
    return generator

class Mix(nn.Module):
    def forward(self, x):
        return x - x.mean(0)

class Chance(nn.Module):
    def forward(self, x):
        return x + torch.randn_like(x)

class Frozen(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = net()
    @torch.no_grad()
    def forward(self, z):
        return self.net(z)

class InPlace(Frozen):
    def forward(self, z):
        z *= 2
        return self.net(z)

class Unseeded(ModuleGenerator):
    def sample_latents(self, seeds):
        return torch.randn(len(seeds), 4)

class Constant(ModuleGenerator):
    def sample_latents(self, seeds):
        return torch.zeros(len(seeds), 4)

class Listed(ModuleGenerator):
    def sample_latents(self, seeds):
        return [0.0] * len(seeds)

class Sharing(ModuleGenerator):
    def copy(self):
        return Sharing("x", self.module, 4)

class NoCopy(ModuleGenerator):
    def copy(self):
        raise RuntimeError("cannot")

class NoSpec(ModuleGenerator):
    @property
    def spec(self):
        raise KeyError("name")

class OnlyMany(ModuleGenerator):
    def sample_latents(self, seeds):
        if len(seeds) == 1:
            raise IndexError("one seed")
        return super().sample_latents(seeds)

def poisoned(generator):
    with torch.no_grad():
        generator.module[0].weight[0, 0] = float("nan")
    return generator

def load():
    return """

FAULTS: dict[str, tuple[str, tuple[str, ...]]] = {
    "tanh": ("made(net(nn.Tanh()))", ("values from -0.", "expected [0, 1]", "`(images + 1) / 2`")),
    "bytes": ("made(Then(lambda x: x * 255))", ("expected [0, 1]", "`images / 255`")),
    "scores": ("made(Then(lambda x: 20 * x - 10))", ("expected [0, 1]", "`images.sigmoid()`")),
    "a little beyond": ("made(Then(lambda x: 2 * x - 0.5))", ("expected [0, 1]", "clamp(0, 1)")),
    "flat": ("made(nn.Sequential(nn.Linear(4, 192), nn.Sigmoid()))", ("(6, 192)", "`images.view(-1, 3, 8, 8)`")),
    "flat, odd": ("made(nn.Sequential(nn.Linear(4, 10), nn.Sigmoid()))", ("(6, 10)", "images.view(-1, CHANNELS")),
    "no channel": ("made(Then(lambda x: x[:, 0]))", ("(6, 8, 8)", "`images.unsqueeze(1)`")),
    "too many dimensions": ("made(Then(lambda x: x[:, None]))", ("(6, 1, 1, 8, 8)", "`images[:, 0]`")),
    "a number": ("made(Then(lambda x: x.mean()))", ("shape ()", "not their mean")),
    "channels last": ("made(Then(lambda x: x.permute(0, 2, 3, 1), c=3))", ("last", "images.permute(0, 3, 1, 2)")),
    "two channels": ("made(net(c=2))", ("1 or 3 channels", "grey or RGB")),
    "fewer rows": ("made(Then(lambda x: x[1:] if len(x) > 1 else x))", ("(5, 1, 8, 8)", "one picture a latent")),
    "one row": ("made(Then(lambda x: x[:1]))", ("(1, 1, 8, 8)", "one picture a latent")),
    "half module": ("made(net().half())", ("It computes in float16", "call `.float()` on the module")),
    "double module": ("made(net().double())", ("It computes in float64", "call `.float()` on the module")),
    "half": ("made(Then(lambda x: x.half()))", ("torch.float16", "`.float()`")),
    "whole numbers": ("made(Then(lambda x: (255 * x).byte()))", ("torch.uint8", "images / 255", "no gradient")),
    "batch norm trains": (
        "trains(net(between=nn.BatchNorm1d(32)))",
        ('batch norm "2" is in training', "module.eval()"),
    ),
    "batch norm without statistics": (
        "made(net(between=nn.BatchNorm1d(32, track_running_stats=False)))",
        ('"2" keeps no running statistics', "group or instance norm"),
    ),
    "a layer mixes": ("made(net(between=Mix()))", ("rest of its batch", 'layer "2" (Mix)', "row by row")),
    "forward mixes": ("made(Then(lambda x: x / x.max()))", ("rest of its batch", "dim=(1, 2, 3)")),
    "one at a time fails": ("made(Then(lambda x: x.squeeze(0)))", ("one at a time", "squeeze()")),
    "dropout trains": ("trains(net(between=nn.Dropout()))", ('dropout "2" is in training', "module.eval()")),
    "functional dropout": (
        "made(Then(lambda x: F.dropout(x) / 2))",
        ("two results", "F.dropout", "training=self.training"),
    ),
    "a layer draws": ("made(net(between=Chance()))", ("two results", 'layer "2" (Chance)', "fixed buffer")),
    "threshold": ("made(Then(lambda x: (x > 0.5).float()))", ("no gradient", "comparison")),
    "detached": ("made(Then(lambda x: x.detach()))", ("no gradient", 'after layer "net.4" (Unflatten)', "detach")),
    "no_grad": ("made(Frozen())", ("no gradient", "torch.no_grad", 'layer "net.0" (Linear)')),
    "numpy": ("made(Then(lambda x: torch.from_numpy(x.numpy())))", ("no gradient", "RuntimeError", "Stay in torch")),
    "rounded": ("made(Then(lambda x: (8 * x).round() / 8))", ("0 everywhere", "round")),
    "steep": ("made(Then(lambda x: x + (x * 0).sqrt()))", ("NaN or infinite", "sqrt")),
    "latents unused": ("made(Then(lambda x: 0 * x + 0.5))", ("all 6 pictures are the same", "weights are loaded")),
    "in place": ("made(InPlace())", ("changed the latents", "latents * 2")),
    "NaN weights": ("poisoned(made(net()))", ('NaN or infinite values in weight "0.weight"', "another checkpoint")),
    "NaN pictures": ("made(Then(lambda x: (x - 0.6).log()))", ("gave NaN", "log")),
    "no weights": ("Unseeded('x', nn.Sigmoid(), 4)", ("no parameters", "nothing to train")),
    "unseeded": ("Unseeded('x', net(), 4)", ("more than seeds[i]", "normal_rows")),
    "one latent for all": ("Constant('x', net(), 4)", ("same latent for every seed", "normal_rows")),
    "latents in a list": ("Listed('x', net(), 4)", ("gave a list", "normal_rows")),
    "latents of one seed fail": ("OnlyMany('x', net(), 4)", ("could not go on: IndexError: one seed", "Mend")),
    "copy shares": ("Sharing('x', net(), 4)", ("shares weights", "deepcopy")),
    "copy fails": ("NoCopy('x', net(), 4)", ("copy failed: RuntimeError: cannot", "deepcopy")),
    "spec fails": ("NoSpec('x', net(), 4)", ("spec cannot be made: KeyError", "Mend the `spec`")),
    "a bare module": ("net(nn.Tanh())", ("type Sequential", "latent_dim=4)", "(images + 1) / 2")),
    "a bare module of unknown width": (
        "nn.Sequential(nn.Flatten(), nn.LazyLinear(4))",
        ("type Sequential", "LATENT_DIM"),
    ),
    "a class": ("Then", ("the class Then", "from_module")),
    "nothing": ("None", ("type NoneType", "from_module")),
    "several images": ("made(Then(lambda x: (x, x)))", ("returns a tuple", "images[0]")),
    "another width": ("made(net(), 5)", ("latents (6, 5)", "takes 4 numbers")),
    "latents as pictures": (
        "made(nn.Sequential(nn.ConvTranspose2d(4, 1, 8), nn.Sigmoid()))",
        ("no picture comes out", "`latents[:, :, None, None]`"),
    ),
}
"""What `load` returns, and words of what is told."""


@pytest.fixture
def loads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A file whose `load` returns an expression of the faults above."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))

    def write(expression: str) -> str:
        (tmp_path / "own.py").write_text(f"{HEAD}{expression}\n")
        return "own.py:load"

    return write


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_told_with_what_to_do(fault: str, loads, command: Command) -> None:
    expression, words = FAULTS[fault]
    said = command("check", loads(expression))
    assert said.code == 2
    for word in words:
        assert word in said.out, said.out
    assert "conforms" not in said.out
    assert said.err.startswith("NotConforming: own.py:load breaks")
    assert "unfeature check own.py:load" in said.err
    assert "Traceback" not in said.out + said.err


def test_all_faults_are_told_at_once(loads, command: Command) -> None:
    said = command(
        "check", loads("trains(Then(lambda x: 2 * x.detach().permute(0, 2, 3, 1), c=3, between=nn.Dropout()))")
    )
    assert said.code == 2
    for word in ("dropout", "channels come last", "expected [0, 1]", "no gradient"):
        assert word in said.out
    assert re.findall(r"^ (\d)\.", said.out, re.MULTILINE) == ["1", "2", "3", "4"]
    assert "breaks 4 promises" in said.err


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("__import__('sys').exit('bye')", ("SystemExit", "bye", "Mend the function")),
        ("1 / 0", ("ZeroDivisionError", "division by zero", "in line", "Mend the function")),
        ("made(poisoned(made(net())).module)", ("BadCheckpoint", "NaN")),
        ("no_such_name()", ("NameError", "no_such_name")),
    ],
)
def test_a_function_that_raises_is_one_sentence(
    expression: str, words: tuple[str, ...], loads, command: Command
) -> None:
    said = command("check", loads(expression))
    assert said.code == 2
    assert len(said.err.strip().splitlines()) == 1
    for word in words:
        assert word in said.err


def test_the_line_that_failed_is_named(tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "early.py").write_text("x = 1\ny = x / 0\n")
    assert "early.py could not be run in line 2: ZeroDivisionError" in command("check", "early.py:load").err


def test_code_beside_the_file_can_be_imported(loads, tmp_path: Path, command: Command) -> None:
    (tmp_path / "code_beside.py").write_text(
        "from torch import nn\ndef beside():\n"
        "    return nn.Sequential(nn.Linear(4, 64), nn.Sigmoid(), nn.Unflatten(1, (1, 8, 8)))\n"
    )
    said = command("check", loads("made(__import__('code_beside').beside())"))
    assert said.code == 0, said.err


def test_what_conforms_is_described_with_the_next_command(command: Command, tmp_path: Path) -> None:
    sheet = tmp_path / "sheet.png"
    said = command("check", "mnist-vae", "--sheet", sheet)
    assert said.code == 0
    for word in ("mnist-vae conforms", "12 numbers", "1x28x28", "480,884", "pictures a second", "CC BY-SA", str(sheet)):
        assert word in said.out
    assert "unfeature sample runs/mnist-vae --generator mnist-vae\n" in said.out
    with Image.open(sheet) as picture:
        assert np.asarray(picture).std() > 10


def test_weights_given_apart_are_checked_and_named(loads, tmp_path: Path, command: Command) -> None:
    reference = loads("made(net())")
    import safetensors.torch

    from unfeature.plugins import call_object

    weights = {key: value + 1 for key, value in call_object(reference).module.state_dict().items()}
    safetensors.torch.save_file(weights, tmp_path / "own weights.safetensors")
    said = command("check", reference, "--weights", "own weights.safetensors")
    assert said.code == 0
    assert "--generator own.py:load --weights 'own weights.safetensors'" in said.out


def test_arguments_are_given_and_named(command: Command) -> None:
    said = command("check", "mnist-vae", "--argument", "nonsense=1")
    assert said.code == 2 and "nonsense" in said.err


def test_the_template_is_short_and_conforms(command: Command) -> None:
    assert len(TEMPLATE.read_text(encoding="utf-8").splitlines()) <= 30
    said = command("check", f"{TEMPLATE}:load")
    assert said.code == 0, said.out


def test_checking_changes_nothing() -> None:
    module = torch.nn.Sequential(torch.nn.Linear(4, 9), torch.nn.BatchNorm1d(9), torch.nn.Sigmoid())
    generator = from_module("x", torch.nn.Sequential(module, torch.nn.Unflatten(1, (1, 3, 3))), 4)
    generator.module.train()
    before = {key: value.clone() for key, value in generator.module.state_dict().items()}
    assert [finding.wrong[:10] for finding in findings(generator)] == ["batch norm"]
    assert all(part.training for part in generator.module.modules())
    assert all(torch.equal(before[key], value) for key, value in generator.module.state_dict().items())
    assert all(parameter.requires_grad and parameter.grad is None for parameter in generator.module.parameters())


def test_a_frozen_generator_conforms(loads, command: Command) -> None:
    assert command("check", loads("made(net().requires_grad_(False))")).code == 0


def test_torchscript_is_refused_with_what_to_give_instead() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # torch would rather have none of them
        scripted = torch.jit.trace(torch.nn.Linear(4, 4), torch.zeros(1, 4))
    with pytest.raises(BadOption, match=r"is a TorchScript module, .*weights=FILE"):
        from_module("x", scripted, 4)


def test_facts_come_from_the_generator_itself() -> None:
    checked = check(f"{TEMPLATE}:load")
    assert checked.findings == ()
    assert checked.facts is not None
    assert (checked.facts.spec.latent_dim, checked.facts.spec.image_shape) == (64, (3, 16, 16))
    assert checked.facts.parameters == 64 * 128 + 128 + 128 * 768 + 768
    assert checked.facts.pictures_per_second > 10 and checked.facts.unlearning > 0


def test_many_layers_are_counted_not_listed() -> None:
    norms = torch.nn.Sequential(*(torch.nn.BatchNorm1d(4, track_running_stats=False) for _ in range(5)))
    assert culprits.without_statistics(norms) == '"0", "1", "2" and 2 more'
