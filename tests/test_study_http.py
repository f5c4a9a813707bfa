"""The study over real HTTP: everybody at once, the server killed, and every mark is there exactly once."""

from __future__ import annotations

import json
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

MARKS = ("shows", "unsure", "without", "none")


class Stand:
    """A stand-in for what the page's server gives the study's routes."""

    def __init__(self, runs: Path) -> None:
        self.runs, self.job = runs, "none"

    def folder(self, name: str) -> Path:
        from unfeature.errors import MissingStep

        if not name.isalnum() or not (self.runs / name).is_dir():
            raise MissingStep(f"there is no run {name}")
        return self.runs / name

    def about(self, name: str) -> dict[str, Any]:
        if (self.folder(name) / "broken").exists():
            from unfeature.errors import BadFile

            raise BadFile(f"cannot read {self.folder(name)}")
        told = {"feature": "<b>glasses</b>", "image": [1, 28, 28], "pictures": "5eed"}
        return told | {"seed": 0, "secret": "not for annotators"}

    async def sheet(self, name: str, seeds: list[int]) -> bytes:
        return json.dumps(seeds).encode()

    async def start_study_job(self, name: str) -> None:
        self.job = "running"

    async def cancel_study_job(self, name: str) -> None:
        self.job = "stopped"

    def study_job(self, name: str) -> dict[str, Any]:
        return {"state": self.job}


def application(runs: Path) -> Any:
    """The study's routes alone, errors told as the page tells them."""
    from fastapi import FastAPI, Request
    from fastapi.exceptions import RequestValidationError
    from fastapi.responses import JSONResponse

    from unfeature.errors import MissingStep, UnfeatureError
    from unfeature.web.study import router

    app = FastAPI(openapi_url=None)
    app.include_router(router(Stand(runs)))

    @app.exception_handler(UnfeatureError)
    def told(request: Request, error: UnfeatureError) -> JSONResponse:
        status = getattr(error, "status", 409 if isinstance(error, MissingStep) else 422)
        return JSONResponse({"error": str(error), "kind": type(error).__name__}, status)

    @app.exception_handler(RequestValidationError)
    def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        return JSONResponse({"error": error.errors()[0]["msg"], "kind": "BadRequest"}, 422)

    return app


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def client(runs: Path) -> Iterator[httpx.Client]:
    with serving(runs, port := free_port()), connect(f"http://127.0.0.1:{port}") as made:
        yield made


@pytest.fixture
def run(runs: Path) -> str:
    """The name of a run folder of the test's own."""
    name = f"zebra{len(list(runs.iterdir()))}"
    (runs / name).mkdir()
    return name


def connect(address: str) -> httpx.Client:
    """A browser; without certificates, which take a while to load."""
    return httpx.Client(base_url=address, timeout=10, verify=False)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def serve(runs: Path, port: int) -> subprocess.Popen[bytes]:
    """A server that answers."""
    process = subprocess.Popen([sys.executable, __file__, str(runs), str(port)])
    for _ in range(400):
        try:
            socket.create_connection(("127.0.0.1", port), timeout=5).close()
            return process
        except OSError:
            assert process.poll() is None, "the server did not start"
            time.sleep(0.05)
    process.kill()
    raise AssertionError("the server does not answer")


@contextmanager
def serving(runs: Path, port: int) -> Iterator[None]:
    process = serve(runs, port)
    try:
        yield
    finally:
        process.kill()
        process.wait()


def begin(client: httpx.Client, run: str, names: list[str], count: int = 100) -> list[str]:
    """The links."""
    answer = client.post(f"/api/runs/{run}/study", json={"annotators": names, "count": count})
    assert answer.status_code == 200, answer.text
    return [annotator["link"] for annotator in answer.json()["annotators"]]


