"""Benchmarks: which cells a file of axes makes, one that is made, stopped and gone on with, its table and its plot."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from conftest import Command
from pages import wait

from unfeature import workflow
from unfeature.artifacts import AttackResult, Attacks, Score
from unfeature.errors import BadFile, BadOption, UnknownName
from unfeature.options import BenchOptions
from unfeature.reports.bench import _figures, bench_table
from unfeature.reports.bench_plot import _look, bench_svg
from unfeature.store import Run
from unfeature.workflow import bench_cells, benching, read_bench
from unfeature.workflow.benching import LOCK

TABLES = sorted((Path(__file__).parents[1] / "benchmarks/tables").glob("*.toml"))

SMALL = """
title = "Small"
seeds = [3]

[base.sample]
count = 400

[base.mark]
per_side = 30

[base.preview]
count = 100

[base.unlearn]
steps = 4

[base.evaluate]
count = 200

[base.attack]
attack = ["quantisation"]
samples = 100

[axes.generator.mnist-vae]
generator = "mnist-vae"

[axes.alpha."0.1".unlearn]
alpha = 0.1

[axes.alpha."1".unlearn]
alpha = 1.0
"""


SHARES = {"original": 0.9, "unlearned": 0.05, "control": 0.02}


def options(**more: object) -> BenchOptions:
    axes = {"method": {"paper": {"preset": "paper"}, "mine": {"unlearn": {"alpha": 2.0}}}}
    return BenchOptions.parse({"axes": axes, "seeds": [4, 5], **more})


def test_cells_are_every_combination_with_the_options_of_all_their_parts() -> None:
    made = bench_cells(options(base={"preset": "auto", "unlearn": {"alpha": 1.0, "steps": 7}}))
    assert [cell.name for cell in made] == ["paper-4", "paper-5", "mine-4", "mine-5"]
    assert [cell.options.sample.seed for cell in made] == [4, 5, 4, 5]
    assert [cell.options.unlearn.steps for cell in made] == [7] * 4
    assert [cell.options.unlearn.alpha for cell in made] == [1.0, 1.0, 2.0, 2.0]
    finders = [cell.options.find.finder for cell in made]
    assert finders == ["linear", "linear", "auto", "auto"], "the last preset that a part names"


def test_what_cannot_be_a_benchmark_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(BadOption, match='a value is named "a/b"; expected letters'):
        bench_cells(options(axes={"method": {"a/b": {}}}))
    with pytest.raises(BadOption, match="a, b-c and a-b, c share the folder a-b-c-4; expected one each"):
        bench_cells(options(axes={"x": {"a": {}, "a-b": {}}, "y": {"b-c": {}, "c": {}}}))
    with pytest.raises(BadOption, match="seeds names 4 more than once; expected each once"):
        bench_cells(options(seeds=[4, 5, 4]))
    with pytest.raises(BadOption, match="without axes compares nothing"):
        bench_cells(BenchOptions())
    with pytest.raises(BadOption, match=r"axis y has no values; .*\[axes.y.NAME\]"):
        bench_cells(options(axes={"x": {"a": {}}, "y": {}}))
    with pytest.raises(UnknownName, match='unknown preset "papre"'):
        bench_cells(options(base={"preset": "papre"}, axes={"method": {"a": {}}}))
    with pytest.raises(UnknownName, match='unknown option "unlearn.alhpa"'):
        bench_cells(options(base={"unlearn": {"alhpa": 1}}))
    with pytest.raises(BadFile, match="cannot read .*none.toml"):
        read_bench(tmp_path / "none.toml")
    (tmp_path / "torn.toml").write_text("seeds = [")
    with pytest.raises(BadFile, match="torn.toml is not TOML"):
        read_bench(tmp_path / "torn.toml")


@pytest.mark.parametrize("path", TABLES, ids=lambda path: path.stem)
def test_shipped_tables_have_cells_of_their_own(path: Path) -> None:
    names = [cell.name for cell in bench_cells(read_bench(path))]
    assert names and len(set(names)) == len(names)


def score(value: float) -> dict[str, object]:
    return {"name": "x", "value": value, "low": value / 2, "high": value * 2, "n": 100}


def row(method: str, seed: int, ratio: float) -> dict[str, object]:
    scores = {"target_ratio": score(ratio), "flips_never_had": score(0.1), "fd100_x": score(2.0)}
    sides = {name: scores for name in ("original", "filter", "teacher", "unlearned")}
    told = {"values": {"method": method}, "seed": seed, "n": 100, "scores": sides, "floor": {"fd100_x": score(1.0)}}
    told |= {"extractor": {"name": "x", "class_word": "digit"}}
    return told | {"verdict": "removed" if ratio < 0.01 else "failed"}


def test_the_table_tells_means_and_ranges_over_seeds() -> None:
    told = {
        "title": "T",
        "axes": ["method"],
        "rows": [row("paper", 0, 0.02), row("paper", 1, 0.004), row("mine", 0, 0.002)],
    }
    lines = bench_table(told).splitlines()
    paper = next(line for line in lines if line.startswith("| Unlearned | paper"))
    assert "0.0120 (0.0040 to 0.0200)" in paper and paper.endswith("| 1 of 2 |")
    assert "1 to 2 seeds, 100 pictures each." in lines
    assert "0.0020 (0.0010 to 0.0040)" in next(line for line in lines if line.startswith("| Unlearned | mine"))
    assert "Made with" not in bench_table(told)
    made_by = bench_table(told | {"versions": {"torch": "2.11.0, 2.13.0+cpu", "device": "cuda, NVIDIA X"}})
    assert "expected. Made with torch 2.11.0, 2.13.0+cpu (cuda, NVIDIA X).\n" in made_by
    assert bench_table({"title": "T", "axes": ["method"], "rows": []}) == "# T\n\nNo cell is finished yet.\n"
    assert not any("Trained without" in line for line in lines)
    told["rows"][0]["scores"]["control"] = {"target_ratio": score(0.003)}  # type: ignore[index]
    control = [line for line in bench_table(told).splitlines() if "| Trained without it |" in line]
    assert len(control) == 1 and "| Trained without it | paper | 0.0030 (0.0015 to 0.0060) |  |" in control[0]
    told["rows"][2]["scores"]["original"]["target_ratio: slant"] = score(0.1)  # type: ignore[index]
    assert "| flips, untouched | target ratio, slant | fd100_x |" in bench_table(told)
    drawn = bench_svg(told)
    assert drawn == bench_svg(json.loads(json.dumps(told))) and "<svg" in drawn
    del told["rows"][0]["scores"]["control"]  # type: ignore[attr-defined]
    assert "trained without it" in drawn and "trained without it" not in bench_svg(told)


def test_rows_that_are_alike_are_written_once_in_a_part_for_each_panel() -> None:
    rows = [row(method, 0, ratio) for method, ratio in (("a", 0.02), ("b", 0.02), ("c", 0.01))]
    for cell in rows:
        cell["values"] |= {"marks": "20"}  # type: ignore[operator]
    told = {"title": "T", "axes": ["marks", "method"], "rows": rows}
    lines = bench_table(told).splitlines()
    assert [line for line in lines if line.startswith("##")] == ["## marks 20"]
    assert "1 seed, 100 pictures each." in lines
    names = [line.split(" | ")[1] for line in lines if line.startswith("| Rejection filter")]
    assert names == ["a, b", "c"]
    told["rows"] = rows[:2]
    assert "| Original | all | 0.0200 (0.0100 to 0.0400) |" in bench_table(told)


def test_the_table_tells_what_attacks_brought_back() -> None:
    rows = [row("paper", 0, 0.02), row("paper", 1, 0.01), row("mine", 0, 0.0)]
    told = {"title": "T", "axes": ["method"], "rows": rows}
    assert "brought back" not in bench_table(told)
    for cell, copy in zip(rows, (12, None), strict=False):
        sides = {target: {"figure": score(share), "steps": 200} for target, share in SHARES.items()}
        relearnt = {
            target: side
            | {"figure": side["figure"] | {"name": "relearnt: from 64"}, "steps_to_half": {"64": 3, "8": steps}}
            for (target, side), steps in zip(sides.items(), (0, copy, 16), strict=True)
        }
        cell["attacks"] = {"relearning": relearnt, "latent-search": sides, "mine": sides}
    _, _, attacked = bench_table(told).partition("## What attacks brought back")
    assert attacked.split("\n\n")[2] == "2 seeds."
    assert "| attack | method | Original | Unlearned | Never had it |" in attacked
    search = "0.9000 (0.9000 to 0.9000) | 0.0500 (0.0500 to 0.0500) | 0.0200 (0.0200 to 0.0200) |"
    assert (
        f"| Search for a latent | paper | {search}" in attacked
        and f"| Relearning, from 64 | paper | {search}" in attacked
    )
    from_8 = "| Steps to half, from 8 | paper | 0, 0 | 12, over 200 | 16, 16 |"
    assert f"{from_8}\n| Steps to half, from 64 | paper | 3, 3 |" in attacked
    assert " | mine |" not in attacked
    assert (
        attacked.index("Search for a latent") < attacked.index("Relearning") < attacked.index("| mine | paper | 0.9000")
    )


def test_steps_are_told_of_the_seeds_that_had_so_many_pictures() -> None:
    """Of a rare feature fewer pictures are found on one seed than on another."""
    rows = [row("paper", 0, 0.02), row("paper", 1, 0.01)]
    for cell, steps in zip(rows, ({"8": 5, "60": None}, {"8": 7, "64": 12}), strict=True):
        side = {"figure": score(0.9) | {"name": "relearnt: from 8"}, "steps_to_half": steps, "steps": 200}
        cell["attacks"] = {"relearning": {"unlearned": side}}
    lines = bench_table({"title": "T", "axes": ["method"], "rows": rows}).splitlines()
    assert [line for line in lines if line.startswith("| Steps to half")] == [
        "| Steps to half, from 8 | paper |  | 5, 7 |  |",
        "| Steps to half, from 60 | paper |  | over 200 |  |",
        "| Steps to half, from 64 | paper |  | 12 |  |",
    ]


def test_the_table_names_every_place_where_a_search_got_furthest() -> None:
    rows = [row("paper", 0, 0.02), row("paper", 1, 0.01)]
    for cell, place in zip(rows, ("w+", "w"), strict=True):
        figure = score(0.9) | {"name": f"success: {place}"}
        cell["attacks"] = {"inner-search": {"unlearned": {"figure": figure}}}
    assert "| Search further inside, w or w+ | paper |" in bench_table({"title": "T", "axes": ["method"], "rows": rows})


def test_a_result_tells_of_relearning_how_many_steps_from_how_many_pictures() -> None:
    shares = (Score.share("any", 80, 1000),)
    facts: dict[str, dict[str, Any]] = {
        "relearning": {"steps_to_half": {"8": None}, "half": 0.05, "steps": 200},
        "fine-tuning": {"steps_to_half": None, "half": 0.05, "steps": 200},
        "quantisation": {},
    }
    made = tuple(AttackResult(name, "unlearned", "tiny@1", shares, (), told, "data:,") for name, told in facts.items())
    found = benching._attacked(Attacks({}, made, {}))
    assert found["relearning"]["unlearned"] == {
        "figure": shares[0].to_json(),
        "steps_to_half": {"8": None},
        "steps": 200,
    }
    assert found["fine-tuning"] == found["quantisation"] == {"unlearned": {"figure": shares[0].to_json()}}


def test_flips_are_of_what_somebody_can_tell_apart() -> None:
    """The judge's other attributes where it tells any; of a face the most likely of ImageNet's classes says nothing."""
    faces = row("paper", 0, 0.02) | {"extractor": {"name": "squeezenet"}}
    told = {"title": "T", "axes": ["method"], "rows": [faces]}
    assert "| row | method | target ratio | fd100_x |" in bench_table(told)
    points = bench_svg(told).count("<use")
    faces["scores"]["unlearned"] |= {"drift_never_had": score(0.01)}  # type: ignore[index]
    assert bench_svg(told).count("<use") > points  # all rows are one and the same here
    faces["scores"]["unlearned"] |= {"attribute_flips_never_had": score(0.3), "attribute_flips_edited": score(0.4)}  # type: ignore[index]
    line = next(line for line in bench_table(told).splitlines() if "Unlearned" in line)
    assert "| attribute flips, edited | attribute flips, never had it | fd100_x |" in bench_table(told)
    assert "| 0.4000 (0.2000 to 0.8000) | 0.3000 (0.1500 to 0.6000) |" in line


def test_a_cell_that_another_process_is_at_or_has_made_is_left_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cell = bench_cells(options())[0]
    with Run(tmp_path / cell.name).held(new=True, lock=benching.LOCK):
        assert benching._make(tmp_path, cell) == (False, "")
    held = Run(tmp_path / cell.name)
    told = cell.options.model_dump(mode="json")
    held.write_json(
        benching.CELL, {name: value for name, value in told.items() if name != "also"}
    )  # by an older version
    held.write_json(benching.DONE, {})
    assert benching._make(tmp_path, cell) == (True, "") and not held.has("run.json")
    gone = bench_cells(options())[1]

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("not enough memory: you tried to allocate 9 TB\nand so on")

    monkeypatch.setattr(benching, "run", fail)
    assert benching._make(tmp_path, gone) == (False, "RuntimeError: not enough memory: you tried to allocate 9 TB")
    for other in ({"feature": "other"}, {"gone_since": 1}, {"sample": {"count": 0}}):
        held.write_json(benching.CELL, told | other)
        assert "made with other options" in benching._make(tmp_path, cell)[1]


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="children are found in /proc")
def test_who_is_killed_leaves_nobody_at_work(tmp_path: Path) -> None:
    (tmp_path / "small.toml").write_text(SMALL.replace("steps = 4", "steps = 100000"))
    with _at_work(tmp_path) as (parent, children):
        os.kill(int(children[-1]), signal.SIGKILL)
        said = parent.communicate(timeout=120)[1].decode()
        assert parent.returncode == 2 and "was killed, perhaps since memory ran out" in said, said
        wait(lambda: not any(map(_runs, children)))
    with _at_work(tmp_path) as (parent, children):
        parent.kill()
        parent.communicate()
        wait(lambda: not any(map(_runs, children)))


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="children are found in /proc")
def test_who_is_interrupted_begins_no_other_cell(tmp_path: Path) -> None:
    (tmp_path / "small.toml").write_text(
        SMALL.replace("seeds = [3]", "seeds = [1, 2, 3]").replace("steps = 4", "steps = 100000")
    )
    with _at_work(tmp_path) as (parent, children):
        parent.send_signal(signal.SIGINT)
        said = parent.communicate(timeout=60)[1].decode()
        assert parent.returncode == 130 and "Stopped" in said, said
        wait(lambda: not any(map(_runs, children)))
        assert len(list(tmp_path.glob("out/*/cell.json"))) == 2


@pytest.mark.slow
@pytest.mark.parametrize("lock", [LOCK, ".lock"])
def test_a_cell_that_somebody_works_in_is_told(lock: str, tmp_path: Path, command: Command) -> None:
    file, folder = tmp_path / "small.toml", tmp_path / "out"
    file.write_text(SMALL)
    taken = bench_cells(read_bench(file))[0].name
    with Run(folder / taken).held(new=True, lock=lock):
        said = command("bench", file, folder)
    if lock == LOCK:
        assert said.code == 0 and "1 of 2 cells are at work elsewhere and not in the table" in said.out
    else:
        assert said.code == 2 and "1 of 2 cells could not be made" in said.err and taken in said.err
    assert command("bench", file, folder).code == 0
    assert len(json.loads((folder / "results.json").read_text())["rows"]) == 2


def test_cells_of_other_counts_and_networks_have_columns_of_their_own() -> None:
    cells = [
        {
            "floor": {f"fd{n}_{who}": {}},
            "extractor": {"name": who, "class_word": "digit"},
            "scores": {"original": {}, "unlearned": {}},
        }
        for n, who in ((100, "a"), ("2k", "a"), (100, "b"))
    ]
    assert [name for name in _figures(cells) if name.startswith("fd")] == ["fd100_a", "fd2k_a", "fd100_b"]


def test_no_two_of_a_hundred_values_look_alike() -> None:
    looks = [(look["color"], look["marker"]) for look in map(_look, range(100))]
    assert len(set(looks)) == 100


@contextmanager
def _at_work(folder: Path) -> Iterator[tuple[subprocess.Popen[bytes], list[str]]]:
    """A benchmark of two cells in training, and its processes."""
    command = [sys.executable, "-m", "unfeature", "bench", "small.toml", "out", "--processes", "2"]
    for left in folder.glob("out/*/training.safetensors"):
        left.unlink()
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as parent:
        try:
            wait(lambda: len(list(folder.glob("out/*/training.safetensors"))) == 2 or parent.poll() is not None)
            children = Path(f"/proc/{parent.pid}/task/{parent.pid}/children").read_text().split()
            assert len(children) >= 2
            yield parent, children
        finally:
            parent.kill()


def _runs(pid: str) -> bool:
    status = Path(f"/proc/{pid}/status")
    return status.is_file() and "State:\tZ" not in status.read_text()


@pytest.mark.slow
def test_a_benchmark_goes_on_to_the_same_results(tmp_path: Path, command: Command) -> None:
    file, folder = tmp_path / "small.toml", tmp_path / "out"
    file.write_text(SMALL)
    said = command("bench", file, folder, "--processes", "2")
    assert said.code == 0, said.err
    assert "results.md" in said.out
    first = (folder / "results.json").read_bytes()
    assert json.loads(first)["versions"] == workflow.versions() | {"threads": "1"}
    assert [r["values"]["alpha"] for r in json.loads(first)["rows"]] == ["0.1", "1"]
    attacked = [r["attacks"]["quantisation"]["unlearned"]["figure"] for r in json.loads(first)["rows"]]
    assert [figure["n"] for figure in attacked] == [100, 100]
    assert "| Quantisation | 0.1 |" in (folder / "results.md").read_text()
    for name in ("evaluation.json", "report.json", "unlearned.safetensors"):  # as if killed in one cell's training
        (folder / "mnist-vae-1-3" / name).unlink()
    assert command("bench", file, folder).code == 0
    assert (folder / "results.json").read_bytes() == first
    made = json.loads((folder / "mnist-vae-1-3" / "cell.json").read_text())
    made["unlearn"]["device"] = "cuda"  # as if by a machine that has one
    (folder / "mnist-vae-1-3" / "cell.json").write_text(json.dumps(made))
    assert command("bench", file, folder).code == 0
    assert (folder / "results.json").read_bytes() == first
    file.write_text(SMALL + '[axes.alpha.wrong.find]\nfinder = "auto"\nthreshold = 0.5\n')
    said = command("bench", file, folder)
    assert said.code == 2 and "1 of 3 cells could not be made" in said.err and "mnist-vae-wrong-3: " in said.err
    assert json.loads((folder / "results.json").read_bytes())["rows"] == json.loads(first)["rows"]
    file.write_text(SMALL.replace("steps = 4", "steps = 5"))
    said = command("bench", file, folder)
    assert said.code == 2 and "made with other options" in said.err
