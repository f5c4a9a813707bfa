"""Run folders: every write all or nothing, nothing overwritten that differs, one process at a time.

What a damaged or edited file of a run does is decided here too: `Run.making_sense` turns it into one sentence.
"""

from __future__ import annotations

import errno
import fcntl
import itertools
import json
import os
import shlex
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from unfeature import devices
from unfeature.artifacts import content_id
from unfeature.errors import BadCheckpoint, BadFile, BadOption, DiskFull, MissingStep, RunBusy, UnfeatureError

if TYPE_CHECKING:
    from torch import Tensor

Saved = TypeVar("Saved")

MAKES = {
    "run.json": "sample",
    "gallery.json": "sample",
    "feedback.json": "mark",
    "request.json": "mark",
    "feature.safetensors": "find",
    "preview.json": "preview",
    "training.safetensors": "unlearn",
    "unlearned.safetensors": "unlearn",
    "evaluation.json": "evaluate",
    "attacks.json": "attack",
    "report.html": "report",
    "report.md": "report",
    "report.json": "report",
}
"""File -> the verb that writes it."""

MAX_HEADER = 16 * 2**20
"""Bytes of a safetensors header that are read to learn the facts in it."""

NEEDS = {"mark": "FEATURE --by WHO"}
"""Verb -> what its command asks for besides the run folder."""


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

    @property
    def quoted(self) -> str:
        """The folder as it stands in a command to be pasted."""
        return shlex.quote(str(self.folder))

    def path(self, name: str) -> Path:
        """Where a file of the run lies."""
        return self.folder / name

    def has(self, name: str) -> bool:
        """Whether that file is there."""
        return self.path(name).is_file()

    def owns(self, name: str) -> bool:
        """Whether that file is there and the run's own: neither it nor a folder below the run's is a link."""
        return self.has(name) and self.path(name).resolve() == self.folder.resolve() / name

    @contextmanager
    def held(self, *, new: bool = False, lock: str = ".lock", together: bool = False) -> Iterator[None]:
        """The folder for this process alone; RunBusy where another has it. A killed process lets go by dying.

        Only a `new` run's folder is made; MissingStep for any other that is not there. Work of several verbs, each of
        which holds the folder, holds another `lock` of it. Several of torchrun's may hold it `together`, where the one
        that leads has the lock and alone writes; else BadOption for them.
        """
        if not new:
            self.read("run.json")
        if devices.processes() > 1 and not together:
            raise BadOption(
                f"torchrun began {devices.processes()} processes; expected one: several are for `unfeature unlearn` "
                "alone, after `unfeature preview`. Give the same command without torchrun."
            )
        if not devices.leads():
            yield
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            file = open(self.path(lock), "a")  # noqa: SIM115 - closed below, after the lock is let go
        except OSError as error:
            raise BadFile(f"cannot use {self.folder} as a run folder: {error.strerror}. Name another.") from error
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise RunBusy(
                    f"run folder {self.folder} is in use by another process; expected it free. "
                    "Wait for that process, or work in another folder."
                ) from None
            for place in (self.folder, self.folder / "history"):
                for left in place.glob(".*.tmp"):
                    left.unlink(missing_ok=True)
            yield

    def read(self, name: str) -> bytes:
        """The bytes of a file; MissingStep names the verb that makes it, BadFile says why it cannot be read."""
        try:
            return self.path(name).read_bytes()
        except FileNotFoundError:
            raise MissingStep(
                f"run {self.folder} has no {name} yet; expected the result of `{MAKES[name]}`. "
                f"Do that first:  {self._maker(name)}"
            ) from None
        except OSError as error:
            raise BadFile(
                f"cannot read {self.path(name)}: {error.strerror}. Check the folder's permissions, or name another."
            ) from error

    def read_json(self, name: str) -> dict[str, Any]:
        """A JSON object; BadFile where the file is something else."""
        return parse_json(self.path(name), self.read(name))

    def read_as(self, name: str, kind: type[Saved]) -> Saved:
        """The saved dataclass in a JSON file; BadFile where a part is missing or of another type."""
        with self.making_sense(name):
            return TypeAdapter(kind).validate_python(self.read_json(name))

    def read_tensors(self, name: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Tensors and facts of a safetensors file; BadCheckpoint names the verb that makes it anew."""
        from unfeature.generators.loading import read_safetensors

        data = self.read(name)
        try:
            return read_safetensors(str(self.path(name)), data)
        except BadCheckpoint as error:
            raise BadCheckpoint(f"{error} Or delete it and make it anew:  {self._maker(name)}") from error

    def read_facts(self, name: str) -> dict[str, Any]:
        """The facts beside the tensors of a safetensors file of ours, without its tensors or torch; BadFile."""
        if not self.has(name):
            self.read(name)
        with self.making_sense(name), open(self.path(name), "rb") as file:
            entries = json.loads(file.read(min(int.from_bytes(file.read(8), "little"), MAX_HEADER)))
            facts: dict[str, Any] = json.loads(entries["__metadata__"]["unfeature"])
            return facts

    @contextmanager
    def making_sense(self, name: str) -> Iterator[None]:
        """What goes wrong inside is the fault of that file's content: BadFile naming part, remedy and command."""
        try:
            yield
        except UnfeatureError:
            raise
        except (LookupError, TypeError, ValueError, AttributeError, OverflowError, RecursionError) as error:
            raise BadFile(
                f"{self.path(name)} is not what `{MAKES[name]}` writes ({_told(error)}); it was damaged or edited. "
                f"Restore it, or delete it and make it anew:  {self._maker(name)}"
            ) from error

    def _maker(self, name: str) -> str:
        """The command that makes a file."""
        verb = MAKES[name]
        return f"unfeature {verb} {self.quoted} {NEEDS.get(verb, '')}".rstrip()

    def write(self, name: str, data: bytes) -> Path:
        """Write a file; one that is there and differs is kept in history/. Of torchrun's processes one alone writes."""
        if not devices.leads():
            return self.path(name)
        before, kept = self.read(name) if self.has(name) else data, self._history(name)
        if before != data:
            write_atomic(kept, before)
        try:
            write_atomic(self.path(name), data)
        except UnfeatureError:
            if before != data:
                kept.unlink(missing_ok=True)
            raise
        return self.path(name)

    def write_json(self, name: str, value: object) -> Path:
        """`write` of JSON a person can read."""
        return self.write(name, (json.dumps(value, indent=1, sort_keys=True) + "\n").encode())

    def retire(self, name: str) -> Path:
        """Move a file to history/NAME-1, -2...: nothing is lost. Where it is now."""
        to = self._history(name)
        if devices.leads():
            write_atomic(to, self.read(name))
            self.path(name).unlink()
        return to

    def _history(self, name: str) -> Path:
        """The first free one of history/NAME-1, -2..."""
        names = (self.folder / "history" / f"{Path(name).stem}-{i}{Path(name).suffix}" for i in itertools.count(1))
        return next(path for path in names if not path.exists())


def _told(error: Exception) -> str:
    """The first thing wrong, in a few words."""
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return f"{'.'.join(map(str, first['loc']))}: {first['msg'].lower()}"
    return f"no {error}" if isinstance(error, KeyError) else str(error)


def parse_json(path: Path, data: bytes) -> dict[str, Any]:
    """The JSON object in a file's bytes; BadFile."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise BadFile(f"{path} is not JSON ({error}); it was cut off or edited. Restore it or make it anew.") from error
    if not isinstance(value, dict):
        raise BadFile(f"{path} holds a JSON {type(value).__name__}; expected an object. Restore it or make it anew.")
    return value


class TrainingState:
    """Checkpoint of a run's training: the state of another feature, options, goal or form is put aside, not used."""

    NAME = "training.safetensors"

    FORM = 2
    """Another where what is trained, or what of it is kept, changes so that no state from before can go on."""

    def __init__(self, run: Run, made_from: dict[str, Any]) -> None:
        self.run, self.key = run, content_id({"form": self.FORM, **made_from})

    def load(self) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """The state last saved for exactly this training, or None."""
        if not self.run.has(self.NAME):
            return None
        tensors, facts = self.run.read_tensors(self.NAME)
        with self.run.making_sense(self.NAME):
            key = facts.pop("key")
        if key != self.key:
            self.run.retire(self.NAME)
            return None
        return tensors, facts

    def save(self, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
        """Replace the state, all or nothing."""
        from unfeature.generators.loading import to_safetensors

        write_atomic(self.run.path(self.NAME), to_safetensors(tensors, {**facts, "key": self.key}))
