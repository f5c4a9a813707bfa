"""Killed at any moment and given the same command again: the same bytes as never killed."""

from __future__ import annotations

import os
import random
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import Command, contents

from unfeature import workflow
from unfeature.artifacts import StepRecord
from unfeature.options import UnlearnOptions
from unfeature.unlearners import UNLEARNERS

CHECKS = 25
OPTIONS = {"steps": 10 * CHECKS, "check_every": 10, "batch": 16, "tolerance": 1e-6}
"""A training of some seconds that saves its state 25 times and never finds itself good enough."""
FLAGS = [word for name, value in OPTIONS.items() for word in (f"--{name.replace('_', '-')}", str(value))]
TRAINED = ("training.safetensors", "unlearned.safetensors")


class Stopped(Exception):
    """Raised by a test's `on_step`."""


def _start(*arguments: str | Path, cwd: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", "from unfeature.cli import main; main()", *map(str, arguments)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _finish(*arguments: str | Path, cwd: Path) -> None:
    process = _start(*arguments, cwd=cwd)
    _, err = process.communicate(timeout=300)
    assert process.returncode == 0, err


def _wait_for_states(path: Path, number: int, process: subprocess.Popen[str]) -> None:
    """Until the file has been replaced that often by the process."""
    first = {path.stat().st_mtime_ns} if path.exists() else set[int]()
    seen = set(first)
    while len(seen - first) < number:
        assert process.poll() is None, "it finished before it could be killed"
        time.sleep(0.002)
        if path.exists():
            seen.add(path.stat().st_mtime_ns)


def _kill(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate(timeout=60)


@pytest.fixture
def untrained(tiny_run: Path) -> Path:
    """A run that has a feature and a preview."""
    for name in contents(tiny_run):
        if name in TRAINED or name.startswith(("evaluation", "report")):
            (tiny_run / name).unlink()
    return tiny_run


@pytest.mark.parametrize("name", [name for name in UNLEARNERS if name != "instant"])  # which takes one step
def test_stopped_and_continued_in_one_process(name: str, untrained: Path, tmp_path: Path) -> None:
    options = UnlearnOptions(unlearner=name, steps=18, check_every=5, batch=16, tolerance=1e-6)
    straight = Path(shutil.copytree(untrained, tmp_path / "straight"))
    workflow.unlearn(straight, options)

    for last in (1, 5, 6, 17):

        def stop(record: StepRecord, last: int = last) -> None:
            if record.step >= last:
                raise Stopped

        with pytest.raises(Stopped):
            workflow.unlearn(untrained, options, on_step=stop)
        assert not (untrained / "unlearned.safetensors").exists()
    workflow.unlearn(untrained, options)
    workflow.unlearn(untrained, options)  # done already: nothing changes
    assert contents(untrained) == contents(straight)


def test_other_options_put_the_old_state_aside(untrained: Path) -> None:
    workflow.unlearn(untrained, UnlearnOptions(steps=2, check_every=1, batch=4))
    first = {name: (untrained / name).read_bytes() for name in TRAINED}
    workflow.unlearn(untrained, UnlearnOptions(steps=3, check_every=1, batch=4))
    for name, data in first.items():
        assert (untrained / "history" / f"{Path(name).stem}-1.safetensors").read_bytes() == data


@pytest.mark.slow
def test_killed_five_times(untrained: Path, tmp_path: Path) -> None:
    straight = Path(shutil.copytree(untrained, tmp_path / "straight"))
    _finish("unlearn", straight, *FLAGS, cwd=tmp_path)

    moments = random.Random(0)
    for states in (0, *(moments.randint(1, 4) for _ in range(4))):
        process = _start("unlearn", untrained, *FLAGS, cwd=tmp_path)
        _wait_for_states(untrained / TRAINED[0], states, process)
        time.sleep(moments.uniform(0, 0.3))
        _kill(process)
        assert not (untrained / "unlearned.safetensors").exists()
    _finish("unlearn", untrained, *FLAGS, cwd=tmp_path)
    assert contents(untrained) == contents(straight)


@pytest.mark.slow
def test_a_whole_run_killed_in_every_verb(tmp_path: Path) -> None:
    job = (
        "feature = 'slanted strokes'\nmarks = 'slant'\n[sample]\ncount = 400\n[mark]\nper_side = 30\n"
        "[preview]\ncount = 300\n[evaluate]\ncount = 1000\n[unlearn]\n"
        + "".join(f"{name} = {value}\n" for name, value in OPTIONS.items())
    )
    for name in ("straight", "killed"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "job.toml").write_text(job)
    command = ("run", "job.toml", "run")
    _finish(*command, cwd=tmp_path / "straight")

    moments = random.Random(1)
    run = tmp_path / "killed" / "run"
    for reached in ("run.json", "gallery.csv", "request.json", "preview.json", *TRAINED):
        process = _start(*command, cwd=tmp_path / "killed")
        while not (run / reached).exists():
            assert process.poll() is None, process.communicate()
            time.sleep(0.001)
        time.sleep(moments.uniform(0, 0.1))
        _kill(process)
    assert not (run / "report.html").exists()
    _finish(*command, cwd=tmp_path / "killed")
    assert contents(run) == contents(tmp_path / "straight" / "run")


@pytest.mark.slow
def test_interrupted_from_the_keyboard(untrained: Path, tmp_path: Path) -> None:
    straight = Path(shutil.copytree(untrained, tmp_path / "straight"))
    _finish("unlearn", straight, *FLAGS, cwd=tmp_path)

    process = _start("unlearn", untrained, *FLAGS, cwd=tmp_path)
    _wait_for_states(untrained / TRAINED[0], 1, process)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in err
    again = shlex.split(err.partition("Go on with:")[2].replace("\n", " "))
    assert again[:3] == ["unfeature", "unlearn", str(untrained)]
    _finish(*again[1:], cwd=tmp_path)  # exactly the command it printed
    assert contents(untrained) == contents(straight)


@pytest.mark.slow
def test_a_second_process_keeps_out(untrained: Path, tmp_path: Path, command: Command) -> None:
    process = _start("unlearn", untrained, *FLAGS, cwd=tmp_path)
    try:
        _wait_for_states(untrained / TRAINED[0], 1, process)
        for verb in ("unlearn", "find"):
            said = command(verb, untrained)
            assert said.code == 2
            assert said.err.strip().startswith("RunBusy: ")
    finally:
        process.terminate()
        process.communicate(timeout=60)
    assert command("find", untrained, "--margin", "0.25").code == 0  # the dead one let go
