"""What goes wrong, as {"error", "kind"} with a status: a sentence in every case."""

from __future__ import annotations

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from unfeature.errors import DiskFull, MissingStep, RunBusy, UnfeatureError
from unfeature.web.desk import UnknownRun
from unfeature.web.painter import Overtaken

INSIDE = (
    "something went wrong inside; the whole story stands where the page was started. Reload the page, and report it if "
    "it comes again."
)
"""Of a mistake of ours; no more, for annotators are told it too."""


def tell_failures(app: FastAPI) -> None:
    """Every failure of its routes is told."""

    def told(status: int, sentence: str, kind: str) -> JSONResponse:
        return JSONResponse({"error": sentence, "kind": kind}, status)

    @app.exception_handler(UnfeatureError)
    def ours(request: Request, error: UnfeatureError) -> JSONResponse:
        kind = getattr(error, "kind", type(error).__name__)
        return told(_status(error, kind), str(error), kind)

    @app.exception_handler(RequestValidationError)
    def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        problems = (f"{'.'.join(map(str, p['loc'][1:]))}: {p['msg'].lower()}" for p in error.errors()[:3])
        return told(422, f"the request makes no sense ({'; '.join(problems)}). Reload the page.", "BadRequest")

    @app.exception_handler(HTTPException)
    def http(request: Request, error: HTTPException) -> JSONResponse:
        why = ": there is nothing at this address" if error.status_code == 404 else ""
        return told(error.status_code, f"{error.detail}{why}.".lower(), "Http")

    @app.exception_handler(Overtaken)
    def overtaken(request: Request, error: Overtaken) -> JSONResponse:
        return told(409, "a newer request took this one's place.", "Overtaken")

    @app.exception_handler(Exception)
    def inside(request: Request, error: Exception) -> JSONResponse:
        return told(500, INSIDE, "Internal")


def _status(error: UnfeatureError, kind: str) -> int:
    if hasattr(error, "status"):
        return int(error.status)
    if kind == "Internal":
        return 500
    if kind == "PainterDied" or isinstance(error, DiskFull):
        return 503
    if isinstance(error, UnknownRun):
        return 404
    return 409 if isinstance(error, RunBusy | MissingStep) else 422
