"""The collateral matrix: figures by hand, strata, the placebo, Holm."""

from __future__ import annotations

import dataclasses
import re
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Command
from test_report import fake_evaluation, fake_pictures
from test_report_look import _luminance
from torch import Tensor

from unfeature.artifacts import Evaluation
from unfeature.changes import Change, Group, Matrix
from unfeature.intervals import holm, mcnemar
from unfeature.metrics.matrix import Kept, MatrixSums, Told
from unfeature.reports import render_html, render_markdown
from unfeature.reports.collateral import collateral_section
from unfeature.reports.plots import DEEPEST
from unfeature.reports.words import percent
from unfeature.store import Run

N = 400


def told(there: Tensor) -> Told:
    return Told(there.double(), there.bool(), torch.zeros(len(there), dtype=torch.int64))


def bits(seed: int, share: float, n: int = N) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).random(n) < share)


def world() -> dict[str, Tensor]:
    """A feature; an attribute that goes with it and that the edit takes along; one that nothing moves."""
    had = bits(0, 0.3)
    linked = had ^ bits(1, 0.1)
    return {"had": had, "linked": linked, "free": bits(2, 0.5), "moved": had | bits(3, 0.1)}


def matrix(kept: tuple[Kept, ...] = (), parts: int = 1) -> Matrix:
    w = world()
    before = torch.stack([w["linked"], w["free"]], dim=1)
    after = torch.stack([w["linked"] & ~w["moved"], w["free"]], dim=1)
    sums = MatrixSums(("linked", "free"), kept)
    images = torch.zeros(N, 1, 1, 1)
    for rows in torch.arange(N).chunk(parts):
        moved = w["moved"][rows]
        shows = w["had"][rows], torch.zeros(len(rows), dtype=torch.bool)
        mock = told(before[rows][moved])
        sums.update(told(before[rows]), told(after[rows]), shows, images[rows], moved, mock)
    return sums.compute()


def cell(found: Matrix, group: str, attribute: str) -> tuple[Group, Change]:
    one = next(g for g in found.groups if g.name == group)
    return one, next(c for c in one.changes if c.attribute == attribute)


def test_changes_and_flips_are_the_definitions() -> None:
    w, found = world(), matrix()
    for name, mask in (("all", torch.ones(N, dtype=torch.bool)), ("had", w["had"]), ("never_had", ~w["had"])):
        group, change = cell(found, name, "linked")
        gone = w["linked"] & w["moved"] & mask
        assert group.n == int(mask.sum()) and group.moved == int((w["moved"] & mask).sum())
        assert change.flips.value == pytest.approx(int(gone.sum()) / group.n)
        assert change.change.value == pytest.approx(-int(gone.sum()) / group.n)
        assert change.change.low <= change.change.value <= change.change.high
        assert change.edit.value == pytest.approx(int(gone.sum()) / group.moved) and change.placebo.value == 0
        assert (change.only_edit, change.only_placebo) == (int(gone.sum()), 0)
        assert change.p == mcnemar(change.only_edit, 0)
        assert [c.p_holm for c in group.changes] == holm([c.p for c in group.changes])
    everywhere = found.groups[0]
    assert everywhere.before.value == pytest.approx(float(w["had"].double().mean())) and everywhere.after.value == 0


def test_what_moved_more_than_by_the_placebo_is_told() -> None:
    assert [c.attribute for c in matrix().groups[0].changes if c.more_than_placebo] == ["linked"]


def test_strata_are_of_the_attribute_that_goes_with_the_feature() -> None:
    w, found = world(), matrix()
    (stratum,) = found.strata
    phi = float(np.corrcoef(w["had"].numpy(), w["linked"].numpy())[0, 1])
    assert (stratum.name, stratum.why) == ("linked", "correlated") and stratum.phi == pytest.approx(phi)
    assert [group.name for group in found.groups] == ["all", "had", "never_had", "with linked", "without linked"]
    assert [group.n for group in found.groups[3:]] == [int(w["linked"].sum()), int((~w["linked"]).sum())]
    assert found.groups[3].before.value == pytest.approx(float(w["had"][w["linked"]].double().mean()))


