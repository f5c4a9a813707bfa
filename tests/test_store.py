"""Run folders: all or nothing, nothing lost, one process at a time."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from unfeature.errors import BadFile, DiskFull, MissingStep, RunBusy
from unfeature.store import MAKES, Run, TrainingState, parse_json, write_atomic


@pytest.fixture
def run(tmp_path: Path) -> Run:
    made = Run(tmp_path / "run")
    with made.held(new=True):
        made.write_json("run.json", {"seed": 0})
    return made


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def fail(number: int) -> Any:
    def failing(*given: object) -> None:
        raise OSError(number, os.strerror(number))

    return failing


def test_writes_replace_the_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file.json"
    write_atomic(path, b"a long first text")
    write_atomic(path, b"short")
    assert path.read_bytes() == b"short"
    assert names(path.parent) == {"file.json"}
    assert path.stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("call", ["fsync", "replace"])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_leaves_what_was_there(
    call: str, number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file.json"
    write_atomic(path, b"old")
    monkeypatch.setattr(os, call, fail(number))
    with pytest.raises(DiskFull, match=r"no room left for .*file.json \(2,000 bytes\); .* untouched. Make room"):
        write_atomic(path, b"x" * 2000)
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == {"file.json"}


def test_a_full_disk_while_a_run_writes_loses_nothing(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    run.write_json("gallery.json", {"a": 1})
    before = run.read("gallery.json")
    monkeypatch.setattr(os, "fsync", fail(errno.ENOSPC))
    with pytest.raises(DiskFull):
        run.write_json("gallery.json", {"a": 2})
    assert run.read("gallery.json") == before


def test_other_failures_to_write_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", fail(errno.EIO))
    with pytest.raises(BadFile, match=r"cannot write .*file.json: Input/output error. Check the folder"):
        write_atomic(tmp_path / "file.json", b"x")
    assert names(tmp_path) == set()


KILLED = """
import os, sys
from pathlib import Path
from unfeature.store import write_atomic
os.fsync = lambda handle: os.kill(os.getpid(), 9)
write_atomic(Path(sys.argv[1]), b"new")
"""


def test_a_write_killed_half_way_leaves_the_old_file_and_the_next_command_cleans_up(run: Run) -> None:
    run.write("gallery.json", b"old")
    done = subprocess.run([sys.executable, "-c", KILLED, str(run.path("gallery.json"))], check=False)
    assert done.returncode == -9
    left = list(run.folder.glob(".*.tmp"))
    assert run.read("gallery.json") == b"old" and len(left) == 1
    with run.held():
        assert not left[0].exists()
    assert run.read("gallery.json") == b"old"


def test_what_differs_goes_to_history(run: Run) -> None:
    for text in (b"one", b"one", b"two", b"three"):
        run.write("feature.safetensors", text)
    assert run.read("feature.safetensors") == b"three"
    history = run.path("history")
    assert names(history) == {"feature-1.safetensors", "feature-2.safetensors"}
    assert (history / "feature-1.safetensors").read_bytes() == b"one"
    assert (history / "feature-2.safetensors").read_bytes() == b"two"


def test_a_retired_file_is_in_history(run: Run) -> None:
    run.write("preview.json", b"{}")
    run.retire("preview.json")
    assert not run.has("preview.json")
    assert (run.path("history") / "preview-1.json").read_bytes() == b"{}"


HOLDS = """
import sys
from pathlib import Path
from unfeature.store import Run
with Run(Path(sys.argv[1])).held():
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_folder_in_use_by_another_process_is_refused_until_that_dies(run: Run) -> None:
    other = subprocess.Popen(
        [sys.executable, "-c", HOLDS, str(run.folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with other:
        assert other.stdout is not None and other.stdout.readline() == b"held\n"
        with pytest.raises(RunBusy, match=r"is in use by another process; expected it free. Wait"), run.held():
            pass
        other.kill()
        other.wait()
    with run.held():
        pass


def test_a_folder_that_cannot_be_one_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BadFile, match=r"Name another"), Run(tmp_path / "file").held(new=True):
        pass


def test_a_run_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(MissingStep, match=r"has no run.json yet; .* unfeature sample"), Run(tmp_path / "no").held():
        pass
    assert names(tmp_path) == set()


@pytest.mark.parametrize("name", [name for name in MAKES if name != "run.json"])
def test_a_missing_file_names_the_verb_that_makes_it(run: Run, name: str) -> None:
    with pytest.raises(MissingStep, match=rf"has no {name} yet; .* unfeature {MAKES[name]} "):
        run.read(name)


@pytest.mark.parametrize(
    ("text", "message"),
    [(b'{"a": 1', "is not JSON"), (b"[1]", "holds a JSON list; expected an"), (b"[" * 100_000, "is not JSON")],
)
def test_damaged_json_is_told(run: Run, text: bytes, message: str) -> None:
    with pytest.raises(BadFile, match=message):
        parse_json(Path("x.json"), text)
    run.path("gallery.json").write_bytes(text)
    with pytest.raises(BadFile, match=f"gallery.json {message}"):
        run.read_json("gallery.json")


def test_facts_nested_too_deeply_are_told(run: Run) -> None:
    header = b"[" * 100_000
    run.path("feature.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    with pytest.raises(BadFile, match=r"feature.safetensors is not what `find` writes .*recursion"):
        run.read_facts("feature.safetensors")


def test_training_state_comes_back_whole(run: Run) -> None:
    state = TrainingState(run, {"seed": 0})
    assert state.load() is None
    tensors = {"w": torch.randn(3, 4), "step": torch.tensor(7.0)}
    state.save(tensors, {"step": 7, "records": [{"loss": 0.1}]})
    state.save(tensors, {"step": 8})
    found = TrainingState(run, {"seed": 0}).load()
    assert found is not None
    assert all(torch.equal(found[0][key], value) for key, value in tensors.items())
    assert found[1] == {"step": 8}
    assert not run.path("history").exists()  # states replace each other


def test_training_state_of_another_training_is_put_aside(run: Run) -> None:
    TrainingState(run, {"seed": 0}).save({"w": torch.zeros(1)}, {"step": 7})
    assert TrainingState(run, {"seed": 1}).load() is None
    assert names(run.path("history")) == {"training-1.safetensors"}


def test_training_state_of_another_form_is_put_aside(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    TrainingState(run, {"seed": 0}).save({"w": torch.zeros(1)}, {"step": 7})
    monkeypatch.setattr(TrainingState, "FORM", TrainingState.FORM + 1)
    assert TrainingState(run, {"seed": 0}).load() is None
    assert names(run.path("history")) == {"training-1.safetensors"}
