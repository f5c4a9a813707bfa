"""The process that makes pictures: it alone of the page's processes keeps torch and generators in memory.

The server asks it one thing at a time over a pipe. A newer request of the same kind takes the place of one that waits;
a process that died is told as a sentence and started anew.
"""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import signal
import threading
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from unfeature.errors import UnfeatureError

OPEN = 4
"""Runs whose generators are kept."""


class Overtaken(Exception):
    """A newer request of the same kind took this one's place."""


def paint(pipe: Connection) -> None:
    """Answer requests (verb, arguments) with ("ok", value) or ("error", kind, sentence) until the pipe closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    viewers: dict[str, Any] = {}
    with contextlib.suppress(EOFError, OSError):  # it has closed
        while True:
            verb, arguments = pipe.recv()
            pipe.send(_answered(viewers, verb, arguments))


def _answered(viewers: dict[str, Any], verb: str, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    try:
        return "ok", _VERBS[verb](viewers, *arguments)
    except UnfeatureError as error:
        return "error", type(error).__name__, str(error)
    except Exception as error:  # what is wrong inside must reach the page as a sentence
        traceback.print_exc()
        return "error", "Internal", f"something went wrong inside ({type(error).__name__}: {error})"


def _warm(viewers: dict[str, Any]) -> None:
    """Import what the first picture needs, and make one: the first takes a second and a half longer than the next."""
    import unfeature.workflow.viewing  # noqa: F401
    from unfeature import zoo
    from unfeature.drawing import drawn
    from unfeature.generators.loading import load_generator
    from unfeature.images import grid, png, to_pixels
    from unfeature.seeds import stream

    for name in zoo.cards("generator"):
        _, images = drawn(load_generator(name), stream("gallery", 0, 0, 64))
        png(grid(to_pixels(images), 8), zoom=2)


def _begin(viewers: dict[str, Any], folder: str, asked: dict[str, Any]) -> list[str]:
    """Start a run; what was found and assumed in the generator's file."""
    from unfeature import workflow

    notes: list[str] = []
    workflow.sample(folder, asked["generator"], None, asked["weights"], None, notes.append)
    workflow.request(folder, asked["feature"], asked["judge"])
    return notes


def _marks(viewers: dict[str, Any], folder: str, file: str) -> dict[str, Any]:
    """Feedback in a file of marks, for a run."""
    from unfeature.judging import marks_from_file
    from unfeature.workflow import inputs

    viewer = _viewer(viewers, folder)
    gallery = inputs.the_gallery(viewer.run, viewer.generator)
    return marks_from_file(Path(file), gallery, viewer.request.feature).to_json()


def _look(viewers: dict[str, Any], folder: str, verb: str, *arguments: Any) -> Any:
    """What a Viewer's method answers; before strengths are measured, where the feature begins is written down."""
    if verb == "front":
        from unfeature import workflow

        workflow.fix_cut(folder)
    return getattr(_viewer(viewers, folder), verb)(*arguments)


def _viewer(viewers: dict[str, Any], folder: str) -> Any:
    from unfeature.workflow.viewing import Viewer

    key = folder + "".join(str(Path(folder, name).stat().st_mtime_ns) for name in ("run.json", "request.json"))
    if key not in viewers:
        viewers[key] = Viewer(folder)
        while len(viewers) > OPEN:
            del viewers[next(iter(viewers))]
    return viewers[key]


_VERBS: dict[str, Callable[..., Any]] = {"warm": _warm, "begin": _begin, "marks": _marks, "look": _look}


class Painter:
    """The server's side of the pipe."""

    def __init__(self) -> None:
        self._busy, self._one = asyncio.Lock(), threading.Lock()
        self._newest: dict[str, int] = {}
        self._process: Any = None
        self._pipe: Connection | None = None
        self._stopping = False

    def start(self) -> None:
        """Start the process; it imports torch while the first page is on its way."""
        spawn = multiprocessing.get_context("spawn")
        self._pipe, theirs = spawn.Pipe()
        self._process = spawn.Process(target=paint, args=(theirs,), daemon=True, name="unfeature-painter")
        self._process.start()
        theirs.close()

    def stop(self) -> None:
        """End the process."""
        self._stopping = True
        if self._pipe is not None:
            self._process.kill()  # whoever waits for its answer hears that it has ended
            self._process.join()
            with self._one:
                self._pipe.close()

    async def ask(self, verb: str, *arguments: Any, newest: str = "") -> Any:
        """The answer; UnfeatureError as it was raised there or where the process died, Overtaken.

        Of requests with the same `newest` only the last is answered.
        """
        ticket = self._newest[newest] = self._newest.get(newest, 0) + 1 if newest else 0
        async with self._busy:
            if newest and self._newest[newest] != ticket:
                raise Overtaken
            exchange = asyncio.get_running_loop().run_in_executor(None, self._exchange, verb, arguments)
            answer = await asyncio.shield(exchange)
        if answer[0] == "ok":
            return answer[1]
        raise told_error(answer[1], answer[2])

    def _exchange(self, verb: str, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
        assert self._pipe is not None, "the painter was started"
        with self._one:  # a request given up while it is answered must not meet the next
            try:
                self._pipe.send((verb, arguments))
                answer: tuple[Any, ...] = self._pipe.recv()
                return answer
            except (EOFError, OSError):
                if self._stopping:
                    return "error", "PainterDied", "the page is being closed. Open it again."
                with contextlib.suppress(OSError):
                    self._pipe.close()
                self._process.join(timeout=5)
                self.start()
                sentence = "the process that makes pictures ended (out of memory?) and was started anew. Try again."
                return "error", "PainterDied", sentence


def told_error(kind: str, sentence: str) -> UnfeatureError:
    """The error of that name with that sentence; of its own class where one is left."""
    known = {found.__name__: found for found in _all(UnfeatureError)}
    found = known.get(kind, UnfeatureError)
    error: UnfeatureError = found.__new__(found)
    Exception.__init__(error, sentence)
    error.kind = kind  # type: ignore[attr-defined]
    return error


def _all(kind: type[UnfeatureError]) -> list[type[UnfeatureError]]:
    return [kind, *(deep for child in kind.__subclasses__() for deep in _all(child))]
