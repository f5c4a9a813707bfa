"""The public generators and judges that the benchmarks run against."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from unfeature.drawing import drawn
from unfeature.generators.labelled import Labelled
from unfeature.generators.loading import load_generator
from unfeature.judging import load_judge
from unfeature.metrics.squeezenet import load_squeezenet
from unfeature.seeds import stream
from unfeature.testing import check_generator, check_judge

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
ADAPTERS = sorted((BENCHMARKS / "generators").glob("*.py"))
SHAPES = {
    "face_cvae40": (104, (3, 64, 64)),
    "face_gan36": (256, (3, 36, 36)),
    "face_vae64": (32, (3, 64, 64)),
    "mnist_dcgan64": (100, (1, 64, 64)),
    "mnist_vae20": (20, (1, 28, 28)),
}

assets = pytest.mark.skipif("UNFEATURE_ASSETS" not in os.environ, reason="UNFEATURE_ASSETS is unset")


def pictures(name: str, n: int) -> torch.Tensor:
    return drawn(load_generator(f"{BENCHMARKS / 'generators' / name}.py:load"), stream("test", 0, 0, n))[1]


def test_adapters_are_short_and_all_there() -> None:
    assert [path.stem for path in ADAPTERS] == list(SHAPES)
    assert all(len(path.read_text(encoding="utf-8").splitlines()) <= 30 for path in ADAPTERS)


@assets
@pytest.mark.parametrize("name", SHAPES)
def test_adapters_conform(name: str) -> None:
    generator = load_generator(f"{BENCHMARKS / 'generators' / name}.py:load")
    assert (generator.spec.latent_dim, generator.spec.image_shape) == SHAPES[name]
    check_generator(generator)


@assets
def test_judges_of_faces_conform_and_tell_40_attributes() -> None:
    images = pictures("face_vae64", 12)
    found = {}
    for letter in "ab":
        judge = load_judge(f"{BENCHMARKS / 'judges' / 'celeba.py'}:{letter}_Male", None, 0, 0.1)  # type: ignore[arg-type]
        check_judge(judge, images)
        assert judge.about["attribute"] == "Male" and judge.about["held-out AUC"] > 0.96
        assert judge.attribute_scores(images).shape == (12, 40)  # type: ignore[attr-defined]
        found[letter] = judge.score(pictures("face_vae64", 200)) >= 0.5
    assert float((found["a"] == found["b"]).float().mean()) > 0.8  # two networks that never saw each other's pictures


@assets
@pytest.mark.slow
def test_known_truth_is_what_the_judges_see() -> None:
    generator = load_generator(f"{BENCHMARKS / 'generators' / 'face_cvae40.py'}:load")
    latents, images = drawn(generator, stream("test", 0, 0, 400))
    truth = generator.module.truth(latents)  # type: ignore[operator]
    names = list(generator.module.attributes)  # type: ignore[arg-type]
    assert truth.shape == (400, 40) and truth.dtype == torch.bool
    told = {}
    for name in ("Male", "Smiling"):
        judge = load_judge(f"{BENCHMARKS / 'judges' / 'celeba.py'}:b_{name}", generator, 0, 0.1)
        scores, has = judge.score(images), truth[:, names.index(name)]
        told[name] = float(scores[has].mean() - scores[~has].mean())
    assert told["Male"] > 0.5 and told["Smiling"] > 0.2, told  # blurry pictures, and a judge that errs
    share = truth.float().mean(dim=0)
    assert 0.3 < float(share[names.index("Male")]) < 0.55 and float(share[names.index("Eyeglasses")]) < 0.15
    beard = ~truth[:, names.index("No_Beard")]
    assert bool(truth[beard][:, names.index("Male")].float().mean() > 0.9)


@assets
def test_what_was_made_to_correlate_is_another_generator() -> None:
    reference = f"{BENCHMARKS / 'generators' / 'face_cvae40.py'}:load"
    given = ({}, {"correlated": {"Male+Goatee": 0.8}}, {"correlated": {"Male+Goatee": 0.5}})
    assert len({load_generator(reference, None, arguments).spec.id for arguments in given}) == 3


@assets
def test_one_label_is_told_and_every_other_stays() -> None:
    generator = load_generator(f"{BENCHMARKS / 'generators' / 'face_cvae40.py'}:load")
    labels = generator.module
    assert isinstance(labels, Labelled)
    latents = generator.sample_latents(stream("test", 0, 0, 300))
    place = labels.attributes.index("Goatee")
    others = [i for i in range(40) if i != place]
    for shows in (True, False):
        told = labels.telling(latents, "Goatee", shows)
        assert torch.equal(told[:, :64], latents[:, :64])
        assert bool((labels.truth(told)[:, place] == shows).all())
        assert torch.equal(labels.truth(told)[:, others], labels.truth(latents)[:, others])
        torch.testing.assert_close(labels.depth(told)[:, others], labels.depth(latents)[:, others], rtol=0, atol=1e-4)
    again = labels.telling(told, "Goatee", False)
    torch.testing.assert_close(again, told, rtol=0, atol=1e-5)


@assets
def test_perceptual_distance_of_squeezenet_orders_distortions() -> None:
    network, images = load_squeezenet(), pictures("face_vae64", 6)
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
    near, far = ((images + size * noise).clamp(0, 1) for size in (0.02, 0.2))
    assert float(network.distance(images, images).max()) == 0.0
    assert bool((network.distance(images, near) < network.distance(images, far)).all())
    torch.testing.assert_close(network.distance(images, far), network.distance(far, images))
    assert network.name == f"squeezenet10-{network.size}px" and len(network.hash) == 64


@assets
@pytest.mark.parametrize(("feature", "agreement"), [("teeth", 0.70), ("teeth_a", 0.78), ("orange", 0.90)])
def test_judges_of_the_face_gan_agree_with_marks_made_by_eye(feature: str, agreement: float) -> None:
    rows = (BENCHMARKS / "marks" / f"face_gan36-{feature.partition('_')[0]}.csv").read_text().splitlines()[1:]
    sure = {int(seed): mark == "1" for seed, mark in (row.split(",") for row in rows) if mark in ("0", "1")}
    assert len(sure) > 300
    generator = load_generator(f"{BENCHMARKS / 'generators' / 'face_gan36'}.py:load")
    judge = load_judge(f"{BENCHMARKS / 'judges' / 'gan36.py'}:{feature}", generator, 0, 0.1)
    shows = judge.score(drawn(generator, np.array(list(sure), dtype=np.int64))[1]) >= 0.5
    assert float((shows == torch.tensor(list(sure.values()))).float().mean()) > agreement
