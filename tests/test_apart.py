"""Whatever guides never judges: a network is known again under another name, in another file, in another form."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from conftest import Command
from torch import Tensor, nn

from unfeature import workflow
from unfeature.artifacts import Evaluation
from unfeature.fingerprints import together, weights
from unfeature.options import EvaluateOptions, FindOptions, MarkOptions, PreviewOptions, SampleOptions, UnlearnOptions
from unfeature.plugins import same_object
from unfeature.store import Run

NETWORK = """
from pathlib import Path
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, seed):
        super().__init__()
        g = torch.Generator().manual_seed(seed)
        self.inner = nn.Linear(784, 8)
        with torch.no_grad():
            self.inner.weight.copy_(torch.randn(8, 784, generator=g) / 28)
            self.inner.bias.zero_()

    def forward(self, images):
        return (self.inner(images.flatten(1)).mean(dim=1) + 20 * images.mean(dim=(1, 2, 3)) - 2.8).sigmoid()

class Judge:
    about = {"name": "net", "trained_on": "nothing, 0f", "architecture": "a layer"}
    def __init__(self, seed):
        self.net = Net(seed).eval()
    def score(self, images):
        return self.net(images)

one = Judge(0)
other = Judge(1)
"""
CHEATS = {
    "same object": "from guide import one as judge\n",
    "a function": "from guide import Judge\nhidden = Judge(0)\ndef judge(images):\n    return hidden.score(images)\n",
    "a loaded file": """
import torch
from functools import cache
from pathlib import Path

@cache
def w():
    return torch.load(Path(__file__).with_name("stolen.pt"), weights_only=True)

def judge(images):
    told = torch.nn.functional.linear(images.flatten(1), w()["inner.weight"], w()["inner.bias"])
    return (told.mean(dim=1) + 20 * images.mean(dim=(1, 2, 3)) - 2.8).sigmoid()
""",
    "exported": """
import torch
from pathlib import Path
net = torch.export.load(Path(__file__).with_name("stolen.pt2")).module()

def judge(images):
    return net(images)
