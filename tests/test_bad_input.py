"""Mistakes and accidents: exit code 2, one sentence of what, got, expected, do this, and nothing lost."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shlex
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Command, Said, contents

from unfeature import load_generator, store
from unfeature.drawing import batches
from unfeature.generators.loading import checkpoint_bytes, read_safetensors, to_safetensors

GOOD_MARKS = {"positives": [0, 1], "negatives": [2, 3]}


def _refused(said: Said, *words: str) -> None:
    """Exit code 2 and one sentence, holding all the words, on standard error."""
    assert said.code == 2, said
    assert "Traceback" not in said.err + said.out
    kind, _, sentence = said.err.strip().partition(": ")
    assert kind.isidentifier(), said.err
    lines = [line for line in said.err.strip().splitlines() if not line.startswith("  ")]  # but for a table's
    assert len(lines) <= 2, said.err
    for word in words:
        assert word in sentence, f"{word!r} is not in: {sentence}"


# Each: what is written beforehand below the test's folder (run/ is a copy of a finished run), the command, the words.
_COMMAND_LINE: dict[str, tuple[str, tuple[str, ...]]] = {
    "unknown command": ("smaple run", ('"smaple"', 'Did you mean "sample"', "unfeature --help")),
    "unknown generator": ("sample new --generator mnist-vea", ('"mnist-vea"', 'Did you mean "mnist-vae"')),
    "unknown judge": ("mark run f --by thicknes", ('"thicknes"', 'Did you mean "thickness"')),
    "unknown finder": ("find run --finder lineer", ('"lineer"', 'Did you mean "linear"')),
    "unknown unlearner": ("unlearn run --unlearner distilation", ('"distilation"', 'Did you mean "distillation"')),
    "unknown extractor": ("preview run --extractor mnist-digit", ('"mnist-digit"', 'Did you mean "mnist-digits"')),
    "unknown preset": ("find run --preset papr", ('"papr"', 'Did you mean "paper"')),
    "unknown kind": ("list generator", ('"generator"', 'Did you mean "generators"')),
    "misspelt flag": ("sample new --cuont 3", ("--cuont", "Did you mean --count", "unfeature sample --help")),
    "missing argument": ("unlearn", ("RUN", "unfeature unlearn --help")),
    "one argument too many": ("unlearn run twice", ("twice", "unfeature unlearn --help")),
    "no marks asked for": ("mark run f", ("--by", "unfeature mark --help")),
    "value out of range": ("sample new --count 1", ("count is '1'", "greater than or equal to 2", "--help")),
    "value of another kind": ("mark run f --by slant --share two", ("share is 'two'", "number", "--help")),
    "margin below the threshold": ("preview run --margins=-3", ("margins", "is '-3'", "greater than or equal to 0")),
    "neither word nor number": (
        "find run --threshold abc",
        ("option threshold is 'abc': input should be 'auto', 'pooled' or 'balanced', or a valid number. See",),
    ),
    "not a number": ("find run --threshold nan", ("threshold", "'nan'", "finite", "--help")),
    "not one of the choices": ("unlearn run --l1 men", ("l1 is 'men'", "'mean' or 'sum'", "--help")),
    "several problems at once": ("sample new --count 1 --seed -1", ("count is '1'", "seed is '-1'")),
    "seed beyond all streams": ("sample new --seed 99999999", ("99999999", "expected")),
    "unknown device": ("unlearn run --device tpuu", ('"tpuu"', "--device cpu")),
    "generator file missing": ("sample new --generator no.safetensors", ("no.safetensors", "Check the path")),
    "generator code missing": ("sample new --generator no.py:load", ("no.py", "FILE.py:NAME")),
    "function forgotten": ("sample new --generator judge.py", ('"judge.py"', "FILE.py:NAME")),
    "weights missing": ("sample new --weights no.safetensors", ("no.safetensors", "Check the path")),
    "weights of another": (
        "sample new --weights gan.safetensors",
        ("gan.safetensors", "tensor", "fc1.weight", "missing", "layers.0.weight", "own weights"),
    ),
    "truncated generator": ("sample new --generator cut.safetensors", ("cut.safetensors", "bytes", "again")),
    "a picture as generator": ("sample new --generator png.safetensors", ("png.safetensors", "another kind")),
    "weights without a family": (
        "sample new --generator plain.safetensors",
        ("no family knows its layers (attention)", "--weights FILE.safetensors"),
    ),
    "NaN in the generator": ("sample new --generator nan.safetensors", ("NaN", '"', "another checkpoint")),
    "NaN in the weights": ("sample new --weights nan.safetensors", ("NaN", "another checkpoint")),
    "generator function returns a number": ("sample new --generator gen.py:number", ("int", "from_module")),
    "generator function fails": ("sample new --generator gen.py:fails", ("ZeroDivisionError", "gen.py:fails")),
    "generator of another latent size": ("sample new --generator gen.py:crooked", ("makes no picture", "mend")),
    "generator beyond [0, 1]": ("sample new --generator gen.py:beyond", ("from -", "expected 0 to 1", "Rescale")),
    "name of two words without quotes": (
        "mark run thick strokes --by thickness",
        ("strokes is too much", '"thick strokes"', "unfeature mark --help"),
    ),
    "generator that is none": ("sample new --generator pictures", ('"pictures"', ".safetensors", "FILE.py:NAME")),
    "generator without a gradient": (
        "sample new --generator gen.py:cut",
        ("no gradient", "torch all the way", "unfeature check gen.py:cut"),
    ),
    "generator code does not run": ("sample new --generator broken.py:load", ("SyntaxError", "broken.py")),
    "no such function": ("sample new --generator gen.py:numbr", ('"numbr"', 'Did you mean "number"')),
    "missing run folder": ("find nowhere", ("nowhere", "expected", "unfeature sample nowhere")),
    "missing run folder with a space": ("find 'no where'", ("unfeature sample 'no where'",)),
    "run folder is a file": ("find gan.safetensors", ("gan.safetensors", "Not a directory", "name another")),
    "new run folder is a file": ("sample gan.safetensors --count 2", ("gan.safetensors", "Name another")),
    "mark before sample": ("mark empty f --by slant", ("run.json", "unfeature sample empty")),
    "find before mark": ("find sampled", ("feedback.json", "unfeature mark sampled FEATURE --by")),
    "preview before find": ("preview marked", ("feature.safetensors", "unfeature find marked")),
    "unlearn before find": ("unlearn marked", ("feature.safetensors", "unfeature find marked")),
    "evaluate before unlearn": ("evaluate found", ("unlearned.safetensors", "unfeature unlearn found")),
    "report before evaluate": ("report found", ("evaluation.json", "unfeature evaluate found")),
    "marks missing": ("mark run f --by no.csv", ("no.csv", "Check the path")),
    "marks not JSON": ("mark run f --by torn.json", ("torn.json", "not JSON", "anew")),
    "marks nested too deeply": ("mark run f --by deep.json", ("deep.json", "not JSON", "anew")),
    "marks a list": ("mark run f --by list.json", ("list.json", "list", "expected an object")),
    "marks not numbers": ("mark run f --by words.json", ("words.json", "whole numbers", "'one'")),
    "marks half numbers": ("mark run f --by halves.json", ("halves.json", "whole numbers", "1.5")),
    "CSV without its columns": (
        "mark run f --by columns.csv",
        ("columns.csv", "picture, yes", "seed and mark"),
    ),
    "CSV without a mark": ("mark run f --by empty.csv", ("empty.csv", "no mark in it", "Mark some")),
    "CSV with a bad mark": ("mark run f --by badmark.csv", ("badmark.csv line 3", '"maybe"', "expected 1, 0")),
    "CSV with a bad seed": ("mark run f --by badseed.csv", ("badseed.csv", "'x7'", "whole numbers")),
    "a feature without a name": ("mark run ' ' --by slant", ("no name", "Give it one")),
    "CSV with a seed too large": (
        "mark run f --by large.csv",
        ("large.csv marks seed 99999999999999999999", "expected 0 to 9007199254740991", "gallery.csv", "Mend"),
    ),
    "what is kept has a seed too large": ("find run --keep own=large.csv", ("large.csv marks seed 999999999999999",)),
    "a negative seed": ("mark run f --by negative.json", ("negative.json marks seed -3", "expected 0 to 90071")),
    "a seed marked twice": ("mark run f --by twice.csv", ("twice.csv", "seed 1 twice", "Remove one")),
    "marks of another generator": ("mark run f --by other.json", ("mnist-gan@0", "mnist-vae@", "anew")),
    "judge that is no function": ("mark run f --by judge.py:number", ("int", "function")),
    "judge that raises": ("mark run f --by judge.py:raises", ("judge.py:raises", "RuntimeError", "no eyes")),
    "judge of another shape": ("mark run f --by judge.py:square", ("judge.py:square", "(400, 1)", "expected (400,)")),
    "judge beyond [0, 1]": ("mark run f --by judge.py:loud", ("returned 2", "expected scores in [0, 1]")),
    "judge that tells a number of numpy": (
        "mark run f --by judge.py:learnt",
        ('judge "judge.py:learnt"', "`about` that is not JSON", "float32", "`float(...)`"),
    ),
    "guide that raises": (
        "find run --finder counterfactual --samples 100 --guide judge.py:blind",
        ('guide "judge.py:blind" failed on 2 images of 1x28x28', "RuntimeError: no eyes"),
    ),
    "guide of another shape": (
        "find run --finder counterfactual --samples 100 --guide judge.py:tall",
        ('guide "judge.py:tall"', "1) for ", ".squeeze(1)"),
    ),
    "guide beyond [0, 1]": (
        "find run --finder counterfactual --samples 100 --guide judge.py:steep",
        ('guide "judge.py:steep" returned', "expected scores in [0, 1]", ".sigmoid()"),
    ),
    "kept by a judge that raises": ("find run --samples 100 --keep x=judge.py:blind", ("judge.py:blind", "no eyes")),
    "kept by a judge of another shape": (
        "find run --samples 100 --keep x=judge.py:tall",
        ("judge.py:tall", ".squeeze"),
    ),
    "judge that returns words": ("mark run f --by judge.py:words", ("judge.py:words", "str", "expected")),
    "options missing": ("run no.toml new", ("no.toml", "Check the path")),
    "options not TOML": ("run torn.toml new", ("torn.toml", "not TOML", "line")),
    "options not text": ("run png.safetensors new", ("png.safetensors", "UTF-8")),
    "unknown option in TOML": ("run misspelt.toml new", ('"unlearn.setps"', 'Did you mean "unlearn.steps"')),
    "unknown table in TOML": ("run table.toml new", ('"unlaern"', "Did you mean")),
    "value out of range in TOML": ("run range.toml new", ("unlearn.steps is 0", "greater than or equal to 1")),
    "a table where a name belongs": ("run nested.toml new --preset demo", ("generator", "valid string")),
    "extractor for other pictures": ("preview big", ("mnist-gradients", "3x64x64", "--extractor FILE.py:FUNCTION")),
    "extractor that is none": ("preview run --extractor gen.py:number", ("gen.py:number", "embed", "--extractor")),
}

_FILES = {
    "judge.py": "import torch\nnumber = 7\ndef raises(images):\n    raise RuntimeError('no eyes')\n"
    "def square(images):\n    return torch.zeros(len(images), 1)\n"
    "def loud(images):\n    return torch.full((len(images),), 2.0)\n"
    "def words(images):\n    return 'yes'\n"
    "def red(images):\n    return (images[:, 0].mean(dim=(1, 2)) > 0.5).float()\n"
    "class Judge:\n    def __init__(self, score, **more):\n"
    "        self.score, self.about = score, {'name': 'mine', **more}\n"
    "def mean(images):\n    return images.mean(dim=(1, 2, 3))\n"
    "learnt = Judge(mean, auc=__import__('numpy').float32(0.5))\n"
    "blind = Judge(raises)\n"
    "tall = Judge(lambda images: mean(images)[:, None])\n"
    "steep = Judge(lambda images: 99 * mean(images))\n",
    "gen.py": "import torch, unfeature\nfrom torch import nn\ndef number():\n    return 7\n"
    "def fails():\n    return 1 / 0\n"
    "class Net(nn.Module):\n    def __init__(self, d, c, h):\n        super().__init__()\n"
    "        torch.manual_seed(0)\n        self.c, self.h, self.line = c, h, nn.Linear(d, c * h * h)\n"
    "    def forward(self, z):\n        return self.line(z).sigmoid().unflatten(1, (self.c, self.h, self.h))\n"
    "class Cut(Net):\n    def forward(self, z):\n        return super().forward(z).detach()\n"
    "def crooked():\n    return unfeature.from_module('crooked', Net(4, 1, 28), 5)\n"
    "def beyond():\n    return unfeature.from_module('beyond', nn.Sequential(nn.Linear(4, 64), nn.Tanh(), "
    "nn.Unflatten(1, (1, 8, 8))), 4)\n"
    "def cut():\n    return unfeature.from_module('cut', Cut(4, 1, 8), 4)\n"
    "def big():\n    return unfeature.from_module('big', Net(4, 3, 64), 4)\n",
    "broken.py": "def load(:\n",
    "torn.json": '{"positives": [1, 2',
    "list.json": "[1, 2]",
    "deep.json": "[" * 100_000,
    "words.json": '{"positives": ["one"], "negatives": [2]}',
    "halves.json": '{"positives": [1.5], "negatives": [2]}',
    "other.json": json.dumps({**GOOD_MARKS, "generator": "mnist-gan@0"}),
    "columns.csv": "picture,yes\n1,1\n",
    "empty.csv": "seed,mark\n1,\n2,\n",
    "badmark.csv": "seed,mark\n1,1\n2,maybe\n",
    "badseed.csv": "seed,mark\nx7,1\n2,0\n",
    "large.csv": "seed,mark\n99999999999999999999,1\n1,0\n2,1\n3,0\n4,1\n5,0\n",
    "negative.json": '{"positives": [1], "negatives": [-3]}',
    "twice.csv": "seed,mark\n1,1\n2,0\n1,0\n",
    "outside.csv": "seed,mark\n1,1\n777777,0\n",
    "positives.csv": "seed,mark\n1,1\n2,1\n",
    "negatives.csv": "seed,mark\n1,0\n2,0\n",
    "torn.toml": "generator = 'mnist-vae\n",
    "misspelt.toml": "[unlearn]\nsetps = 3\n",
    "table.toml": "[unlaern]\nsteps = 3\n",
    "range.toml": "[unlearn]\nsteps = 0\n",
    "nested.toml": "[generator]\nname = 'mnist-vae'\n",
}


@pytest.fixture(scope="session")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files with every kind of mistake; read only."""
    folder = tmp_path_factory.mktemp("workshop")
    for name, text in _FILES.items():
        (folder / name).write_text(text)
    vae = load_generator("mnist-vae")
    whole = checkpoint_bytes(vae, {})
    (folder / "cut.safetensors").write_bytes(whole[: len(whole) // 2])
    (folder / "png.safetensors").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100))
    strange = {"attention.query": torch.ones(3, 4, 5), "attention.key": torch.ones(3, 4, 5)}
    (folder / "plain.safetensors").write_bytes(to_safetensors(strange, {}))
    (folder / "gan.safetensors").write_bytes(checkpoint_bytes(load_generator("mnist-gan"), {}))
    with torch.no_grad():
        next(vae.module.parameters()).view(-1)[0] = float("nan")
    (folder / "nan.safetensors").write_bytes(checkpoint_bytes(vae, {}))
    return folder


