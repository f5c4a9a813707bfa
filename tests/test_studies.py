"""A study's files: no mark lost, none doubled; own orders, names as text; what the verbs make of partial data."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from unfeature import marklog
from unfeature.errors import BadFile, BadOption, DiskFull, MissingStep
from unfeature.marklog import Log
from unfeature.studies import CONSENSUS, Study, order, outcome, slug, start, together
from unfeature.web.results import results

HOSTILE = [
    '<script>alert("x")</script>',
    "../../../etc/passwd",
    "\N{RIGHT-TO-LEFT OVERRIDE}evil",
    "Zoë O'Brien",
    "名前",
    "a" * 80,
    "%00",
    "{{ 7*7 }}",
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "run"
    made.mkdir()
    return made


@pytest.fixture
def log(tmp_path: Path) -> Log:
    return Log(tmp_path / "001-ann.jsonl")


def again(log: Log) -> Log:
    """What another process reads."""
    return Log(log.path).read()


def state(log: Log) -> tuple[dict[int, str], float, bool]:
    return log.marks, round(log.seconds, 6), log.done


def test_marks_are_on_the_disk_when_saved(log: Log) -> None:
    assert log.save("a", 1, [(4, "shows"), (5, "unsure"), (6, "without")], 3.0) == 3
    assert log.save("a", 4, [(5, "none"), (4, "without")], 2.0) == 5
    assert log.marks == {4: "without", 6: "without"}
    assert state(again(log)) == state(log) == ({4: "without", 6: "without"}, 5.0, False)
    first = json.loads(log.path.read_text().splitlines()[0])
    assert {key: first[key] for key in ("client", "number", "position", "mark", "seconds")} == {
        "client": "a", "number": 1, "position": 4, "mark": "shows", "seconds": 1.0,
    }  # fmt: skip


def test_the_disk_comes_before_the_answer(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    real = {name: getattr(marklog.os, name) for name in ("write", "fsync")}
    for name in real:
        monkeypatch.setattr(marklog.os, name, lambda *a, n=name: (calls.append(n), real[n](*a))[1])
    log.save("a", 1, [(0, "shows")])
    assert calls == ["fsync", "write", "fsync"], "the folder, then the line"


def test_sending_again_changes_nothing(log: Log) -> None:
    for _ in range(3):
        assert log.save("a", 1, [(0, "shows"), (1, "shows")], 4.0) == 2
    before = log.path.read_bytes()
    assert log.save("a", 1, [(0, "shows"), (1, "shows"), (2, "unsure")], 6.0) == 3, "old ones and a new one"
    assert log.path.read_bytes().startswith(before)
    assert len(log.path.read_bytes().splitlines()) == 3
    assert log.seconds == pytest.approx(6.0), "time is spread over the operations, and counted once"
    other = again(log)
    assert other.save("a", 2, [(1, "shows")], 9.0) == 3
    assert other.seconds == pytest.approx(6.0)
    assert other.save("b", 1, [(1, "none")]) == 1, "another client counts by itself"
    assert state(log.read()) == state(other)


def test_late_operations_neither_vanish_nor_win(log: Log) -> None:
    assert log.save("a", 6, [(0, "shows"), (1, "shows")]) == 7
    assert log.save("a", 1, [(0, "without"), (2, "without")]) == 2, "3 to 5 are missing: nothing says that they came"
    assert log.marks == {0: "shows", 1: "shows", 2: "without"}
    assert log.save("a", 3, [(3, "shows"), (4, "shows"), (0, "none")]) == 7
    assert log.marks[0] == "shows"
    assert state(again(log)) == state(log)


@pytest.mark.parametrize("cut", range(1, 40, 6))
def test_a_torn_last_line_is_dropped_and_cut_off(cut: int, log: Log) -> None:
    log.save("a", 1, [(0, "shows"), (1, "shows")])
    whole = log.path.read_bytes()
    lines = whole.splitlines(keepends=True)
    log.path.write_bytes(whole[:-cut])
    restarted = again(log)
    assert restarted.marks == {0: "shows"}
    assert restarted.save("a", 1, [(0, "shows"), (1, "shows"), (2, "unsure")]) == 3
    kept = log.path.read_bytes().splitlines(keepends=True)
    assert kept[0] == lines[0] and len(kept) == 3
    assert state(again(log)) == state(restarted)


def test_a_damaged_line_in_the_middle_is_told(log: Log) -> None:
    log.save("a", 1, [(0, "shows"), (1, "shows")])
    lines = log.path.read_bytes().splitlines(keepends=True)
    for damage in (
        b"\0\0\0\n",
        b"[]\n",
        b'{"position": 3}\n',
        b'{"at": 1, "client": "a", "number": "x", "position": 1}\n',
        b'{"at": 1, "client": "a", "number": 1e999, "position": 1}\n',
        b"[" * 100_000 + b"\n",
    ):
        log.path.write_bytes(lines[0] + damage + lines[1])
        with pytest.raises(BadFile, match=r"001-ann.jsonl has a damaged line at byte \d+ .*Remove that line"):
            again(log)


@pytest.mark.parametrize("name", ["write", "fsync"])
def test_a_full_disk_leaves_the_log_as_it_was(name: str, log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    log.save("a", 1, [(0, "shows")])
    before, real = log.path.read_bytes(), marklog.os.write

    def failing(file: int, data: bytes = b"") -> None:
        if data:
            real(file, bytes(data)[:10])
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(marklog.os, name, failing)
        with pytest.raises(DiskFull, match="no room left for .*001-ann.jsonl; what was saved is untouched"):
            log.save("a", 2, [(1, "shows")])
    assert log.path.read_bytes() == before
    assert log.marks == {0: "shows"}
    assert log.save("a", 2, [(1, "shows")]) == 2


def test_a_log_does_not_grow_for_ever(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(marklog, "LOG_BYTES", 1000)
    with pytest.raises(BadOption, match="more than 1,000 bytes"):
        log.save("a", 1, [(0, "shows")] * 50)
    assert log.marks == {}


def test_two_servers_and_many_threads_share_a_log(log: Log) -> None:
    logs = [log, Log(log.path)]

    def send(client: int) -> None:
        for number in range(1, 41):
            logs[client % 2].save(f"c{client}", number, [(40 * client + number, "shows")], 0.5)

    threads = [threading.Thread(target=send, args=(client,)) for client in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(log.path.read_bytes().splitlines()) == 240
    assert state(logs[0].read()) == state(logs[1].read()) == state(again(log))
    assert len(log.marks) == 240 and log.seconds == pytest.approx(120)


def test_pauses_are_recorded_and_time_alone_is_counted(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(marklog.time, "time", lambda: now)
    log.save("a", 1, [(0, "shows")], 5.0)
    now += 20
    log.save("a", 2, [(1, "shows")], 18.0)
    now += 600
    log.save("a", 3, [(2, "shows")], 10.0)
    assert log.pauses == [590.0]
    now += 4
    log.save("a", 4, [], 4.0)
    log.save("a", 4, [], 4.0)  # told again: no time has passed
    assert (log.seconds, again(log).seconds, again(log).pauses) == (37.0, 37.0, [590.0])


def test_done_is_kept_and_marks_may_follow(log: Log) -> None:
    log.finish()
    log.finish()
    assert len(log.path.read_bytes().splitlines()) == 1
    log.save("a", 1, [(0, "shows")])
    assert again(log).done and again(log).marks == {0: "shows"}


def test_orders_are_permutations_that_never_change(folder: Path) -> None:
    study = start(folder, ["Ann", "Bob"], 500)
    one, other = study.order(0), study.order(1)
    assert sorted(one) == sorted(other) == list(range(500))
    assert sum(a == b for a, b in zip(one, other, strict=True)) < 10
    assert Study(folder).order(0) == one
    assert order("0123456789abcdef", 10) == (0, 4, 8, 6, 5, 2, 1, 7, 9, 3), "golden: saved positions depend on it"


def test_annotators_may_join_later_and_count_stays(folder: Path) -> None:
    start(folder, ["Ann"], 40)
    old = Study(folder)
    old.logs[0].save("a", 1, [(0, "shows")])
    study = start(folder, ["Bob"], 500)
    assert [a.name for a in study.plan.annotators] == ["Ann", "Bob"]
    assert study.plan.count == 40
    assert len({a.token for a in study.plan.annotators}) == 2 and all(len(a.token) == 32 for a in study.plan.annotators)
    assert old.fresh().plan == study.plan and old.logs[0].marks == {0: "shows"}
    assert study.path.parent.stat().st_mode & 0o077 == 0, "tokens are nobody else's business"


def test_hostile_names_are_text(folder: Path) -> None:
    study = start(folder, HOSTILE, 20)
    assert [a.name for a in study.plan.annotators] == HOSTILE
    for log in study.logs:
        log.save("a", 1, [(0, "shows")])
    assert all(log.path.parent == folder / "study" for log in study.logs)
    assert len({log.path for log in study.logs}) == len(HOSTILE)
    assert slug(1, "../../etc") == "002-etc" and slug(2, "名前") == "003"
    assert [told.name for told in outcome(Study(folder)).annotators] == HOSTILE


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (["Ann", "ann "], 'the name "ann" is taken'),
        (["Ａnn", "Ann"], 'the name "Ann" is taken'),
        (["Consensus"], 'the name "Consensus" stands for all of them'),
        ([" "], "has 0 characters"),
        (["a" * 81], "has 81 characters"),
        (["a\nb"], "or one that cannot be shown"),
        (["\ud800"], "or one that cannot be shown"),
        ([f"n{i}" for i in range(101)], "101 annotators; expected 1 to 100"),
        ([], "0 annotators"),
    ],
)
def test_names_that_cannot_be(names: list[str], told: str, folder: Path) -> None:
    with pytest.raises(BadOption, match=told):
        start(folder, names, 20)
    with pytest.raises(MissingStep, match="run run has no study yet"):
        Study(folder)


@pytest.mark.parametrize("count", [9, 10_001, -1])
def test_counts_that_cannot_be(count: int, folder: Path) -> None:
    with pytest.raises(BadOption, match="expected 10 to 10,000"):
        start(folder, ["Ann"], count)


@pytest.mark.parametrize(
    "text", ["{", "[]", "{}", '{"count": "x", "annotators": []}', '{"count": 5, "annotators": [3]}']
)
def test_a_damaged_study_is_told(text: str, folder: Path) -> None:
    start(folder, ["Ann"], 20)
    (folder / "study" / "study.json").write_text(text)
    with pytest.raises(BadFile, match=r"study.json"):
        Study(folder)


def fill(study: Study, number: int, marks: dict[int, str]) -> None:
    """Marks by wall index."""
    position = {index: p for p, index in enumerate(study.order(number))}
    study.logs[number].save("test", 1, [(position[i], mark) for i, mark in marks.items()], 60.0)  # type: ignore[misc]


def test_outcome_of_partial_data(folder: Path) -> None:
    study = start(folder, ["Ann", "Bob", "Eve", "Idle"], 100)
    assert outcome(study).alpha is None and outcome(study).consensus is None
    truth = {i: "shows" if i < 20 else "without" for i in range(100)}
    fill(study, 0, truth)
    assert outcome(study).consensus is None, "one voice is no consensus"
    fill(study, 1, {i: mark for i, mark in truth.items() if i < 60})
    fill(study, 2, {i: "shows" if i % 2 else "without" for i in range(100)} | {50: "unsure"})
    told = outcome(Study(folder))
    assert told.alpha is not None and told.alpha.low < told.alpha.value < told.alpha.high < 0.5, (
        "two agree, one guesses"
    )
    assert told.consensus is not None and sum(told.consensus.values()) == 100
    ann, bob, eve, idle = told.annotators
    assert (ann.shows, ann.without, bob.without, eve.unsure) == (20, 80, 40, 1)
    assert ann.seconds == 60.0 and idle.agreement is None and idle.misses is None
    assert ann.agreement is not None and ann.agreement.value > 0.95
    assert eve.agreement is not None and eve.agreement.value < 0.65
    assert eve.misses is not None and eve.misses > 0.3


def test_unsure_decides_nothing() -> None:
    nobody: dict[str, list[int]] = {"shows": [], "unsure": [], "without": []}
    one = {"shows": [0, 1], "unsure": [4], "without": [2, 3]}
    assert together([one, nobody], 6) is None
    found = together([one, {**one, "unsure": [4, 5]}], 7)
    assert found is not None
    assert found[0] == {"shows": [0, 1], "unsure": [4, 5], "without": [2, 3]}, "6 was not looked at"


def test_nothing_here_imports_torch() -> None:
    code = "import sys, unfeature.studies, unfeature.annotators; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    assert CONSENSUS == "consensus"


def marked_run(folder: Path, judge: str, annotators: int = 2) -> Study:
    """A run of mnist-vae whose annotators marked 40 pictures by their seeds, and one who marked nothing."""
    from unfeature import workflow
    from unfeature.options import SampleOptions

    workflow.sample(folder, "mnist-vae", SampleOptions(count=30))
    workflow.request(folder, "<b>slant</b>", judge)
    study = start(folder, [*(f"{i} <i>x</i>" for i in range(annotators)), "Idle"], 40)
    for number in range(annotators):
        fill(
            study, number, {i: "shows" if i % 4 == 0 and i != number else "without" for i in range(40)} | {3: "unsure"}
        )
    return study


class Stop(Exception):
    """As Ctrl-C would."""


def test_feedback_of_one_and_of_all(tmp_path: Path) -> None:
    from unfeature.errors import UnknownName
    from unfeature.workflow.studying import study_feedback

    study = marked_run(tmp_path / "run", "")
    one, everybody = study_feedback(study.folder, "1 <i>x</i>"), study_feedback(study.folder, CONSENSUS)
    assert one.positives == tuple(range(0, 40, 4)) and one.unsure == (3,) and len(one.negatives) == 29
    assert (one.source, everybody.source) == ("marked by 1 <i>x</i>", "consensus of 2 annotators")
    with pytest.raises(UnknownName, match='unknown annotator "Eve"'):
        study_feedback(study.folder, "Eve")


@pytest.mark.slow
def test_one_run_for_each_and_one_for_all(tmp_path: Path) -> None:
    from unfeature.workflow.studying import study_feedback, study_outcome, study_unlearn

    study, heard = marked_run(tmp_path / "run", ""), []
    everybody = study_feedback(study.folder, CONSENSUS)
    options = {"steps": 2, "count": 100, "extractors": ("", "mnist-digits")}
    path = study_unlearn(study.folder, **options, on_verb=heard.append)  # type: ignore[arg-type]
    assert heard == ["0 <i>x</i>", "1 <i>x</i>", CONSENSUS]
    runs = study.path.with_name("runs")
    assert {made.name for made in runs.iterdir()} == {"001-0-i-x-i", "002-1-i-x-i", CONSENSUS}
    saved = json.loads((runs / CONSENSUS / "feedback.json").read_text())
    assert (
        saved["positives"] == list(everybody.positives)
        and len(json.loads((runs / CONSENSUS / "gallery.json").read_text())["seeds"]) == 40
    )
    result = json.loads(study.path.with_name("result.json").read_text())
    assert [row["name"] for row in result["rows"]] == ["0 <i>x</i>", "1 <i>x</i>", "Idle", CONSENSUS]
    assert all(row["ratio"] is None for row in result["rows"]) and result["rows"][2]["folder"] == ""
    page = path.read_text()
    assert "Nobody judged the results" in page and "too few marks to unlearn from" in page
    assert "<i>" not in page and "<script" not in page and "&lt;i&gt;x" in page
    assert not any(annotator.token in page + json.dumps(result) for annotator in study.plan.annotators)
    assert json.loads(json.dumps(study_outcome(study.folder).to_json())) == result["outcome"]
    assert results(study, outcome(study)) == {"rows": [], "earlier": False}, (
        "nobody judged, and they are of these marks"
    )


def test_a_study_nobody_marked_is_told(tmp_path: Path) -> None:
    from unfeature.workflow.studying import study_feedback, study_unlearn

    study = marked_run(tmp_path / "run", "", annotators=0)
    with pytest.raises(MissingStep, match="no annotator of .* has marked pictures with and without"):
        study_unlearn(study.folder)
    with pytest.raises(MissingStep, match="fewer than two annotators"):
        study_feedback(study.folder, CONSENSUS)


@pytest.mark.slow
def test_what_another_training_wrote_over_does_not_count_as_done(tmp_path: Path) -> None:
    from unfeature.workflow import fix_cut
    from unfeature.workflow.studying import study_unlearn

    folder = marked_run(tmp_path / "run", "slant").folder
    fix_cut(folder)
    study_unlearn(folder, steps=20, count=100)
    made = folder / "study" / "runs" / "consensus" / "unlearned.safetensors"
    before, heard = made.read_bytes(), list[object]()

    def stop(record: object) -> None:
        raise Stop

    with pytest.raises(Stop):
        study_unlearn(folder, steps=4, count=100, on_step=stop)
    study_unlearn(folder, steps=20, count=100, on_step=heard.append)
    assert heard and made.read_bytes() == before


def test_a_stopped_study_goes_on_to_the_same_bytes(tmp_path: Path) -> None:
    import shutil

    from unfeature.workflow import fix_cut
    from unfeature.workflow.studying import study_feedback, study_unlearn

    options = {"steps": 60, "count": 100}
    study = marked_run(tmp_path / "run", "slant")
    fix_cut(study.folder)
    other = tmp_path / "other"
    shutil.copytree(study.folder, other)
    study_unlearn(study.folder, **options)  # type: ignore[arg-type]

    def stop(record: object, steps: list[object] = []) -> None:  # noqa: B006
        steps.append(record)
        if len(steps) == 115:  # the second annotator's, after its first check
            raise Stop

    with pytest.raises(Stop):
        study_unlearn(other, **options, on_step=stop)  # type: ignore[arg-type]
    heard: list[object] = []
    study_unlearn(other, **options, on_step=heard.append)  # type: ignore[arg-type]
    assert len(heard) == 10 + 60, "the first is not done again, the second goes on"
    for name in ("result.json", "report.html", "runs/consensus/unlearned.safetensors"):
        assert (other / "study" / name).read_bytes() == (study.folder / "study" / name).read_bytes()
    rows = json.loads((other / "study" / "result.json").read_text())["rows"]
    assert [bool(row["ratio"]) for row in rows] == [True, True, False, True]
    assert set(rows[0]["ratio"]) >= {"value", "low", "high"}
    before, agreed = len(heard), study_feedback(other, CONSENSUS)
    Study(other).logs[0].save("more", 1, [(study.order(0).index(7), "shows")])
    study_unlearn(other, **options, on_step=heard.append)  # type: ignore[arg-type]
    anew = 1 + (study_feedback(other, CONSENSUS) != agreed)
    assert len(heard) - before == 60 * anew, "only what comes of other marks"


@pytest.mark.parametrize("judged", [True, False])
def test_the_report_shows_names_as_text_and_asks_nobody(judged: bool) -> None:
    import re

    import numpy as np

    from unfeature.artifacts import Score
    from unfeature.reports.study import StudyPictures, StudyRow, render_study

    share = Score.share("target_ratio", 30, 10_000)
    figures = dict.fromkeys(("before", "teacher", "ratio", "drift"), share) if judged else {}
    rows = [StudyRow(name, False, 9, 1, 90, 61.0, 2, share, **figures, folder="001") for name in HOSTILE]
    rows += [StudyRow(CONSENSUS, True, 8, 2, 90, **figures, folder=CONSENSUS), StudyRow("Idle", False, 0, 0, 0, 0.0)]
    told = {"name": HOSTILE[0], "misses": 0.1, "false_alarms": 0.02}
    alpha = {"value": 0.71, "low": 0.6, "high": 0.8, "n": 100} if judged else None
    result = {
        "feature": HOSTILE[0],
        "generator": "face@0123",
        "judge": "glasses" if judged else "",
        "wanted_ratio": 0.0042,
        "outcome": {
            "count": 100,
            "annotators": [told],
            "alpha": alpha,
            "consensus": {"shows": 8, "unsure": 2, "without": 90},
        },
        "options": {"unlearn": {"steps": 2}},
        "versions": {"torch": "2"},
    }
    pixels = np.random.default_rng(0).integers(0, 255, (12, 64, 64, 3), dtype=np.uint8)
    pictures = StudyPictures(8 if judged else 0, pixels, {row.name: pixels for row in rows if row.folder})
    page = render_study(result, rows, pictures)
    assert page == render_study(result, rows, pictures)
    assert "<script" not in page and "&lt;script&gt;alert" in page and "{{ 7*7 }}" in page
    assert set(re.findall(r"(?:src|href)=.(\w+:)", page)) == {"data:"} and "url(" not in page and "http:" not in page
    assert len(page) < 700_000
    assert page.index("Consensus of all") < page.index("etc/passwd"), "the consensus comes first"
    if judged:
        assert "agreed tolerably" in page and 'class="verdict removed"' in page
        assert "0.30 % (0.21 to 0.43 %) of the pictures still show it, 0.30 % did before" in page
    else:
        assert "how far they agree cannot be told" in page and "Nobody judged" in page
