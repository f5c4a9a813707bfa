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
    logits = 3 * torch.randn(n, CLASSES, generator=draw)
    return Look(images, images.mean(dim=(1, 2, 3)) > 0.55, embedding, logits, images.flatten(1)[:, :6] > 0.5)


def take(seen: Look, rows: torch.Tensor) -> Look:
    assert seen.attributes is not None
    parts = seen.images[rows], seen.shows[rows], seen.embedding[rows], seen.logits[rows]
    return Look(*parts, seen.attributes[rows])


def distance(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    return (one - other).square().mean(dim=(1, 2, 3))


REFERENCE = Reference("tiny", look(300, 7).embedding, look(400, 8).embedding, distance)


def compute(name: str, batches: list[Paired]) -> list[Score]:
    metric: Any = resolve("metric", METRICS, name)(REFERENCE)
    for batch in batches:
        metric.update(batch)
    scores: list[Score] = metric.compute()
    return scores


def batches(sizes: list[int], order: torch.Tensor) -> list[Paired]:
    n = sum(sizes)
    after, before, rewritten, teacher = look(n, 1), look(n, 2), torch.arange(n) % 3 == 0, look(n, 3).images
    parts = torch.split(order, sizes)
    return [Paired(take(after, rows), take(before, rows), rewritten[rows], teacher[rows]) for rows in parts]


@pytest.mark.parametrize("name", ["attribute-flips", "perceptual-distance", "edit-made"])
def test_what_nobody_measured_is_no_number(name: str) -> None:
    metric: Any = resolve("metric", METRICS, name)(Reference("tiny", REFERENCE.free, REFERENCE.all))
    seen = look(50, 1)
    plain = Look(seen.images, seen.shows, seen.embedding, seen.logits)
    metric.update(Paired(plain, plain, seen.shows))
    assert metric.compute() == []


def test_attribute_flips_and_perceptual_distance_of_a_known_change() -> None:
    before = look(40, 1)
    assert before.attributes is not None
    flipped = before.attributes.clone()
    flipped[:10, :3] = ~flipped[:10, :3]  # half of the 6 attributes of the first 10
    after = Look(before.images + 0.1, before.shows, before.embedding, before.logits, flipped)
    edited = torch.arange(40) < 10
    for name, start, wanted in (
        ("attribute-flips", "attribute_flips", 0.5),
        ("perceptual-distance", "perceptual_tiny", 0.01),
    ):
        metric: Any = resolve("metric", METRICS, name)(REFERENCE)
        metric.update(Paired(after, before, edited))
        scores = {score.name: score for score in metric.compute()}
        assert scores[f"{start}_edited"].value == pytest.approx(wanted, rel=1e-4)
        assert scores[f"{start}_edited"].n == 10
    metric = resolve("metric", METRICS, "attribute-flips")(REFERENCE)
    metric.update(Paired(after, before, edited))
    assert {score.name: score for score in metric.compute()}["attribute_flips_untouched"].value == 0.0


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
