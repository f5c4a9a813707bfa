"""Directions beside features to keep: against regression, closed forms and worlds whose truth is known."""

from __future__ import annotations

import math
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from unfeature import paper
from unfeature.artifacts import Score
from unfeature.errors import BadFile, BadOption, ShapeError, TooFewMarks
from unfeature.features.guides import ALONE, Helpers, unheard
from unfeature.features.kept import away_from_kept, by_marks, kept_told, shows_kept
from unfeature.features.strata import (
    confounding,
    orthogonalised,
    readouts,
    residualised_vector,
    stratified_vector,
    stratum_codes,
    translate_along,
)
from unfeature.generators.loading import load_generator
from unfeature.intervals import newcombe
from unfeature.options import FindOptions
from unfeature.protocols import Generator, Judge
from unfeature.seeds import stream
from unfeature.testing import TinyGenerator

CVAE = f"{Path(__file__).parents[1] / 'benchmarks' / 'generators' / 'face_cvae40.py'}:load"


def world(seed: int, n: int, correlation: float = 0.8, d: int = 12) -> tuple[Tensor, Tensor, Tensor]:
    """Latents with unequal variances (n, d), what the feature and the kept one are told by: (d,), (d,), float64.

    Both tell numbers of variance 1 that correlate as asked.
    """
    source = torch.Generator().manual_seed(seed)
    scale = torch.logspace(0, -1, d, dtype=torch.float64)
    w, a = torch.randn(2, d, generator=source, dtype=torch.float64)
    a = a / (scale * a).norm()
    w = w - ((scale * w) @ (scale * a)) * a
    w = correlation * a + math.sqrt(1 - correlation**2) * w / (scale * w).norm()
    return torch.randn(n, d, generator=source, dtype=torch.float64) * scale, w, a


def leak(vector: Tensor, w: Tensor, a: Tensor) -> float:
    """How far the kept number moves per unit of the feature's."""
    return float((a @ vector) / (w @ vector))


def marked(latents: Tensor, w: Tensor, a: Tensor, share: float = 0.1) -> tuple[Tensor, Tensor]:
    """(n,) bool: shows the feature, shows the kept one."""
    told, kept = latents @ w, latents @ a
    return told >= torch.quantile(told, 1 - share), kept >= torch.quantile(kept, 0.6)


def split(latents: Tensor, shows: Tensor, codes: np.ndarray) -> Tensor:
    return stratified_vector(latents[shows], latents[~shows], codes[shows.numpy()], codes[~shows.numpy()])


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 3), st.integers(30, 120))
def test_strata_are_a_regression_with_a_constant_for_each(seed: int, k: int, n: int) -> None:
    source = np.random.default_rng(seed)
    latents = torch.from_numpy(source.standard_normal((n, 5)))
    labels, kept = source.random(n) < 0.4, source.random((n, k)) < 0.5
    labels[:2] = True, False
    kept[:2] = False  # one stratum has both sides
    codes = stratum_codes(kept)
    design = np.column_stack([labels, codes[:, None] == np.unique(codes)])
    slope = np.linalg.lstsq(design.astype(float), latents.numpy(), rcond=None)[0][0]
    found = split(latents, torch.from_numpy(labels), codes)
    assert found.numpy() == pytest.approx(slope, abs=1e-9)
    assert residualised_vector(latents, labels, codes[:, None] == np.unique(codes)).numpy() == pytest.approx(slope)


def test_one_stratum_is_the_papers_vector() -> None:
    positives, negatives = torch.randn(7, 3), torch.randn(9, 3)
    found = stratified_vector(positives, negatives, np.zeros(7, dtype=int), np.zeros(9, dtype=int))
    assert torch.allclose(found, paper.target_vector(positives, negatives), atol=1e-6) and found.dtype == torch.float32


def test_strata_with_one_side_say_nothing() -> None:
    positives, negatives = torch.randn(5, 3), torch.randn(5, 3)
    found = stratified_vector(positives, negatives, np.array([0, 0, 1, 1, 1]), np.array([0, 0, 0, 2, 2]))
    assert torch.allclose(found, paper.target_vector(positives[:2], negatives[:3]), atol=1e-6)
    with pytest.raises(TooFewMarks, match="none of the 2 strata.*5 show it, 5 do not"):
        stratified_vector(positives, negatives, np.ones(5, dtype=int), np.zeros(5, dtype=int))
    with pytest.raises(ShapeError, match="5 latents were given with strata"):
        stratified_vector(positives, negatives, np.ones(4, dtype=int), np.zeros(5, dtype=int))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 4))
