"""Judges: a measurement with a cut, and the user's own function."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from unfeature.artifacts import Feedback
from unfeature.errors import BadFile, BadOption, ShapeError, UnknownName
from unfeature.judging import load_guide, load_judge, swapped
from unfeature.metrics.judges import CallableJudge, CutJudge, calibrate, load_measurement
from unfeature.protocols import AttributeJudge, Judge
from unfeature.testing import TinyGenerator

IMAGES = torch.linspace(0, 1, 101)[:, None, None, None].expand(-1, 1, 2, 2)


class Brightness:
    name: str = "brightness"
    unit: str = "of white"

    def measure(self, images: Tensor) -> Tensor:
        return images.double().mean(dim=(1, 2, 3))


def test_a_cut_judge_finds_the_feature_from_the_cut_on() -> None:
    judge = CutJudge(Brightness(), 0.5)
    assert isinstance(judge, Judge)
    assert judge.score(torch.tensor([0.4, 0.5, 0.6])[:, None, None, None]).tolist() == [0.0, 1.0, 1.0]
    assert judge.about == {"name": "brightness", "kind": "measurement", "unit": "of white", "cut": 0.5}
    assert judge.measurement.name == "brightness"
    assert judge.cut == 0.5


@pytest.mark.parametrize("share", [0.05, 0.10, 0.5])
def test_calibration_finds_the_feature_in_the_wanted_share_of_the_original(share: float) -> None:
    judge = calibrate(Brightness(), IMAGES, share)
    assert judge.cut == pytest.approx(1 - share)
    assert float(judge.score(IMAGES).mean()) == pytest.approx(share, abs=0.01)


def test_calibration_needs_a_share_images_and_a_difference_between_them() -> None:
    with pytest.raises(BadOption, match="share is 10; expected a number between 0 and 1"):
        calibrate(Brightness(), IMAGES, 10)
    with pytest.raises(ShapeError, match="calibration got 0 images"):
        calibrate(Brightness(), IMAGES[:0])
    with pytest.raises(BadOption, match="brightness does not tell these 5 images apart"):
        calibrate(Brightness(), IMAGES[:1].repeat(5, 1, 1, 1))


def test_a_cut_must_be_finite() -> None:
    with pytest.raises(BadOption, match="the cut of brightness is nan"):
        CutJudge(Brightness(), float("nan"))


OWN = """
from unfeature.metrics.judges import CutJudge

class Measured:
    name, unit = "brightness", "of white"

    def __init__(self, values):
        self.measure = values

def fails(images):
    raise RuntimeError("no eyes")

