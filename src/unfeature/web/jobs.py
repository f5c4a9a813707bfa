"""Training as the server sees it: one process a run, started, listened to, stopped; what is on disk tells the rest."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from unfeature.errors import BadFile, RunBusy, UnfeatureError
from unfeature.store import Run, TrainingState
from unfeature.web.standing import marked, of_these_marks, stage
from unfeature.web.ways import STRENGTH, went

PATIENCE = 30
"""Seconds a stopped process has to save and leave."""

CHOICE = ("way", "keep", *STRENGTH)
"""What a training was asked for, by which it goes on."""


@dataclass
class Job:
    """A running or finished process."""

    process: asyncio.subprocess.Process
    told: dict[str, Any]
    marks: str = ""
    """Id of those it trains on."""
    began: float = 0.0
    first: int = 0
    records: list[dict[str, Any]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    listener: asyncio.Task[None] | None = None

    @property
    def running(self) -> bool:
        """Whether its process is there."""
        return self.process.returncode is None

    def seconds_left(self) -> float | None:
        """Of the present verb, or of the part of it that is being counted, from its pace so far."""
        step, steps = int(self.told["step"]), int(self.told["steps"])
        if not self.began or step <= self.first or not steps:
            return None
        return round((time.monotonic() - self.began) / (step - self.first) * (steps - step), 1)

    def hear(self, line: dict[str, Any]) -> None:
        """Take in a line."""
        if "verb" in line:
            self.told |= {"step": 0, "steps": 0} | line
            self.began = 0.0
            return
        anew = line.get("steps", self.told["steps"]) != self.told["steps"] or line.get("step", 0) < self.told["step"]
        if "step" in line and (anew or not self.began):
            self.began, self.first = time.monotonic(), line["step"]
        self.told |= {key: line[key] for key in ("step", "steps", "error", "done") if key in line}
        self.warnings += [line["warning"]] if "warning" in line else []
        if line.get("distance") is not None:
            self.records.append({key: line[key] for key in ("step", "loss", "distance", "ratio")})


class Jobs:
    """The processes of one kind of work, by run folder."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._jobs: dict[Path, Job] = {}
        self._one = asyncio.Lock()

    async def start(self, folder: Path, asked: dict[str, Any]) -> None:
        """Start, or go on with, a run's work; RunBusy where it is at work already, BadFile."""
        async with self._one:  # a process takes a while to start: who asks meanwhile must find it
            if self.running(folder):
                raise RunBusy("this run is being trained already; expected it at rest. Wait for it, or stop it first.")
            marks = marked(Run(folder)) if self.kind == "train" else ""
            with _log(folder / "job.log") as log:
                process = await asyncio.create_subprocess_exec(
                    *(sys.executable, "-m", "unfeature.web.work", self.kind, str(folder), json.dumps(asked)),
                    stdin=asyncio.subprocess.PIPE,
                    stdout=asyncio.subprocess.PIPE,
                    stderr=log,
                    env={**os.environ, "PYTHONWARNINGS": "ignore"},
                )
            given = {key: asked[key] for key in CHOICE if key in asked}
            job = self._jobs[folder] = Job(process, {"verb": "find", "step": 0, "steps": 0} | given, marks)
            job.listener = asyncio.create_task(self._listen(job))

    async def _listen(self, job: Job) -> None:
        assert job.process.stdout is not None
        async for line in job.process.stdout:
            with contextlib.suppress(ValueError):  # a library may print too
                told = json.loads(line)
                if isinstance(told, dict):
                    job.hear(told)
        await job.process.wait()

    async def cancel(self, folder: Path) -> None:
        """Stop it with everything up to the last check saved."""
        job = self._jobs.get(folder)
        if job is None or not job.running:
            return
        assert job.process.stdin is not None and job.listener is not None
        job.process.stdin.close()
        try:
            await asyncio.wait_for(asyncio.shield(job.listener), PATIENCE)
        except TimeoutError:
            job.process.kill()
            await job.listener

    async def close(self) -> None:
        """Stop all of them."""
        await asyncio.gather(*(self.cancel(folder) for folder in self._jobs))

    def running(self, folder: Path) -> bool:
        """Whether a run is being worked on."""
        return folder in self._jobs and self._jobs[folder].running

    def state(self, folder: Path) -> dict[str, Any]:
        """What the page shows, of the process or of what an earlier one left."""
        job = self._jobs.get(folder)
        empty = {"state": "none", "verb": "", "step": 0, "steps": 0, "seconds_left": None, "records": [], "strip": 0}
        empty |= {"error": "", "sentence": "", "note": "", "verdict": "", "warnings": []}
        run, trains = Run(folder), self.kind == "train"
        saved = _saved(run) if trains else {}
        if job is None or (trains and _outdated(job, run)):
            return empty | saved
        told = {"verb": job.told["verb"], "step": job.told["step"], "steps": job.told["steps"]}
        told |= {"seconds_left": job.seconds_left(), "error": job.told.get("error", "")}
        told |= {"sentence": job.told.get("done", ""), "verdict": saved.get("verdict", "")}
        told |= {key: job.told[key] for key in CHOICE if key in job.told} | {"warnings": job.warnings}
        records = saved.get("records") or job.records
        told |= {"records": records, "strip": saved.get("strip", 0), "note": saved.get("note", "")}
        return empty | told | {"state": _state(job)}


def _log(path: Path) -> BinaryIO:
    """Where a process writes what went wrong inside, open; BadFile."""
    try:
        return open(path, "ab")
    except OSError as error:
        raise BadFile(f"cannot write {path}: {error.strerror}. Check the folder and its permissions.") from error


def _outdated(job: Job, run: Run) -> bool:
    """Whether a job at rest was for other marks than those there now, or its result is not there any more."""
    if job.running:
        return False
    return job.marks != marked(run) or ("done" in job.told and not of_these_marks(run))


def _state(job: Job) -> str:
    if job.running:
        return "running"
    if "done" in job.told:
        return "done"
    return "failed" if "error" in job.told or job.process.returncode != 130 else "stopped"


def _saved(run: Run) -> dict[str, Any]:
    """What the run folder itself says of its training, where it is of the marks as they are now."""
    try:
        if not run.has(TrainingState.NAME) or not of_these_marks(run):
            return {}
        facts = run.read_facts(TrainingState.NAME)
        keys = ("step", "loss", "distance", "ratio")
        records = [{key: record[key] for key in keys} for record in facts["records"]]
        for record in records:
            record["ratio"] = record["ratio"]["value"] if record["ratio"] else None
        told = {"step": facts["step"], "records": records, "strip": facts["step"], "verb": "unlearn"}
        told["steps"] = facts["records"][-1]["steps"] if records else facts["step"]
        done = bool(facts["stopped"]) and run.has("unlearned.safetensors")
        steps = "1 step" if facts["step"] == 1 else f"{facts['step']} steps"
        note = {"note": f"{steps}; {facts['stopped']}"} if facts["stopped"] else {}
        told |= went(run.folder, run.read_facts("feature.safetensors"))
        ending = _verdict(run) if done else {}
        return told | note | {"state": "done" if done else "stopped"} | ending
    except (UnfeatureError, LookupError):
        return {}


def _verdict(run: Run) -> dict[str, str]:
    """The sentence, and the outcome in a word where there is a report of this training."""
    if stage(run) != "proved":
        return {"sentence": "Trained."}
    with run.making_sense("report.json"):
        told = run.read_json("report.json")["verdict"]
        return {"sentence": str(told["sentence"]), "verdict": str(told["status"])}