def test_residualised_is_the_multiple_regression(seed: int, k: int) -> None:
    """Frisch, Waugh and Lovell: the coefficient of the scores where latents are regressed on them and the kept ones."""
    source = np.random.default_rng(seed)
    latents, scores, kept = source.standard_normal((40, 6)), source.random(40), 3 + source.random((40, k))
    design = np.column_stack([scores, kept, np.ones(40)])
    wanted = np.linalg.lstsq(design, latents, rcond=None)[0][0]
    assert residualised_vector(torch.from_numpy(latents), scores, kept).numpy() == pytest.approx(wanted, abs=1e-8)


def test_residualised_errors() -> None:
    latents, scores = torch.randn(20, 3), np.random.default_rng(0).random(20)
    with pytest.raises(BadOption, match="follow from those of the 2 kept ones"):
        residualised_vector(latents, scores, np.column_stack([scores * 3 + 1, scores**2]))
    with pytest.raises(ShapeError, match="20 latents were given with 19 scores"):
        residualised_vector(latents, scores[1:], scores[1:])


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 5), st.integers(6, 30))
def test_orthogonalised_is_the_formula_and_done_twice_the_same(seed: int, k: int, d: int) -> None:
    source = torch.Generator().manual_seed(seed)
    w, kept = (torch.randn(*shape, generator=source, dtype=torch.float64) for shape in ((d,), (k, d)))
    found = orthogonalised(w, kept)
    formula = w - kept.T @ torch.linalg.solve(kept @ kept.T, kept @ w)
    assert torch.allclose(found, formula, atol=1e-7)
    assert float((kept @ found).abs().max()) < 1e-8
    assert torch.allclose(orthogonalised(found, kept), found, atol=1e-9)
    assert torch.allclose(orthogonalised(w, kept * 1e6), found, atol=1e-9)


def test_nearly_parallel_and_empty_kept_vectors() -> None:
    """The formula itself would divide by 1e-18 here."""
    w, a = torch.tensor([1.0, 1.0, 0.0]), torch.tensor([1.0, 0.0, 0.0])
    kept = torch.stack([a, a * (1 + 1e-9) + torch.tensor([0.0, 1e-9, 0.0]), torch.zeros(3), 5 * a])
    assert torch.allclose(orthogonalised(w, kept), torch.tensor([0.0, 1.0, 0.0]), atol=1e-6)
    assert torch.equal(orthogonalised(w, torch.zeros(2, 3)), w) and torch.equal(orthogonalised(w, torch.zeros(0, 3)), w)
    with pytest.raises(BadOption, match="nothing is left of the direction beside those of the 2 kept"):
        orthogonalised(w, torch.stack([w + a, w - a]))
    with pytest.raises(ShapeError):
        orthogonalised(w, torch.zeros(2, 4))


def test_readouts_by_hand() -> None:
    latents = torch.randn(50, 4, dtype=torch.float64)
    weights = torch.randn(2, 4, dtype=torch.float64)
    assert torch.allclose(readouts(latents, (latents @ weights.T + 7).numpy()), weights, atol=1e-9)


def test_strata_halve_the_leak_and_readouts_end_it() -> None:
    latents, w, a = world(0, 20_000)
    shows, kept = marked(latents, w, a)
    beside = kept[:, None].double().numpy()
    told = (latents @ readouts(latents, beside).T).numpy()
    alone = paper.target_vector(latents[shows], latents[~shows])
    found = {
        "alone": alone,
        "strata": split(latents, shows, stratum_codes(kept[:, None].numpy())),
        "residualised": residualised_vector(latents, shows.double().numpy(), told),
        "orthogonal": orthogonalised(alone, readouts(latents, beside)),
    }
    leaks = {name: leak(vector, w, a) for name, vector in found.items()}
    assert leaks["alone"] == pytest.approx(0.8, abs=0.03) and leaks["strata"] == pytest.approx(0.5, abs=0.04)
    assert abs(leaks["residualised"]) < 0.03 and abs(leaks["orthogonal"]) < 0.05
    scale = torch.logspace(0, -1, 12, dtype=torch.float64)
    causal = paper.unit(scale**2 * (w - 0.8 * a))
    cosines = {name: float(paper.unit(vector) @ causal) for name, vector in found.items()}
    assert cosines["residualised"] > 0.99 and cosines["alone"] < cosines["strata"] < cosines["residualised"]


