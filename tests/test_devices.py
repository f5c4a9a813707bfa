"""Where networks compute is said once, by the environment; what is not there is one sentence."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import Command, contents
from torch import nn

from unfeature import devices
from unfeature.errors import BadOption
from unfeature.generators.loading import read_safetensors
from unfeature.options import UnlearnOptions


def test_the_cpu_where_nothing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(devices.VARIABLE, raising=False)
    assert devices.here() == torch.device("cpu")
    assert UnlearnOptions().device == "cpu"


@pytest.mark.parametrize("name", ["gpu0", "CUDA", "tpu"])
def test_a_device_nobody_knows(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(devices.VARIABLE, name)
    with pytest.raises(BadOption, match=f'UNFEATURE_DEVICE is "{name}".*expected one of cpu, cuda, mps, auto'):
        devices.here()


def test_a_device_this_machine_lacks(monkeypatch: pytest.MonkeyPatch, command: Command, tmp_path: Path) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setenv(devices.VARIABLE, "cuda")
    said = command("sample", tmp_path / "run", "--count", "10")
    assert said.code == 2
    assert said.err.startswith('BadOption: UNFEATURE_DEVICE is "cuda", which this machine does not have')
    assert said.err.count("\n") == 1


def test_auto_takes_what_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(devices.VARIABLE, "auto")
    for there, kind in ((True, "cuda"), (False, "cpu")):
        monkeypatch.setattr(torch.cuda, "is_available", lambda there=there: there)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
        assert devices.here().type == kind


def test_the_environment_is_what_training_goes_by_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(devices.VARIABLE, "cuda")
    assert UnlearnOptions().device == "cuda"
    assert UnlearnOptions(device="cpu").device == "cpu"


def test_each_of_torchruns_processes_has_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setenv(devices.VARIABLE, "cuda")
    monkeypatch.setenv("LOCAL_RANK", "3")
    assert devices.here() == torch.device("cuda", 3)


def test_a_module_without_weights_is_on_the_cpu() -> None:
    assert devices.of(nn.Sigmoid()) == torch.device("cpu")


def test_only_unlearn_is_for_several_processes(
    tiny_run: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    before = contents(tiny_run)
    said = command("evaluate", tiny_run)
    assert said.code == 2
    assert said.err.strip().startswith("BadOption: torchrun began 2 processes; expected one")
    assert contents(tiny_run) == before


@pytest.mark.slow
def test_two_processes_train_one_copy(tiny_run: Path, tmp_path: Path, command: Command) -> None:
    assert command("unlearn", tiny_run, "--steps", "12", "--check-every", "4").code == 0
    other = Path(shutil.copytree(tiny_run, tmp_path / "other"))
    one = read_safetensors("one", (tiny_run / "unlearned.safetensors").read_bytes())[0]
    (other / "unlearned.safetensors").unlink()
    (other / "training.safetensors").unlink()
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "unfeature"]
    flags = ["--steps", "12", "--check-every", "4"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command_line = [*torchrun, "unlearn", str(other), *flags]
    done = subprocess.run(command_line, capture_output=True, text=True, env=environment, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("wrote ") == 1
    two = read_safetensors("two", (other / "unlearned.safetensors").read_bytes())[0]
    for key, value in one.items():
        torch.testing.assert_close(two[key], value, atol=1e-5, rtol=0)
    assert contents(other / "history") == contents(tiny_run / "history")
