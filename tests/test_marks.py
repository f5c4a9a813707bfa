"""Marks made on the page: in the file that every verb reads, at once, whole, and nothing of anybody's lost."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unfeature import workflow
from unfeature.artifacts import Feedback, Gallery
from unfeature.errors import BadFile, BadOption, RunBusy, WrongGenerator
from unfeature.marks import GALLERY, SOURCE, Marks
from unfeature.options import GALLERY_LENGTH, SampleOptions
from unfeature.store import Run


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nobody has marked, of run seed 3."""
    folder = tmp_path_factory.mktemp("begun") / "run"
    workflow.sample(folder, "mnist-vae", SampleOptions(count=100, seed=3))
    workflow.request(folder, "slant", "slant")
    return folder


@pytest.fixture
def run(begun: Path, tmp_path: Path) -> Run:
    import shutil

    return Run(Path(shutil.copytree(begun, tmp_path / "run")))


def test_marks_stand_in_feedback_json_as_seeds_of_the_gallery(run: Run) -> None:
    Marks(run).apply([(7, "shows"), (2, "shows"), (3, "unsure"), (1, "without")])
    feedback, seeds = run.read_as("feedback.json", Feedback), run.read_as("gallery.json", Gallery).seeds
    assert feedback.positives == (seeds[2], seeds[7]), "in the order of the gallery, whatever the order of marking"
    assert (feedback.unsure, feedback.negatives) == ((seeds[3],), (seeds[1],))
    assert (feedback.feature, feedback.source) == ("slant", SOURCE)
    assert feedback.generator == run.read_as("gallery.json", Gallery).generator
    workflow.find(run.folder)


def test_marks_come_back_and_can_be_taken_away(run: Run) -> None:
    marks = Marks(run)
    marks.apply([(7, "shows"), (8, "shows")])
    marks.apply([(7, "none"), (8, "unsure"), (9, "none")])
    assert Marks(run).marks == {8: "unsure"} == marks.marks
    assert Marks(run).counts() == {"shows": 0, "unsure": 1, "without": 0}


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 20), st.sampled_from(["shows", "unsure", "without", "none"])), max_size=30))
def test_in_parts_or_at_once_is_the_same(begun: Path, operations: list[tuple[int, str]]) -> None:
    import shutil
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        files = []
        for name, size in (("parts", 3), ("once", 100)):
            run = Run(Path(shutil.copytree(begun, Path(folder) / name)))
            marks = Marks(run)
            for start in range(0, len(operations), size):
                marks.apply(operations[start : start + size])
            files.append(Marks(run).marks)
        assert files[0] == files[1] == {i: m for i, m in dict(operations).items() if m != "none"}


@pytest.mark.parametrize("wrong", [(-1, "shows"), (GALLERY_LENGTH, "shows"), (1, "maybe")])
def test_a_mark_without_sense_changes_nothing(run: Run, wrong: tuple[int, str]) -> None:
    marks = Marks(run)
    marks.apply([(5, "shows")])
    before = run.read("feedback.json")
    with pytest.raises(BadOption, match="expected a picture from 0 to 999,999 and one of shows, unsure, without, none"):
        marks.apply([(6, "shows"), wrong])
    assert run.read("feedback.json") == before
    assert marks.marks == {5: "shows"}


def test_a_gallery_grows_where_somebody_marks_beyond_its_end(run: Run) -> None:
    first = run.read_as("gallery.json", Gallery).seeds
    Marks(run).apply([(99, "shows")])
    assert run.read_as("gallery.json", Gallery).seeds == first
    Marks(run).apply([(GALLERY, "shows")])
    grown = run.read_as("gallery.json", Gallery).seeds
    assert len(grown) == 2 * GALLERY and grown[:100] == first
    Marks(run).apply([(5, "without")])
    workflow.find(run.folder)


