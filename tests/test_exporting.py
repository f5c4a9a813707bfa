"""Out again: into the user's own format, with a card, for other runtimes, and as a diff that can be taken out."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

from unfeature import workflow
from unfeature.cli import main
from unfeature.errors import BadCheckpoint, BadFile, BadOption
from unfeature.generators.conditional import conditional
from unfeature.generators.diffs import applied, difference
from unfeature.generators.exporting import exported_program, form_of, onnx_model, run_exported, run_onnx
from unfeature.generators.loading import load_generator
from unfeature.generators.module import Source
from unfeature.generators.safetensors_files import read_safetensors
from unfeature.options import EvaluateOptions, FindOptions, MarkOptions, SampleOptions, UnlearnOptions
from unfeature.store import Run

ADAPTER = """
import torch
from pathlib import Path
from torch import nn
from unfeature import from_module

class Toy(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(6, 24), nn.ReLU(), nn.Linear(24, 28 * 28))
    def forward(self, z):
        return torch.sigmoid(self.body(z)).view(-1, 1, 28, 28)

def load():
    return from_module("toy", Toy(), 6, weights=Path(__file__).parent / "toy.pth", licence="MIT")
"""

SAMPLER = """
import sys, torch
from torch import nn
body = nn.Sequential(nn.Linear(6, 24), nn.ReLU(), nn.Linear(24, 28 * 28))
saved = torch.load(sys.argv[1], weights_only=True)
body.load_state_dict({k.removeprefix("module.body."): v.float() for k, v in saved["state_dict"].items() if "body" in k})
images = torch.sigmoid(body(torch.randn(2000, 6, generator=torch.Generator().manual_seed(1))))
print(saved["epoch"], len(saved["state_dict"]), float((images.mean(1) > float(sys.argv[2])).float().mean()))
"""
"""The user's own sampling code: it knows nothing of unfeature."""


def bright_judge(folder: Path) -> str:
    (folder / "bright.py").write_text("def bright(images):\n    return (images.mean(dim=(1, 2, 3)) > 0.56).float()\n")
    return f"{folder / 'bright.py'}:bright"


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on a user's half-precision checkpoint with wrappers, an encoder and an optimiser beside the weights."""
    folder = tmp_path_factory.mktemp("toy")
    torch.manual_seed(3)
    body = nn.Sequential(nn.Linear(6, 24), nn.ReLU(), nn.Linear(24, 28 * 28))
    with torch.no_grad():
        body[2].weight.add_(0.15)  # so that brightness is a direction
        body[2].bias.sub_(1.0)
    state = {f"module.body.{key}": value.half() for key, value in body.state_dict().items()}
    state["module.encoder.weight"] = torch.ones(3, 3, dtype=torch.float16)
    torch.save({"epoch": 7, "state_dict": state, "optimizer": {"lr": [0.1], "m": torch.ones(2)}}, folder / "toy.pth")
    (folder / "toy.py").write_text(ADAPTER)
    run = folder / "run"
    workflow.sample(run, f"{folder / 'toy.py'}:load", SampleOptions(count=1000))
    workflow.mark(run, "bright", bright_judge(folder), MarkOptions(per_side=100))
    workflow.find(run, FindOptions(margin=2.0))
    workflow.unlearn(run, UnlearnOptions(steps=600, learning_rate=5e-3, alpha=1.0, check_every=300, tolerance=1e-6))
    return folder


def test_the_original_format_is_a_drop_in_file(toy: Path) -> None:
    made = workflow.export(toy / "run", toy / "out.pth")
    assert made.form == "original" and made.parity < 2e-3
    before, after = (torch.load(toy / name, weights_only=True) for name in ("toy.pth", "out.pth"))
    assert after["epoch"] == 7 and after["optimizer"]["lr"] == [0.1]
    assert list(after["state_dict"]) == list(before["state_dict"])
    for key, value in after["state_dict"].items():
        assert (value.dtype, value.shape) == (torch.float16, before["state_dict"][key].shape)
    assert torch.equal(after["state_dict"]["module.encoder.weight"], before["state_dict"]["module.encoder.weight"])
    shares = [sampled(toy, name) for name in ("toy.pth", "out.pth")]
    assert shares[0][:2] == shares[1][:2] == ("7", "5")
    before_share, after_share = (float(share[2]) for share in shares)
    assert before_share > 0.1 and after_share < before_share / 5


def sampled(folder: Path, name: str) -> tuple[str, ...]:
    (folder / "sampler.py").write_text(SAMPLER)
    done = subprocess.run(
        [sys.executable, str(folder / "sampler.py"), str(folder / name), "0.56"],
        capture_output=True,
        text=True,
        check=True,
    )
    return tuple(done.stdout.split())


