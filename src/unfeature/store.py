"""Run folders: every write all or nothing, nothing overwritten that differs, one process at a time."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unfeature.artifacts import content_id
from unfeature.errors import BadFile, DiskFull, MissingStep, RunBusy

if TYPE_CHECKING:
    from torch import Tensor

MAKES = {
    "run.json": "sample",
    "gallery.json": "sample",
    "feedback.json": "mark",
    "request.json": "mark",
    "feature.safetensors": "find",
    "preview.json": "preview",
    "unlearned.safetensors": "unlearn",
    "evaluation.json": "evaluate",
}
"""File -> the verb that writes it."""


def write_atomic(path: Path, data: bytes) -> None:
    """Replace a file whole or not at all; DiskFull or BadFile, and what was there before is untouched."""
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except OSError as error:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFull(
                f"no room left for {path} ({len(data):,} bytes); everything saved before is untouched. "
                "Make room and give the same command again."
            ) from error
        raise BadFile(f"cannot write {path}: {error.strerror}. Check the folder and its permissions.") from error


@dataclass(frozen=True)
class Run:
    """A folder that explains itself: what was asked, what was made from what, with which options and versions."""

    folder: Path

    def path(self, name: str) -> Path:
        """Where a file of the run lies."""
        return self.folder / name

    def has(self, name: str) -> bool:
        """Whether that file is there."""
        return self.path(name).is_file()

    @contextmanager
    def held(self) -> Iterator[None]:
        """The folder for this process alone; RunBusy where another has it. A killed process lets go by dying."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            file = open(self.path(".lock"), "a")  # noqa: SIM115 - closed below, after the lock is let go
        except OSError as error:
            raise BadFile(f"cannot use {self.folder} as a run folder: {error.strerror}. Name another.") from error
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise RunBusy(
                    f"run folder {self.folder} is in use by another process; expected it free. "
                    "Wait for that process, or work in another folder."
                ) from None
            for left in self.folder.glob(".*.tmp"):
                left.unlink(missing_ok=True)
            yield

    def read(self, name: str) -> bytes:
        """The bytes of a file; MissingStep names the verb that makes it."""
        try:
            return self.path(name).read_bytes()
        except FileNotFoundError:
            verb = MAKES[name]
            raise MissingStep(
                f"run {self.folder} has no {name} yet; expected the result of `{verb}`. "
                f"Do that first:  unfeature {verb} {self.folder}"
            ) from None

    def read_json(self, name: str) -> dict[str, Any]:
        """A JSON object; BadFile where the file is something else."""
        return parse_json(self.path(name), self.read(name))

    def write(self, name: str, data: bytes) -> Path:
        """Write a file; one that is there and differs goes to history/ first."""
        if self.has(name) and self.path(name).read_bytes() != data:
            self.retire(name)
        write_atomic(self.path(name), data)
        return self.path(name)

    def write_json(self, name: str, value: object) -> Path:
        """`write` of JSON a person can read."""
        return self.write(name, (json.dumps(value, indent=1, sort_keys=True) + "\n").encode())

    def retire(self, name: str) -> None:
        """Move a file to history/NAME-1, -2...: nothing is lost."""
        source = self.path(name)
        history = self.path("history")
        history.mkdir(exist_ok=True)
        number = 1 + sum(1 for _ in history.glob(f"{source.stem}-*{source.suffix}"))
        source.rename(history / f"{source.stem}-{number}{source.suffix}")


def parse_json(path: Path, data: bytes) -> dict[str, Any]:
    """The JSON object in a file's bytes; BadFile."""
    try:
        value = json.loads(data)
    except ValueError as error:
        raise BadFile(f"{path} is not JSON ({error}); it was cut off or edited. Restore it or make it anew.") from error
    if not isinstance(value, dict):
        raise BadFile(f"{path} holds a JSON {type(value).__name__}; expected an object")
    return value


class TrainingState:
    """Checkpoint of a run's training: the state of another feature, options or goal is put aside, not used."""

    NAME = "training.safetensors"

    def __init__(self, run: Run, made_from: dict[str, Any]) -> None:
        self.run, self.key = run, content_id(made_from)

    def load(self) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """The state last saved for exactly this training, or None."""
        from unfeature.generators.loading import read_safetensors

        if not self.run.has(self.NAME):
            return None
        tensors, facts = read_safetensors(self.NAME, self.run.path(self.NAME).read_bytes())
        if facts.pop("key") != self.key:
            self.run.retire(self.NAME)
            return None
        return tensors, facts

    def save(self, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
        """Replace the state, all or nothing."""
        from unfeature.generators.loading import to_safetensors

        write_atomic(self.run.path(self.NAME), to_safetensors(tensors, {**facts, "key": self.key}))