def test_a_study_from_names_to_agreement(client: httpx.Client, run: str) -> None:
    missing = client.get(f"/api/runs/{run}/study")
    assert (missing.status_code, missing.json()["annotators"]) == (200, [])
    ann, bob = begin(client, run, ["Ann", "<i>Bob</i>"])
    state = client.get(f"{ann}/state")
    assert state.json() == {
        "feature": "<b>glasses</b>",
        "count": 100,
        "image": [1, 28, 28],
        "pictures": "5eed",
        "marks": {"shows": [], "unsure": [], "without": []},
        "seconds": 0.0,
        "done": False,
    }
    assert state.headers["referrer-policy"] == "no-referrer" and state.headers["cache-control"] == "no-store"
    seeds = {
        link: [seed for k in (0, 1) for seed in json.loads(client.get(f"{link}/sheets/{k}.png").content)]
        for link in (ann, bob)
    }
    for asked, kept in (("", "no-store"), ("?g=5eed", "private, max-age=86400, immutable"), ("?g=5eed2", "no-store")):
        assert client.get(f"{ann}/sheets/0.png{asked}").headers["cache-control"] == kept
    assert sorted(seeds[ann]) == sorted(seeds[bob]) == list(range(100)) and seeds[ann] != seeds[bob]
    for link in (ann, bob):
        ops = [[position, "shows" if seed < 10 else "without"] for position, seed in enumerate(seeds[link])]
        told = client.patch(f"{link}/marks", json={"client": "c", "first": 1, "ops": ops, "seconds": 90.5})
        assert told.json() == {"saved": 100, "shows": 10, "unsure": 0, "without": 90}
    assert client.post(f"{ann}/done").json()["done"] is True
    study = client.get(f"/api/runs/{run}/study").json()
    assert study["alpha"] == {"value": 1.0, "low": 1.0, "high": 1.0, "n": 100}
    assert study["consensus"] == {"shows": 10, "unsure": 0, "without": 90}
    assert study["rows"] is None and study["count"] == 100
    first = study["annotators"][0]
    assert (first["name"], first["marked"], first["looked"], first["done"], first["seconds"]) == (
        "Ann",
        10,
        100,
        True,
        90.5,
    )
    assert client.get(f"/api/runs/{run}/study/report").status_code == 409
    assert client.post(f"/api/runs/{run}/study/job", json={"action": "start"}).json() == {"state": "running"}
    assert client.post(f"/api/runs/{run}/study/job", json={"action": "cancel"}).json() == {"state": "stopped"}
    assert client.get(f"/api/runs/{run}/study/job").json() == {"state": "stopped"}


def test_a_job_needs_marks_of_both_sides(client: httpx.Client, run: str) -> None:
    begin(client, run, ["Ann"])
    told = client.post(f"/api/runs/{run}/study/job", json={"action": "start"})
    assert told.status_code == 409 and "at least one of each" in told.json()["error"]


def test_a_link_reveals_its_own_part_only(client: httpx.Client, runs: Path, run: str) -> None:
    ann, bob = begin(client, run, ["Ann", "Bob Secret"])
    client.patch(f"{bob}/marks", json={"client": "c", "first": 0, "ops": [[3, "shows"]]})
    wrong = client.get(f"{ann[:-1]}/state"), client.get(f"/s/{'x' * 32}"), client.get(f"{ann}/sheets/2.png")
    for told in [*wrong, client.get(f"{ann}/sheets/{'9' * 5000}.png"), client.get(f"{ann}/sheets/-1.png")]:
        assert (told.status_code, told.json()["kind"]) == (404, "UnknownLink")
    (runs / run / "broken").touch()
    broken = client.get(f"{ann}/state"), client.get(f"{ann}/sheets/0.png")
    assert [told.status_code for told in broken] == [503, 503]
    (runs / run / "broken").unlink()
    (runs / run / "study" / "001-ann.jsonl").write_text("damaged\n")
    torn = client.patch(f"{ann}/marks", json={"client": "c", "first": 0, "ops": [[3, "shows"]]})
    assert torn.status_code == 503
    for told in (*wrong, *broken, torn):
        assert not any(word in told.text for word in ("Bob", run, str(runs), bob[3:], "jsonl"))
    assert client.get(f"{bob}/state").json()["marks"]["shows"] == [3]


