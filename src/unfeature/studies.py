"""A study's files below RUN/study: who takes part, what each marked, and what they say together.

study.json holds names, tokens and orders, NUMBER-NAME.jsonl one annotator's marks. Nothing here imports torch.
"""

from __future__ import annotations

import fcntl
import functools
import hashlib
import json
import re
import secrets
import threading
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import TypeAdapter, ValidationError

from unfeature.annotators import MISSING, SURE, Consensus, Marks, alpha, consensus
from unfeature.artifacts import Artifact, Score
from unfeature.errors import BadFile, BadOption, MissingStep
from unfeature.marklog import SIDES, Log
from unfeature.store import parse_json, write_atomic

NAME_LENGTH, ANNOTATORS, COUNTS = 80, 100, (10, 10_000)
"""Characters of a name, annotators of a study, and pictures (least, most) each of them marks."""

CONSENSUS = "consensus"
"""Stands for all annotators together, so nobody can be called that."""

Sides = dict[str, list[int]]
""" "shows", "unsure", "without" -> indices of pictures on the wall, ascending."""


@dataclass(frozen=True)
class Annotator(Artifact):
    """One who marks, as study.json keeps it."""

    name: str
    token: str
    """What their link ends in; whoever has it can mark in their name."""
    order: str
    """Seed of their own order of the pictures."""


@dataclass(frozen=True)
class Plan(Artifact):
    """study.json."""

    count: int
    """Pictures each annotator marks: the first ones of the wall."""
    annotators: tuple[Annotator, ...]


@functools.lru_cache(maxsize=128)
def order(seed: str, count: int) -> tuple[int, ...]:
    """Position -> index of the picture: a permutation that only the seed decides, on every machine and version."""
    return tuple(sorted(range(count), key=lambda i: hashlib.sha256(f"{seed}/{i}".encode()).digest()))


def slug(number: int, name: str) -> str:
    """What an annotator's files are called: `003-mary-ann`."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    words = re.findall("[a-z0-9]+", plain)
    return "-".join([f"{number + 1:03d}", *words])[:34]


class Study:
    """A study of a run folder as it is on the disk; `fresh` looks again."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.path = folder, folder / "study" / "study.json"
        self._stamp, self._lock = (0, 0, 0), threading.Lock()
        self.plan, self.logs = Plan(0, ()), tuple[Log, ...]()
        self.fresh()

    def fresh(self) -> Study:
        """Itself, with whoever joined since. MissingStep where there is no study, BadFile."""
        with self._lock:
            try:
                stat = self.path.stat()
            except OSError:
                raise MissingStep(
                    f"run {self.folder.name} has no study yet; expected its annotators. Name them first."
                ) from None
            stamp = (stat.st_ino, stat.st_mtime_ns, stat.st_size)
            if stamp != self._stamp:
                kept = {(a.token, log.path): log for a, log in zip(self.plan.annotators, self.logs, strict=True)}
                self.plan = _read_plan(self.path)
                keys = [
                    (annotator.token, self.path.with_name(f"{slug(number, annotator.name)}.jsonl"))
                    for number, annotator in enumerate(self.plan.annotators)
                ]
                self.logs, self._stamp = tuple(kept.get(key) or Log(key[1]) for key in keys), stamp
        return self

    def order(self, number: int) -> tuple[int, ...]:
        """Position -> index on the wall, for one annotator."""
        return order(self.plan.annotators[number].order, self.plan.count)

    def sides(self, number: int) -> Sides:
        """What one annotator has marked until now."""
        pictures, marks = self.order(number), self.logs[number].read().marks
        return {side: sorted(pictures[p] for p, mark in marks.copy().items() if mark == side) for side in SIDES}


def start(folder: Path, names: Sequence[str], count: int = 500) -> Study:
    """The run's study with these annotators; they join the one there, and its count stays. BadOption, BadFile."""
    low, high = COUNTS
    if not low <= count <= high:
        raise BadOption(f"a study of {count:,} pictures; expected {low} to {high:,}. Give another count.")
    path = folder / "study" / "study.json"
    try:
        path.parent.mkdir(mode=0o700, exist_ok=True)  # tokens and people's marks are nobody else's business
        lock = open(path.with_name(".lock"), "a")  # noqa: SIM115 - closed below
    except OSError as error:
        raise BadFile(
            f"cannot use {path.parent} as the folder of a study: {error.strerror}. Check the run's folder and its "
            "permissions."
        ) from error
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        plan = _read_plan(path) if path.exists() else Plan(count, ())
        known = {_folded(annotator.name) for annotator in plan.annotators}
        joined = list(plan.annotators)
        for name in names:
            joined.append(Annotator(_checked(name, known), secrets.token_urlsafe(24), secrets.token_hex(8)))
            known.add(_folded(name))
        if not 1 <= len(joined) <= ANNOTATORS:
            raise BadOption(f"a study of {len(joined)} annotators; expected 1 to {ANNOTATORS}. Name others.")
        text = json.dumps(Plan(plan.count, tuple(joined)).to_json(), indent=1, sort_keys=True)
        write_atomic(path, f"{text}\n".encode())
    return Study(folder)


