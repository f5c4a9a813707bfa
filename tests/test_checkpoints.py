"""Checkpoints of others: any format and wrapping is read, what was found is said, and the file can be written again."""

from __future__ import annotations

import hashlib
import io
import json
import os
import pickle
import subprocess
import sys
import textwrap
import time
import types
import warnings
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from conftest import Command
from torch import Tensor, nn

from unfeature import from_module, generators, load_generator
from unfeature.errors import BadCheckpoint, BadFile, BadOption, UnknownName
from unfeature.generators.checkpoints import is_checkpoint, open_checkpoint, openings, rewritten
from unfeature.generators.exporting import form_of, original_format
from unfeature.generators.filling import fill
from unfeature.generators.loading import checkpoint_bytes
from unfeature.generators.module import Source
from unfeature.generators.safetensors_files import read_safetensors, to_safetensors
from unfeature.store import Run
from unfeature.tables import resolve
from unfeature.testing.tiny import TinyModule
from unfeature.workflow import find, mark, sample
from unfeature.workflow.inputs import the_generator


class Net(nn.Module):
    """A decoder with a batch norm: (n, 4) -> (n, 1, 8, 8)."""

    def __init__(self, width: int = 6) -> None:
        super().__init__()
        self.latent_dim = 4
        self.fc = nn.Linear(4, width)
        self.bn = nn.BatchNorm1d(width)
        self.out = nn.Linear(width, 64)

    def forward(self, latents: Tensor) -> Tensor:
        return self.out(self.bn(self.fc(latents)).relu()).sigmoid().view(-1, 1, 8, 8)


def weights(seed: int = 0) -> OrderedDict[str, Tensor]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = Net()
    net.bn.num_batches_tracked.fill_(7)
    return net.state_dict()  # type: ignore[return-value]


STATE, RAW, OTHER = weights(0), weights(1), weights(2)