def test_finding_with_one_vector_and_moving_along_another() -> None:
    latents, w, a = world(1, 4000)
    along = orthogonalised(w, a[None])
    moved = translate_along(latents, 3 * w, 0.4, 0.25, along)
    length, flagged = paper.project(latents, w), paper.similarity(latents, w, 0.4)
    assert torch.equal(moved[~flagged], latents[~flagged])
    assert torch.allclose(paper.project(moved[flagged], w), torch.tensor(0.15, dtype=torch.float64))
    assert torch.allclose(moved @ a, latents @ a, atol=1e-9)
    same = translate_along(latents, w, 0.4, 0.25, w)
    assert torch.allclose(same, paper.translate(latents, paper.unit(w), 0.4, 0.25))
    assert float(length[flagged].min()) >= 0.4
    with pytest.raises(BadOption, match="changes what the detector tells"):
        translate_along(latents, a, 0.4, 0.0, orthogonalised(w, a[None]))


def flags(shows: tuple[int, int], without: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """(how many of the positives have it, positives), the same of the negatives -> marks, kept (n, 1)."""
    labels = np.arange(shows[1] + without[1]) < shows[1]
    kept = np.concatenate([np.arange(shows[1]) < shows[0], np.arange(without[1]) < without[0]])
    return labels, kept[:, None]


def test_confounding_by_hand() -> None:
    (told,) = confounding(*flags((95, 100), (20, 100)), ["Male"])
    assert (told.among_positives.value, told.among_negatives.value, told.difference.value) == (0.95, 0.2, 0.75)
    assert told.serious and told.p < 1e-20
    assert told.sentence == (
        "95 % of your positives are also Male, 20 % of the others: marks alone cannot tell the two apart. "
        "Keep Male, and mark more that show the feature without Male."
    )
    (rare,) = confounding(*flags((2, 100), (80, 100)), ["No_Beard"])
    assert rare.serious and rare.sentence.endswith("show the feature with No_Beard.")
    (even,) = confounding(*flags((45, 100), (40, 100)), ["Male"])
    assert not even.serious and even.sentence.endswith("40 % of the others: too little to mix the two up.")


def test_fishers_p_is_the_hypergeometric_sum() -> None:
    (told,) = confounding(*flags((7, 9), (2, 8)), ["a"])
    ways = [math.comb(9, x) * math.comb(8, 9 - x) for x in range(1, 10)]
    assert told.p == pytest.approx(sum(w for w in ways if w <= ways[6]) / math.comb(17, 9))


def test_newcombes_own_example() -> None:
    """56/70 against 48/80: 0.2 (0.0524 to 0.3339), Newcombe 1998, table II, method 10."""
    low, high = newcombe(Score.share("a", 56, 70), Score.share("b", 48, 80))
    assert (low, high) == (pytest.approx(0.0524, abs=5e-5), pytest.approx(0.3339, abs=5e-5))


def test_several_features_by_holm() -> None:
    """p times 3, 2, 1 in order of size, never falling; the names keep their order."""
    labels = np.arange(80) < 40
    kept = np.column_stack([flags((h, 40), (10, 40))[1][:, 0] for h in (18, 12, 24)])
    told = confounding(labels, kept, ["b", "c", "a"])
    alone = [confounding(labels, kept[:, [i]], ["x"])[0].p for i in range(3)]
    assert [t.name for t in told] == ["b", "c", "a"]
    assert told[2].p == pytest.approx(3 * alone[2]) and told[0].p == pytest.approx(2 * alone[0])
    assert told[1].p == pytest.approx(min(1, max(alone[1], 2 * alone[0])))


def test_harmless_worlds_seldom_cry_wolf() -> None:
    """Marks of 100 a side and a kept feature that has nothing to do with them: at most 1 % are called confounded."""
    source = np.random.default_rng(0)
    labels = np.arange(200) < 100
    assert sum(confounding(labels, source.random((200, 1)) < 0.4, ["a"])[0].serious for _ in range(300)) <= 3


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 30), st.integers(0, 30), st.integers(0, 4), st.integers(0, 10**6))
def test_any_marks_are_told(shows: int, without: int, k: int, seed: int) -> None:
    labels, kept = np.arange(shows + without) < shows, np.random.default_rng(seed).random((shows + without, k)) < 0.5
    for one in confounding(labels, kept, [str(i) for i in range(k)]):
        assert 0 <= one.p <= 1 and one.sentence.endswith(".")
        assert -1 <= one.difference.low <= one.difference.value <= one.difference.high <= 1
        if one.serious:
            assert min(shows, without) > 0 and one.difference.low * one.difference.high > 0