bright = CutJudge(Measured(lambda images: images.double().mean(dim=(1, 2, 3))), 0.5)
listed = CutJudge(Measured(lambda images: images.mean(dim=(1, 2, 3)).tolist()), 0.5)
blind = CutJudge(Measured(fails), 0.5)
flat = CutJudge(Measured(lambda images: images.mean()), 0.5)
named = CutJudge(Measured(lambda images: "bright"), 0.5)
"""


def test_a_cut_judge_of_the_users_own_is_checked_at_every_call(tmp_path: Path) -> None:
    path = tmp_path / "own.py"
    path.write_text(OWN)

    def scores(name: str) -> list[float]:
        return load_judge(f"{path}:{name}", TinyGenerator(), 0, 0.1).score(IMAGES[:101:50]).tolist()

    assert scores("bright") == scores("listed") == [0.0, 1.0, 1.0]
    with pytest.raises(BadFile, match=r'own.py:blind" failed on 3 images of 1x2x2: RuntimeError: no eyes'):
        scores("blind")
    with pytest.raises(ShapeError, match=r"values of shape \(\) for 3 images; expected \(3,\)"):
        scores("flat")
    with pytest.raises(ShapeError, match=r'own.py:named" returned str; expected a tensor'):
        scores("named")


def test_an_unknown_measurement_is_named_with_its_neighbour() -> None:
    with pytest.raises(UnknownName, match=r'unknown measurement "slent"; .*Did you mean "slant"'):
        load_measurement("slent")


@pytest.mark.parametrize(
    "function",
    [
        lambda images: images.mean(dim=(1, 2, 3)),
        lambda images: images.mean(dim=(1, 2, 3)).numpy(),
        lambda images: [float(image.mean()) for image in images],
        lambda images: images.mean(dim=(1, 2, 3)) > 0.5,
    ],
    ids=["tensor", "array", "list", "bool"],
)
def test_a_callable_judge_takes_scores_in_any_form(function: Any) -> None:
    judge = CallableJudge("bright", function, {"true_positive_rate": 0.9})
    assert isinstance(judge, Judge)
    scores = judge.score(IMAGES)
    assert scores.shape == (101,)
    assert scores.is_floating_point()
    assert scores[[0, -1]].tolist() == [0.0, 1.0]
    assert judge.about == {"name": "bright", "kind": "callable", "true_positive_rate": 0.9}


@pytest.mark.parametrize(
    ("function", "error", "says"),
    [
        (lambda images: images.mean(dim=(2, 3)), ShapeError, r"shape \(101, 1\) for 101 images; expected \(101,\)"),
        (lambda images: 0.5, ShapeError, r"shape \(\) for 101 images"),
        (lambda images: None, ShapeError, "returned NoneType; expected a tensor"),
        (lambda images: np.array(["yes"] * len(images)), ShapeError, "returned ndarray; expected a tensor"),
        (
            lambda images: 7 * images.mean(dim=(1, 2, 3)),
            BadOption,
            r"returned 1\.05 for image 15; expected .* \[0, 1\]",
        ),
        (lambda images: torch.full((len(images),), float("nan")), BadOption, "returned nan for image 0"),
        (lambda images: torch.full((len(images),), -0.1), BadOption, r"returned -0\.1 for image 0"),
    ],
)
def test_what_a_callable_judge_must_not_return(function: Any, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=f'judge "mine" .*{says}'):
        CallableJudge("mine", function).score(IMAGES)


def test_a_callable_judge_keeps_gradients_for_those_who_search_with_them() -> None:
    images = IMAGES.clone().requires_grad_()
    score = CallableJudge("bright", lambda x: x.mean(dim=(1, 2, 3))).score(images)
    assert torch.autograd.grad(score.sum(), images)[0].shape == images.shape


def test_a_guide_is_checked_as_a_judge_is_and_keeps_its_gradient(tmp_path: Path) -> None:
    (tmp_path / "g.py").write_text(
        "class Two:\n    about, attributes = {'name': 'two', 'attribute': 'a'}, ('a', 'b')\n"
        "    def score(self, x):\n        return x.mean(dim=(1, 2, 3))\n"
        "    def attribute_scores(self, x):\n        return x.flatten(1)[:, :3]\n"
        "two = Two()\n"
    )
    reference, images = f"{tmp_path}/g.py:two", IMAGES.clone().requires_grad_()
    guide = load_guide(reference)
    assert isinstance(guide, AttributeJudge) and (guide.about["name"], guide.attributes) == ("two", ("a", "b"))
    assert torch.autograd.grad(guide.score(images).sum(), images)[0].shape == images.shape
    with pytest.raises(ShapeError, match=rf'guide "{reference}" returned scores of shape \(101, 3\)'):
        guide.attribute_scores(images)


def test_wrong_marks_are_swapped_in_equal_numbers_and_the_same_for_a_seed() -> None:
    marks = Feedback("thick", "g@1", tuple(range(0, 40)), tuple(range(100, 200)), source="simulated by thickness")
    wrong = swapped(marks, 0.25, seed=3)
    assert wrong == swapped(marks, 0.25, seed=3) != swapped(marks, 0.25, seed=4)
    assert len(set(wrong.positives) - set(marks.positives)) == len(set(wrong.negatives) - set(marks.negatives)) == 10
    assert (len(wrong.positives), len(wrong.negatives)) == (40, 100)
    assert set(wrong.positives) | set(wrong.negatives) == set(marks.positives) | set(marks.negatives)
    assert list(wrong.positives) == sorted(wrong.positives), "the gallery's order"
    assert wrong.source == "simulated by thickness, 10 of each side wrong"
    assert swapped(marks, 0.0, seed=3) is marks
