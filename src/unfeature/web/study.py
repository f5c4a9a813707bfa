"""The study over HTTP: its owner's part below /api, and each annotator's own part below /s/TOKEN.

Nothing here imports torch: pictures come from the painter, training is a job.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import threading
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol

from fastapi import APIRouter, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import FileResponse, HTMLResponse
from pydantic import BaseModel, ConfigDict, Field

from unfeature.errors import BadFile, BadOption, MissingStep, UnfeatureError
from unfeature.marklog import SIDES, Mark
from unfeature.seeds import stream
from unfeature.store import Run
from unfeature.studies import ANNOTATORS, Study, outcome, start
from unfeature.web.results import results
from unfeature.web.security import REPORT_POLICY

SHEET = 64
"""Pictures of a sheet."""

OPERATIONS, CLIENT, NUMBER, DAY = 20_000, 64, 2**53, 86_400.0
"""At most in one request: marks, characters of a client's name, an operation's number, seconds of activity."""

OWN = {"Referrer-Policy": "no-referrer", "X-Robots-Tag": "noindex"}
"""Headers of everything below /s/: the address is the key, and stays here."""


class Context(Protocol):
    """What the page's server offers; `runs` is the folder of run folders."""

    @property
    def runs(self) -> Path: ...
    def folder(self, name: str) -> Path: ...
    def about(self, name: str) -> dict[str, Any]: ...
    def sheet(self, name: str, seeds: list[int]) -> Awaitable[bytes]: ...
    def start_study_job(self, name: str) -> Awaitable[None]: ...
    def cancel_study_job(self, name: str) -> Awaitable[None]: ...
    def study_job(self, name: str) -> dict[str, Any]: ...


class UnknownLink(UnfeatureError, LookupError):
    """A token that no study knows, or a picture that this link does not show."""

    status = 404

    def __init__(self) -> None:
        super().__init__("this link leads to no study; expected one that was sent to you. Copy the whole link again.")


class StudyUnavailable(UnfeatureError):
    """An annotator's request that failed for reasons that are the owner's to know."""

    status = 503

    def __init__(self) -> None:
        super().__init__(
            "the study cannot be reached just now; what was saved is safe. Leave the page open, it tries again; if it "
            "stays so, tell the person who sent you the link."
        )


class Body(BaseModel):
    """Unknown fields are an error."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class Wanted(Body):
    """POST /api/runs/R/study."""

    annotators: list[Annotated[str, Field(max_length=1000)]] = Field(min_length=1, max_length=ANNOTATORS)
    count: Annotated[int, Field(strict=True)] = 500


class Action(Body):
    """POST /api/runs/R/study/job."""

    action: Literal["start", "cancel"]


class Operations(Body):
    """PATCH /s/TOKEN/marks."""

    client: str = Field(min_length=1, max_length=CLIENT)
    first: int = Field(strict=True, ge=0, le=NUMBER)
    ops: list[tuple[Annotated[int, Field(strict=True, ge=0)], Mark]] = Field(max_length=OPERATIONS)
    seconds: float = Field(0.0, ge=0, le=DAY)


class Desk:
    """The studies of all runs, and whose link is whose."""

    def __init__(self, context: Context) -> None:
        self.context, self._lock = context, threading.Lock()
        self._studies: dict[Path, Study] = {}
        self._links: dict[bytes, tuple[str, int]] = {}

    def study(self, run: str) -> Study:
        """The run's study as it is now; MissingStep."""
        folder = self.context.folder(run)
        with self._lock:
            if folder not in self._studies:
                self._studies[folder] = Study(folder)
        return self._studies[folder].fresh()

    def found(self, token: str) -> tuple[str, Study, int]:
        """Run, study and number of the annotator whose link it is; UnknownLink."""
        for known in (True, False):
            if not known:
                self._look()
            run, number = self._links.get(_hash(token), ("", 0))
            if not run:
                continue
            try:
                study = self.study(run)
            except UnfeatureError:  # the run has gone
                raise UnknownLink from None
            annotators = study.plan.annotators
            if number < len(annotators) and secrets.compare_digest(_hash(annotators[number].token), _hash(token)):
                return run, study, number
        raise UnknownLink

    def _look(self) -> None:
        """Learn the links of all runs."""
        links: dict[bytes, tuple[str, int]] = {}
        for path in sorted(self.context.runs.glob("*/study/study.json")):
            run = path.parent.parent.name
            try:
                annotators = self.study(run).plan.annotators
            except UnfeatureError:
                continue
            links |= {_hash(annotator.token): (run, number) for number, annotator in enumerate(annotators)}
        self._links = links


def _hash(token: str) -> bytes:
    """What a token is looked up by, so that no comparison takes longer the nearer a guess is."""
    return hashlib.sha256(token.encode(errors="replace")).digest()


def router(context: Context) -> APIRouter:
    """All routes of the study."""
    desk, routes = Desk(context), APIRouter()
    _owner(desk, routes)
    _annotator(desk, routes)
    return routes