def test_a_card_stands_beside_it_and_says_what_is_known(toy: Path) -> None:
    made = workflow.export(toy / "run", toy / "card.safetensors", "safetensors")
    card = made.card.read_text()
    for told in ("license: MIT", '"bright" was removed', "It was not evaluated", "SHA-256 of toy.pth", "alpha: 1.0"):
        assert told in card
    assert made.card.name == "card.safetensors.md"
    assert safetensors.torch.load_file(made.file).keys() == {
        f"body.{i}.{kind}" for i in (0, 2) for kind in ("weight", "bias")
    }


@pytest.mark.parametrize("form", ["torch-export", "onnx"])
def test_other_runtimes_make_the_same_pictures(toy: Path, form: str) -> None:
    made = workflow.export(toy / "run", toy / f"out.{form}", form)
    assert made.parity <= 1e-5 and f"out.{form}" in made.card.read_text()


def test_a_diff_goes_in_and_out_to_the_same_bytes(toy: Path) -> None:
    made = workflow.export(toy / "run", toy / "bright.diff", "diff")
    workflow.export(toy / "run", toy / "direct.pth")
    put = workflow.apply(made.file, toy / "toy.pth", toy / "put.pth")
    assert put.read_bytes() == (toy / "direct.pth").read_bytes()
    back = workflow.apply(made.file, put, toy / "back.pth", revert=True)
    one, other = (torch.load(path, weights_only=True)["state_dict"] for path in (back, toy / "toy.pth"))
    assert all(torch.equal(one[key], other[key]) for key in other)
    with pytest.raises(BadCheckpoint, match=r"already as the diff leaves it; .* To take it out again use:  --revert"):
        workflow.apply(made.file, put, toy / "twice.pth")
    with pytest.raises(BadCheckpoint, match=r"already as the diff leaves it; .* Leave --revert out"):
        workflow.apply(made.file, toy / "toy.pth", toy / "twice.pth", revert=True)
    with pytest.raises(BadCheckpoint, match=r"is no diff file"):
        workflow.apply(toy / "run" / "feature.safetensors", put, toy / "twice.pth")
    assert not (toy / "twice.pth").exists()


@pytest.fixture(scope="module")
def second(toy: Path) -> Path:
    """A run that goes on after the first, with another feature."""
    run = toy / "second"
    (toy / "left.py").write_text(
        "def left(images):\n    return (images[:, 0, 5, 5] > images.mean((1, 2, 3))).float()\n"
    )
    workflow.sample(run, after=toy / "run", options=SampleOptions(count=300))
    workflow.mark(run, "left", f"{toy / 'left.py'}:left", MarkOptions(per_side=50))
    workflow.find(run)
    workflow.unlearn(run, UnlearnOptions(steps=20, learning_rate=5e-3))
    return run


def test_a_second_run_writes_the_users_own_format_too(toy: Path, second: Path) -> None:
    first = workflow.export(toy / "run", toy / "one.pth").file
    made = workflow.export(second, toy / "two.pth")
    assert made.form == "original" and made.parity < 2e-3
    before, after = (torch.load(path, weights_only=True)["state_dict"] for path in (first, made.file))
    assert list(before) == list(after) and {value.dtype for value in after.values()} == {torch.float16}
    assert not torch.equal(before["module.body.2.weight"], after["module.body.2.weight"])
    diff = workflow.export(second, toy / "two.diff").file
    assert workflow.apply(diff, first, toy / "put2.pth").read_bytes() == made.file.read_bytes()
    back = torch.load(workflow.apply(diff, made.file, toy / "back2.pth", revert=True), weights_only=True)["state_dict"]
    assert all(torch.equal(back[key], before[key]) for key in before)


def test_a_second_runs_safetensors_say_what_that_run_removed(toy: Path, second: Path) -> None:
    file = workflow.export(second, toy / "two.safetensors").file
    facts, ended = read_safetensors("two", file.read_bytes())[1], Run(second).read_facts("unlearned.safetensors")
    result = load_generator(f"{toy / 'toy.py'}:load", file).spec.id
    assert (facts["unlearned"], facts["from"], facts["result"]) == ("left", ended["from"], result)
    assert "training" not in facts


