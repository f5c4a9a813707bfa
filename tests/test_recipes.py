"""The recipes' data without a feature: for the model that never saw it."""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from unfeature.metrics.judges import load_measurement

RECIPES = Path(__file__).parents[1] / "recipes"


@pytest.fixture
def recipe(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module that recipes share."""
    monkeypatch.syspath_prepend(str(RECIPES))
    import training

    return training


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Forty upright strokes, 1 to 10 px wide, in MNIST's format."""
    images = np.zeros((40, 28, 28), np.uint8)
    for i, image in enumerate(images):
        image[4:24, 10 : 11 + i // 4] = 255
    labels = np.arange(40, dtype=np.uint8) % 10
    path = tmp_path / "mnist.npz"
    np.savez(path, x_train=images, y_train=labels, x_test=images[:4], y_test=labels[:4])
    return path


def test_no_training_image_shows_what_is_left_out(recipe: Any, data: Path) -> None:
    whole = recipe.load_mnist(data)
    free = whole.without("thickness:4")
    shows = load_measurement("thickness").measure(whole.train_images) >= 4
    assert 0 < len(free.train_images) < 40
    assert torch.equal(free.train_images, whole.train_images[~shows])
    assert torch.equal(free.train_labels, whole.train_labels[~shows])
    assert torch.equal(free.test_images, whole.test_images)
    assert f"{len(free.train_images)} of the 60,000 training images, those with thickness under 4 px" in free.trained_on
    assert f"the 60,000 training images; mnist.npz sha256 {whole.sha256}" in whole.trained_on
    assert free.trained_on != whole.trained_on
    other = whole.exchanged()
    assert torch.equal(other.train_images, whole.test_images) and torch.equal(other.test_labels, whole.train_labels)
    assert "the 10,000 test images; " in other.trained_on
    assert whole.without("") is whole


@pytest.mark.parametrize("feature", ["thickness", "thickness:thin", "width:3", "thickness:0"])
def test_what_cannot_be_left_out_is_told(recipe: Any, data: Path, feature: str) -> None:
    with pytest.raises(SystemExit, match="expected"):
        recipe.load_mnist(data).without(feature)


def test_the_shipped_model_is_never_written_over(recipe: Any, data: Path) -> None:
    options = argparse.Namespace(without="thickness:4", zoo=recipe.ZOO, data=data)
    with pytest.raises(SystemExit, match="holds the shipped one"):
        recipe.generator_data(options)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["vae", "gan", "stylegan2"])
def test_every_generator_can_be_trained_without(name: str, data: Path, tmp_path: Path) -> None:
    arguments = ["--data", data, "--zoo", tmp_path, "--state", tmp_path / "state.pt", "--without", "thickness:6"]
    script = RECIPES / f"mnist_{name}.py"
    command = [sys.executable, script, *arguments, "--steps", "2", "--batch", "4"]
    subprocess.run(command, check=True, timeout=300)
    card = (tmp_path / f"mnist-{name}.json").read_text()
    assert (tmp_path / f"mnist-{name}.safetensors").exists()
    assert "--without thickness:6" in card and "those with thickness under 6 px" in card