def test_a_gallery_grows_to_its_limit_and_no_farther(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("unfeature.marks.GALLERY_LENGTH", 400)
    base = run.read_as("gallery.json", Gallery).seeds[0]
    marks = Marks(run)
    far = Feedback("slant", marks.asked.generator, (base + 2**31 - 1,), ())
    run.write_json("feedback.json", far.to_json())
    marks.apply([(399, "shows")])
    assert len(run.read_as("gallery.json", Gallery).seeds) == 400, "marks of a file beyond the limit count for nothing"
    assert marks.marks == Marks(run).marks == {399: "shows"}


def test_marks_made_elsewhere_are_of_this_runs_pictures_and_the_gallery_grows_to_them(run: Run) -> None:
    base = run.read_as("gallery.json", Gallery).seeds[0]
    marks = Marks(run)
    marks.apply([(5, "shows")])
    for stranger in (base - 1, base + GALLERY_LENGTH):
        with pytest.raises(BadFile, match=f"marks seed {stranger}, which is no picture of this run"):
            marks.replace(Feedback("slant", marks.asked.generator, (base,), (stranger,)))
    assert Marks(run).marks == {5: "shows"}
    marks.replace(Feedback("slant", marks.asked.generator, (base + 1,), (base + GALLERY,)))
    assert Marks(run).marks == {1: "shows", GALLERY: "without"}
    assert len(run.read_as("gallery.json", Gallery).seeds) == 2 * GALLERY
    workflow.find(run.folder)


def test_marks_of_others_are_kept_in_history_once(run: Run) -> None:
    workflow.mark(run.folder, "slant", "slant")
    simulated, marks = run.read("feedback.json"), Marks(run)
    for index in range(40, 50):
        marks.apply([(index, "unsure")])
    kept = [path.read_bytes() for path in run.folder.glob("history/feedback-*.json")]
    assert kept == [simulated]
    assert run.read_as("feedback.json", Feedback).source == f"simulated by slant, then {SOURCE}"


@pytest.mark.parametrize("now", [{"generator": "mnist-gan"}, {"generator": "mnist-vae", "seed": 4}])
def test_marks_of_other_pictures_are_none_of_these_and_kept_in_history(run: Run, now: dict[str, Any]) -> None:
    workflow.mark(run.folder, "slant", "slant")
    before, seed = run.read("feedback.json"), now.get("seed", 3)
    workflow.sample(run.folder, now["generator"], SampleOptions(count=100, seed=seed))
    marks = Marks(run)
    assert marks.marks == {} and run.read("feedback.json") == before
    marks.apply([(5, "shows")])
    feedback, gallery = run.read_as("feedback.json", Feedback), run.read_as("gallery.json", Gallery)
    assert (feedback.generator, feedback.positives) == (gallery.generator, (gallery.seeds[5],))
    assert (feedback.negatives, feedback.unsure, feedback.source) == ((), (), SOURCE)
    assert [path.read_bytes() for path in run.folder.glob("history/feedback-*.json")] == [before]


def test_of_a_files_marks_those_of_no_picture_here_are_left_out(run: Run) -> None:
    seeds = run.read_as("gallery.json", Gallery).seeds
    marks = Marks(run)
    mixed = Feedback("slant", marks.asked.generator, (seeds[0] - 1, seeds[2]), (seeds[0] + GALLERY_LENGTH,), (), "a")
    run.write_json("feedback.json", mixed.to_json())
    marks.load()
    assert marks.marks == {2: "shows"} and marks.source == f"a, then {SOURCE}"


def test_what_somebody_else_wrote_meanwhile_is_read(run: Run) -> None:
    marks = Marks(run)
    marks.apply([(5, "shows")])
    workflow.mark(run.folder, "slant", "slant")
    marks.apply([(5, "unsure")])
    assert len(run.read_as("feedback.json", Feedback).positives) > 2


def test_marks_saved_while_another_request_reads_lose_none(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    marks = Marks(run)
    marks.apply([(5, "shows")])
    os.utime(run.path("feedback.json"), ns=(1, 1))
    reading, on, read_as = threading.Event(), threading.Event(), Run.read_as

    def slowly(of: Run, name: str, kind: type) -> object:
        if name == "feedback.json":
            reading.set()
            on.wait(10)
        return read_as(of, name, kind)

    monkeypatch.setattr(Run, "read_as", slowly)
    looks = threading.Thread(target=marks.load)
    saves = threading.Thread(target=marks.apply, args=([(6, "unsure")],))
    looks.start()
    reading.wait(10)
    saves.start()
    saves.join(0.2)
    on.set()
    looks.join()
    saves.join()
    assert Marks(run).marks == marks.marks == {5: "shows", 6: "unsure"}


def test_a_damaged_file_of_marks_is_told_each_time_and_never_saved_over(run: Run) -> None:
    marks = Marks(run)
    marks.apply([(5, "shows")])
    whole = run.read("feedback.json")
    run.path("feedback.json").write_bytes(whole[:20])
    for _ in range(2):
        with pytest.raises(BadFile, match="not JSON"):
            marks.apply([(6, "shows")])
    assert run.read("feedback.json") == whole[:20]
    run.path("feedback.json").write_bytes(whole)
    marks.apply([(6, "shows")])
    assert Marks(run).marks == {5: "shows", 6: "shows"}


def test_marks_of_another_generator_are_refused_as_by_the_command(run: Run) -> None:
    marks = Marks(run)
    marks.apply([(5, "shows")])
    with pytest.raises(WrongGenerator, match="made for generator mnist-gan@0"):
        marks.replace(Feedback("slant", "mnist-gan@0", (1,), (2,)))
    assert Marks(run).marks == marks.marks == {5: "shows"}


def test_no_mark_is_taken_while_another_process_works_on_the_run(run: Run) -> None:
    marks = Marks(run)
    marks.apply([(5, "shows")])
    with run.held(), pytest.raises(RunBusy):
        marks.apply([(6, "shows")])
    assert Marks(run).marks == marks.marks == {5: "shows"}


def test_the_command_line_reads_the_same_file_to_the_same_feature(run: Run, begun: Path, tmp_path: Path) -> None:
    import shutil

    Marks(run).apply([(i, "shows" if i % 5 == 0 else "without") for i in range(60)])
    other = Path(shutil.copytree(begun, tmp_path / "other"))
    workflow.mark(other, "slant", str(run.path("feedback.json")), judge="slant")
    assert (other / "feedback.json").read_bytes() == run.read("feedback.json")


def test_marks_need_no_torch(run: Run) -> None:
    code = (
        "import sys; from pathlib import Path; from unfeature.marks import Marks; from unfeature.store import Run\n"
        f"Marks(Run(Path({str(run.folder)!r}))).apply([(1, 'shows')])\nassert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert len(json.loads(run.read("feedback.json"))["positives"]) == 1
