"""Benchmarks: which cells a file of axes makes, one that is made, stopped and gone on with, its table and its plot."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from conftest import Command

from unfeature.errors import BadFile, BadOption, UnknownName
from unfeature.options import BenchOptions
from unfeature.reports.bench import bench_svg, bench_table
from unfeature.workflow import bench_cells, read_bench

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

[axes.generator.mnist-vae]
generator = "mnist-vae"

[axes.alpha."0.1".unlearn]
alpha = 0.1

[axes.alpha."1".unlearn]
alpha = 1.0
"""


def options(**more: object) -> BenchOptions:
    axes = {"method": {"paper": {"preset": "paper"}, "mine": {"unlearn": {"alpha": 2.0}}}}
    return BenchOptions.parse({"axes": axes, "seeds": [4, 5], **more})


def test_cells_are_every_combination_with_the_options_of_all_their_parts() -> None:
    made = bench_cells(options(base={"preset": "demo", "unlearn": {"alpha": 1.0, "steps": 7}}))
    assert [cell.name for cell in made] == ["paper-4", "paper-5", "mine-4", "mine-5"]
    assert [cell.options.sample.seed for cell in made] == [4, 5, 4, 5]
    assert [cell.options.unlearn.steps for cell in made] == [7] * 4
    assert [cell.options.unlearn.alpha for cell in made] == [1.0, 1.0, 2.0, 2.0]
    assert [cell.options.find.margin for cell in made] == [
        0.0,
        0.0,
        0.5,
        0.5,
    ]  # the last preset named, paper's or demo's


def test_what_cannot_be_a_benchmark_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(BadOption, match='a value is named "a/b"; expected letters'):
        bench_cells(options(axes={"method": {"a/b": {}}}))
    with pytest.raises(BadOption, match="without axes compares nothing"):
        bench_cells(BenchOptions())
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
    return told | {"verdict": "removed" if ratio < 0.01 else "failed"}


def test_the_table_tells_means_and_ranges_over_seeds() -> None:
    told = {
        "title": "T",
        "axes": ["method"],
        "rows": [row("paper", 0, 0.02), row("paper", 1, 0.004), row("mine", 0, 0.002)],
    }
    lines = bench_table(told).splitlines()
    paper = next(line for line in lines if line.startswith("| paper | unlearned"))
    assert "0.0120 (0.0040 to 0.0200)" in paper and "| 1 of 2 | 2 | 100 each |" in paper
    assert "0.0020 (0.0010 to 0.0040)" in next(line for line in lines if line.startswith("| mine | unlearned"))
    assert bench_table({"title": "T", "axes": ["method"], "rows": []}) == "# T\n\nNo cell is finished yet.\n"
    drawn = bench_svg(told)
    assert drawn == bench_svg(json.loads(json.dumps(told))) and "<svg" in drawn


@pytest.mark.slow
def test_a_benchmark_goes_on_to_the_same_results(tmp_path: Path, command: Command) -> None:
    file, folder = tmp_path / "small.toml", tmp_path / "out"
    file.write_text(SMALL)
    said = command("bench", file, folder, "--processes", "2")
    assert said.code == 0, said.err
    assert "results.md" in said.out
    first = (folder / "results.json").read_bytes()
    assert [r["values"]["alpha"] for r in json.loads(first)["rows"]] == ["0.1", "1"]
    for name in ("evaluation.json", "report.json", "unlearned.safetensors"):  # as if killed in one cell's training
        (folder / "mnist-vae-1-3" / name).unlink()
    assert command("bench", file, folder).code == 0
    assert (folder / "results.json").read_bytes() == first
    file.write_text(SMALL.replace("steps = 4", "steps = 5"))
    said = command("bench", file, folder)
    assert said.code == 2 and "made with other options" in said.err