def test_what_is_kept_makes_the_strata() -> None:
    masks = torch.stack([bits(7, 0.5), world()["had"]], dim=1)
    kept = Kept(("noise", "itself"), lambda images: masks[: len(images)])
    found = matrix((kept, Kept(("noise",), lambda images: masks[: len(images), :1])))
    assert [(s.name, s.why) for s in found.strata] == [("itself", "kept"), ("noise", "kept")]
    assert found.strata[0].phi == pytest.approx(1.0)
    assert [g.name for g in found.groups[3:]] == ["with itself", "without itself", "with noise", "without noise"]
    assert found.groups[3].n == int(world()["had"].sum()) and found.groups[5].n == int(masks[:, 0].sum())


def test_batches_do_not_matter_and_files_keep_everything() -> None:
    found = matrix()
    assert matrix(parts=7).to_json() == found.to_json()
    assert Matrix.from_json(found.to_json()) == found


def test_a_group_without_pictures_claims_nothing() -> None:
    sums = MatrixSums(("free",), (Kept(("nobody",), lambda images: torch.zeros(len(images), 1).bool()),))
    free = torch.ones(5, 1)
    nobody = torch.zeros(5, dtype=torch.bool)
    sums.update(told(free), told(free), (nobody, nobody), torch.zeros(5, 1, 1, 1), nobody, told(free[:0]))
    found = sums.compute()
    assert found.strata[0].phi == 0.0
    group, change = cell(found, "with nobody", "free")
    assert group.n == 0 and (change.change.low, change.change.high, change.change.n) == (-1.0, 1.0, 0)
    assert change.p_holm == 1.0 and not change.more_than_placebo


def test_the_attributes_then_the_classes() -> None:
    logits = torch.tensor([[0.0, 3.0], [1.0, 0.0]])
    found = Told.of(logits, torch.tensor([[0.2], [0.5]]), True)
    assert found.there.tolist() == [[False, False, True], [True, True, False]]
    assert torch.allclose(found.scores[:, 1:], logits.double().softmax(dim=1))
    assert Told.of(logits, None, False).scores.shape == (2, 0)


@pytest.mark.parametrize("values", [[0.01, 0.04, 0.03], [0.5], [], [0.2, 0.2]])
def test_holm_by_hand(values: list[float]) -> None:
    wanted = {3: [0.03, 0.06, 0.06], 1: [0.5], 0: [], 2: [0.4, 0.4]}[len(values)]
    assert holm(values) == pytest.approx(wanted)


def test_a_run_of_digits_has_its_ten_classes(finished_run: Path) -> None:
    result = Run(finished_run).read_as("evaluation.json", Evaluation)
    found = Matrix.from_json(result.collateral["matrix"])
    names = [change.attribute for change in found.groups[0].changes]
    assert names == [f"is digit {i}" for i in range(10)]
    assert found.groups[0].n == result.n
    assert found.groups[1].n + found.groups[2].n == result.n == found.groups[3].n + found.groups[4].n
    assert found.groups[0].after.value == result.row("unlearned").scores["target_ratio"].value
    flipped = result.row("unlearned").scores["flips_had"].value * found.groups[1].n
    # A digit that becomes another flips two of the ten.
    assert sum(c.flips.value for c in found.groups[1].changes) * found.groups[1].n == pytest.approx(2 * flipped)


def evaluated(found: Matrix) -> Evaluation:
    return dataclasses.replace(
        fake_evaluation(), collateral={**fake_evaluation().collateral, "matrix": found.to_json()}
    )


def page(found: Matrix) -> str:
    return render_html(evaluated(found), None, [], fake_pictures(0), {})


JUDGES = """
class Bright:
    def __init__(self, *attributes):
        self.attributes, self.about = attributes, {"name": "bright", "attribute": "bright"}
    def score(self, images):
        return (40 * (images.mean(dim=(1, 2, 3)) - 0.13)).sigmoid()
    def attribute_scores(self, images):
        return self.score(images)[:, None].repeat(1, len(self.attributes))

own, two = Bright("bright"), Bright("bright", "other")
"""