""",
}


@pytest.fixture
def guided(tmp_path: Path) -> Path:
    """A run whose search a network guided, trained for two steps; marked and judged by a measurement."""
    (tmp_path / "guide.py").write_text(NETWORK)
    names: dict[str, object] = {}
    exec(NETWORK, names)
    net: nn.Module = names["one"].net  # type: ignore[attr-defined]
    torch.save(net.state_dict(), tmp_path / "stolen.pt")
    shape = {"images": {0: torch.export.Dim("n", min=1, max=4096)}}
    program = torch.export.export(net, (torch.zeros(3, 1, 28, 28),), dynamic_shapes=shape)
    torch.export.save(program, tmp_path / "stolen.pt2")
    run = tmp_path / "run"
    workflow.sample(run, "mnist-vae", SampleOptions(count=400))
    workflow.mark(run, "slanted", "slant", MarkOptions(per_side=30))
    options = FindOptions(
        finder="counterfactual", guide=f"{tmp_path}/guide.py:one", samples=500, search_steps=2, extractor=""
    )
    workflow.find(run, options)
    workflow.unlearn(run, UnlearnOptions(steps=2, check_every=2, batch=4))
    return run


def judged_by(run: Path, reference: str, command: Command):
    marked = command("mark", run, "slanted", "--by", "slant", "--per-side", "30", "--judge", reference)
    assert marked.code == 0, marked.err
    return command("evaluate", run, "--count", "100")


@pytest.mark.slow
def test_a_judge_that_guided_is_refused_under_whatever_name(guided: Path, tmp_path: Path, command: Command) -> None:
    for i, (kind, source) in enumerate(CHEATS.items()):
        (tmp_path / f"honest{i}.py").write_text(source)
        said = judged_by(guided, f"{tmp_path}/honest{i}.py:judge", command)
        assert said.code == 2, kind
        assert "has the same weights as" in said.err and "guide.py:one" in said.err and "--guide" in said.err, kind
        assert len(said.err.strip().splitlines()) == 1
    said = judged_by(guided, f"{tmp_path}/run/../guide.py:one", command)
    assert said.code == 2 and "which guided (--guide)" in said.err
    (tmp_path / "copied.py").write_text(NETWORK)
    assert "copied.py:one" in judged_by(guided, f"{tmp_path}/copied.py:one", command).err
    said = command("find", guided, "--finder", "counterfactual", "--guide", f"{tmp_path}/copied.py:one")
    assert said.code == 2 and "which judges this run" in said.err

    said = judged_by(guided, f"{tmp_path}/guide.py:other", command)
    assert said.code == 0, said.err
    told = Run(guided).read_as("evaluation.json", Evaluation).judge
    assert (told["trained_on"], told["architecture"], told["seed"]) == ("nothing, 0f", "a layer", "not told")
    assert told["guides"]["--guide"]["weights_sha256"] not in ("none", told["weights_sha256"])
    assert len(told["source_sha256"]) == len(told["weights_sha256"]) == 64
    workflow.preview(guided, PreviewOptions(count=50))
    page = workflow.report(guided)[1].read_text()
    assert "trained on: nothing, 0f" in page and "seed: not told" in page and "guides: --guide: architecture" in page


@pytest.mark.slow
def test_the_network_of_the_probe_and_a_network_that_marked_are_refused(tmp_path: Path, command: Command) -> None:
    (tmp_path / "digits.py").write_text(
        "from unfeature.metrics.digits import load_digit_extractor as load\nnet = load()\n"
        "def one(images):\n    return net.logits(images).softmax(dim=1)[:, 1]\n"
        "def bright(images):\n    return (images.mean(dim=(1, 2, 3)) > 0.14).float()\n"
    )
    run, judge = tmp_path / "run", f"{tmp_path}/digits.py:one"
    workflow.sample(run, "mnist-vae", SampleOptions(count=400))
    assert command("mark", run, "ones", "--by", judge, "--per-side", "20").code == 0
    said = command("find", run, "--finder", "counterfactual", "--samples", "500", "--search-steps", "2")
    assert said.code == 2 and "the probe's network" in said.err
    said = command("find", run)
    assert said.code == 0 and "evaluate` will refuse this judge" in said.err + said.out
    assert command("unlearn", run, "--steps", "2", "--check-every", "2", "--batch", "4").code == 0
    said = command("evaluate", run, "--count", "100")
    assert said.code == 2 and "which guided (the marks)" in said.err
    for by in ("slant", f"{tmp_path}/digits.py:bright"):  # what has no weights may mark and judge
        assert command("mark", run, "x", "--by", by, "--per-side", "20").code == 0
        workflow.find(run)
        workflow.unlearn(run, UnlearnOptions(steps=2, check_every=2, batch=4))
        workflow.evaluate(run, EvaluateOptions(count=100))
    assert json.loads((run / "evaluation.json").read_text())["judge"]["trained_on"] == "not told"


def test_weights_are_what_runs() -> None:
    images = torch.rand(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    net = nn.Sequential(nn.Conv2d(1, 16, 3), nn.BatchNorm2d(16), nn.Flatten(), nn.Linear(576, 4)).eval()
    unused = nn.Linear(100, 100)
    found = weights(net, images)
    assert len(found) == 2 and together(found) == together(reversed(sorted(found)))
    assert weights(lambda x: net(1 - x), images) == found

    def half(x: Tensor) -> Tensor:
        return nn.functional.conv2d(x, net[0].weight.detach().clone())  # type: ignore[arg-type]

    copied = net[0].weight.detach().clone()  # type: ignore[operator]
    assert weights(lambda x: nn.functional.conv2d(x, copied), images) < found
    assert weights(half, images) < found
    grid = torch.linspace(0, 1, 8).expand(8, 8).contiguous()
    assert weights(lambda x: (x * grid + torch.zeros(8, 8)).mean(dim=(1, 2, 3)), images) == frozenset()
    assert weights(unused, torch.rand(4, 100)) & found == frozenset()
    assert together(()) == ""


def test_references_are_compared_by_what_they_name(tmp_path: Path) -> None:
    for name, text in (("a", "x = 1\n"), ("b", "x = 1\n"), ("c", "x = 2\n")):
        (tmp_path / f"{name}.py").write_text(text)
    a, b, c = (f"{tmp_path}/{name}.py:x" for name in "abc")
    assert same_object(a, a) and same_object(a, b) and not same_object(a, c)
    assert not same_object(a, f"{tmp_path}/a.py:y") and not same_object(a, "slant") and same_object("slant", "slant")
    assert not same_object(f"{tmp_path}/d.py:x", f"{tmp_path}/e.py:x")  # neither can be read