def _owner(desk: Desk, routes: APIRouter) -> None:
    """What whoever leads the study sees and does."""
    context = desk.context

    @routes.post("/api/runs/{run}/study")
    def begin(run: str, wanted: Wanted) -> dict[str, Any]:
        return _told(start(context.folder(run), wanted.annotators, wanted.count))

    @routes.get("/api/runs/{run}/study")
    def told(run: str) -> dict[str, Any]:
        try:
            return _told(desk.study(run))
        except MissingStep:
            return {"count": 0, "annotators": [], "alpha": None, "consensus": None, "rows": None, "earlier": False}

    @routes.post("/api/runs/{run}/study/job")
    async def act(run: str, wanted: Action) -> dict[str, Any]:
        study = await run_in_threadpool(desk.study, run)
        if wanted.action == "cancel":
            await context.cancel_study_job(run)
        else:
            await run_in_threadpool(_require_marks, study)
            await context.start_study_job(run)
        return context.study_job(run)

    @routes.get("/api/runs/{run}/study/job")
    async def job(run: str) -> dict[str, Any]:
        return context.study_job(run)

    @routes.get("/api/runs/{run}/study/report")
    def report(run: str) -> Response:
        study = desk.study(run)
        own = Run(study.folder)
        if not own.owns("study/report.html") or results(study, outcome(study))["rows"] is None:
            raise MissingStep(
                f"the study of {run} has no report of the marks and feature there now; expected its trainings done. "
                "Start them first."
            )
        path = own.path("study/report.html")
        try:
            page = path.read_bytes()
        except OSError as error:
            raise BadFile(f"cannot read {path}: {error.strerror}. Check the folder's permissions.") from error
        return HTMLResponse(page, headers={"Content-Security-Policy": REPORT_POLICY, "Cache-Control": "no-store"})


def _require_marks(study: Study) -> None:
    """MissingStep where nobody has marked pictures of both sides."""
    if not any(each["shows"] and each["without"] for each in map(study.sides, range(len(study.logs)))):
        raise MissingStep(
            "no annotator has marked a picture that shows the feature and passed over one that does not; expected at "
            "least one of each. Send the links and wait for marks."
        )


def _told(study: Study) -> dict[str, Any]:
    """The study as its owner's page shows it."""
    found = outcome(study)
    annotators = [
        {
            **one.to_json(),
            "link": f"/s/{annotator.token}",
            "marked": one.shows + one.unsure,
            "looked": one.shows + one.unsure + one.without,
        }
        for one, annotator in zip(found.annotators, study.plan.annotators, strict=True)
    ]
    alpha = {key: getattr(found.alpha, key) for key in ("value", "low", "high", "n")} if found.alpha else None
    told = {"count": found.count, "annotators": annotators, "alpha": alpha}
    return {**told, "consensus": found.consensus, **results(study, found)}


def _annotator(desk: Desk, routes: APIRouter) -> None:
    """What one annotator sees and does, and nothing else."""
    context = desk.context

    @routes.get("/s/{token}")
    def page(token: str) -> Response:
        desk.found(token)
        return FileResponse(Path(__file__).with_name("static") / "annotate.html", headers=OWN)

    @routes.get("/s/{token}/state")
    def state(token: str, response: Response) -> dict[str, Any]:
        response.headers.update({**OWN, "Cache-Control": "no-store"})
        run, study, number = desk.found(token)
        with _discreet():
            about, log = context.about(run), study.logs[number].read()
            marks = log.marks.copy()
        sides = {side: sorted(p for p, mark in marks.items() if mark == side) for side in SIDES}
        told = {"count": study.plan.count, "marks": sides} | {
            part: about[part] for part in ("feature", "image", "pictures")
        }
        return {**told, "seconds": round(log.seconds, 1), "done": log.done}

    @routes.get("/s/{token}/sheets/{sheet}.png")
    async def sheet(token: str, sheet: str, g: str = "") -> Response:
        run, study, number = await run_in_threadpool(desk.found, token)
        first = SHEET * int(sheet) if re.fullmatch("[0-9]{1,5}", sheet) else study.plan.count
        if first >= study.plan.count:
            raise UnknownLink
        with _discreet():
            about = await run_in_threadpool(context.about, run)
            wall = stream("gallery", about["seed"], 0, study.plan.count)
            picture = await context.sheet(run, wall[list(study.order(number)[first : first + SHEET])].tolist())
        kept = "private, max-age=86400, immutable" if g == about["pictures"] else "no-store"
        return Response(picture, media_type="image/png", headers={**OWN, "Cache-Control": kept})

    @routes.patch("/s/{token}/marks")
    def marks(token: str, given: Operations) -> dict[str, int]:
        _, study, number = desk.found(token)
        wrong = next((position for position, _ in given.ops if position >= study.plan.count), None)
        if wrong is not None:
            raise BadOption(f"a mark at position {wrong}; expected 0 to {study.plan.count - 1}. Load the page again.")
        with _discreet():
            saved = study.logs[number].save(given.client, given.first, given.ops, given.seconds)
        return {"saved": saved, **_counts(study, number)}

    @routes.post("/s/{token}/done")
    def done(token: str) -> dict[str, Any]:
        _, study, number = desk.found(token)
        with _discreet():
            study.logs[number].finish()
        return {"done": True, **_counts(study, number)}


def _counts(study: Study, number: int) -> dict[str, int]:
    marks = list(study.logs[number].marks.values())
    return {side: marks.count(side) for side in SIDES}


@contextmanager
def _discreet() -> Iterator[None]:
    """What goes wrong names folders and files: an annotator is told only that it did."""
    try:
        yield
    except BadOption:  # names nothing but what was sent
        raise
    except UnfeatureError as error:
        raise StudyUnavailable from error
