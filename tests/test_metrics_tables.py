"""Tables resolve, and every metric in METRICS keeps the conventions of the protocol."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import torch

from unfeature.artifacts import Score
from unfeature.errors import ShapeError, UnknownName
from unfeature.metrics import EXTRACTORS, MEASUREMENTS, METRICS
from unfeature.protocols import Look, Paired, Reference
from unfeature.tables import resolve

K, CLASSES = 8, 10


def look(n: int, seed: int, spread: float = 1.0) -> Look:
    """Random images with what a judge and an extractor might have seen in them."""
    draw = torch.Generator().manual_seed(seed)
    images = torch.rand(n, 1, 4, 4, generator=draw)
    embedding = spread * torch.randn(n, K, generator=draw)
    return Look(images, images.mean(dim=(1, 2, 3)) > 0.55, embedding, 3 * torch.randn(n, CLASSES, generator=draw))


def take(seen: Look, rows: torch.Tensor) -> Look:
    return Look(seen.images[rows], seen.shows[rows], seen.embedding[rows], seen.logits[rows])


REFERENCE = Reference("tiny", look(300, 7).embedding, look(400, 8).embedding)


def compute(name: str, batches: list[Paired]) -> list[Score]:
    metric: Any = resolve("metric", METRICS, name)(REFERENCE)
    for batch in batches:
        metric.update(batch)
    scores: list[Score] = metric.compute()
    return scores


def batches(sizes: list[int], order: torch.Tensor) -> list[Paired]:
    n = sum(sizes)
    after, before, rewritten = look(n, 1), look(n, 2), torch.arange(n) % 3 == 0
    return [Paired(take(after, rows), take(before, rows), rewritten[rows]) for rows in torch.split(order, sizes)]


def test_tables_import_no_torch() -> None:
    code = "import sys, unfeature.metrics, unfeature.tables; print('torch' in sys.modules, 'scipy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


@pytest.mark.parametrize("table", [METRICS, MEASUREMENTS, EXTRACTORS])
def test_every_entry_resolves_to_something_callable(table: dict[str, str]) -> None:
    assert all(callable(resolve("entry", table, name)) for name in table)


def test_unknown_name_says_kind_and_nearest() -> None:
    with pytest.raises(UnknownName, match=r'unknown measurement "thicknes".*Did you mean "thickness"'):
        resolve("measurement", MEASUREMENTS, "thicknes")


@pytest.mark.parametrize("name", METRICS)
def test_scores_hold_their_value_inside_the_interval_and_print_nothing(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    scores = compute(name, batches([240], torch.arange(240)))
    assert scores
    assert len({score.name for score in scores}) == len(scores)
    for score in scores:
        assert score.low <= score.value <= score.high, score
        assert score.n > 0, score
        assert Score.from_json(score.to_json()) == score
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("name", METRICS)
def test_batches_and_their_order_do_not_matter(name: str) -> None:
    whole = compute(name, batches([240], torch.arange(240)))
    shuffled = torch.randperm(240, generator=torch.Generator().manual_seed(3))
    parts = compute(name, batches([7, 100, 1, 132], shuffled))
    for a, b in zip(whole, parts, strict=True):
        assert (a.name, a.n) == (b.name, b.n)
        # 1e-9: only the order of float64 additions differs.
        assert (a.value, a.low, a.high) == pytest.approx((b.value, b.low, b.high), abs=1e-9)


@pytest.mark.parametrize("name", METRICS)
def test_computing_leaves_torchs_random_state_alone(name: str) -> None:
    given = batches([240], torch.arange(240))
    before = torch.get_rng_state()
    compute(name, given)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("name", ["inception-score", "frechet-distance", "kernel-distance", "precision-recall"])
@pytest.mark.parametrize("sizes", [[], [1]])
def test_too_few_images_are_an_error_that_says_so(name: str, sizes: list[int]) -> None:
    with pytest.raises(ShapeError, match=rf"got {sum(sizes)} images; expected at least \d"):
        compute(name, batches(sizes, torch.arange(1)) if sizes else [])


@pytest.mark.parametrize("name", ["inception-score", "frechet-distance", "kernel-distance", "precision-recall"])
def test_broken_features_are_an_error_never_a_number(name: str) -> None:
    batch = batches([30], torch.arange(30))[0]
    batch.after.embedding[3, 0] = batch.after.logits[3, 0] = float("nan")
    with pytest.raises(ShapeError, match="got 1 of 30 rows of features with NaN"):
        compute(name, [batch])


@pytest.mark.parametrize("n", [4, 5, 7, 19, 20])
@pytest.mark.parametrize("name", METRICS)
def test_few_images_give_finite_scores(name: str, n: int) -> None:
    for score in compute(name, batches([n], torch.arange(n))):
        assert all(v == v and abs(v) < 1e6 for v in (score.value, score.low, score.high)), score


@pytest.mark.parametrize("name", METRICS)
def test_metric_says_whether_it_is_paired(name: str) -> None:
    metric = resolve("metric", METRICS, name)
    alone = Paired(look(30, 1), None, torch.zeros(30, dtype=torch.bool))
    if metric.paired:
        with pytest.raises(ShapeError, match="without images from before"):
            metric(REFERENCE).update(alone)
    else:
        metric(REFERENCE).update(alone)
