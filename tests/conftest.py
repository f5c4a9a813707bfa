"""Small runs that the tests of workflow and command line share: whole jobs on mnist-vae in seconds, one thread."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from unfeature import cli
from unfeature.options import RunOptions

torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def own_state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Code named by tests is not written down in the user's home."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        yield


SMALL = {
    "generator": "mnist-vae",
    "feature": "slanted strokes",
    "marks": "slant",
    "sample": {"count": 400},
    "mark": {"per_side": 30},
    "find": {"margin": 0.25},
    "preview": {"count": 300},
    "unlearn": {"steps": 40, "check_every": 10},
    "evaluate": {"count": 300},
}
"""Options of a whole job in a few seconds; slant is measured faster than thickness."""

VERBS: dict[str, list[str]] = {
    "sample": ["--generator", "mnist-vae", "--count", "400"],
    "mark": ["slanted strokes", "--by", "slant", "--per-side", "30"],
    "find": ["--margin", "0.25"],
    "preview": ["--count", "300"],
    "unlearn": ["--steps", "40", "--check-every", "10"],
    "evaluate": ["--count", "300"],
    "report": [],
}
"""The same as commands: what follows `unfeature VERB RUN`."""


@dataclass(frozen=True)
class Said:
    """What a command left behind."""

    code: int
    out: str
    err: str


Command = Callable[..., Said]


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Command:
    """`unfeature ARGUMENTS` in this process."""

    def call(*arguments: str | Path) -> Said:
        capsys.readouterr()
        with pytest.raises(SystemExit) as left:
            cli.main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        assert isinstance(left.value.code, int)
        return Said(left.value.code, out, err)

    return call


@pytest.fixture(scope="session")
def small() -> RunOptions:
    """`SMALL`, validated."""
    return RunOptions.parse(SMALL)


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory, small: RunOptions) -> Path:
    """The folder of a whole job done through the library; read it, do not write to it."""
    from unfeature import workflow

    folder = tmp_path_factory.mktemp("finished") / "run"
    workflow.run(folder, small)
    return folder


@pytest.fixture
def tiny_run(finished_run: Path, tmp_path: Path) -> Path:
    """A copy of the finished run, to be worked on."""
    return Path(shutil.copytree(finished_run, tmp_path / "run"))


def contents(folder: Path) -> dict[str, bytes]:
    """Path below the folder -> bytes, of every file but the lock."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != ".lock")
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}
