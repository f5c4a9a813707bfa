"""The page as a process, for tests that ask it over HTTP or drive it in a browser."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

RECORDED = """
import sys
def hook(event, arguments, out=open({file!r}, "a", buffering=1)):
    if event == "socket.connect" or event == "socket.getaddrinfo":
        print(event, arguments[1:] if event == "socket.connect" else arguments[:2], file=out)
sys.addaudithook(hook)
from unfeature.cli import main
main(sys.argv[1:])
"""
"""Start of a process that writes down every connection and every look-up of a name."""


@dataclass
class Page:
    """A page that is being served."""

    address: str
    """Without the token."""
    entrance: str
    """As it was printed."""
    process: subprocess.Popen[str]
    folder: Path
    client: httpx.Client

    def get(self, path: str) -> Any:
        """JSON, or bytes of anything else; AssertionError with the sentence where it fails."""
        return _answer(self.client.get(path))

    def post(self, path: str, body: Any = None) -> Any:
        """The same, with a body."""
        return _answer(self.client.post(path, json=body))

    def mark(self, run: str, ops: list[tuple[int, str]], client: str = "test", first: int = 0) -> Any:
        """Marks as a browser sends them."""
        asked = {"client": client, "first": first, "ops": ops}
        return _answer(self.client.patch(f"/api/runs/{run}/marks", json=asked))

    def kill(self) -> None:
        """As a crash would."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


def _answer(response: httpx.Response) -> Any:
    assert response.status_code < 400, response.text
    return response.json() if response.headers["content-type"] == "application/json" else response.content


@contextmanager
def serving(folder: Path, *arguments: str, record: Path | None = None) -> Iterator[Page]:
    """`unfeature open FOLDER ARGUMENTS` on a free port; its connections written to `record`."""
    start = ["-c", RECORDED.format(file=str(record))] if record else ["-m", "unfeature"]
    process = subprocess.Popen(
        [sys.executable, *start, "open", str(folder), "--no-browser", *arguments],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1", "OMP_NUM_THREADS": "1"},
    )
    try:
        assert process.stdout is not None
        told = process.stdout.readline()
        found = re.search(r"http://\S+", told)
        assert found, told
        entrance = re.sub(r"//[^/]*?(?=:\d+/)", "//127.0.0.1", found.group())
        address, _, token = entrance.partition("?token=")
        with httpx.Client(base_url=address, timeout=120, headers={"authorization": f"Bearer {token}"}) as client:
            wait(lambda: _alive(client))
            yield Page(address, entrance, process, folder, client)
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()


def _alive(client: httpx.Client) -> bool:
    try:
        client.get("/static/page.css")
    except httpx.TransportError:
        return False
    return True


def wait(claim: Callable[[], Any], seconds: float = 120) -> Any:
    """The first true answer."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if answer := claim():
            return answer
        time.sleep(0.05)
    raise AssertionError(f"did not become true within {seconds} s")


def trained(page: Page, run: str, **strength: Any) -> Any:
    """Train through the page; the job when it has ended."""
    page.post(f"/api/runs/{run}/job", {"action": "start", **strength})
    return wait(lambda: (job := page.get(f"/api/runs/{run}/job"))["state"] != "running" and job, 300)
