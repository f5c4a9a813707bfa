"""Attacks find what can be found and nothing else; the command refuses what would be no proof."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Command, contents

from unfeature import workflow
from unfeature.artifacts import AttackResult, Score
from unfeature.attacks import ATTACKS
from unfeature.attacks.typical import Typical
from unfeature.images import data_uri, pixels_of
from unfeature.options import AttackOptions
from unfeature.protocols import Generator
from unfeature.seeds import normal_rows, stream
from unfeature.tables import resolve
from unfeature.testing import TinyGenerator, tiny_copy, tiny_scene

QUICK: dict[str, Any] = {"restarts": 6, "search_steps": 4}
FLAGS = [word for name, value in QUICK.items() for word in (f"--{name.replace('_', '-')}", str(value))]
SEARCH = ["--attack", "latent-search", *FLAGS]


def attacked(name: str, target: Generator, called: str = "unlearned", **options: Any) -> AttackResult:
    made = resolve("attack", ATTACKS, name)(AttackOptions(**options), seed=0)
    result: AttackResult = made.run(tiny_scene(target, called))
    return result


def figure(result: AttackResult, name: str) -> Score:
    return next(score for score in result.figures if score.name == name)


# What is usual


def test_the_shell_holds_98_of_100_samples_and_projection_ends_in_it() -> None:
    rows = 3.0 + 2.0 * torch.from_numpy(normal_rows(stream("test", 0, 0, 4000), 5))
    typical = Typical.of(rows)
    inside = typical.projected(typical.standardised(rows))
    moved = (inside - typical.standardised(rows)).abs().amax(dim=1) > 1e-4
    assert moved.double().mean() == pytest.approx(0.02, abs=0.005)
    assert torch.linalg.vector_norm(typical.projected(100 * inside), dim=1).max() <= typical.high * 1.0001
    assert torch.linalg.vector_norm(typical.projected(inside / 100), dim=1).min() >= typical.low * 0.9999
    assert typical.percentiles(rows).mean() == pytest.approx(50, abs=1)


def test_a_picture_comes_back_out_of_its_uri() -> None:
    for shape in ((5, 4), (5, 4, 3)):
        pixels = np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)
        assert np.array_equal(pixels_of(data_uri(pixels)), pixels)


# Latent search


def test_latent_search_finds_what_the_original_can_make() -> None:
    result = attacked("latent-search", TinyGenerator(), "original", restarts=40, search_steps=50)
    assert figure(result, "success").value >= 0.9
    assert result.facts["shows"]
    search = result.curves[0].points
    assert [point.x for point in search] == [0, 1, 2, 5, 10, 20, 50]
    assert search[0].score.value < 0.3 < search[-1].score.value
    assert 1 <= figure(result, "norm_percentile").value <= 99.5


def test_latent_search_finds_nothing_where_nothing_is() -> None:
    result = attacked("latent-search", tiny_copy(), restarts=40, search_steps=50)
    assert figure(result, "success").value <= 0.05
    assert figure(result, "success_random").value <= 0.05
    assert not result.facts["shows"]
    assert [score.name for score in result.figures] == ["success", "success_random"]


def test_a_restart_depends_on_its_own_seed_alone() -> None:
    few, many = (attacked("latent-search", TinyGenerator(), restarts=n, search_steps=3) for n in (8, 16))
    scene = tiny_scene(TinyGenerator(), "original")
    assert few.curves[0].points[0].score.n == 8
    from unfeature.attacks.scenes import frozen
    from unfeature.attacks.searching import climb, latents_of

    place = latents_of(frozen(scene.target))
    typical = Typical.of(place.starts(stream("test", 0, 0, 500)))
    start = place.starts(stream("test", 1, 0, 7))
    whole, alone = (
        climb(lambda z, _: scene.guide(place.synthesize(z)), start, typical, at=[5], rate=0.1, rows=rows)[0]
        for rows in (7, 2)
    )
    assert torch.allclose(whole, alone, atol=1e-5)
    assert many.curves[0].points[0].score.n == 16


# The command


def test_attacks_are_written_and_go_into_the_report(tiny_run: Path, command: Command) -> None:
    said = command("attack", tiny_run, *SEARCH)
    assert said.code == 0, said.err
    assert f"unfeature report {tiny_run}" in said.out
    found = json.loads((tiny_run / "attacks.json").read_text())
    assert [result["target"] for result in found["results"]] == ["original", "unlearned"]
    assert (tiny_run / "attacks.png").read_bytes().startswith(b"\x89PNG")
    assert command("report", tiny_run).code == 0
    page = (tiny_run / "report.html").read_text()
    assert "Search for a latent" in page
    assert found["results"][0]["picture"] in page
    assert "This report does not measure that" not in page
    assert "Searches that ended in a picture with the feature" in (tiny_run / "report.md").read_text()


def test_a_report_leaves_out_attacks_on_another_copy(tiny_run: Path) -> None:
    workflow.attack(tiny_run, AttackOptions(attack=("latent-search",), **QUICK))
    found = json.loads((tiny_run / "attacks.json").read_text())
    found["made_from"]["unlearned"] = "mnist-vae@other"
    (tiny_run / "attacks.json").write_text(json.dumps(found))
    workflow.report(tiny_run)
    page = (tiny_run / "report.html").read_text()
    assert "Search for a latent" not in page
    assert "they were made on another copy" in page


class Killed(Exception):
    """Stands for a process that dies."""


def test_a_killed_attack_goes_on_to_the_same_bytes(tiny_run: Path, tmp_path: Path) -> None:
    options = AttackOptions(attack=("latent-search",), **QUICK)
    straight = Path(shutil.copytree(tiny_run, tmp_path / "straight"))
    workflow.attack(straight, options)

    def kill(done: int, total: int) -> None:
        if done == 1:
            raise Killed

    with pytest.raises(Killed):
        workflow.attack(tiny_run, options, kill)
    assert len(json.loads((tiny_run / "attacks.json").read_text())["results"]) == 1
    workflow.attack(tiny_run, options)
    assert contents(tiny_run) == contents(straight)
    before = contents(tiny_run)
    workflow.attack(tiny_run, options)
    assert contents(tiny_run) == before
    workflow.attack(tiny_run, AttackOptions(attack=("latent-search",), **{**QUICK, "search_steps": 3}))
    assert (tiny_run / "history" / "attacks-1.json").read_bytes() == before["attacks.json"]


def test_an_unknown_attack_names_the_nearest(tiny_run: Path, command: Command) -> None:
    said = command("attack", tiny_run, "--attack", "latent-serach")
    assert said.code == 2
    assert 'unknown attack "latent-serach"' in said.err
    assert 'Did you mean "latent-search"?' in said.err


JUDGE = """
class Bright:
    about = {"name": "bright"}

    def score(self, images):
        return (100 * (images.mean(dim=(1, 2, 3)) - 0.14)).sigmoid()

