"""The page over HTTP, as a process: from nothing to downloads, kills, wrong requests, no outside connection."""

from __future__ import annotations

import asyncio
import io
import itertools
import json
import random
import shutil
import socket
import sys
import zipfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import numpy as np
import pytest
from pages import Page, serving, trained, wait
from PIL import Image
from starlette.responses import JSONResponse

from unfeature import options as o
from unfeature import workflow
from unfeature.artifacts import Feedback
from unfeature.drawing import drawn
from unfeature.errors import RunBusy
from unfeature.generators.loading import load_generator
from unfeature.images import to_pixels
from unfeature.marks import Marks
from unfeature.seeds import stream
from unfeature.store import Run
from unfeature.studies import Study, outcome, slug, start
from unfeature.web import app, standing
from unfeature.web.desk import Desk, Numbers
from unfeature.web.jobs import Jobs
from unfeature.workflow import viewing

STRENGTH = {"threshold": 0.1, "margin": 0.5, "steps": 20}
MARKED = [(i, "shows" if i % 7 == 0 else "without") for i in range(70)]


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("connections") / "log"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory, recorded: Path) -> Iterator[Page]:
    """A served folder with one run, "slant", that nobody judges."""
    with serving(tmp_path_factory.mktemp("page") / "runs", record=recorded) as served:
        told = served.post("/api/runs", {"generator": "mnist-vae", "feature": "slant"})
        assert told["name"] == "slant"
        yield served


@pytest.fixture
def run(page: Page) -> str:
    """A fresh copy of that run."""
    base, number = page.folder / "slant", len(list(page.folder.iterdir()))
    shutil.copytree(base, page.folder / f"copy-{number}")
    (page.folder / f"copy-{number}" / "feedback.json").unlink(missing_ok=True)
    return f"copy-{number}"


def test_first_answer_needs_no_torch_and_tells_what_there_is(page: Page) -> None:
    told = page.get("/api/start")
    assert {"mnist-vae", "mnist-gan", "mnist-stylegan2"} == {each["name"] for each in told["generators"]}
    assert told["judges"] == ["slant", "thickness"]
    assert told["runs"][-1] | {"marks": 0} == {
        "name": "slant",
        "feature": "slant",
        "generator": load_generator("mnist-vae").spec.id,
        "stage": "marking",
        "marks": 0,
    }
    assert b"<html" in page.get("/")


DEEP = "[" * 100_000
FACTS = '{"__metadata__": {"unfeature": "{}"}}'
SPEC = {"name": "g", "weights": "0", "latent_dim": 1, "image_shape": [1, 1, 1]}


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("request.json", DEEP),
        ("request.json", '{"feature": "\\ud800"}'),
        ("run.json", DEEP),
        ("run.json", json.dumps({"spec": SPEC, "seed": float("inf")})),
        ("feedback.json", DEEP),
        ("feature.safetensors", FACTS),
        ("feature.safetensors", DEEP),
        ("unlearned.safetensors", FACTS),
    ],
)
def test_a_damaged_run_is_left_out_of_the_start_and_the_others_are_there(file: str, text: str, tmp_path: Path) -> None:
    for name in ("good", "bad"):
        run = Run(tmp_path / name)
        with run.held(new=True):
            run.write_json("run.json", {"spec": SPEC, "seed": 0})
        run.write_json("request.json", {"feature": name})
        run.write_json("feedback.json", Feedback(name, "g@0", (1,), (2,)).to_json())
        found = {"feedback": run.read_as("feedback.json", Feedback).id, "generator": "g@0"}
        facts = {"unfeature": json.dumps(found)}
        for made in ("feature", "unlearned"):
            head = json.dumps({"__metadata__": facts}).encode()
            run.write(f"{made}.safetensors", len(head).to_bytes(8, "little") + head)
    (tmp_path / "good" / "unlearned.safetensors").unlink()
    size = len(text).to_bytes(8, "little") if file.endswith(".safetensors") else b""
    (tmp_path / "bad" / file).write_bytes(size + text.encode())
    told = JSONResponse(Desk(tmp_path).start())
    assert [run["name"] for run in json.loads(told.body)["runs"]] == ["good"]


def test_a_sheet_shows_the_pictures_of_its_seeds(page: Page, run: str) -> None:
    sheet = np.array(Image.open(io.BytesIO(page.get(f"/api/runs/{run}/sheets/2.png"))))
    pixels = to_pixels(drawn(load_generator("mnist-vae"), stream("gallery", 0, 128, 192))[1])
    cells = sheet.reshape(8, 28, 8, 28).swapaxes(1, 2).reshape(64, 28, 28)
    assert np.abs(cells.astype(int) - pixels).max() <= 1
    about = page.get(f"/api/runs/{run}")
    named = page.client.get(f"/api/runs/{run}/sheets/2.png", params={"g": about["pictures"]})
    assert "immutable" in named.headers["cache-control"]
    assert page.client.get(f"/api/runs/{run}/sheets/2.png").headers["cache-control"] == "no-store"


def test_marks_are_on_disk_when_they_are_called_saved(page: Page, run: str) -> None:
    told = page.mark(run, MARKED)
    assert told == {"saved": 69, "shows": 10, "unsure": 0, "without": 60}
    seeds = json.loads((page.folder / run / "feedback.json").read_text())["positives"]
    assert seeds == list(range(0, 70, 7))
    again = page.mark(run, [(0, "none"), (1, "shows")], first=0)
    assert again["saved"] == 69 and again["shows"] == 10, "operations that were saved before are not applied again"
    assert page.get(f"/api/runs/{run}")["marks"]["shows"] == list(range(0, 70, 7))