@pytest.mark.parametrize(("keep", "stratum"), [("mine={}:own", "mine"), ("bright={}:two", "bright")])
def test_a_judge_may_keep_the_attribute_it_decides(keep: str, stratum: str, tiny_run: Path, command: Command) -> None:
    judges = tiny_run.parent / "judges.py"
    judges.write_text(JUDGES)
    for verb, more in (
        ("find", ("--samples", "500", "--keep", keep.format(judges))),
        ("preview", ("--count", "50")),
        ("unlearn", ("--steps", "1", "--batch", "4")),
        ("evaluate", ("--count", "100")),
    ):
        said = command(verb, tiny_run, *more)
        assert said.code == 0, said.err
    found = Matrix.from_json(Run(tiny_run).read_as("evaluation.json", Evaluation).collateral["matrix"])
    assert [one.name for one in found.strata] == [stratum]


def test_the_report_names_what_moved_and_the_strata() -> None:
    section = collateral_section(evaluated(matrix()))
    assert section is not None
    moved, strata = section.sentences
    everywhere = matrix().groups[0].changes[0]
    assert moved.startswith("Changed significantly more often by the edit than by a placebo")
    assert f"linked ({percent(everywhere.edit.value)} against 0 %)" in moved and "free" not in moved
    assert "“linked” goes with the feature most" in strata and "do now" in strata
    kept = Kept(("Wearing_Hat",), lambda images: world()["had"][: len(images), None])
    still = collateral_section(evaluated(matrix((kept,))))
    assert still is not None and "“Wearing Hat” was to stay as it is" in still.sentences[1]
    assert still.heat.columns[3:5] == ("Wearing Hat: yes", "Wearing Hat: no")


def test_nothing_that_moved_is_said_too() -> None:
    there = told(torch.ones(50, 1))
    sums, nobody = MatrixSums(("free",), ()), torch.zeros(50).bool()
    sums.update(there, there, (nobody, nobody), torch.zeros(50, 1, 1, 1), ~nobody, there)
    section = collateral_section(evaluated(sums.compute()))
    assert section is not None and section.sentences[0].startswith("No attribute changed significantly more")
    assert "there are no pictures without it" in section.sentences[1]
    assert section.heat.lines[0][1][1] is None  # nobody had the feature


def test_the_heat_map_is_drawn_once_and_has_its_table() -> None:
    html = page(matrix())
    assert html == page(matrix())
    drawing = html[html.index('id="collateral"') : html.index('id="fine"')]
    assert drawing.count("<svg viewBox") == 1 and drawing.count("<table") == drawing.count("<caption") == 1
    assert "var(--teacher)" in drawing and "#0102" not in drawing
    text = render_markdown(evaluated(matrix()), None, [], fake_pictures(0), {})
    assert "## What else changed" in text and "significantly more often" in text
    assert text.index("`p_holm`") > text.index("## Every attribute") > text.index("### Limits")


def test_many_attributes_leave_the_least_changed_to_the_table() -> None:
    n, names = 100, [f"a{i}" for i in range(20)]
    before = told(torch.zeros(n, 20))
    after = torch.zeros(n, 20)
    for i in range(20):
        after[:i, i] = 1
    had = torch.arange(n) < 50
    sums = MatrixSums(names, ())
    sums.update(before, told(after), (had, ~had & had), torch.zeros(n, 1, 1, 1), had, before.rows(had))
    section = collateral_section(evaluated(sums.compute()))
    assert section is not None and [name for name, _ in section.heat.lines] == names[5:]
    assert section.note == "The 15 of 20 that changed most." and "and 3 more" in section.sentences[0]
    assert len(section.table.groups[0].lines) == 20


def test_ink_on_the_deepest_square_can_be_read() -> None:
    style = files("unfeature.reports").joinpath("page.css").read_text(encoding="utf-8")
    for block in re.findall(r":root \{(.*?)\}", style, re.DOTALL):
        colours = dict(re.findall(r"--([a-z-]+): (#\w{6})", block))
        for over in ("unlearned", "teacher", "original"):
            sides = ([int(colours[name][i : i + 2], 16) for i in (1, 3, 5)] for name in (over, "paper"))
            mixed = [round(DEEPEST * a + (1 - DEEPEST) * b) for a, b in zip(*sides, strict=True)]
            light = sorted((_luminance("#" + "".join(f"{v:02x}" for v in mixed)), _luminance(colours["ink"])))
            assert (light[1] + 0.05) / (light[0] + 0.05) >= 4.5, (over, block)