@pytest.fixture
def here(workshop: Path, tiny_run: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder: every mistake, run/ (finished) and runs that stopped after earlier verbs."""
    folder = tiny_run.parent
    for path in workshop.iterdir():
        (folder / path.name).symlink_to(path)
    stages = {
        "empty": (),
        "sampled": ("run.json", "gallery.json"),
        "marked": ("run.json", "gallery.json", "feedback.json", "request.json"),
        "found": ("run.json", "gallery.json", "feedback.json", "request.json", "feature.safetensors"),
    }
    for stage, names in stages.items():
        (folder / stage).mkdir()
        for name in names:
            (folder / stage / name).write_bytes((tiny_run / name).read_bytes())
    monkeypatch.chdir(folder)
    return folder


def _untouched(before: dict[str, bytes], folder: Path) -> None:
    after = contents(folder)
    assert {name for name, data in before.items() if after.get(name) != data} == set()
    assert not [name for name in after if name.endswith(".tmp")]


@pytest.mark.parametrize("mistake", _COMMAND_LINE)
def test_a_mistake_is_one_sentence_and_loses_nothing(mistake: str, here: Path, command: Command) -> None:
    line, words = _COMMAND_LINE[mistake]
    arguments = shlex.split(line)
    if "big" in arguments:
        for prepare in (
            "sample big --generator gen.py:big --count 40",
            "mark big red --by judge.py:red --per-side 5",
            "find big",
        ):
            done = command(*shlex.split(prepare))
            assert done.code == 0, done.err
    before = contents(here)
    _refused(command(*arguments), *words)
    _untouched(before, here)
    if arguments[-1] == "nowhere":
        assert not (here / "nowhere").exists()


@pytest.mark.parametrize(
    ("marks", "words"),
    [
        ("negatives.csv", ("0 positives", "negatives 2", "pictures with it", "unfeature mark run 'my feature' --by")),
        ("positives.csv", ("0 negatives", "positives 2", "pictures without it", "unfeature mark run 'my feature'")),
        ("outside.csv", ("777777", "not in the gallery", "Mark pictures of this gallery")),
    ],
)
def test_marks_no_feature_can_be_found_from(marks: str, words: tuple[str, ...], here: Path, command: Command) -> None:
    before = contents(here)
    _refused(command("mark", "run", "my feature", "--by", marks), *words)
    _untouched(before, here)


def test_a_gallery_of_another_generator(here: Path, command: Command) -> None:
    assert command("sample", "other", "--generator", "mnist-gan", "--count", "50").code == 0
    (here / "run" / "gallery.json").write_bytes((here / "other" / "gallery.json").read_bytes())
    before = contents(here)
    for arguments in (["mark", "run", "f", "--by", "slant"], ["find", "run"]):
        _refused(command(*arguments), "gallery", "mnist-gan@", "mnist-vae@", "make the gallery anew")
    _untouched(before, here)


def test_a_run_folder_taken_for_another_generator_says_so_and_how_to_go_back(here: Path, command: Command) -> None:
    before = {name: (here / "run" / f"{name}.json").read_bytes() for name in ("run", "gallery")}
    again = command("sample", "run", "--generator", "mnist-vae", "--count", "300")
    assert again.code == 0 and "fit" not in again.out
    said = command("sample", "run", "--generator", "mnist-gan", "--count", "50")
    assert said.code == 0 and "was a run of mnist-vae@" in said.out and "do not fit any more" in said.out
    assert "run-2.json from run/history" in said.out
    _refused(command("unlearn", "run"), "mnist-vae@", "mnist-gan@")
    for name, data in before.items():
        assert (here / "run" / "history" / f"{name}-1.json").read_bytes() == data
        (here / "run" / f"{name}.json").write_bytes(data)
    assert command("preview", "run", "--count", "20").code == 0


def test_pictures_that_are_no_digits_are_not_said_to_be_marked_by_thickness(here: Path, command: Command) -> None:
    following = [
        command("sample", "new", "--generator", name, "--count", "4").out.splitlines()[-1]
        for name in ("gen.py:big", "mnist-vae")
    ]
    assert "unfeature mark new FEATURE --by marks.csv --judge FILE.py:FUNCTION" in following[0]
    assert "unfeature mark new thickness --by thickness" in following[1]


def test_without_a_judge_one_sentence_says_so(here: Path, command: Command) -> None:
    marks = here / "marks.json"
    marks.write_bytes((here / "run" / "feedback.json").read_bytes())
    assert command("mark", "run", "slanted strokes", "--by", "marks.json").code == 0
    assert command("find", "run").code == 0
    said = command("preview", "run", "--count", "50").out
    assert "What the copy would learn from; nobody judges how many of 50 show it." in said
    said = command("unlearn", "run", "--steps", "1", "--batch", "4").out
    assert "teacher, before any training: nobody judges how many show it; " in said
    assert "stopped after 1 step: " in said and "not judged" not in said


def test_a_generator_that_changed_since(here: Path, command: Command) -> None:
    path = here / "mine.safetensors"
    path.write_bytes(checkpoint_bytes(load_generator("mnist-vae"), {}))
    assert command("sample", "new", "--generator", "mine.safetensors", "--count", "20").code == 0
    with torch.no_grad():
        changed = load_generator("mnist-vae")
        next(changed.module.parameters()).view(-1)[0] += 1
    path.write_bytes(checkpoint_bytes(changed, {}))
    before = contents(here)
    _refused(command("mark", "new", "f", "--by", "slant"), "mnist-vae@", "Use the generator it was made for")
    _untouched(before, here)


# Which command reads a file of the run first, and which makes it anew.
_READERS = {
    "run.json": ("find", "sample"),
    "gallery.json": ("find", "sample"),
    "feedback.json": ("find", "mark"),
    "request.json": ("evaluate", "mark"),
    "feature.safetensors": ("preview", "find"),
    "preview.json": ("unlearn", "preview"),
    "training.safetensors": ("unlearn", "unlearn"),
    "unlearned.safetensors": ("evaluate", "unlearn"),
    "evaluation.json": ("report", "evaluate"),
}


def _hollow(data: bytes) -> bytes:
    """The same kind of file with nothing in it."""
    return to_safetensors({"x": torch.zeros(1)}, {}) if data[:1] != b"{" else b"{}"


def _nulls(data: bytes) -> bytes:
    """The same keys, each with nothing behind it."""
    if data[:1] == b"{":
        return json.dumps(dict.fromkeys(json.loads(data))).encode()
    tensors, facts = read_safetensors("x", data)
    return to_safetensors(tensors, dict.fromkeys(facts))


def _strings(data: bytes) -> bytes:
    """Text where numbers or lists belong."""
    if data[:1] == b"{":
        return json.dumps({key: f"changed {key}" for key in json.loads(data)}).encode()
    return json.dumps({"positives": []}).encode()


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "half": lambda data: data[: len(data) // 2],
    "empty": lambda data: b"",
    "hollow": _hollow,
    "nulls": _nulls,
    "strings": _strings,
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", _READERS)
def test_a_damaged_file_of_the_run(name: str, damage: str, here: Path, command: Command) -> None:
    path = here / "run" / name
    path.write_bytes(DAMAGES[damage](path.read_bytes()))
    before = contents(here)
    reader, maker = _READERS[name]
    said = command(reader, "run", *(("--steps", "1", "--batch", "4") if reader == "unlearn" else ()))
    if name == "training.safetensors" and damage == "nulls":  # no training's key: put aside, not lost
        assert (here / "run" / "history" / "training-1.safetensors").read_bytes() == before[f"run/{name}"]
        return
    _refused(said, "anew" if name != "unlearned.safetensors" or damage != "nulls" else "unfeature unlearn run")
    assert name in said.err or maker in said.err
    _untouched(before, here)


def test_a_damaged_file_can_be_made_anew(here: Path, command: Command) -> None:
    for name, arguments in {
        "run.json": ["sample", "run", "--count", "400"],
        "feedback.json": ["mark", "run", "slanted strokes", "--by", "slant", "--per-side", "30"],
        "feature.safetensors": ["find", "run", "--margin", "0.25"],
        "preview.json": ["preview", "run", "--count", "300"],
        "unlearned.safetensors": ["unlearn", "run", "--steps", "40", "--check-every", "10"],
        "evaluation.json": ["evaluate", "run", "--count", "300"],
    }.items():
        path = here / "run" / name
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
        said = command(*arguments)
        assert said.code == 0, said.err
        assert path.read_bytes() == whole, name


def test_a_failure_half_way_leaves_gradients_on(here: Path, command: Command) -> None:
    _refused(command("mark", "run", "f", "--by", "judge.py:raises"), "no eyes")
    assert torch.is_grad_enabled()
    half_way = batches(load_generator("mnist-vae"), np.arange(10))
    next(half_way)
    assert torch.is_grad_enabled()


def test_a_run_folder_in_use(here: Path, command: Command) -> None:
    before = contents(here)
    with open(here / "run" / ".lock", "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for verb in ("find", "preview", "unlearn", "evaluate", "report"):
            _refused(command(verb, "run"), "run", "in use by another process", "Wait for that process")
        _refused(command("sample", "run", "--count", "10"), "in use by another process")
    _untouched(before, here)


@pytest.mark.parametrize("refused", [errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS])
def test_a_folder_that_takes_no_more(
    refused: int, here: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = contents(here)

    def fails(handle: int) -> None:
        raise OSError(refused, os.strerror(refused))

    monkeypatch.setattr(store.os, "fsync", fails)
    words = (
        ("no room left for", "bytes", "untouched", "Make room")
        if refused in (errno.ENOSPC, errno.EDQUOT)
        else ("cannot write", os.strerror(refused), "permissions")
    )
    for line in (
        ["sample", "run", "--count", "10"],
        ["mark", "run", "f", "--by", "slant"],
        ["find", "run", "--margin", "1"],
        ["preview", "run", "--count", "20"],
        ["unlearn", "run", "--steps", "1", "--batch", "4"],
        ["evaluate", "run", "--count", "100"],
    ):
        _refused(command(*line), *words)
        _untouched(before, here)
    assert contents(here).keys() == before.keys()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder(here: Path, command: Command) -> None:
    (here / "run").chmod(0o555)
    try:
        _refused(command("find", "run", "--margin", "1"), "run", "ermission")
        _refused(command("sample", "run/below", "--count", "10"), "Permission denied", "Name another")
    finally:
        (here / "run").chmod(0o755)


def test_what_an_interrupted_write_left_is_swept_up(here: Path, command: Command) -> None:
    (here / "run" / ".feature.safetensors.abc.tmp").write_bytes(b"half")
    before = contents(here / "run")
    assert command("find", "run", "--margin", "0.25").code == 0
    after = contents(here / "run")
    assert before.keys() - after.keys() == {".feature.safetensors.abc.tmp"}
    assert all(before[name] == data for name, data in after.items())


def test_a_marked_file_lost_from_history_overwrites_no_other(here: Path, command: Command) -> None:
    for per_side in ("29", "28", "27"):
        command("mark", "run", "f", "--by", "slant", "--per-side", per_side)
    history = here / "run" / "history"
    (history / "feedback-1.json").unlink()
    second = (history / "feedback-2.json").read_bytes()
    command("mark", "run", "f", "--by", "slant", "--per-side", "26")
    command("mark", "run", "f", "--by", "slant", "--per-side", "25")
    assert (history / "feedback-2.json").read_bytes() == second
    assert len(list(history.glob("feedback-*.json"))) == 4