@pytest.mark.parametrize("index", [-1, 10**6, 2**31 - 1, 10**30])
def test_a_mark_beyond_every_gallery_is_told(page: Page, run: str, index: int) -> None:
    body = {"client": "test", "first": 0, "ops": [[0, "shows"], [index, "shows"]]}
    refused = page.client.patch(f"/api/runs/{run}/marks", json=body)
    assert refused.status_code == 422 and "expected a picture from 0 to 999,999" in refused.json()["error"]
    assert not (page.folder / run / "feedback.json").exists()


def test_requests_that_overtake_one_another_lose_no_mark() -> None:
    numbers = Numbers(0)
    assert list(numbers.new(3, [(1, "shows"), (2, "shows")])) == [3, 4]
    numbers.save(3, [(1, "shows"), (2, "shows")])
    assert numbers.next == 0, "the first three are on their way: they are not called saved"
    late = [(1, "unsure"), (7, "shows"), (7, "none")]
    assert numbers.new(0, late) == {1: (7, "shows"), 2: (7, "none")}, "older than what picture 1 has now"
    numbers.save(0, late)
    assert numbers.next == 5 and not numbers.beyond
    assert not numbers.new(0, late), "sent again, they change nothing"


def test_help_to_mark_well(page: Page, run: str) -> None:
    few = page.get(f"/api/runs/{run}/advice")
    assert not few["enough"] and "show" in few["sentence"]
    refused = page.client.post(f"/api/runs/{run}/suggest")
    assert refused.status_code == 422 and "Mark" in refused.json()["error"]
    page.mark(run, MARKED)
    told = page.post(f"/api/runs/{run}/suggest")
    assert sorted(told["order"]) == list(range(len(told["order"])))
    assert told["scores"] == sorted(told["scores"], reverse=True)
    assert not {i for i, _ in MARKED} & set(told["suggested"]) and set(told["random"]) <= set(told["suggested"])
    assert all(0 <= each["index"] < 70 for each in told["doubtful"])