def _folded(name: str) -> str:
    """Names that look the same are the same."""
    return unicodedata.normalize("NFKC", name).casefold().strip()


def _checked(name: str, known: set[str]) -> str:
    """The name without spaces around it; BadOption where it cannot be used."""
    plain = name.strip()
    if not 1 <= len(plain) <= NAME_LENGTH or any(unicodedata.category(c) in ("Cc", "Cs") for c in plain):
        raise BadOption(
            f"an annotator's name has {len(plain)} characters or one that cannot be shown; expected 1 to {NAME_LENGTH} "
            "of a line of text. Give another name."
        )
    if _folded(plain) in known or _folded(plain) == CONSENSUS:
        why = "stands for all of them" if _folded(plain) == CONSENSUS else "is taken"
        raise BadOption(f'the name "{plain}" {why}; expected one name for each annotator. Give another name.')
    return plain


def _read_plan(path: Path) -> Plan:
    """study.json; BadFile."""
    try:
        return TypeAdapter(Plan).validate_python(parse_json(path, path.read_bytes()))
    except OSError as error:
        raise BadFile(f"cannot read {path}: {error.strerror}. Check the folder's permissions.") from error
    except ValidationError as error:
        told = error.errors()[0]
        where = ".".join(map(str, told["loc"]))
        raise BadFile(f"{path} is damaged ({where}: {told['msg'].lower()}). Restore it from a copy.") from error


@dataclass(frozen=True)
class Told(Artifact):
    """What is known of one annotator."""

    name: str
    shows: int
    unsure: int
    without: int
    done: bool
    seconds: float
    """Of activity; pauses are not in it."""
    pauses: int
    paused: float
    """Seconds of all pauses together."""
    agreement: Score | None = None
    """Share of the pictures decided by this annotator and by the consensus on which both say the same."""
    misses: float | None = None
    false_alarms: float | None = None
    """Error rates by Dawid and Skene."""


@dataclass(frozen=True)
class Outcome(Artifact):
    """A study as far as it has come."""

    count: int
    annotators: tuple[Told, ...]
    alpha: Score | None
    """Krippendorff's, its n the pictures that two or more decided; None where it is not defined."""
    consensus: dict[str, int] | None
    """ "shows", "unsure", "without" -> pictures; None before two annotators have decided anything."""


def outcome(study: Study) -> Outcome:
    """Agreement, consensus, and each annotator's counts and time."""
    sides = [study.sides(number) for number in range(len(study.logs))]
    marks = _matrix(sides, study.plan.count)
    agreed = together(sides, study.plan.count)
    found, told = alpha(marks), []
    for number, (annotator, log) in enumerate(zip(study.plan.annotators, study.logs, strict=True)):
        counts = {side: len(sides[number][side]) for side in SIDES}
        time = {"seconds": round(log.seconds, 1), "pauses": len(log.pauses), "paused": round(sum(log.pauses), 1)}
        more: dict[str, object] = {}
        if agreed is not None and (marks[number] != MISSING).any():
            both = marks[number, agreed[0]["shows"] + agreed[0]["without"]]
            said = np.repeat([1, 0], [len(agreed[0]["shows"]), len(agreed[0]["without"])])
            hits, n = int((both == said).sum()), int((both != MISSING).sum())
            more["agreement"] = Score.share("agreement", hits, n) if n else None
            more["misses"], more["false_alarms"] = (
                float(rates[number]) for rates in (agreed[1].misses, agreed[1].false_alarms)
            )
        told.append(Told(annotator.name, **counts, done=log.done, **time, **more))  # type: ignore[arg-type]
    score = Score("krippendorff_alpha", found.value, found.low, found.high, found.n) if found else None
    counted = {side: len(pictures) for side, pictures in agreed[0].items()} if agreed else None
    return Outcome(study.plan.count, tuple(told), score, counted)


def together(sides: Sequence[Sides], count: int) -> tuple[Sides, Consensus] | None:
    """What all annotators say of the pictures that any of them looked at; None before two have decided anything.

    "shows" and "without" from a posterior of SURE on; "unsure" between, and where everybody was.
    """
    marks = _matrix(sides, count)
    decided = marks != MISSING
    if decided.any(axis=1).sum() < 2:
        return None
    found = consensus(marks)
    looked = np.zeros(count, dtype=bool)
    looked[[i for each in sides for side in SIDES for i in each[side]]] = True
    shows = decided.any(axis=0) & (found.posterior >= SURE)
    without = decided.any(axis=0) & (found.posterior <= 1 - SURE)
    groups = {"shows": shows, "unsure": looked & ~shows & ~without, "without": without}
    return {side: np.flatnonzero(group).tolist() for side, group in groups.items()}, found


def _matrix(sides: Sequence[Sides], count: int) -> Marks:
    """(annotators, count): 1 shows, 0 without, MISSING where unsure or not looked at."""
    marks = np.full((len(sides), count), MISSING, dtype=np.int64)
    for number, each in enumerate(sides):
        marks[number, each["shows"]], marks[number, each["without"]] = 1, 0
    return marks
