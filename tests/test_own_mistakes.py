"""What a person who has read no document does wrong, one sentence each."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import Command

from unfeature import workflow, zoo
from unfeature.errors import BadFile, BadOption
from unfeature.judging import is_marks_file, marks_from_file
from unfeature.options import MarkOptions, SampleOptions, UnlearnOptions

OWN = """
import numpy, torch
from torch import nn
from unfeature.generators.module import from_module

def made(look):
    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(3))
        def forward(self, z):
            return look(torch.sigmoid(z[:, :3, None, None] * self.weight[:, None, None]).expand(-1, 3, 16, 16))
    return lambda: from_module("own", Own(), 4)

colour = made(lambda x: x)
one = made(lambda x: x[:1])
last = made(lambda x: x.permute(0, 2, 3, 1))
four = made(lambda x: torch.cat([x, x[:, :1]], 1))
odd = made(lambda x: x * float("nan"))

def red(images):
    return (images[:, 0].mean(dim=(1, 2)) > 0.5).float()

def bright(images):
    share = images.mean(dim=(1, 2, 3))
    return (share > share.median()).float()

def nobody(images):
    return torch.zeros(len(images))
"""


@pytest.fixture
def own(tmp_path: Path) -> Path:
    path = tmp_path / "own.py"
    path.write_text(OWN)
    return path


@pytest.mark.parametrize(
    ("name", "words"),
    [("one", "own.py:one"), ("last", "own.py:last"), ("four", "1 or 3 channels"), ("odd", "that are no numbers")],
)
def test_a_generator_that_makes_no_pictures_is_told_at_once(own: Path, name: str, words: str, command: Command) -> None:
    said = command("sample", own.parent / "run", "--generator", f"{own}:{name}", "--count", "50")
    assert said.code == 2 and words in said.err and len(said.err.splitlines()) == 1, said.err
    assert not (own.parent / "run" / "gallery.json").exists()


def test_pictures_in_colour_are_unlearned_without_an_extractor(own: Path) -> None:
    run = own.parent / "run"
    workflow.sample(run, f"{own}:colour", SampleOptions(count=300))
    workflow.mark(run, "red", f"{own}:red", MarkOptions(per_side=30))
    workflow.find(run)
    workflow.unlearn(run, UnlearnOptions(steps=2, batch=4))
    assert (run / "unlearned.safetensors").is_file()


def test_whoever_marks_finds_some_of_each_kind(own: Path, command: Command) -> None:
    run = own.parent / "run"
    workflow.sample(run, f"{own}:colour", SampleOptions(count=60))
    workflow.mark(run, "red", f"{own}:red", MarkOptions(per_side=10))
    before = (run / "feedback.json").read_bytes()
    said = command("mark", run, "red", "--by", f"{own}:nobody")
    assert said.code == 2 and "finds none with it among the 60 pictures of the gallery" in said.err
    assert (run / "feedback.json").read_bytes() == before


def test_a_run_does_not_go_on_after_itself(tiny_run: Path, tmp_path: Path) -> None:
    before = (tiny_run / "unlearned.safetensors").read_bytes()
    with pytest.raises(BadOption, match=r"is to go on after itself, .* unfeature sample NEW --after"):
        workflow.sample(tiny_run, after=tiny_run)
    workflow.sample(tmp_path / "second", after=tiny_run, options=SampleOptions(count=10))
    assert (tiny_run / "unlearned.safetensors").read_bytes() == before


def test_marks_as_other_programs_write_them(tiny_run: Path, tmp_path: Path) -> None:
    from unfeature.artifacts import Gallery
    from unfeature.store import Run

    gallery = Run(tiny_run).read_as("gallery.json", Gallery)
    a, b = gallery.seeds[:2]
    path = tmp_path / "marks.CSV"
    path.write_text(f"seed,mark\n{a}.0,1\n{b}.0,0\n")
    assert is_marks_file(str(path)) and is_marks_file("m.tsv")
    assert marks_from_file(path, gallery, "it").positives == (a,)
    path.write_text(f"seed,mark\n{a}x,1\n")
    with pytest.raises(BadFile, match=r"marks seeds that are not whole numbers .*x.* Mend them"):
        marks_from_file(path, gallery, "it")
    path.write_bytes(f"seed,mark\n{a},1\n".encode("utf-16"))
    with pytest.raises(BadFile, match="is no text in UTF-8; .* Save it as CSV, UTF-8"):
        marks_from_file(path, gallery, "it")


def test_what_is_stopped_says_so(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "unfeature", "sample", str(tmp_path / "run"), "--count", "900000"]
    stopped = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=dict(os.environ))
    time.sleep(3)
    stopped.send_signal(signal.SIGINT)
    _, told = stopped.communicate(timeout=60)
    if stopped.returncode != 0:  # a quick machine has drawn them all by then
        assert stopped.returncode == 130 and "Stopped. What was written before is whole" in told
        assert "Traceback" not in told


@pytest.mark.parametrize("named", ["own.py:colour", "own.safetensors"])
def test_a_run_whose_generator_was_named_from_another_folder_says_so(
    own: Path, named: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: Command
) -> None:
    (tmp_path / "own.safetensors").write_bytes(zoo.weights("mnist-vae"))
    (tmp_path / "below").mkdir()
    monkeypatch.chdir(tmp_path)
    assert command("sample", "run", "--generator", named, "--count", "50").code == 0
    assert command("mark", "run", "bright", "--by", f"{own}:bright", "--per-side", "5").code == 0
    monkeypatch.chdir("below")
    said = command("find", "../run")
    assert said.code == 2 and f'is of "{named}", named from the folder in which `unfeature sample` was' in said.err
    monkeypatch.chdir("..")
    assert command("find", "run").code == 0
