"""The page's routes. Each parses, asks the desk, answers; what goes wrong is a sentence with a status."""

from __future__ import annotations

import asyncio
import tempfile
import zipfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import APIRouter, FastAPI, Query, Request, Response
from fastapi.responses import FileResponse, StreamingResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException

from unfeature.artifacts import Feedback
from unfeature.errors import BadOption, MissingStep, UnfeatureError
from unfeature.plugins import is_file_reference
from unfeature.store import Run, write_atomic
from unfeature.web.desk import Desk, OpenRun
from unfeature.web.failures import tell_failures
from unfeature.web.security import REPORT_POLICY, Guard
from unfeature.web.ways import DIRECTION, Way, asked_for
from unfeature.zoo import cards

STATIC = Path(__file__).parent / "static"
SHEETS = 2**20
"""Sheets of a wall at most."""

FOREVER = "private, max-age=31536000, immutable"
"""Cache of pictures whose address names everything they depend on."""

Mark = Literal["shows", "unsure", "without", "none"]
Number = Annotated[float, Query(ge=-1e6, le=1e6, allow_inf_nan=False)]
SheetNumber = Annotated[int, Query(ge=0, lt=SHEETS)]


class Asking(BaseModel):
    """A request's body: an unknown part is an error."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class NewRun(Asking):
    """What the start page asks for."""

    generator: str = Field(min_length=1, max_length=1000)
    feature: str = Field(min_length=1, max_length=80)
    name: str = Field("", max_length=64)
    weights: str = Field("", max_length=1000)
    judge: str = Field("", max_length=1000)


class Operations(Asking):
    """Numbered changes of marks from one browser."""

    client: str = Field(min_length=1, max_length=64)
    first: int = Field(ge=0, lt=2**53)
    ops: list[tuple[int, Mark]] = Field(max_length=20_000)


class Work(Asking):
    """Start, go on or stop."""

    action: Literal["start", "cancel"]
    way: Way = DIRECTION
    keep: list[Annotated[str, Field(max_length=64)]] = Field([], max_length=32)
    threshold: float | None = Field(None, ge=-1e6, le=1e6)
    margin: float = Field(0.0, ge=0, le=10)
    steps: int | None = Field(None, ge=1, le=1_000_000)


def page(desk: Desk, hosts: frozenset[str], token: str) -> Guard:
    """The whole application, guarded."""
    from unfeature.web.study import router as study_router

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        desk.painter.start()
        warming = asyncio.create_task(desk.painter.ask("warm"))  # torch comes while the first page is on its way
        yield
        warming.cancel()
        await desk.jobs.close()
        await desk.studies.close()
        desk.painter.stop()

    app = FastAPI(title="unfeature", docs_url=None, redoc_url=None, openapi_url=None, lifespan=lifespan)
    app.include_router(router(desk))
    app.include_router(study_router(desk))
    tell_failures(app)
    return Guard(app, hosts, token, desk.remote)


def router(desk: Desk) -> APIRouter:
    """Everything but studies."""
    routes = APIRouter()
    for add in (_add_pages, _add_runs, _add_marks, _add_pictures, _add_work, _add_files):
        add(routes, desk)
    return routes


def _add_pages(routes: APIRouter, desk: Desk) -> None:
    @routes.get("/")
    def index() -> FileResponse:
        return FileResponse(STATIC / "index.html")

    @routes.get("/static/{name}")
    def static(name: str) -> FileResponse:
        if name not in {path.name for path in STATIC.iterdir()}:
            raise HTTPException(404)
        return FileResponse(STATIC / name, headers={"cache-control": "no-cache"})

    @routes.get("/api/start")
    def start() -> dict[str, Any]:
        return desk.start()


def _add_runs(routes: APIRouter, desk: Desk) -> None:
    @routes.post("/api/runs", status_code=201)
    async def begin(new: NewRun) -> dict[str, Any]:
        if desk.remote and (new.weights or is_file_reference(new.judge) or new.generator not in cards("generator")):
            raise BadOption(
                "a page that others can reach takes shipped generators only, as they are; expected one of those listed."
                " Start the run on that machine:  unfeature sample RUN --generator FILE"
            )
        name, notes = await desk.begin(new.model_dump() | {"weights": new.weights or None})
        return {"name": name, "notes": notes}

    @routes.get("/api/runs/{name}")
    def about(name: str) -> dict[str, Any]:
        return desk.about(name)


def _add_marks(routes: APIRouter, desk: Desk) -> None:
    @routes.patch("/api/runs/{name}/marks")
    async def change(name: str, asked: Operations, g: str = "") -> dict[str, Any]:
        return await desk.changed(name, lambda run: run.apply(asked.client, asked.first, asked.ops), g)

    @routes.post("/api/runs/{name}/marks/file")
    async def take(name: str, request: Request, file: Annotated[str, Query(alias="name")]) -> dict[str, Any]:
        suffix = Path(file).suffix.lower()
        if suffix not in (".csv", ".json"):
            raise BadOption("marks come as .csv or .json; expected a file with that ending. Choose another.")
        body = await request.body()
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"marks{suffix}"
            write_atomic(path, body)
            try:
                told = await desk.painter.ask("marks", str(desk.folder(name)), str(path))
            except UnfeatureError as error:  # of the user's file, not of our copy of it
                error.args = (str(error).replace(str(path), file[:200]),)
                raise
        told["source"] = told["source"].replace(path.name, file[:200])
        feedback = Feedback.from_json(told)

        def replace(run: OpenRun) -> dict[str, Any]:
            run.marks.replace(feedback)
            return run.marks.counts()

        return await desk.changed(name, replace)

    @routes.get("/api/runs/{name}/advice")
    async def advice(name: str) -> Any:
        return await desk.look(name, "advice", newest="advice")

    @routes.post("/api/runs/{name}/suggest")
    async def suggest(name: str) -> Any:
        return await desk.look(name, "suggest", newest="suggest")


def _png(data: bytes, cache: str = "no-store") -> Response:
    return Response(data, media_type="image/png", headers={"cache-control": cache})


def _add_pictures(routes: APIRouter, desk: Desk) -> None:
    @routes.get("/api/runs/{name}/sheets/{number}.png")
    async def wall(name: str, number: int, g: str = "") -> Response:
        if not 0 <= number < SHEETS:
            raise MissingStep(f"there is no sheet {number}; expected 0 to {SHEETS - 1}.")
        desk.showing(name, g)
        return _png(await desk.look(name, "wall", number), FOREVER if g else "no-store")

    @routes.post("/api/runs/{name}/front")
    async def front(name: str) -> Any:
        return await desk.look(name, "front", newest="front")

    @routes.get("/api/runs/{name}/pairs.png")
    async def pairs(name: str, threshold: Number, margin: Annotated[float, Query(ge=0, le=10)] = 0.0) -> Response:
        return _png(await desk.look(name, "pairs", threshold, margin, newest="pairs"))

    @routes.get("/api/runs/{name}/strip.png")
    async def strip(name: str) -> Response:
        return _png(await desk.look(name, "strip", newest="strip"))

    @routes.post("/api/runs/{name}/compare")
    async def compare(name: str) -> Any:
        return await desk.look(name, "compare", newest="compare")

    @routes.get("/api/runs/{name}/compare/{side}/{number}.png")
    async def compared(name: str, side: Literal["before", "after"], number: int) -> Response:
        if not 0 <= number < SHEETS:
            raise MissingStep(f"there is no sheet {number}; expected 0 to {SHEETS - 1}.")
        return _png(await desk.look(name, "compared", side, number))


def _add_work(routes: APIRouter, desk: Desk) -> None:
    @routes.get("/api/runs/{name}/job")
    def job(name: str) -> dict[str, Any]:
        return desk.jobs.state(desk.folder(name))

    @routes.post("/api/runs/{name}/job")
    async def work(name: str, asked: Work) -> dict[str, Any]:
        folder = desk.folder(name)
        if asked.action == "cancel":
            await desk.jobs.cancel(folder)
        else:
            known = [run["name"] for run in await asyncio.to_thread(desk.others, name)] if asked.keep else []
            told = asked_for(asked.model_dump(exclude={"action"}, exclude_unset=True), known)
            async with desk.opened(name).lock:
                await desk.jobs.start(folder, told)
        return desk.jobs.state(folder)

    @routes.get("/api/runs/{name}/ways")
    def ways(name: str) -> dict[str, Any]:
        return desk.ways(name)

    @routes.get("/api/runs/{name}/found")
    async def found(name: str) -> dict[str, Any]:
        return {"sentences": await desk.look(name, "found")}


def _add_files(routes: APIRouter, desk: Desk) -> None:
    @routes.get("/api/runs/{name}/report")
    def report(name: str) -> FileResponse:
        shown = desk.shown_file(name, "report.html")
        return FileResponse(shown, headers={"content-security-policy": REPORT_POLICY})

    @routes.get("/api/runs/{name}/download/{file}")
    def download(name: str, file: str) -> FileResponse:
        path, kind = desk.shown_file(name, file), "application/octet-stream"
        return FileResponse(path, media_type=kind, filename=f"{name}-{file}")

    @routes.get("/api/runs/{name}/archive.zip")
    def archive(name: str) -> StreamingResponse:
        run = Run(desk.folder(name))
        told = {"content-disposition": f'attachment; filename="{name}.zip"'}
        return StreamingResponse(_zipped(run), media_type="application/zip", headers=told)


def _zipped(run: Run) -> Iterator[bytes]:
    """The run's own files as a ZIP; neither tokens of a study nor anything that a link points to."""
    wanted = sorted(name for path in run.folder.iterdir() if (name := path.name)[0] != "." and name != "job.log")
    wanted += ["study/result.json", "study/report.html"]
    with tempfile.TemporaryFile() as file:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as made:
            for name in filter(run.owns, wanted):
                made.write(run.path(name), f"{run.folder.name}/{name}")
        file.seek(0)
        while part := file.read(2**20):
            yield part