bright = Bright()
"""


def test_whoever_judges_does_not_guide(tiny_run: Path, tmp_path: Path, command: Command) -> None:
    (tmp_path / "own.py").write_text(JUDGE)
    reference = f"{tmp_path}/own.py:bright"
    assert command("mark", tiny_run, "bright", "--by", "slant", "--per-side", "30", "--judge", reference).code == 0
    for verb, more in (("find", ["--margin", "0.25"]), ("preview", ["--count", "100"]), ("unlearn", ["--steps", "10"])):
        assert command(verb, tiny_run, *more).code == 0
    detour = f"{tmp_path}/../{tmp_path.name}/own.py:bright"
    for guide in (reference, detour):
        said = command("attack", tiny_run, *SEARCH, "--guide", guide)
        assert said.code == 2
        assert "whatever guides is never what judges" in said.err
    assert command("attack", tiny_run, *SEARCH).code == 0
    found = json.loads((tiny_run / "attacks.json").read_text())
    assert found["made_from"]["guide"] == "a probe of the marks"


def test_a_control_is_another_generator_of_the_same_architecture(tiny_run: Path, command: Command) -> None:
    said = command("attack", tiny_run, *SEARCH, "--control", "missing.safetensors")
    assert said.code == 2
    said = command("attack", tiny_run, *SEARCH, "--control", tiny_run / "unlearned.safetensors")
    assert said.code == 0, said.err
    found = json.loads((tiny_run / "attacks.json").read_text())
    assert [result["target"] for result in found["results"]] == ["original", "unlearned", "control"]
    assert command("attack", tiny_run, *SEARCH).code == 0
    assert (tiny_run / "attacks.json").read_text() == json.dumps(found, indent=1, sort_keys=True) + "\n"
    original, unlearned, control = (AttackResult.from_json(result) for result in found["results"])
    assert replace(control, target="unlearned") == unlearned
    assert original.generator != unlearned.generator
