"""One annotator's marks as an append-only log: every mark is on the disk before the browser is told, and none twice.

A line of the file is one event as JSON. Nothing here imports torch.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from unfeature.errors import BadFile, BadOption, DiskFull

Mark = Literal["shows", "unsure", "without", "none"]
SIDES = ("shows", "unsure", "without")
"""Every mark but "none", which takes one back."""

LOG_BYTES = 64 * 2**20
"""Of one annotator's log: hundreds of changes of each of 10,000 marks."""

PAUSE = 30.0
"""Seconds without a mark, beyond those told as active, that count as a pause."""


@dataclass
class Log:
    """One annotator's marks: an append-only file, and what it amounts to.

    A last line that a kill cut off is not read, and cut away before the next is written. An operation is known by its
    client and number, so one that is sent again changes nothing; nor does an older one that comes late.
    """

    path: Path
    marks: dict[int, str] = field(default_factory=dict)
    """Position -> "shows", "unsure" or "without"."""
    seconds: float = 0.0
    done: bool = False
    pauses: list[float] = field(default_factory=list)
    """Seconds of each."""
    size: int = 0
    """Bytes read so far, whole lines only."""
    _set_by: dict[int, tuple[str, int]] = field(default_factory=dict)
    _saved: dict[str, list[list[int]]] = field(default_factory=dict)
    """Client -> ranges [first, last] of the numbers saved."""
    _last: float | None = None
    _lock: threading.RLock = field(default_factory=threading.RLock)

    def read(self) -> Log:
        """Itself, with what the file has more than was read; all of it where it has become shorter. BadFile."""
        with self._lock:
            try:
                with open(self.path, "rb") as file:
                    if file.seek(0, os.SEEK_END) < self.size:
                        self.__dict__.update(Log(self.path, _lock=self._lock).__dict__)
                    file.seek(self.size)
                    data = file.read()
            except FileNotFoundError:
                return self
            except OSError as error:
                raise BadFile(f"cannot read {self.path}: {error.strerror}. Check the folder's permissions.") from error
            for line in data[: data.rfind(b"\n") + 1].splitlines(keepends=True):
                try:
                    self._take(json.loads(line))
                except (ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError) as error:
                    raise BadFile(
                        f"{self.path} has a damaged line at byte {self.size:,} ({error}); expected one JSON object a "
                        "line. Remove that line and start again: the others are kept."
                    ) from error
                self.size += len(line)
        return self

    def save(self, client: str, first: int, marks: Sequence[tuple[int, Mark]], seconds: float = 0.0) -> int:
        """Save operations first, first + 1...; the number up to which all of this client's are saved.

        `seconds` of activity are spread over the operations, so that those sent twice are counted once.
        """
        with self._lock, self._held() as file:
            numbered = [(first + i, position, mark) for i, (position, mark) in enumerate(marks)]
            fresh = [each for each in numbered if not self._has(client, each[0])]
            now = round(time.time(), 3)
            idle = max(0.0, now - self._last) if self._last is not None else 0.0
            events: list[dict[str, Any]] = [
                {"client": client, "number": n, "position": p, "mark": m, "seconds": seconds / len(marks), "at": now}
                for n, p, m in fresh
            ]
            if not marks and seconds:  # no number tells a repeat: at most the time that has really passed
                events = [{"seconds": min(seconds, idle) if self._last is not None else seconds, "at": now}]
            if events and idle - seconds > PAUSE:
                events[0]["pause"] = round(idle - seconds, 3)
            self._append(file, events)
            ranges = self._saved.get(client)
            return ranges[0][1] if ranges else first - 1

    def finish(self) -> None:
        """The annotator says that this is all."""
        with self._lock, self._held() as file:
            self._append(file, [] if self.done else [{"done": True, "at": round(time.time(), 3)}])

    @contextmanager
    def _held(self) -> Iterator[int]:
        """The file, for this process alone and read to its end."""
        try:
            file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise BadFile(f"cannot write {self.path}: {error.strerror}. Check the folder's permissions.") from error
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            if self.size == 0:
                _sync_folder(self.path.parent)
            self.read()
            yield file
        finally:
            os.close(file)

    def _append(self, file: int, events: list[dict[str, Any]]) -> None:
        """Put the events on the disk, then take them in; DiskFull or BadFile, and the file is as it was."""
        data = b"".join(json.dumps(event, separators=(",", ":")).encode() + b"\n" for event in events)
        if self.size + len(data) > LOG_BYTES:
            raise BadOption(f"more than {LOG_BYTES:,} bytes of marks of one annotator; expected fewer changes.")
        try:
            if data:
                os.ftruncate(file, self.size)
                rest = memoryview(data)
                while rest:
                    rest = rest[os.write(file, rest) :]
            os.fsync(file)  # also where all was known: a killed server may not have come to it
        except OSError as error:
            with suppress(OSError):
                os.ftruncate(file, self.size)
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise DiskFull(f"no room left for {self.path}; what was saved is untouched. Make room.") from error
            raise BadFile(f"cannot write {self.path}: {error.strerror}. Check the disk.") from error
        for event in events:
            self._take(event)
        self.size += len(data)

    def _has(self, client: str, number: int) -> bool:
        return any(low <= number <= high for low, high in self._saved.get(client, ()))

    def _take(self, event: dict[str, Any]) -> None:
        """Let one event have its effect."""
        self._last = float(event["at"])
        self.done = self.done or bool(event.get("done"))
        self.seconds += float(event.get("seconds", 0.0))
        if "pause" in event:
            self.pauses.append(float(event["pause"]))
        if "position" not in event:
            return
        client, number, position = str(event["client"]), int(event["number"]), int(event["position"])
        ranges = sorted([*self._saved.get(client, []), [number, number]])
        joined = ranges[:1]
        for low, high in ranges[1:]:
            if low <= joined[-1][1] + 1:
                joined[-1][1] = max(high, joined[-1][1])
            else:
                joined.append([low, high])
        self._saved[client] = joined
        by, newest = self._set_by.get(position, (client, number))
        if by == client and newest > number:
            return
        self._set_by[position] = (client, number)
        self.marks.pop(position, None)
        if event["mark"] in SIDES:
            self.marks[position] = event["mark"]


def _sync_folder(folder: Path) -> None:
    """A new file's name is on the disk too."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