def test_wrong_shapes() -> None:
    with pytest.raises(ShapeError, match=r"\(5, 2\)"):
        confounding(np.ones(5, dtype=bool), np.ones((5, 1), dtype=bool), ["a", "b"])


def test_the_marks_leak_is_the_difference_times_the_kept_features_own() -> None:
    """z_e = strata + difference x kept: the formula of omitted variables, exact for two strata."""
    latents, w, a = world(2, 600)
    shows, kept = marked(latents, w, a, 0.3)
    both = np.column_stack([shows.numpy(), kept.numpy(), np.ones(600)]).astype(float)
    inside, own = np.linalg.lstsq(both, latents.numpy(), rcond=None)[0][:2]
    (told,) = confounding(shows.numpy(), kept[:, None].numpy(), ["kept"])
    alone = paper.target_vector(latents[shows], latents[~shows]).numpy()
    assert alone == pytest.approx(inside + told.difference.value * own, abs=1e-9)


KEEPING = FindOptions(keep=("kept=marks.csv",), samples=2000)


class Unseen(TinyGenerator):
    """Nobody needs its pictures."""

    def synthesize(self, latents: Tensor) -> Tensor:
        raise AssertionError("pictures were made")


def along(vector: Tensor, generator: Generator, judge: Judge) -> Tensor:
    found = away_from_kept(vector, generator, KEEPING, Helpers(lambda name: None, lambda name: judge), 0, unheard)
    assert found is not None
    return found


def test_marks_of_what_is_kept_tell_its_direction_where_their_pictures_do_not() -> None:
    """Strata of the same marks leave a leak of 0.3; no picture is made but the marked ones. The warning fires too."""
    latents, w, a = world(3, 1000)
    shows, kept = marked(latents, w, a)
    blank = torch.zeros(1000, 1, 2, 2)
    judge = by_marks(latents.float(), blank, kept.numpy(), seed=0, extractor=None, name="kept")
    assert judge.latents is not None and judge.latents.auc > 0.97 and judge.probe.auc == pytest.approx(0.5, abs=0.06)
    alone = paper.target_vector(latents[shows], latents[~shows]).float()
    found = along(alone, Unseen(), judge).double()
    assert leak(alone.double(), w, a) == pytest.approx(0.8, abs=0.1)
    assert abs(leak(found, w, a)) < 0.1 < leak(split(latents, shows, stratum_codes(kept[:, None].numpy())), w, a)
    told = shows_kept(judge, "kept", latents.float(), blank)
    assert told.shape == (1000, 1) and float((told[:, 0] == kept.numpy()).mean()) > 0.9
    assert confounding(shows.numpy(), told, ["kept"])[0].serious


def test_an_opinion_of_pictures_that_tell_more_is_taken() -> None:
    """Of pictures whose brightness is what is kept, exactly; few marks of latents tell less."""
    generator = TinyGenerator()
    latents = generator.sample_latents(np.arange(40))
    images = generator.synthesize(latents)
    kept = images.mean(dim=(1, 2, 3)) > images.mean()
    noise = torch.randn(40, 30, generator=torch.Generator().manual_seed(0))
    judge = by_marks(noise, images, kept.numpy(), seed=0, extractor=None, name="kept")
    assert judge.latents is None and judge.probe.auc > 0.9
    told = kept_told(KEEPING, Helpers(lambda name: None, lambda name: judge))
    assert told == {"keep": [f"kept (by the pictures of its marks, held-out AUC {judge.probe.auc:.3f})"]}
    assert kept_told(FindOptions(), ALONE) == {}
    assert np.array_equal(shows_kept(judge, "kept", latents, images)[:, 0], judge.probe.score(None, images) >= 0.5)
    assert along(torch.eye(latents.shape[1])[1], generator, judge).shape == latents.shape[1:]


