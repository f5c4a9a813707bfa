"""Where networks compute is said once, by the environment; what is not there is one sentence."""

from __future__ import annotations

import pytest
import torch
from conftest import Command
from torch import nn

from unfeature import devices
from unfeature.errors import BadOption
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


def test_a_device_this_machine_lacks(monkeypatch: pytest.MonkeyPatch, command: Command, tmp_path: object) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setenv(devices.VARIABLE, "cuda")
    said = command("sample", f"{tmp_path}/run", "--count", "10")
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