def test_facts_follow_a_diff_in_and_out(tiny_run: Path, tmp_path: Path) -> None:
    diff = workflow.export(tiny_run, tmp_path / "s.diff").file
    ours = workflow.export(tiny_run, tmp_path / "ours.safetensors").file
    back = workflow.apply(diff, tiny_run / "unlearned.safetensors", tmp_path / "back.safetensors", revert=True)
    told = read_safetensors("back", back.read_bytes())[1]
    assert not {"unlearned", "from", "result", "training", "options"} & told.keys() and told["name"] == "mnist-vae"
    assert load_generator(str(back)).spec == load_generator("mnist-vae").spec
    assert workflow.apply(diff, back, tmp_path / "again.safetensors").read_bytes() == ours.read_bytes()


def test_nothing_is_written_under_the_ending_of_another_format(toy: Path, tiny_run: Path, tmp_path: Path) -> None:
    diff = workflow.export(tiny_run, tmp_path / "s.diff").file
    with pytest.raises(BadOption, match=r"names a file of torch, but what is written is safetensors; .*x\.safetensors"):
        workflow.apply(diff, "mnist-vae", tmp_path / "x.pth")
    own = workflow.export(toy / "run", tmp_path / "own.diff").file
    with pytest.raises(BadOption, match=r"names a file of onnx, but what is written is torch; .*x\.pth"):
        workflow.apply(own, toy / "toy.pth", tmp_path / "x.onnx")
    assert not list(tmp_path.glob("x.*"))


@pytest.mark.parametrize("label", ["drawn", "latent", 1])
def test_a_conditional_generator_runs_elsewhere(label: str | int) -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.line = nn.Linear(7, 64)

        def forward(self, z: Tensor, one_hot: Tensor) -> Tensor:
            return self.line(torch.cat([z, one_hot], dim=1)).sigmoid().view(-1, 1, 8, 8)

    torch.manual_seed(0)
    module = conditional(Net(), 4, 3, label=label).eval()
    latents = torch.randn(200, module.latent_dim)
    with torch.no_grad():
        for make, play in ((onnx_model, run_onnx), (exported_program, run_exported)):
            assert torch.allclose(play(make(module, latents[:2]), latents), module(latents), atol=1e-5)


