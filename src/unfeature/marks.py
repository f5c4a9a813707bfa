"""Marks of a run as a person makes them: saved at once, in the feedback.json that every verb reads. No torch here."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable
from dataclasses import dataclass

from pydantic import TypeAdapter

from unfeature.artifacts import Feedback, Gallery, GeneratorSpec, content_id
from unfeature.errors import BadFile, BadOption, WrongGenerator
from unfeature.options import GALLERY_LENGTH
from unfeature.seeds import stream
from unfeature.store import Run, write_atomic

SIDES = {"shows": "positives", "unsure": "unsure", "without": "negatives"}
"""Mark -> where it stands in Feedback. "none" takes a mark away."""

GALLERY = 6000
"""Pictures by which a gallery grows where somebody marks beyond its end."""

SOURCE = "marked on the page"


@dataclass(frozen=True)
class Asked:
    """Of run.json and request.json, what marks need."""

    feature: str
    generator: str
    seed: int
    pictures: str
    """Hash of all that they depend on: another where index i is another picture."""


def generator_of(run: Run) -> str:
    """Id of the generator that run.json names; MissingStep, BadFile."""
    return _whose(run)[0]


def _whose(run: Run) -> tuple[str, int, str]:
    """Generator, run seed and the hash of all that pictures depend on, as run.json says."""
    about = run.read_json("run.json")
    with run.making_sense("run.json"):
        generator, seed = TypeAdapter(GeneratorSpec).validate_python(about["spec"]).id, int(about["seed"])
    parts = [about.get(part) for part in ("generator", "weights", "arguments")]
    return generator, seed, content_id([generator, seed, *parts])


def asked(run: Run) -> Asked:
    """Whose pictures are marked, and for what; MissingStep, BadFile."""
    whose, request = _whose(run), run.read_json("request.json")
    with run.making_sense("request.json"):
        return Asked(TypeAdapter(str).validate_python(request["feature"]), *whose)


class Marks:
    """The marks of one run by wall index: picture i is the i-th of the run's gallery stream. Threads may share them."""

    def __init__(self, run: Run) -> None:
        self.run, self.asked = run, asked(run)
        self.base = int(stream("gallery", self.asked.seed, 0, 1)[0])
        self.marks: dict[int, str] = {}
        self.source = SOURCE
        self._kept, self._stamp, self._lock = False, -1, threading.RLock()
        self.load()

    def load(self) -> None:
        """What feedback.json says now of this run's pictures, if somebody else wrote it; BadFile, each time.

        Marks of another generator's pictures, or of none on this run's wall, count for nothing.
        """
        with self._lock:
            stamp = self._written()
            if self._stamp == stamp:
                return
            marks: dict[int, str] = {}
            told = SOURCE
            if self.run.has("feedback.json"):
                feedback = self.run.read_as("feedback.json", Feedback)
                marks = self._own(feedback)
                told = feedback.source if marks else SOURCE
            source = told if told.endswith(SOURCE) else f"{told}, then {SOURCE}"
            self.marks, self.source, self._kept, self._stamp = marks, source, False, stamp

    def _own(self, feedback: Feedback) -> dict[int, str]:
        """Of these marks those of this run's pictures, by wall index."""
        if feedback.generator != self.asked.generator:
            return {}
        every = ((seed - self.base, mark) for mark, side in SIDES.items() for seed in getattr(feedback, side))
        return {index: mark for index, mark in every if 0 <= index < GALLERY_LENGTH}

    def _written(self) -> int:
        """When feedback.json was last written, in nanoseconds; 0 where there is none."""
        path = self.run.path("feedback.json")
        return path.stat().st_mtime_ns if path.is_file() else 0

    def of(self, mark: str) -> list[int]:
        """Wall indices with that mark, in order."""
        with self._lock:
            return sorted(index for index, given in self.marks.items() if given == mark)

    def counts(self) -> dict[str, int]:
        """How many of each."""
        with self._lock:
            return {mark: sum(given == mark for given in self.marks.values()) for mark in SIDES}

    def apply(self, operations: Iterable[tuple[int, str]]) -> None:
        """Set marks and save them; BadOption, and nothing is changed, where one makes no sense."""
        with self._lock:
            self.load()
            changed = dict(self.marks)
            for index, mark in operations:
                if not 0 <= index < GALLERY_LENGTH or mark not in {*SIDES, "none"}:
                    known = f"a picture from 0 to {GALLERY_LENGTH - 1:,} and one of {', '.join((*SIDES, 'none'))}"
                    raise BadOption(f"mark {mark!r} of picture {index}; expected {known}.")
                if mark == "none":
                    changed.pop(index, None)
                else:
                    changed[index] = mark
            if changed != self.marks:
                self._save(changed)

    def replace(self, feedback: Feedback) -> None:
        """Take marks made elsewhere in place of those there; the old ones go to history/. WrongGenerator, BadFile."""
        if feedback.generator != self.asked.generator:
            raise WrongGenerator("feedback", feedback.generator, self.asked.generator)
        named = sorted({*feedback.positives, *feedback.negatives, *feedback.unsure})
        stranger = next((seed for seed in named if not 0 <= seed - self.base < GALLERY_LENGTH), None)
        if stranger is not None:
            raise BadFile(
                f"the file marks seed {stranger}, which is no picture of this run, whose seeds begin at {self.base}; "
                "expected the seeds in its gallery.csv. Choose a file of marks of these pictures."
            )
        with self._lock:
            with self.run.held():
                self._grow(max(named, default=self.base) - self.base)
                self.run.write_json("feedback.json", feedback.to_json())
            self.load()

    def _save(self, changed: dict[int, str]) -> None:
        """Write, and only then take over: what is shown as saved is saved. The first time, older marks are kept."""
        with self.run.held():
            self._grow(max(changed, default=0))
            feedback = self._feedback(changed)
            data = (json.dumps(feedback.to_json(), indent=1, sort_keys=True) + "\n").encode()
            if self._kept:
                write_atomic(self.run.path("feedback.json"), data)
            else:
                self.run.write("feedback.json", data)
            self.marks, self._kept, self._stamp = changed, True, self._written()

    def _grow(self, index: int) -> None:
        """A gallery that ends before this picture becomes longer."""
        gallery = self.run.read_as("gallery.json", Gallery)
        if index >= len(gallery.seeds):
            count = min(GALLERY * (index // GALLERY + 1), GALLERY_LENGTH)
            seeds = stream("gallery", self.asked.seed, 0, count)
            self.run.write_json("gallery.json", Gallery(gallery.generator, tuple(seeds.tolist())).to_json())

    def _feedback(self, marks: dict[int, str]) -> Feedback:
        shows, unsure, without = (self._seeds(i for i, given in marks.items() if given == mark) for mark in SIDES)
        return Feedback(self.asked.feature, self.asked.generator, shows, without, unsure, self.source)

    def _seeds(self, indices: Iterable[int]) -> tuple[int, ...]:
        return tuple(self.base + index for index in sorted(indices))
