"""The collateral matrix: figures by hand, strata, the placebo, Holm."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from unfeature.artifacts import Evaluation
from unfeature.changes import Change, Group, Matrix
from unfeature.intervals import holm, mcnemar
from unfeature.metrics.matrix import Kept, MatrixSums, Told
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