@pytest.mark.parametrize(
    "change",
    [
        {"ops": [[100, "shows"]]},
        {"ops": [[-1, "shows"]]},
        {"ops": [[1.5, "shows"]]},
        {"ops": [["1", "shows"]]},
        {"ops": [[True, "shows"]]},
        {"ops": [[1, "maybe"]]},
        {"ops": [[1]]},
        {"ops": [[1, "shows"]] * 20_001},
        {"first": -1},
        {"first": 2**60},
        {"seconds": -1},
        {"seconds": 1e9},
        {"client": ""},
        {"client": "x" * 65},
        {"client": "\ud800"},
        {"more": 1},
    ],
)
def test_malformed_marks_change_nothing(change: dict[str, Any], client: httpx.Client, still: str) -> None:
    body = {"client": "c", "first": 0, "ops": [[1, "shows"]], **change}
    told = client.patch(f"{still}/marks", content=json.dumps(body), headers={"content-type": "application/json"})
    assert told.status_code == 422
    assert client.get(f"{still}/state").json()["marks"] == {"shows": [], "unsure": [], "without": []}


@pytest.fixture(scope="module")
def still(client: httpx.Client, runs: Path) -> str:
    """A link for tests that change nothing."""
    (runs / "still").mkdir()
    return begin(client, "still", ["Ann"])[0]


def annotate(address: str, link: str, number: int, sent: list[tuple[int, str]]) -> None:
    """500 pictures in PATCHes of a few marks, in a browser that repeats whatever was not confirmed."""
    rng, client, left = random.Random(number), f"browser{number}", list(sent)
    first, http = 1, connect(address)
    while left:
        few = left[: rng.randint(3, 9)]
        try:
            body = {"client": client, "first": first, "ops": few, "seconds": 0.5 * len(few)}
            answer = http.patch(f"{link}/marks", json=body)
            assert answer.status_code == 200, answer.text
            confirmed = answer.json()["saved"] - first + 1
            assert confirmed >= len(few), "more where a repeat is shorter than what had arrived unseen"
            left, first = left[confirmed:], first + confirmed
        except httpx.TransportError:  # nobody knows whether it was saved
            time.sleep(0.2)
    http.close()


@pytest.mark.slow
def test_thirteen_annotators_and_a_server_killed_twice(runs: Path, run: str) -> None:
    port = free_port()
    address, server = f"http://127.0.0.1:{port}", serve(runs, port)
    names = [f"annotator {i}" for i in range(13)]
    with connect(address) as client:
        links = begin(client, run, names, 500)
    rng = random.Random(0)
    sent = [[(p, rng.choice(MARKS[:3])) for p in range(500)] for _ in names]
    for own in sent:  # some change their mind
        own[250:250] = [(rng.randrange(250), rng.choice(MARKS)) for _ in range(30)]
    threads = [
        threading.Thread(target=annotate, args=(address, link, i, sent[i]), daemon=True) for i, link in enumerate(links)
    ]
    for thread in threads:
        thread.start()
    for share in (0.25, 0.6):
        wanted = share * sum(map(len, sent))
        while sum(path.read_bytes().count(b"\n") for path in runs.glob(f"{run}/study/*.jsonl")) < wanted:
            time.sleep(0.01)
        server.send_signal(signal.SIGKILL)
        server.wait()
        torn = next(iter(runs.glob(f"{run}/study/*.jsonl")))
        with open(torn, "ab") as file:  # as if the kill had come in the middle of a line
            file.write(b'{"client":"browser0","number":9')
        server = serve(runs, port)
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads)
    server.send_signal(signal.SIGKILL)
    server.wait()
    for number, (path, own) in enumerate(zip(sorted(runs.glob(f"{run}/study/*.jsonl")), sent, strict=True)):
        events = [json.loads(line) for line in path.read_text().splitlines()]
        told = [(event["client"], event["number"], event["position"], event["mark"]) for event in events]
        assert told == [(f"browser{number}", n, *op) for n, op in enumerate(own, start=1)]
    with serving(runs, port), connect(address) as client:
        for link, own in zip(links, sent, strict=True):
            last = dict(own)
            expected = {side: sorted(p for p, mark in last.items() if mark == side) for side in MARKS[:3]}
            state = client.get(f"{link}/state").json()
            assert state["marks"] == expected and state["seconds"] == 265.0


if __name__ == "__main__":
    import uvicorn

    uvicorn.run(application(Path(sys.argv[1])), host="127.0.0.1", port=int(sys.argv[2]), log_level="warning")