def under(prefix: str, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {prefix + name: value for name, value in state.items()}


OPTIMISER = {"state": {0: {"exp_avg": torch.ones(3), "step": 4}}, "param_groups": [{"lr": 0.1, "params": [0]}]}
EMA = 'took the averaged weights in "{}"; the raw ones are in "{}"'

# Content -> keys that lead to the weights, prefix of their names, notes. In all of them STATE is what is wanted.
WRAPPED: dict[str, tuple[Any, tuple[str, ...], str, tuple[str, ...]]] = {
    "plain": (STATE, (), "", ()),
    "parameters": ({name: nn.Parameter(v) if v.is_floating_point() else v for name, v in STATE.items()}, (), "", ()),
    "state_dict": (
        {"state_dict": STATE, "epoch": 3, "optimizer": OPTIMISER},
        ("state_dict",),
        "",
        ('the weights are in "state_dict"', "left aside: epoch, optimizer"),
    ),
    "two deep": (
        {"model": {"model_state_dict": STATE}},
        ("model", "model_state_dict"),
        "",
        ('the weights are in "model.model_state_dict"',),
    ),
    "parallel": (under("module.", STATE), (), "module.", ('"module." is taken off the names',)),
    "compiled": (under("_orig_mod.", STATE), (), "_orig_mod.", ('"_orig_mod." is taken off the names',)),
    "both": (
        under("module._orig_mod.", STATE),
        (),
        "module._orig_mod.",
        ('"module._orig_mod." is taken off the names',),
    ),
    "both the other way": (
        {"params": under("_orig_mod.module.", STATE)},
        ("params",),
        "_orig_mod.module.",
        ('the weights are in "params"', '"_orig_mod.module." is taken off the names'),
    ),
    "averaged by torch": (
        {**under("module.", STATE), "n_averaged": torch.tensor(5)},
        (),
        "module.",
        ('"module." is taken off the names',),
    ),
    "a GAN's": ({"G": STATE, "D": RAW}, ("G",), "", ('the weights are in "G"', "left aside: D")),
    "a GAN's, turned round": (
        {"netD": RAW, "netG": STATE},
        ("netG",),
        "",
        ('the weights are in "netG"', "left aside: netD"),
    ),
    "averaged beside raw": (
        {"g": RAW, "d": OTHER, "g_ema": STATE},
        ("g_ema",),
        "",
        (EMA.format("g_ema", "g"), "left aside: g, d"),
    ),
    "averaged first": (
        {"params_ema": STATE, "params": RAW},
        ("params_ema",),
        "",
        (EMA.format("params_ema", "params"), "left aside: params"),
    ),
    "averaged by another name": (
        {"model": RAW, "ema": under("module.", STATE)},
        ("ema",),
        "module.",
        (EMA.format("ema", "model"), '"module." is taken off the names', "left aside: model"),
    ),
    "averaged alone": ({"ema_state_dict": STATE}, ("ema_state_dict",), "", ('the weights are in "ema_state_dict"',)),
    "one table for all": (
        {"state_dict": under("generator.", STATE) | under("discriminator.", RAW)},
        ("state_dict",),
        "generator.",
        ('the weights are in "state_dict"', '"generator." is taken off the names', "left aside: discriminator"),
    ),
    "one table, averaged": (
        under("netG.", RAW) | under("netG_ema.", STATE),
        (),
        "netG_ema.",
        (EMA.format("netG_ema", "netG"), '"netG_ema." is taken off the names', "left aside: netG"),
    ),
    "an autoencoder": (
        under("encoder.", {"conv.weight": torch.ones(2, 2)}) | under("decoder.", STATE),
        (),
        "decoder.",
        ('"decoder." is taken off the names', "left aside: encoder"),
    ),
    "parallel, and part of it": (
        under("module.decoder.", STATE) | under("module.encoder.", RAW),
        (),
        "module.decoder.",
        ('"module.decoder." is taken off the names', "left aside: encoder"),
    ),
}
FLAT = [name for name, (content, *_) in WRAPPED.items() if all(isinstance(v, Tensor) for v in content.values())]


def put(folder: Path, content: Any, how: str = "torch") -> Path:
    """The content as a file of a format; the suffix says nothing."""
    path = folder / "weights.bin"
    if how == "safetensors":
        plain = {name: value.detach().clone() for name, value in content.items()}
        safetensors.torch.save_file(plain, path, {"licence": "MIT"})
    else:
        torch.save(content, path, _use_new_zipfile_serialization=how == "torch")
    return path


def same(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize(
    ("how", "name"),
    [(how, name) for how in ("torch", "older", "safetensors") for name in (WRAPPED if how != "safetensors" else FLAT)],
)
def test_weights_are_found_in_any_wrapping_and_put_back(how: str, name: str, tmp_path: Path) -> None:
    content, where, prefix, notes = WRAPPED[name]
    path = put(tmp_path, content, how)
    opened = open_checkpoint(path, STATE.keys())
    assert (opened.where, opened.prefix, opened.notes) == (where, prefix, notes)
    assert opened.format == ("safetensors" if how == "safetensors" else "torch")
    assert opened.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert same({key: opened.tensors[key] for key in STATE}, STATE)
    generator = from_module("net", Net(), 4, weights=path)
    assert same(generator.module.state_dict(), STATE)
    assert generator.source is not None
    assert (generator.source.where, generator.source.prefix) == (where, prefix)
    assert generator.source.path == path.absolute() and generator.source.sha256 == opened.sha256
    assert generator.notes == notes
    new = {key: value * 2 + 1 for key, value in STATE.items()}
    data = rewritten(opened, new)
    path.write_bytes(data)
    again = open_checkpoint(path, STATE.keys())
    assert (again.where, again.prefix, again.format, again.metadata) == (where, prefix, opened.format, opened.metadata)
    assert same({key: again.tensors[key] for key in STATE}, new)
    if how == "torch":
        assert rewritten(again, new) == data == rewritten(again, {})
    if how == "safetensors":
        assert rewritten(again, STATE) == put(tmp_path, content, how).read_bytes()


def _read(path: Path) -> Any:
    return torch.load(path, weights_only=True)


@pytest.mark.parametrize("how", ["torch", "older"])
def test_the_rest_of_a_file_stays_as_it_was(how: str, tmp_path: Path) -> None:
    shared = torch.arange(12.0)
    content = {
        "g_ema": STATE,
        "g": RAW,
        "optim": OPTIMISER,
        "epoch": 12,
        "args": {"lr": 0.1, "names": ["a", None, True], "size": torch.Size([3, 4])},
        "views": [shared[:4], shared.view(3, 4).t()],
        "half": torch.ones(3, dtype=torch.bfloat16),
    }
    path = put(tmp_path, content, how)
    before = _read(path)
    opened = open_checkpoint(path, STATE.keys())
    path.write_bytes(rewritten(opened, RAW))
    after = _read(path)
    assert list(after) == list(before) and type(after["g_ema"]) is OrderedDict
    assert after["g_ema"]._metadata == STATE._metadata  # type: ignore[attr-defined]
    assert list(after["g_ema"]) == list(STATE) and same(after["g_ema"], RAW)
    assert same(after["g"], RAW)
    assert {key: after[key] for key in ("optim", "epoch", "args")}.__repr__() == {
        key: before[key] for key in ("optim", "epoch", "args")
    }.__repr__()
    assert after["views"][0].data_ptr() == after["views"][1].data_ptr()
    assert after["views"][1].stride() == (1, 4) and torch.equal(after["views"][1], shared.view(3, 4).t())
    assert after["half"].dtype == torch.bfloat16
    assert (path.read_bytes()[:2] == b"PK") == (how == "torch")


def test_new_values_do_not_leak_into_weights_that_shared_memory(tmp_path: Path) -> None:
    for twin in (STATE, dict(STATE)):  # saved before training: one dict or one storage for both
        path = put(tmp_path, {"g_ema": STATE, "g": twin})
        path.write_bytes(rewritten(open_checkpoint(path, STATE.keys()), RAW))
        after = _read(path)
        assert same(after["g_ema"], RAW) and same(after["g"], STATE)


def test_a_safetensors_file_keeps_every_other_byte(tmp_path: Path) -> None:
    content = {**STATE, "encoder.weight": torch.randn(5, 5)}
    path = put(tmp_path, content, "safetensors")
    opened = open_checkpoint(path)
    assert opened.metadata == {"licence": "MIT"} and opened.facts == {}
    whole = path.read_bytes()
    assert rewritten(opened, STATE) == whole
    changed = rewritten(opened, {"fc.bias": torch.zeros(6)})
    assert len(changed) == len(whole)
    differing = [i for i in range(len(whole)) if whole[i] != changed[i]]
    assert differing and differing[-1] - differing[0] < 24


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("how", ["torch", "older", "safetensors"])
def test_other_precisions_are_computed_with_as_float32_and_kept_in_the_file(
    dtype: torch.dtype, how: str, tmp_path: Path
) -> None:
    state = {name: value.to(dtype) if value.is_floating_point() else value for name, value in STATE.items()}
    path = put(tmp_path, state, how)
    generator = from_module("net", Net(), 4, weights=path)
    assert generator.module.fc.weight.dtype == torch.float32
    assert torch.equal(generator.module.fc.weight, state["fc.weight"].float())
    assert generator.notes == (f"weights of {str(dtype)[6:]} are computed with as float32",)
    opened = open_checkpoint(path, STATE.keys())
    path.write_bytes(rewritten(opened, generator.module.state_dict()))
    assert same(open_checkpoint(path).tensors, state)
    if dtype == torch.float16:
        with pytest.raises(BadCheckpoint, match=r"would become infinite or NaN as torch.float16"):
            rewritten(open_checkpoint(path), {"fc.bias": torch.full((6,), 1e6)})


def test_what_cannot_be_written_back_is_told(tmp_path: Path) -> None:
    path = put(tmp_path, STATE)
    opened = open_checkpoint(path)
    with pytest.raises(BadCheckpoint, match=r'has no weight "fc.scale"'):
        rewritten(opened, {"fc.scale": torch.ones(1)})
    with pytest.raises(BadCheckpoint, match=r'weight "fc.bias" .* would get shape \(5,\); expected \(6,\)'):
        rewritten(opened, {"fc.bias": torch.ones(5)})
    put(tmp_path, RAW)
    with pytest.raises(BadCheckpoint, match=r"has changed since it was read"):
        rewritten(opened, STATE)
    path.unlink()
    with pytest.raises(BadFile, match=r"cannot read"):
        rewritten(opened, STATE)


def test_counters_of_batch_norm_may_be_missing_or_have_a_dimension(tmp_path: Path) -> None:
    name = "bn.num_batches_tracked"
    old = {key: value for key, value in STATE.items() if key != name}
    generator = from_module("net", Net(), 4, weights=put(tmp_path, old))
    assert int(generator.module.bn.num_batches_tracked) == 0
    path = put(tmp_path, old)
    assert _read_keys(rewritten(open_checkpoint(path), generator.module.state_dict())) == list(old)
    long = {**STATE, name: STATE[name].reshape(1)}
    generator = from_module("net", Net(), 4, weights=put(tmp_path, long, "safetensors"))
    assert generator.module.bn.num_batches_tracked.shape == () and int(generator.module.bn.num_batches_tracked) == 7


def _read_keys(data: bytes) -> list[str]:
    return list(torch.load(io.BytesIO(data), weights_only=True))


def test_the_same_new_values_give_the_same_bytes_in_another_process(tmp_path: Path) -> None:
    path = put(tmp_path, {"g_ema": STATE, "optim": OPTIMISER})
    code = (
        "import sys, hashlib\nfrom unfeature.generators.checkpoints import open_checkpoint, rewritten\n"
        "opened = open_checkpoint(sys.argv[1])\n"
        "new = {name: value + 1 for name, value in opened.tensors.items()}\n"
        "print(hashlib.sha256(rewritten(opened, new)).hexdigest())"
    )
    told = {
        subprocess.run([sys.executable, "-c", code, str(path)], check=True, capture_output=True, text=True).stdout
        for _ in range(2)
    }
    assert len(told) == 1


def test_without_names_only_what_is_sure_is_taken_off(tmp_path: Path) -> None:
    both = under("module.decoder.", STATE) | under("module.encoder.", RAW)
    opened = open_checkpoint(put(tmp_path, {"state_dict": both}))
    assert (opened.where, opened.prefix) == (("state_dict",), "module.")
    assert set(opened.tensors) == {name.removeprefix("module.") for name in both}
    prefixes = {(one.where, one.prefix) for one in openings(put(tmp_path, {"state_dict": both}))}
    assert {(("state_dict",), "module.decoder."), (("state_dict",), "module.encoder.")} <= prefixes
    again = open_checkpoint(tmp_path / "weights.bin", None, (("state_dict",), "module.encoder."))
    assert same(again.tensors, RAW)


# What does not fit


def _told(raised: pytest.ExceptionInfo[BadCheckpoint]) -> tuple[list[tuple[str, ...]], str]:
    _, *table, remedy = str(raised.value).splitlines()
    return [tuple(line.split()) for line in table], remedy


def test_parts_the_module_does_not_have_are_left_out(tmp_path: Path) -> None:
    path = put(
        tmp_path, {**STATE, "fc1.weight": torch.ones(3), "head.0.bias": torch.ones(2), "head.1.bias": torch.ones(2)}
    )
    generator = from_module("net", Net(), 4, weights=path)
    assert generator.notes == ("left out, since this generator has no such layers: fc1, head",)
    path.write_bytes(rewritten(open_checkpoint(path), generator.module.state_dict()))
    assert set(_read(path)) == {*STATE, "fc1.weight", "head.0.bias", "head.1.bias"}


@pytest.mark.parametrize("extra", ["fc.scale", "scale"])
def test_an_extra_tensor_of_a_layer_the_module_has_is_an_error(extra: str, tmp_path: Path) -> None:
    with pytest.raises(BadCheckpoint, match=r"does not fit") as raised:
        from_module("net", Net(), 4, weights=put(tmp_path, {**STATE, extra: torch.ones(3)}))
    assert _told(raised)[0][1:] == [(extra, "3", "unexpected")]


def test_a_layer_more_in_a_list_is_an_error(tmp_path: Path) -> None:
    module = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    longer = nn.Sequential(*module, nn.Linear(4, 4)).state_dict()
    with pytest.raises(BadCheckpoint) as raised:
        from_module("net", module, 4, weights=put(tmp_path, longer))
    assert _told(raised)[0][1:] == [("2.weight", "4x4", "unexpected"), ("2.bias", "4", "unexpected")]


def test_misfits_are_grouped_aligned_and_counted(tmp_path: Path) -> None:
    state = dict(STATE)
    state["out.weight"], state["fc.bias"] = torch.ones(64, 9), STATE["fc.bias"].int()
    del state["bn.weight"]
    state |= {f"more.{i}.weight": torch.ones(2, 2) for i in range(14)}
    with pytest.raises(BadCheckpoint) as raised:
        from_module("net", Net(), 4, weights=put(tmp_path, state))
    table, remedy = _told(raised)
    assert table[:4] == [
        ("tensor", "file", "model"),
        ("out.weight", "64x9", "64x6"),
        ("fc.bias", "int32", "float32"),
        ("bn.weight", "missing", "6"),
    ]
    assert len(table) == 14 and table[-1] == ("and", "5", "more")
    assert remedy == "Sizes differ: build the model with the sizes of the file, or use this generator's own weights."


def test_nothing_is_filled_where_something_does_not_fit() -> None:
    net = Net()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    with pytest.raises(BadCheckpoint, match=r"names are another model's"):
        fill(net, {**STATE, "fc.scale": torch.ones(1)}, "x")
    assert same(net.state_dict(), before)


# A family that knows the names


class Family(Net):
    """Net with an argument no shape tells."""

    def __init__(self, width: int, gain: float = 1.0, tint: str = "grey") -> None:
        super().__init__(width)
        self.gain, self.tint = gain, tint

    @classmethod
    def arguments_of(cls, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any] | None:
        mine = set(shapes) == set(STATE) and shapes["fc.weight"][1] == 4
        return {"width": shapes["fc.weight"][0]} if mine else None

    def forward(self, latents: Tensor) -> Tensor:
        return super().forward(latents) * self.gain


@pytest.fixture
def family(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("made_up_family")
    module.Family = Family  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "made_up_family", module)
    for name in list(generators.GENERATORS):
        monkeypatch.delitem(generators.GENERATORS, name)
    monkeypatch.setitem(generators.GENERATORS, "made-up", "made_up_family:Family")


@pytest.mark.usefixtures("family")
@pytest.mark.parametrize("name", WRAPPED)
@pytest.mark.parametrize("suffix", [".pt", ".pth", ".ckpt", ".PKL", ".bin"])
def test_a_family_recognises_its_checkpoints(name: str, suffix: str, tmp_path: Path) -> None:
    content, where, prefix, notes = WRAPPED[name]
    path = put(tmp_path, content).rename(tmp_path / f"mine{suffix}")
    generator = load_generator(str(path))
    assert same(generator.module.state_dict(), STATE)
    assert generator.spec.name == "mine" and generator.spec.latent_dim == 4
    assert generator.notes == (
        *notes,
        "taken for family made-up; assumed, change with --argument NAME=VALUE: gain 1.0, tint grey",
    )
    assert (generator.source.where, generator.source.prefix) == (where, prefix)
    assert generator.copy().source == generator.source and generator.copy().notes == generator.notes
    assert generator.origin == {"family": "made-up", "arguments": {"width": 6}}


@pytest.mark.usefixtures("family")
def test_arguments_go_over_what_the_shapes_say(tmp_path: Path) -> None:
    path = put(tmp_path, STATE, "safetensors").rename(tmp_path / "mine.safetensors")
    generator = load_generator(str(path), None, {"gain": "0.5", "tint": "1x2"})
    assert (generator.module.gain, generator.module.tint) == (0.5, "1x2")
    assert "gain 0.5, tint 1x2" not in generator.notes[-1]  # only what was assumed is told
    assert generator.spec.licence == "MIT"
    with pytest.raises(UnknownName, match=r'unknown argument of family made-up "gian"; .* Did you mean "gain"'):
        load_generator(str(path), None, {"gian": 1})
    with pytest.raises(BadCheckpoint, match=r"fc.weight +6x4 +7x4"):
        load_generator(str(path), None, {"width": 7})
    with pytest.raises(BadOption, match=r"family made-up cannot be built .*--argument NAME=VALUE"):
        load_generator(str(path), None, {"width": "wide"})
    with pytest.raises(BadOption, match=r'keys names "dec", but no weights lie under it; the file has'):
        load_generator(str(path), None, {"keys": "dec"})


@pytest.mark.usefixtures("family")
def test_keys_pick_the_generator_out_of_a_file(tmp_path: Path) -> None:
    path = put(tmp_path, {**STATE, "enc.weight": torch.ones(3)}).rename(tmp_path / "mine.pt")
    with pytest.raises(BadCheckpoint, match=r"no family knows its layers \(fc, bn, out, enc\).*--argument keys=LAYER"):
        load_generator(str(path))
    generator = load_generator(str(path), None, {"keys": "fc,bn,out"})
    assert same(generator.module.state_dict(), STATE)
    assert generator.notes[-1].endswith("; only fc,bn,out")


@pytest.mark.usefixtures("family")
def test_the_command_line_tells_what_was_found_and_the_run_keeps_it(
    tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    put(tmp_path, {"g_ema": STATE, "g": RAW}).rename(tmp_path / "mine.pt")
    said = command("sample", "run", "--generator", "mine.pt", "--count", "30", "--argument", "gain=0.5")
    assert said.code == 0, said.err
    assert 'mine.pt: took the averaged weights in "g_ema"; the raw ones are in "g"' in said.out
    assert "mine.pt: taken for family made-up; assumed, change with --argument NAME=VALUE: tint grey" in said.out
    generator, about = the_generator(Run(tmp_path / "run"))
    assert about.arguments == {"gain": "0.5"}
    assert generator.module.gain == 0.5  # type: ignore[attr-defined]
    (tmp_path / "job.toml").write_text("generator = 'mine.pt'\n[arguments]\ngain = 0.25\n[sample]\ncount = 30\n")
    resolved = command("run", "job.toml", "run", "--dry-run")
    assert '"gain": 0.25' in resolved.out
    said = command("run", "job.toml", "two")  # fails later: nobody can measure strokes on 8x8 px
    assert the_generator(Run(tmp_path / "two"))[1].arguments == {"gain": 0.25}
    for wrong in ("gain", "=3", "a b=3"):
        said = command("sample", "run", "--generator", "mine.pt", "--argument", wrong)
        assert said.code == 2 and "expected NAME=VALUE" in said.err


def test_a_run_of_an_earlier_version_has_no_arguments(tiny_run: Path) -> None:
    run = Run(tiny_run)
    about = run.read_json("run.json")
    assert about.pop("arguments") == {}
    run.write_json("run.json", about)
    _, again = the_generator(run)
    assert again.arguments == {}


def test_arguments_reach_a_function_and_a_shipped_generator(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(
        "import unfeature\nfrom unfeature.testing.tiny import TinyModule\n"
        "def load(name, hidden=64):\n    return unfeature.from_module(name, TinyModule(hidden), 4)\n"
    )
    generator = load_generator(f"{file}:load", None, {"name": "small", "hidden": "16"})
    assert generator.spec.name == "small" and generator.module.inner.out_features == 16
    with pytest.raises(BadFile, match=r"TypeError.*'colour'"):
        load_generator(f"{file}:load", None, {"colour": "red"})
    assert load_generator("mnist-vae", None, {"hidden": 256}).spec == load_generator("mnist-vae").spec
    with pytest.raises(BadCheckpoint, match=r"fc1.weight +256x12 +128x12"):
        load_generator("mnist-vae", None, {"hidden": 128})


@pytest.mark.parametrize("name", [name for name in generators.GENERATORS])
def test_every_family_reads_its_own_file(name: str, tmp_path: Path) -> None:
    kind = resolve("generator family", generators.GENERATORS, name)
    if not hasattr(kind, "example"):
        pytest.skip(f"{name} names no example")
    arguments = json.loads(json.dumps(kind.example()))
    module = kind(**arguments)
    made = from_module("mine", module, module.latent_dim, licence="MIT")
    made.origin = {"family": name, "arguments": arguments}
    path = tmp_path / "mine.safetensors"
    path.write_bytes(checkpoint_bytes(made, {}))
    again = load_generator(str(path))
    assert again.spec == made.spec and again.origin == made.origin
    assert again.source is not None and again.source.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


# What is refused, and how to convert it


@pytest.mark.parametrize(
    "how", ["whole model", "older whole model", "pickle", "NumPy arrays", "new protocol", "script"]
)
def test_the_lines_that_convert_a_file_do_convert_it(how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    module, path = TinyModule(), Path("their 'model'.pt")
    if "model" in how:
        torch.save(module, path, _use_new_zipfile_serialization=how == "whole model")
    elif how == "script":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # scripting is deprecated
            torch.jit.trace(module, torch.zeros(1, 4)).save(str(path))
    elif how == "new protocol":
        torch.save(module.state_dict(), path, pickle_protocol=4)
    else:
        arrays = {name: value.numpy() for name, value in module.state_dict().items()}
        path.write_bytes(pickle.dumps(module if how == "pickle" else arrays))
    with pytest.raises(BadCheckpoint) as raised:
        load_generator(str(path))
    said, *lines = str(raised.value).splitlines()
    names = {"NumPy arrays": "numpy.ndarray", "new protocol": "FRAME", "script": "TorchScript archive"}
    assert names.get(how, "it names unfeature.testing.tiny.TinyModule") in said
    assert "If you trust it" in said
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.load's of weights_only=False
        exec(textwrap.dedent("\n".join(lines)), {})
    assert same(open_checkpoint("weights.pt").tensors, module.state_dict())


def test_a_pickle_of_the_official_stylegan_comes_with_its_own_lines(tmp_path: Path) -> None:
    path = tmp_path / "ffhq.pkl"
    path.write_bytes(b"\x80\x03}X\x05\x00\x00\x00G_emactorch_utils.persistence\n_reconstruct_persistent_obj\n}\x85Rs.")
    with pytest.raises(BadCheckpoint, match=r"torch_utils.persistence._reconstruct_persistent_obj") as raised:
        load_generator(str(path))
    assert f'model = legacy.load_network_pkl(open({str(path)!r}, "rb"))["G_ema"]' in str(raised.value)
    assert 'torch.save(model.state_dict(), "weights.pt")' in str(raised.value)


# Real files


@pytest.fixture
def assets() -> Path:
    if "UNFEATURE_ASSETS" not in os.environ:
        pytest.skip("UNFEATURE_ASSETS is not set")
    return Path(os.environ["UNFEATURE_ASSETS"]) / "generators"


@pytest.mark.parametrize("wrap", [None, "torch", "older"])
def test_a_public_dcgan_is_recognised_and_used_by_the_verbs(wrap: str | None, assets: Path, tmp_path: Path) -> None:
    path = assets / "mnist_dcgan64.safetensors"
    if wrap is not None:
        state = safetensors.torch.load_file(path)
        content = {"epoch": 1, "g_ema": under("module.", state), "g": under("module.", state)}
        path = put(tmp_path, content, wrap).rename(tmp_path / "mnist_dcgan64.pth")
    generator = load_generator(str(path))
    assert generator.spec.latent_dim == 100 and generator.spec.image_shape == (1, 64, 64)
    assert any(note.startswith("taken for family ") for note in generator.notes)
    assert generator.spec == load_generator(str(path)).spec
    if wrap == "torch":
        said: list[str] = []
        sample(tmp_path / "run", str(path), None, on_note=said.append)
        assert said == list(generator.notes)
        marks = tmp_path / "marks.csv"
        marks.write_text("seed,mark\n" + "".join(f"{seed},{seed % 2}\n" for seed in range(20)))
        mark(tmp_path / "run", "odd", str(marks))
        assert find(tmp_path / "run").generator == generator.spec.id


@pytest.mark.parametrize("name", ["mnist_dcgan64", "mnist_vae20", "face_vae64", "face_gan36", "face_cvae40"])
def test_public_checkpoints_are_written_back_byte_by_byte(name: str, assets: Path, tmp_path: Path) -> None:
    path = assets / f"{name}.safetensors"
    opened = open_checkpoint(path)
    assert rewritten(opened, opened.tensors) == path.read_bytes()
    copied = open_checkpoint(put(tmp_path, {"state_dict": opened.tensors}))
    assert same(copied.tensors, opened.tensors)


@pytest.mark.parametrize("keys", [("G", "G_ema"), ("G_ema", "G")])
def test_one_dict_in_two_places_is_rewritten_where_it_is_read(keys: tuple[str, str], tmp_path: Path) -> None:
    module, path = TinyModule(), tmp_path / "shared.pth"
    state = module.state_dict()
    torch.save(dict.fromkeys(keys, state), path)
    opened = open_checkpoint(path, state)
    assert opened.where == ("G_ema",)
    changed = {name: value + 1 for name, value in state.items()}
    (tmp_path / "new.pth").write_bytes(rewritten(opened, changed))
    assert all(
        torch.equal(open_checkpoint(tmp_path / "new.pth").tensors[name], value) for name, value in changed.items()
    )


@pytest.mark.parametrize(("keys", "taken"), [(("disc", "gen"), "gen"), (("G", "G_ema"), "G_ema")])
def test_many_layers_of_one_network_hide_no_other_one(keys: tuple[str, str], taken: str, tmp_path: Path) -> None:
    names = [f"block{i}.{part}.weight" for i in range(40) for part in ("conv", "norm", "gate", "out")]
    nets = {key: {name: torch.full((2,), float(place)) for name in names} for place, key in enumerate(keys)}
    torch.save(nets, tmp_path / "many.pth")
    opened = open_checkpoint(tmp_path / "many.pth", nets[taken])
    assert opened.where == (taken,) and all(torch.equal(opened.tensors[name], nets[taken][name]) for name in names)


def test_layers_below_a_prefix_are_found_beside_a_network_of_many(tmp_path: Path) -> None:
    names = [f"block{i}.{part}.weight" for i in range(40) for part in ("conv", "norm", "gate", "out")]
    disc, gen = ({name: torch.full((2,), float(place)) for name in names} for place in (0, 1))
    for number, inner in enumerate(("generator.", "module.")):
        nets = {"disc": {f"{inner}{n}" if number else n: v for n, v in disc.items()}}
        nets |= {"gen": {inner + name: value for name, value in gen.items()}}
        torch.save(nets, tmp_path / "many.pth")
        assert open_checkpoint(tmp_path / "many.pth", gen).where == ("gen",)
        if number:
            assert open_checkpoint(tmp_path / "many.pth", nets["gen"]).where == ("gen",)


def test_names_count_before_sizes(tmp_path: Path) -> None:
    state = {"a.weight": torch.ones(3, 3), "b.weight": torch.ones(3, 3)}
    torch.save({"head": {"a.weight": torch.ones(2, 2)}, "G": state}, tmp_path / "x.pth")
    other = {name: torch.ones(2, 2) for name in state}
    assert open_checkpoint(tmp_path / "x.pth", other).where == ("G",)


def test_one_large_dict_in_many_places_is_opened_at_once(tmp_path: Path) -> None:
    state = {f"n{i}": torch.ones(()) for i in range(3000)}
    torch.save({f"k{i}": state for i in range(199)}, tmp_path / "x.pth")
    begun = time.monotonic()
    assert len(openings(tmp_path / "x.pth")[0].tensors) == 3000 and time.monotonic() - begun < 20


def test_dicts_that_lie_in_one_another_end(tmp_path: Path) -> None:
    state: dict[str, Any] = {"w": torch.ones(2)}
    for _ in range(60):
        state = {"a": state, "b": state, "w": torch.ones(2)}
    torch.save({"x": state}, tmp_path / "deep.pth")
    assert open_checkpoint(tmp_path / "deep.pth").tensors.keys() == {"w"}


@pytest.mark.parametrize("outer", ["module", "_orig_mod", "body"])
def test_a_wrapped_module_takes_its_own_file(outer: str, tmp_path: Path) -> None:
    class Wrapped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.add_module(outer, nn.Sequential(nn.Linear(4, 16), nn.Sigmoid(), nn.Unflatten(1, (1, 4, 4))))

        def forward(self, z: Tensor) -> Tensor:
            images: Tensor = getattr(self, outer)(z)
            return images

    whole, path = Wrapped(), tmp_path / "own.pth"
    torch.save(whole.state_dict(), path)
    again = from_module("own", Wrapped(), 4, weights=path)
    assert again.spec.weights == from_module("own", whole, 4).spec.weights
    assert original_format(again) and open_checkpoint(path).tensors.keys() == {
        name.removeprefix("module.").removeprefix("_orig_mod.") for name in whole.state_dict()
    }


def test_the_set_whose_sizes_fit_is_taken(tmp_path: Path) -> None:
    def net(d: int, out: int) -> nn.Sequential:
        return nn.Sequential(nn.Linear(d, 8), nn.ReLU(), nn.Linear(8, out), nn.Unflatten(1, (1, -1, 4)))

    encoder, decoder = net(16, 8), net(4, 16)
    state = {f"q_net.{name}": value for name, value in encoder.state_dict().items()}
    torch.save(state | {f"p_net.{name}": value for name, value in decoder.state_dict().items()}, tmp_path / "vae.pth")
    made = from_module("vae", net(4, 16), 4, weights=tmp_path / "vae.pth")
    assert all(torch.equal(value, decoder.state_dict()[name]) for name, value in made.module.state_dict().items())


def test_tied_weights_are_saved_and_come_back() -> None:
    a, b = nn.Linear(3, 3), nn.Linear(3, 3)
    b.weight = a.weight
    tied = nn.ModuleDict({"a": a, "b": b}).state_dict()
    back, _ = read_safetensors("tied", to_safetensors(tied, {}))
    assert back.keys() == tied.keys() and all(torch.equal(back[name], tied[name]) for name in tied)


@pytest.mark.parametrize("name", ["x.pth.tar", "x.PTH.TAR", "x.pt"])
def test_endings_that_are_taken_for_checkpoints(name: str, tmp_path: Path) -> None:
    torch.save(TinyModule().state_dict(), tmp_path / name)
    assert (
        is_checkpoint(str(tmp_path / name))
        and form_of(tmp_path / "y.pth.tar", "", Source(Path("x.pth.tar"), "", (), "", "torch")) == "original"
    )


def test_gradients_and_layout_of_a_files_tensors_stay(tmp_path: Path) -> None:
    old = {"w": torch.ones(2, 3, 4, 4).to(memory_format=torch.channels_last), "b": torch.ones(2, requires_grad=True)}
    torch.save(old, tmp_path / "x.pth")
    opened = open_checkpoint(tmp_path / "x.pth")
    (tmp_path / "y.pth").write_bytes(rewritten(opened, {name: torch.zeros_like(value) for name, value in old.items()}))
    new = torch.load(tmp_path / "y.pth", weights_only=True)
    assert new["b"].requires_grad and not new["w"].requires_grad and new["w"].stride() == old["w"].stride()
    assert not new["w"].any() and not new["b"].any()