def test_marks_that_no_probe_learns_from_are_not_suggested_either(
    tiny_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(viewing, "LEARNT", 10)
    looked = viewing.Viewer(tiny_run)
    feedback = looked.run.read_as("feedback.json", Feedback)
    first = int(stream("gallery", looked.about.seed, 0, 1)[0])
    marked = {seed - first for seed in (*feedback.positives, *feedback.negatives)}
    assert len(marked) == 60 and not marked & set(looked.suggest()["suggested"])


def test_preview_says_who_measured(page: Page, run: str) -> None:
    page.mark(run, MARKED)
    told = page.post(f"/api/runs/{run}/front")
    assert told["guide"] and "probe" in told["measured_by"]
    assert told["recommended"] in told["front"]
    drifts = [told["points"][i]["drift"] for i in told["front"]]
    assert drifts == sorted(drifts)
    point = told["points"][told["recommended"]]
    asked = {"threshold": point["threshold"], "margin": point["margin"]}
    pairs = page.client.get(f"/api/runs/{run}/pairs.png", params=asked)
    assert Image.open(io.BytesIO(pairs.content)).size == (8 * 28, 4 * 28)


@pytest.mark.slow
def test_from_marks_to_downloads_as_the_command_line_makes_them(page: Page, run: str, tmp_path: Path) -> None:
    page.mark(run, MARKED)
    other = tmp_path / "other"
    shutil.copytree(page.folder / run, other)
    job = trained(page, run, **STRENGTH)
    assert (job["state"], job["error"]) == ("done", ""), job
    assert [record["step"] for record in job["records"]] == [20] and job["strip"] == 20
    workflow.find(other, o.FindOptions(threshold=0.1, margin=0.5))
    workflow.unlearn(other, o.UnlearnOptions(steps=20))
    ours = page.get(f"/api/runs/{run}/download/unlearned.safetensors")
    assert ours == (other / "unlearned.safetensors").read_bytes()
    about = page.get(f"/api/runs/{run}")
    assert about["stage"] == "trained" and "unlearned.safetensors" in about["files"]
    told = page.post(f"/api/runs/{run}/compare")
    assert sorted([*told["edited"], *told["untouched"]]) == list(range(told["n"])) == sorted(told["worst"])
    changes = [told["change"][j] for j in told["worst"]]
    assert changes == sorted(changes, reverse=True) and told["shows"] is None
    before, after = (page.get(f"/api/runs/{run}/compare/{side}/0.png") for side in ("before", "after"))
    assert before != after and Image.open(io.BytesIO(after)).size == (8 * 28, 8 * 28)
    with zipfile.ZipFile(io.BytesIO(page.get(f"/api/runs/{run}/archive.zip"))) as archive:
        assert archive.read(f"{run}/unlearned.safetensors") == ours
        assert not [name for name in archive.namelist() if ".lock" in name or "job.log" in name]
    page.mark(run, [(500, "shows")], first=70)
    assert page.get(f"/api/runs/{run}")["stage"] == "marking", "a copy of other marks is no result of these"
    assert page.get(f"/api/runs/{run}/job")["state"] == "none"


@pytest.mark.slow
def test_what_is_judged_ends_with_report_and_dossier(page: Page, tmp_path: Path) -> None:
    run = page.post("/api/runs", {"generator": "mnist-vae", "feature": "judged", "judge": "slant"})["name"]
    page.mark(run, MARKED)
    job = trained(page, run, **STRENGTH)
    assert (job["state"], job["error"]) == ("done", ""), job
    assert {"report.html", "dossier.zip"} <= set(page.get(f"/api/runs/{run}")["files"])
    archive = tmp_path / "dossier.zip"
    archive.write_bytes(page.get(f"/api/runs/{run}/download/dossier.zip"))
    found = workflow.verify(archive, checkpoint=page.folder / run / "unlearned.safetensors")
    assert (found.findings, found.feature, found.checkpoint) == ((), "judged", "the same bytes")


@pytest.mark.slow
def test_a_killed_server_loses_nothing_and_training_goes_on(tmp_path: Path, page: Page) -> None:
    folder = tmp_path / "runs"
    shutil.copytree(page.folder / "slant", folder / "slant")
    strength = STRENGTH | {"steps": 400}
    with serving(folder) as first:
        first.mark("slant", MARKED)
        first.post("/api/runs/slant/job", {"action": "start", **strength})
        refused = first.client.patch("/api/runs/slant/marks", json={"client": "x", "first": 0, "ops": [[9, "shows"]]})
        assert refused.status_code == 409 and "trained on these marks" in refused.json()["error"]
        assert first.get("/api/runs/slant")["locked"]
        wait(lambda: first.get("/api/runs/slant/job")["strip"])
        assert first.client.get("/api/runs/slant/strip.png").status_code == 200
        first.kill()
    with serving(folder) as second:
        assert second.get("/api/runs/slant")["marks"]["shows"] == list(range(0, 70, 7))
        wait(lambda: not second.get("/api/runs/slant")["locked"])
        job = second.get("/api/runs/slant/job")
        assert job["state"] == "stopped" and 0 < job["strip"] < 400
        wait(lambda: _free(folder / "slant"), 30)
        again = trained(second, "slant", **strength)
        assert again["state"] == "done", again
        assert len(again["records"]) == 8


def _free(folder: Path) -> bool:
    try:
        with Run(folder).held():
            return True
    except RunBusy:
        return False


@pytest.mark.slow
def test_cancel_and_go_on(page: Page, run: str) -> None:
    page.mark(run, MARKED)
    page.post(f"/api/runs/{run}/job", {"action": "start", **STRENGTH, "steps": 2000})
    twice = page.client.post(f"/api/runs/{run}/job", json={"action": "start", **STRENGTH})
    assert twice.status_code == 409
    wait(lambda: page.get(f"/api/runs/{run}/job")["strip"])
    job = page.post(f"/api/runs/{run}/job", {"action": "cancel"})
    assert job["state"] == "stopped" and not page.get(f"/api/runs/{run}")["locked"]
    page.mark(run, [(9, "unsure")], first=70)
    job = page.get(f"/api/runs/{run}/job")
    assert (job["state"], job["records"]) == ("none", []) and page.get(f"/api/runs/{run}/ways")["chosen"] is None


def test_of_several_starts_at_once_one_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begin, begun = asyncio.create_subprocess_exec, []

    async def instead(*command: str, **given: object) -> asyncio.subprocess.Process:
        begun.append(command)
        return await begin("cat", **given)

    async def at_once() -> list[object]:
        jobs = Jobs("study")
        told = await asyncio.gather(*(jobs.start(tmp_path, {"steps": 1}) for _ in range(5)), return_exceptions=True)
        await jobs.close()
        return told

    monkeypatch.setattr(asyncio, "create_subprocess_exec", instead)
    told = asyncio.run(at_once())
    assert len(begun) == 1 and [type(each) for each in told] == [type(None)] + 4 * [RunBusy]


TRAINING = {"verb": "unlearn", "steps": 1000}


@pytest.mark.parametrize(
    ("lines", "code", "state"),
    [
        ([TRAINING, {"step": 500}], 130, "stopped"),
        ([TRAINING, {"error": "it cannot"}], 2, "failed"),
        ([TRAINING, {"done": "Trained."}], 0, "done"),
    ],
)
def test_a_training_of_earlier_marks_is_told_no_more(
    lines: list[Any], code: int, state: str, tiny_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = "import sys; print(sys.argv[1]); sys.exit(int(sys.argv[2]))"
    create, told = asyncio.create_subprocess_exec, "\n".join(map(json.dumps, lines))

    async def instead(*_: str, **given: object) -> asyncio.subprocess.Process:
        return await create(sys.executable, "-c", program, told, str(code), **given)

    async def ended(jobs: Jobs) -> None:
        await jobs.start(tiny_run, STRENGTH | {"way": "linear"})
        while jobs.running(tiny_run) or jobs.state(tiny_run)["verb"] == "find":
            await asyncio.sleep(0.01)
        await jobs.close()

    monkeypatch.setattr(asyncio, "create_subprocess_exec", instead)
    jobs = Jobs("train")
    asyncio.run(ended(jobs))
    job = jobs.state(tiny_run)
    assert (job["state"], job["threshold"]) == (state, 0.1)
    Marks(Run(tiny_run)).apply([(90, "unsure")])
    job = jobs.state(tiny_run)
    assert (job["state"], job["error"], job["step"]) == ("none", "", 0) and "threshold" not in job


@pytest.mark.slow
def test_training_that_cannot_work_says_so(page: Page, run: str) -> None:
    page.mark(run, [(1, "shows")])
    job = trained(page, run, **STRENGTH)
    assert job["state"] == "failed" and "0 negatives" in job["error"]
    assert page.get(f"/api/runs/{run}/job") == job, "it is told as long as the marks stay"
    page.mark(run, [(2, "without")], first=1)
    assert page.get(f"/api/runs/{run}/job")["state"] == "none"


def test_marks_from_a_file(page: Page, run: str) -> None:
    page.mark(run, MARKED)
    path = f"/api/runs/{run}/marks/file?name="
    told = page.client.post(path + "m.csv", content=b"seed,mark\n5,1\n6,0\n7,?\n")
    assert told.json() == {"shows": 1, "unsure": 1, "without": 1}
    assert list((page.folder / run / "history").glob("feedback-*.json")), "the marks there before are kept"
    for name, body in (
        ("m.csv", b"a,b\n1,2\n"),
        ("m.exe", b""),
        ("m.json", b"["),
        ("m.json", b"[" * 100_000),
        ("m.json", b'{"steps": 0}'),
        ("m.json", b'{"positives": ["x"]}'),
        ("m.json", b'{"positives": [5], "generator": "mnist-gan@0"}'),
        ("m.json", b'{"positives": [5], "generator": 5}'),
    ):
        refused = page.client.post(path + name, content=body)
        assert refused.status_code == 422 and refused.json()["error"], name
        assert "/tmp" not in refused.json()["error"], "the file is the user's"
    refused = page.client.post(path + "my marks.csv", content=b"seed,mark\n5,maybe\n")
    assert refused.json()["error"].startswith('my marks.csv line 2 has mark "maybe"')
    assert page.get(f"/api/runs/{run}")["marks"]["shows"] == [5]
    assert json.loads((page.folder / run / "feedback.json").read_text())["source"] == "marks in m.csv"
    assert page.client.post(path + "m.csv", content=b"x" * (2**21 + 1)).status_code == 413


@pytest.mark.parametrize(
    "path",
    ["/api/runs/..%2f..%2fetc", "/api/runs/%2e%2e", "/static/..%2fapp.py", "/static/%2e%2e%2f%2e%2e%2fapp.py",
     "/api/runs/slant/download/..%2f..%2f..%2fetc%2fpasswd", "/api/runs/slant/download/run.json", "/static/nothing.js",
     "/api/runs/slant/download/.lock", "/api/runs/none", "/docs", "/openapi.json", "/api/runs/slant%00"],
)  # fmt: skip
def test_no_other_file_is_served(page: Page, path: str) -> None:
    answer = page.client.get(path)
    assert answer.status_code in (404, 409, 422), answer.text
    assert set(answer.json()) == {"error", "kind"}


def asked(runs: Path, verb: str, path: str, *, raises: bool = True, **given: Any) -> httpx.Response:
    """One request to the page of a folder in this process; it has no painter. What nobody caught is raised here too."""
    guarded = app.page(Desk(runs), frozenset({"page"}), "a-long-secret-token")
    transport = httpx.ASGITransport(guarded, raise_app_exceptions=raises)
    known = {"authorization": "Bearer a-long-secret-token"}

    async def answer() -> httpx.Response:
        async with httpx.AsyncClient(transport=transport, base_url="http://page", headers=known) as client:
            return await client.request(verb, path, **given)

    return asyncio.run(answer())


async def parts() -> AsyncIterator[bytes]:
    """More than is taken, of which nobody says beforehand how long it is."""
    for _ in range(3):
        yield b"1" * 2**20


@pytest.mark.parametrize(("verb", "path"), [("POST", "/api/runs"), ("POST", "/api/runs/run/marks/file?name=m.csv")])
def test_too_large_a_body_sent_in_parts_is_told(verb: str, path: str, tmp_path: Path) -> None:
    answer = asked(tmp_path, verb, path, content=parts(), headers={"content-type": "application/json"})
    assert answer.status_code == 413
    assert answer.json() == {
        "error": "more than 2 MiB were sent; expected a file of marks. Send less.",
        "kind": "TooLarge",
    }


@pytest.mark.parametrize(
    ("verb", "path", "told"),
    [
        ("GET", "/api/none", "not found: there is nothing at this address."),
        ("PUT", "/api/start", "method not allowed."),
        ("POST", "/api/runs", "there was an error parsing the body."),
    ],
)
def test_only_what_is_not_there_is_said_not_to_be(verb: str, path: str, told: str, tmp_path: Path) -> None:
    answer = asked(tmp_path, verb, path, content=b"\xff", headers={"content-type": "application/json"})
    assert answer.json()["error"] == told


@pytest.mark.parametrize("linked", ["file", "folder"])
def test_nothing_that_a_link_in_a_run_points_to_is_given_out(linked: str, tmp_path: Path) -> None:
    run, other = tmp_path / "runs" / "run", tmp_path / "other"
    Run(run).write_json("run.json", {})
    start(run, ["Ann"], 20)
    Run(run).write_json("feedback.json", {})
    Run(run).write_json("study/result.json", {})
    other.mkdir()
    for name in ("report.html", "result.json"):
        (other / name).write_text("secret")
    (run / "report.html").symlink_to(other / "report.html")
    if linked == "folder":
        (run / "study").rename(run / "own")
        (other / "study.json").write_bytes((run / "own" / "study.json").read_bytes())
        (run / "study").symlink_to(other)
    else:
        (run / "study" / "report.html").symlink_to(other / "report.html")
    for path in ("report", "download/report.html", "study/report"):
        answer = asked(tmp_path / "runs", "GET", f"/api/runs/run/{path}")
        assert answer.status_code == 409 and "secret" not in answer.text, path
    assert asked(tmp_path / "runs", "GET", "/api/runs/run/download/feedback.json").status_code == 200
    with zipfile.ZipFile(io.BytesIO(asked(tmp_path / "runs", "GET", "/api/runs/run/archive.zip").content)) as archive:
        own = {"run/feedback.json", "run/run.json"} | ({"run/study/result.json"} if linked == "file" else set())
        assert set(archive.namelist()) == own


def test_a_report_is_of_the_run_as_it_is_now(tiny_run: Path) -> None:
    def given(file: str) -> int:
        return asked(tiny_run.parent, "GET", f"/api/runs/run/download/{file}").status_code

    workflow.dossier(tiny_run)
    desk, proof = Desk(tiny_run.parent), ("report.html", "report.json", "evaluation.json", "dossier.zip")
    assert desk.stage("run") == "proved" and {*proof, "unlearned.safetensors"} <= set(desk.about("run")["files"])
    assert [given(file) for file in proof] == [200] * 4
    workflow.request(tiny_run, "slanted strokes", "thickness")
    assert desk.stage("run") == "trained", "nobody measured what is asked for now"
    Run(tiny_run).write("request.json", (tiny_run / "history" / "request-1.json").read_bytes())
    assert desk.stage("run") == "proved"
    workflow.find(tiny_run, o.FindOptions(margin=0.5))
    assert desk.stage("run") == "marking" and desk.about("run")["files"] == []
    workflow.unlearn(tiny_run, o.UnlearnOptions(steps=2))
    assert desk.stage("run") == "trained" and desk.jobs.state(tiny_run)["sentence"] == "Trained."
    assert [given(file) for file in (*proof, "unlearned.safetensors")] == [409] * 4 + [200]
    assert asked(tiny_run.parent, "GET", "/api/runs/run/report").status_code == 409
    workflow.evaluate(tiny_run, o.EvaluateOptions(count=300))
    assert desk.stage("run") == "trained", "the report is of another copy"
    workflow.report(tiny_run)
    assert desk.stage("run") == "proved" and [given(file) for file in proof] == [200] * 3 + [409]


def test_nothing_of_another_generator_is_shown_as_of_the_one_there_now(tiny_run: Path) -> None:
    workflow.dossier(tiny_run)
    desk, trained = Desk(tiny_run.parent), Run(tiny_run).read("unlearned.safetensors")
    assert desk.stage("run") == "proved" and desk.jobs.state(tiny_run)["state"] == "done"
    workflow.sample(tiny_run, "mnist-gan", o.SampleOptions(count=100))
    about = Desk(tiny_run.parent).about("run")
    assert about["stage"] == "marking" and about["files"] == []
    assert about["marks"] == {"shows": [], "unsure": [], "without": []}
    assert asked(tiny_run.parent, "GET", "/api/runs/run/report").status_code == 409
    assert desk.jobs.state(tiny_run)["state"] == "none"
    workflow.mark(tiny_run, "thickness", "thickness", o.MarkOptions(per_side=20))
    assert Run(tiny_run).read("unlearned.safetensors") == trained and desk.stage("run") == "marking"


def test_an_open_page_sees_what_the_command_line_makes_of_a_run(tmp_path: Path) -> None:
    folder, desk, seen, number = tmp_path / "run", Desk(tmp_path), set(), itertools.count()

    def told(index: int = 5) -> tuple[dict[str, Any], Feedback]:
        desk.opened("run").apply("browser", next(number), [(index, "shows")])
        seen.add(desk.about("run")["pictures"])
        return desk.about("run"), Run(folder).read_as("feedback.json", Feedback)

    workflow.sample(folder, "mnist-vae", o.SampleOptions(count=40))
    workflow.request(folder, "thick")
    assert told()[1].feature == "thick"
    workflow.request(folder, "slant", "slant")
    about, feedback = told(6)
    assert about["feature"] == feedback.feature == "slant" and len(seen) == 1
    workflow.sample(folder, "mnist-vae", o.SampleOptions(count=40, seed=1))
    about, feedback = told()
    assert about["seed"] == 1 and about["marks"]["shows"] == [5] and len(seen) == 2
    assert feedback.positives == (int(stream("gallery", 1, 5, 6)[0]),)
    shutil.rmtree(folder)
    workflow.sample(folder, "mnist-gan", o.SampleOptions(count=40))
    workflow.request(folder, "thin")
    about, feedback = told()
    assert feedback.generator == load_generator("mnist-gan").spec.id and about["feature"] == "thin"
    assert feedback.positives == (5,) and len(seen) == 3


def test_marks_of_pictures_that_are_there_no_more_are_not_taken(page: Page, run: str) -> None:
    page.mark(run, [(3, "shows"), (4, "without")])
    shown = page.get(f"/api/runs/{run}")["pictures"]
    assert page.client.get(f"/api/runs/{run}/sheets/0.png?g={shown}").headers["cache-control"].endswith("immutable")
    workflow.sample(page.folder / run, "mnist-vae", o.SampleOptions(count=40, seed=1))
    body = {"client": "test", "first": 1, "ops": [[7, "shows"]]}
    late = page.client.patch(f"/api/runs/{run}/marks?g={shown}", json=body)
    wall = page.client.get(f"/api/runs/{run}/sheets/0.png?g={shown}")
    for answer in (late, wall):
        assert answer.status_code == 409 and answer.json()["kind"] == "OtherPictures", answer.text
        assert f"the pictures of {run} were drawn anew" in answer.json()["error"]
    about = page.get(f"/api/runs/{run}")
    assert about["pictures"] != shown and 7 not in about["marks"]["shows"]
    now = page.client.patch(f"/api/runs/{run}/marks?g={about['pictures']}", json=body)
    assert now.status_code == 200 and page.get(f"/api/runs/{run}")["marks"]["shows"] == [7]


WIDE = """import torch, unfeature


class Wide(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.lift = torch.nn.Linear(4, 3)

    def forward(self, z):
        rows = torch.sigmoid(self.lift(z))[:, :, None, None]
        return rows * torch.linspace(0, 1, 700)[None, None, :, None].expand(1, 1, 700, 350)


def load():
    torch.manual_seed(0)
    return unfeature.from_module("wide", Wide(), 4)


def red(images):
    return (images[:, 0, -1, 0] > 0.5).float()
"""


def test_sheets_of_a_large_generator_are_no_larger_than_the_page_shows(tmp_path: Path) -> None:
    (tmp_path / "wide.py").write_text(WIDE)
    folder, judge = tmp_path / "run", f"{tmp_path / 'wide.py'}:red"
    workflow.sample(folder, f"{tmp_path / 'wide.py'}:load", o.SampleOptions(count=40))
    workflow.mark(folder, "red", judge, o.MarkOptions(per_side=4))
    looked, height, width = viewing.Viewer(folder), 700 // 3, 350 // 3
    assert Desk(tmp_path).about("run")["image"] == (3, height, width)
    for made, rows in ((looked.wall(0), 8), (looked.pairs(0.0, 0.0), 4)):
        assert Image.open(io.BytesIO(made)).size == (8 * width, rows * height)
    workflow.find(folder)
    workflow.unlearn(folder, o.UnlearnOptions(steps=2, batch=2))
    told = looked.compare()
    assert sorted([*told["edited"], *told["untouched"]]) == list(range(told["n"])) == sorted(told["worst"])
    assert Image.open(io.BytesIO(looked.compared("after", 0))).size == (8 * width, 8 * height)


@pytest.mark.parametrize("changed", [{"seed": 1}, {"arguments": {"width": 2}}, {"weights": "other.pth"}])
def test_pictures_kept_by_a_browser_are_named_by_all_they_depend_on(changed: dict[str, Any], tmp_path: Path) -> None:
    run, desk = Run(tmp_path / "run"), Desk(tmp_path)
    about = {"spec": SPEC, "generator": "x.py:load", "weights": None, "arguments": {"width": 1}, "seed": 0}
    run.write_json("run.json", about)
    run.write_json("request.json", {"feature": "f"})
    before = desk.opened("run").marks.asked.pictures
    run.write_json("run.json", about | changed)
    assert desk.opened("run").marks.asked.pictures != before


def studied(run: Run) -> Study:
    """A run whose study has results, as trainings leave them."""
    run.write_json("run.json", {"spec": SPEC, "seed": 0, "generator": "g", "weights": None})
    run.write_json("request.json", {"feature": "slant", "judge": "slant"})
    study = start(run.folder, ["Ann", "Bob"], 20)
    for log in study.logs:
        log.save("b", 0, [(0, "shows"), (1, "without"), (2, "without")])
    for number, name in enumerate(("Ann", "Bob")):
        sides = study.sides(number)
        feedback = Feedback("slant", "g@0", tuple(sides["shows"]), tuple(sides["without"]))
        Run(run.folder / "study" / "runs" / slug(number, name)).write_json("feedback.json", feedback.to_json())
    row = {"name": "Ann", "ratio": {"value": 0.1, "low": 0.0, "high": 0.2}}
    parts = {"feature": "slant", "generator": "g@0", "judge": "slant", "outcome": outcome(study).to_json()}
    run.write_json("study/result.json", parts | {"rows": [row, {"name": "Idle", "ratio": None}]})
    run.write("study/report.html", b"the report")
    return study


@pytest.mark.parametrize(
    "changed", ["time", "mark", "another", "feature", "judge", "generator", "annotator", "damaged"]
)
def test_results_of_a_study_are_of_what_is_there_now(changed: str, tmp_path: Path) -> None:
    run = Run(tmp_path / "run")
    study, path = studied(run), "/api/runs/run/study"
    before = asked(tmp_path, "GET", path).json()
    assert [row["name"] for row in before["rows"]] == ["Ann"] and not before["earlier"]
    assert asked(tmp_path, "GET", f"{path}/report").text == "the report"
    if changed == "time":
        study.logs[0].save("b", 3, [], 1.0)
        study.logs[0].finish()
    elif changed == "mark":
        study.logs[0].save("b", 3, [(4, "shows")])
    elif changed == "another":
        for log, (old, new) in zip(study.logs, ((1, 3), (2, 3)), strict=True):
            log.save("b", 3, [(old, "none"), (new, "without")])
    elif changed == "annotator":
        start(run.folder, ["Eve"])
    elif changed == "generator":
        about = run.read_json("run.json")
        run.write_json("run.json", about | {"spec": SPEC | {"weights": "1"}})
    elif changed == "damaged":
        run.write("study/result.json", b'{"outcome": 3}')
    else:
        run.write_json("request.json", run.read_json("request.json") | {changed: "thickness"})
    now = asked(tmp_path, "GET", path).json()
    assert now["rows"] == (before["rows"] if changed == "time" else None)
    assert now["earlier"] == (changed not in ("time", "damaged"))
    assert asked(tmp_path, "GET", f"{path}/report").status_code == (200 if changed == "time" else 409)


def test_hostile_names_are_refused_or_only_text(page: Page) -> None:
    feature = "<script>alert(1)</script> \" ' ${x} \u202e"
    name = page.post("/api/runs", {"generator": "mnist-vae", "feature": feature})["name"]
    assert name == "script-alert-1-script-x"
    assert page.get(f"/api/runs/{name}")["feature"] == feature
    assert page.client.get(f"/api/runs/{name}").headers["content-type"] == "application/json"
    for wrong in ("../x", "a/b", ".hidden", "x" * 65, "a b", "a\n"):
        refused = page.client.post("/api/runs", json={"generator": "mnist-vae", "feature": "f", "name": wrong})
        assert refused.status_code in (404, 422), wrong
    assert not list(page.folder.glob(".new-*")), "nothing is left of what was refused"


def test_a_generator_that_is_none_is_told(page: Page) -> None:
    refused = page.client.post("/api/runs", json={"generator": "mnist-vea", "feature": "f"})
    assert refused.status_code == 422 and 'Did you mean "mnist-vae"?' in refused.json()["error"]
    assert not (page.folder / "f").exists()


@pytest.mark.parametrize(
    ("part", "told"),
    [({"feature": "   "}, "the feature has no name"), ({"judge": "no/judge.py:judge"}, "judge.py")],
)
def test_nothing_is_left_of_a_run_that_was_refused(page: Page, part: dict[str, str], told: str) -> None:
    before = set(page.folder.iterdir())
    refused = page.client.post("/api/runs", json={"generator": "mnist-vae", "feature": "f"} | part)
    assert refused.status_code == 422 and told in refused.json()["error"]
    assert set(page.folder.iterdir()) == before


def begun_at_once(runs: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What two that begin a run of that name at once are told; the names are chosen before either is drawn."""
    desk, drawing = Desk(runs), asyncio.Barrier(2)

    async def drawn(verb: str, folder: str, wanted: dict[str, Any]) -> list[str]:
        await drawing.wait()
        Run(Path(folder)).write_json("run.json", wanted)
        return []

    async def both() -> list[Any]:
        asked_for = {"generator": "mnist-vae", "feature": "thick", "name": name}
        return await asyncio.gather(*(desk.begin(asked_for) for _ in range(2)), return_exceptions=True)

    monkeypatch.setattr(desk.painter, "ask", drawn)
    return asyncio.run(both())


@pytest.mark.parametrize(
    ("path", "body", "made", "told"),
    [
        ("study", {"annotators": ["Ann"]}, "study", "as the folder of a study"),
        ("study", {"annotators": ["Ann"]}, "study/.lock/", "as the folder of a study"),
        ("job", {"action": "start", "threshold": 0.1}, "job.log/", "job.log"),
    ],
)
def test_files_in_the_way_are_told(path: str, body: dict[str, Any], made: str, told: str, tmp_path: Path) -> None:
    run = Run(tmp_path / "run")
    run.write_json("run.json", {"spec": SPEC, "seed": 0})
    run.write_json("request.json", {"feature": "f"})
    if made.endswith("/"):
        run.path(made).mkdir(parents=True)
    else:
        run.path(made).touch()
    answer = asked(tmp_path, "POST", f"/api/runs/run/{path}", json=body)
    assert (answer.status_code, answer.json()["kind"]) == (422, "BadFile") and told in answer.json()["error"]


def test_a_mistake_inside_is_told_without_its_story(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: Desk) -> None:
        raise RuntimeError("a secret of the folder")

    monkeypatch.setattr(Desk, "start", broken)
    answer = asked(tmp_path, "GET", "/api/start", raises=False)
    assert answer.status_code == 500 and answer.json()["kind"] == "Internal"
    assert answer.json()["error"].startswith("something went wrong inside;") and "secret" not in answer.text
    with pytest.raises(RuntimeError):
        asked(tmp_path, "GET", "/api/start")


@pytest.mark.parametrize("odd", ["encrypted", "method", "bomb", "cut off", "no zip", "folder"])
def test_an_odd_archive_is_no_dossier_of_a_run(odd: str, tiny_run: Path) -> None:
    workflow.dossier(tiny_run)
    path = tiny_run / "dossier.zip"
    assert standing.holds(Run(tiny_run), "dossier.zip", "proved")
    with zipfile.ZipFile(path) as archive:
        manifest = archive.read("manifest.json")
    if odd == "bomb":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made:
            made.writestr("manifest.json", manifest + b" " * 2**26)
    elif odd == "folder":
        path.unlink()
        with zipfile.ZipFile(path, "w") as made:
            made.writestr("manifest.json/", "")
    else:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made:
            made.writestr("manifest.json", manifest)
        data = bytearray(path.read_bytes())
        entry = data.rfind(b"PK\x01\x02")
        if odd == "encrypted":
            data[6] |= 1
            data[entry + 8] |= 1
        elif odd == "method":
            data[entry + 10] = data[8] = 99
        elif odd == "cut off":
            data[60:90] = bytes(30)
        path.write_bytes(b"?" if odd == "no zip" else data)
    assert not standing.holds(Run(tiny_run), "dossier.zip", "proved")


def test_two_runs_begun_at_once_have_names_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = begun_at_once(tmp_path, "", monkeypatch)
    assert sorted(told) == [("thick", []), ("thick-2", [])]
    assert {path.name for path in tmp_path.iterdir()} == {"thick", "thick-2"}
    told = begun_at_once(tmp_path, "bold", monkeypatch)
    assert {type(each) for each in told} == {tuple, RunBusy}, told
    assert {path.name for path in tmp_path.iterdir()} == {"thick", "thick-2", "bold"}


def test_a_name_taken_while_it_is_given_is_counted_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rename, quicker = Path.rename, iter((True,))

    def slow(self: Path, target: Path) -> Path:
        if next(quicker, False):
            Run(target).write_json("run.json", {})
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", slow)
    assert sorted(begun_at_once(tmp_path, "", monkeypatch)) == [("thick-2", []), ("thick-3", [])]


def test_a_folder_of_runs_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    answer = asked(tmp_path / "file" / "runs", "POST", "/api/runs", json={"generator": "mnist-vae", "feature": "f"})
    assert answer.status_code == 422 and "Open another folder" in answer.json()["error"]


VERBS = ("GET", "POST", "PATCH", "PUT", "DELETE")
PATHS = (
    "/api/start", "/api/runs", "/api/runs/{r}", "/api/runs/{r}/sheets/{n}.png", "/api/runs/{r}/marks",
    "/api/runs/{r}/marks/file?name=x.{s}", "/api/runs/{r}/advice", "/api/runs/{r}/pairs.png?threshold={n}&margin={n}",
    "/api/runs/{r}/job", "/api/runs/{r}/strip.png", "/api/runs/{r}/compare", "/api/runs/{r}/compare/after/{n}.png",
    "/api/runs/{r}/report", "/api/runs/{r}/download/{s}", "/api/runs/{r}/study", "/api/runs/{r}/study/job",
    "/api/runs/{r}/ways", "/api/runs/{r}/found",
    "/api/runs/{r}/study/report", "/s/{s}", "/s/{s}/state", "/s/{s}/marks", "/s/{s}/sheets/{n}.png", "/{s}",
)  # fmt: skip
VALUES = (
    None, True, -1, 0, 3, 1e308, 2**63, -0.5, "", "x", "shows", "none", "../..", "\u0000", "\ud7ff" * 90, [], {}, [[]],
    [[0, "shows"]], [[-5, "shows"]], [[2**40, "shows"]], [[0, "maybe"]], [[0]], {"a": 1}, ["Ann"], ["Ann", "Ann"],
)  # fmt: skip
FIELDS = ("client", "first", "ops", "action", "threshold", "margin", "steps", "generator", "feature", "judge", "name",
          "annotators", "count", "seconds", "weights", "other", "way", "keep")  # fmt: skip


def malformed(dice: random.Random, run: str) -> tuple[str, str, bytes]:
    """A request that makes little sense: verb, path, body. Its starts of jobs have no threshold."""
    words = {"r": dice.choice((run, run, "none", "%00", "a%2fb")), "s": dice.choice(("csv", "json", "x", "%ff", "a.b"))}
    words["n"] = dice.choice(("0", "1", "-1", "99999999999", "nan", "inf", "x", "1e400", "0.5"))
    body = {name: dice.choice(VALUES) for name in dice.sample(FIELDS, dice.randint(0, 5))}
    if body.get("action") == "start":
        body.pop("threshold", None)
    raw = json.dumps(body if dice.random() < 0.8 else dice.choice(VALUES)).encode()
    if dice.random() < 0.2:
        raw = dice.choice((b"{", b"\xff\xfe", b"[" * 5000, b"NaN", raw[: len(raw) // 2], dice.randbytes(50)))
    return dice.choice(VERBS), dice.choice(PATHS).format(**words), raw


@pytest.mark.slow
def test_a_thousand_malformed_requests(page: Page, run: str) -> None:
    page.mark(run, MARKED)
    dice, seen = random.Random(0), set()
    for _ in range(1000):
        verb, path, body = malformed(dice, run)
        given = {
            "content-type": dice.choice(("application/json", "text/plain", "", "application/x-www-form-urlencoded"))
        }
        answer = page.client.request(verb, path, content=body, headers=given)
        seen.add(answer.status_code)
        assert answer.status_code < 500, (verb, path, body, answer.text)
        assert "Traceback" not in answer.text
        if answer.status_code >= 400 and verb != "HEAD":
            assert set(answer.json()) == {"error", "kind"}, answer.text
    assert {200, 404, 405, 409, 422} <= seen
    assert {i: m for m in ("shows", "without") for i in page.get(f"/api/runs/{run}")["marks"][m]}.items() >= dict(
        MARKED[1:]
    ).items(), "no mark was lost"


def test_remote_needs_a_token_and_takes_no_code(tmp_path: Path) -> None:
    token = "0123456789abcdef"
    with serving(tmp_path, "--host", "0.0.0.0", "--token", token) as remote:
        del remote.client.headers["authorization"]
        assert remote.client.get("/api/start").status_code == 401
        remote.client.headers["authorization"] = f"Bearer {token}"
        assert remote.get("/api/start")["remote"]
        named = [{"generator": name} for name in ("x.py:load", "/etc/passwd", "model.safetensors")]
        shipped = {"generator": "mnist-vae"}
        for part in [*named, shipped | {"weights": "/etc/passwd"}, shipped | {"judge": "x.py:judge"}]:
            refused = remote.client.post("/api/runs", json={"feature": "f"} | part)
            assert refused.status_code == 422 and "shipped generators only" in refused.json()["error"], part


def test_the_server_has_no_torch_and_no_outside_connection(page: Page, recorded: Path) -> None:
    maps = Path(f"/proc/{page.process.pid}/maps")
    if maps.exists():
        assert not [line for line in maps.read_text().splitlines() if "libtorch" in line]
    wait(lambda: page.get("/api/start"))
    assert recorded.read_text() == "", "neither a connection nor a look-up of a name"


@pytest.mark.parametrize(
    ("port", "given", "address", "hosts"),
    [(80, [], "http://127.0.0.1/", {"127.0.0.1", "localhost", "127.0.0.1:80"}),
     (8000, [], "http://127.0.0.1:8000/", {"127.0.0.1:8000", "localhost:8000"}),
     (8000, ["--host", "0.0.0.0"], f"http://{socket.gethostname()}:8000/", {f"{socket.gethostname()}:8000".lower()}),
     (8000, ["--host", "::1"], "http://[::1]:8000/", {"[::1]:8000"})],
)  # fmt: skip
def test_the_printed_address_is_one_that_works(
    port: int, given: list[str], address: str, hosts: set[str], command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    known = list[frozenset[str]]()
    listening = SimpleNamespace(getsockname=lambda: ("", port))
    monkeypatch.setattr("unfeature.commands.page._listen", lambda *_: listening)
    monkeypatch.setattr("uvicorn.Server.run", lambda *_, **__: None)
    monkeypatch.setattr("unfeature.web.app.page", lambda desk, names, token: known.append(names))
    said = command("open", tmp_path / "my runs", "--no-browser", "--token", "0123+456&789#abc%25", *given)
    assert said.code == 0, said.err
    assert f"{address}?token=0123%2B456%26789%23abc%2525" in said.out
    assert hosts <= known[0] and ("127.0.0.1" in known[0]) == (port == 80)
    assert f"unfeature open '{tmp_path}/my runs'" in said.out.replace("\n", "")


def test_the_present_folder_may_be_a_run(command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    served = list[Any]()
    monkeypatch.setattr("unfeature.commands.page._listen", lambda *_: SimpleNamespace(getsockname=lambda: ("", 8000)))
    monkeypatch.setattr("uvicorn.Server.run", lambda *_, **__: None)
    monkeypatch.setattr("unfeature.web.app.page", lambda desk, *_: served.append(desk))
    (tmp_path / "thick").mkdir()
    (tmp_path / "thick" / "run.json").write_text("{}")
    monkeypatch.chdir(tmp_path / "thick")
    assert command("open", ".", "--no-browser").code == 0
    assert (served[0].runs, served[0].first) == (tmp_path, "thick")
    (tmp_path / "thick").rename(tmp_path / "my thick")
    said = command("open", tmp_path / "my thick", "--no-browser")
    assert said.code == 2 and 'a run folder called "my thick"; expected a name of letters' in said.err


def test_a_port_in_use_is_told(page: Page, command, tmp_path: Path) -> None:
    port = page.address.rstrip("/").rpartition(":")[2]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("uvicorn.Server.run", lambda *_, **__: pytest.fail("it should not have started"))
        said = command("open", tmp_path, "--port", port, "--no-browser")
    assert said.code == 2 and "cannot listen on 127.0.0.1" in said.err and "--port 0" in said.err
    assert command("open", tmp_path, "--host", "0.0.0.0", "--no-browser").code == 2
    assert httpx.get(page.address + "api/start").status_code == 401, "other accounts of this machine reach it too"
    assert page.client.get("/api/start").status_code == 200