def test_what_cannot_be_run_elsewhere_is_not_kept(toy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    session = "onnxruntime.InferenceSession"
    monkeypatch.setattr(session, lambda *given, **more: (_ for _ in ()).throw(RuntimeError("no such operator")))
    with pytest.raises(BadOption, match="cannot run this generator: .*no such operator"):
        workflow.export(toy / "run", toy / "gone.onnx")
    assert not (toy / "gone.onnx").exists()


def test_a_diff_goes_into_a_shipped_generator_by_name(tiny_run: Path, tmp_path: Path) -> None:
    diff = workflow.export(tiny_run, tmp_path / "slant.diff").file
    direct = workflow.export(tiny_run, tmp_path / "direct.safetensors").file
    put = workflow.apply(diff, "mnist-vae", tmp_path / "put.safetensors")
    assert put.read_bytes() == direct.read_bytes()
    with pytest.raises(BadCheckpoint, match="not the one the diff was made for|other names or sizes"):
        workflow.apply(diff, "mnist-gan", tmp_path / "other.safetensors")


def test_nothing_is_overwritten(toy: Path) -> None:
    kept = (toy / "toy.pth").read_bytes()
    with pytest.raises(BadFile, match=r"toy.pth is there already; expected a new name"):
        workflow.export(toy / "run", toy / "toy.pth")
    (toy / "half.pth.md").write_text("mine")
    with pytest.raises(BadFile, match=r"half.pth.md is there already"):
        workflow.export(toy / "run", toy / "half.pth")
    assert (toy / "toy.pth").read_bytes() == kept and not (toy / "half.pth").exists()


TORCH = Source(Path("mine.pth"), "", (), "", "torch")
PLAIN = Source(Path("mine.safetensors"), "", (), "", "safetensors")


@pytest.mark.parametrize(
    ("name", "form", "source", "made"),
    [
        ("x.onnx", "", TORCH, "onnx"),
        ("x.PT2", "", None, "torch-export"),
        ("x.diff", "", None, "diff"),
        ("x.pth", "", TORCH, "original"),
        ("x.safetensors", "", TORCH, "safetensors"),
        ("x.safetensors", "", PLAIN, "original"),
        ("x.safetensors", "", None, "safetensors"),
        ("x.weights", "", TORCH, "original"),
        ("x", "", None, "safetensors"),
        ("x", "onnx", None, "onnx"),
        ("x.safetensors", "diff", None, "diff"),
    ],
)
def test_the_ending_says_the_format(name: str, form: str, source: Source | None, made: str) -> None:
    assert form_of(Path(name), form, source) == made


@pytest.mark.parametrize(
    ("name", "form", "source", "told"),
    [
        ("u.pth", "", None, r"a file of torch's, .* expected .safetensors, .*  --to u.safetensors"),
        ("u.pt", "", PLAIN, r"a file of torch's"),
        ("u.onnx", "safetensors", None, r"contradict each other; expected a name that ends in .safetensors. Name"),
        ("u.pth", "onnx", TORCH, r"expected a name that ends in .onnx. Name another file, or leave --format out"),
        ("u.safetensors", "original", TORCH, r"ends in .pt, .pth"),
    ],
)
def test_an_ending_that_nothing_here_fits_is_refused(name: str, form: str, source: Source | None, told: str) -> None:
    with pytest.raises(BadOption, match=told):
        form_of(Path(name), form, source)


def test_a_changed_original_is_noticed(toy: Path) -> None:
    path, kept = toy / "toy.pth", (toy / "toy.pth").read_bytes()
    state = torch.load(path, weights_only=True)
    try:
        torch.save({**state, "epoch": 8}, path)
        made = workflow.export(toy / "run", toy / "late.pth")  # the same weights: only what stands beside them differs
        assert torch.load(made.file, weights_only=True)["epoch"] == 8
    finally:
        path.write_bytes(kept)


def test_the_command_tells_what_it_wrote(toy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["export", str(toy / "run"), "--to", str(toy / "told.pth")])
    out = capsys.readouterr().out
    assert left.value.code == 0 and "told.pth.md" in out and "Format: original" in out
    for arguments in (["--format", "tflite"], ["--format", "onnx", "--to", str(toy / "told.pth")]):
        with pytest.raises(SystemExit) as left:
            main(
                ["export", str(toy / "run"), "--to", str(toy / "x"), *arguments][: 6 if "onnx" not in arguments else 9]
            )
        assert left.value.code == 2


@pytest.mark.slow
@pytest.mark.skipif("UNFEATURE_ASSETS" not in os.environ, reason="needs the public checkpoints")
def test_somebody_elses_code_samples_an_unlearned_public_checkpoint() -> None:
    script = Path(__file__).parents[1] / "benchmarks" / "dropin.py"
    command = [sys.executable, str(script), "--only", "mnist_vae20", "--steps", "300"]
    told = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert told["before"]["low"] > 0.05 and told["after"]["high"] < 0.01


@pytest.mark.slow
def test_a_shipped_generator_goes_through_every_format(tmp_path: Path) -> None:
    run = tmp_path / "run"
    workflow.sample(run, "mnist-vae", SampleOptions(count=600))
    workflow.mark(run, "thickness", "thickness", MarkOptions(per_side=40))
    workflow.find(run)
    workflow.unlearn(run, UnlearnOptions(steps=60, check_every=30))
    workflow.evaluate(run, EvaluateOptions(count=1000))
    with pytest.raises(BadOption, match=r"did not come from a file of yours"):
        workflow.export(run, tmp_path / "x", "original")
    for form in ("safetensors", "diff", "torch-export", "onnx"):
        made = workflow.export(run, tmp_path / f"out.{form}", form)
        card = made.card.read_text()
        assert made.parity <= 1e-5 and "| unlearned |" in card and "CC BY-SA" in card
    again = load_generator(str(tmp_path / "out.safetensors"))
    assert again.spec.id == load_generator(str(run / "unlearned.safetensors")).spec.id


def some(**more: Tensor) -> dict[str, Tensor]:
    return {"a": torch.arange(4.0), "b": torch.ones(2, 3, dtype=torch.float16), "c": torch.tensor(7), **more}


def test_a_diff_holds_only_what_changed() -> None:
    after = some(b=torch.full((2, 3), 2.5, dtype=torch.float16))
    data = read_safetensors("d", difference(some(), after, {"unlearned": "x"}))
    assert list(data[0]) == ["b"] and data[1]["unlearned"] == "x"
    assert torch.equal(applied("d", data, some(), revert=False)["b"], after["b"])
    assert torch.equal(applied("d", data, after, revert=True)["b"], some()["b"])


@pytest.mark.parametrize("change", [{"b": torch.zeros(2, 3, dtype=torch.float16)}, {"b": torch.ones(2, 3)}])
def test_a_diff_for_other_weights_is_refused(change: dict[str, Any]) -> None:
    data = read_safetensors("d", difference(some(), some(b=torch.full((2, 3), 2.5, dtype=torch.float16)), {}))
    with pytest.raises(BadCheckpoint, match=r"not the one the diff was made for .* Use the file"):
        applied("d", data, some(**change), revert=False)