@pytest.mark.skipif("UNFEATURE_ASSETS" not in os.environ, reason="UNFEATURE_ASSETS is unset")
@pytest.mark.parametrize(
    ("removed", "kept", "correlation", "offset"),
    [("Goatee", "Male", 0.8, 0.0), ("Gray_Hair", "Young", -0.8, 0.0), ("Wearing_Lipstick", "Heavy_Makeup", 0.8, -1.5)],
)
def test_marks_of_both_take_one_label_and_leave_the_other(
    removed: str, kept: str, correlation: float, offset: float
) -> None:
    """From 500 marks a side and 1,000 of what is kept: at most 0.005 left in both strata, the kept within 0.02."""
    generator = load_generator(CVAE, arguments={"correlated": {f"{kept}+{removed}": correlation}})
    names: list[str] = list(generator.module.attributes)  # type: ignore[arg-type]
    columns = [names.index(removed), names.index(kept)]
    latents, fresh = (generator.sample_latents(stream(purpose, 0, 0, 20_000)) for purpose in ("gallery", "test"))
    labels, before = (generator.module.truth(z)[:, columns] for z in (latents, fresh))  # type: ignore[operator]
    alone = paper.unit(paper.target_vector(latents[labels[:, 0]][:500], latents[~labels[:, 0]][:500]))
    chosen = torch.cat([torch.nonzero(labels[:, 1] == side).flatten()[:1000] for side in (True, False)])
    own = labels[chosen, 1].numpy()
    judge = by_marks(latents[chosen], torch.zeros(2000, 1, 2, 2), own, seed=0, extractor=None, name=kept)
    threshold = float(paper.pooled_threshold(latents, alone)) + offset
    erased = translate_along(fresh, alone, threshold, 0.0, along(alone, generator, judge))
    after = generator.module.truth(erased)[:, columns]  # type: ignore[operator]
    for inside in (before[:, 1], ~before[:, 1]):
        assert float(after[inside, 0].float().mean()) <= 0.005
    assert abs(float(after[:, 1].float().mean() - before[:, 1].float().mean())) <= 0.02


@pytest.mark.skipif("UNFEATURE_ASSETS" not in os.environ, reason="UNFEATURE_ASSETS is unset")
def test_correlated_faces_lose_the_goatee_and_keep_their_sex() -> None:
    """Of 500 marks a side, by what the pictures are told to show: Goatee <= 0.005, Male within 0.02, in both strata."""
    generator = load_generator(CVAE, arguments={"correlated": {"Male+Goatee": 0.8}})
    names: list[str] = list(generator.module.attributes)  # type: ignore[arg-type]
    male, goatee = names.index("Male"), names.index("Goatee")

    def drawn_truth(purpose: str, n: int) -> tuple[Tensor, Tensor]:
        latents = generator.sample_latents(stream(purpose, 0, 0, n))
        return latents, generator.module.truth(latents)  # type: ignore[operator]

    latents, truth = drawn_truth("gallery", 12_000)
    assert float(generator.module.mixing[goatee] @ generator.module.mixing[male]) == pytest.approx(0.8)  # type: ignore
    shows, without = latents[truth[:, goatee]][:500], latents[~truth[:, goatee]][:500]
    alone = paper.target_vector(shows, without)
    along = orthogonalised(alone, readouts(latents, truth[:, [male]].double().numpy()))
    fresh, before = drawn_truth("test", 20_000)
    threshold = float(torch.quantile(paper.project(fresh, alone), 0.6))
    after = generator.module.truth(translate_along(fresh, alone, threshold, 0.2, along))  # type: ignore[operator]
    for inside in (before[:, male], ~before[:, male]):
        assert float(after[inside][:, goatee].float().mean()) <= 0.005
    assert abs(float(after[:, male].float().mean() - before[:, male].float().mean())) <= 0.005
    with pytest.raises(BadFile, match="positive-definite"):
        load_generator(CVAE, arguments={"correlated": {"Male+Goatee": 0.99}})
