"""One file of weights with other arguments is another generator: nothing made for the one is used for the other."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import Command

from unfeature import workflow
from unfeature.errors import MissingStep, WrongGenerator
from unfeature.generators.loading import load_generator
from unfeature.options import FindOptions, MarkOptions, SampleOptions, UnlearnOptions
from unfeature.store import Run
from unfeature.workflow.inputs import the_generator, the_unlearned

FEW, SOME, W = SampleOptions(count=120), MarkOptions(per_side=20), {"space": "w"}


def ready(folder: Path, arguments: dict[str, object] | None = None) -> Path:
    """A run of mnist-stylegan2 with marks and a feature."""
    workflow.sample(folder, "mnist-stylegan2", FEW, arguments=arguments)
    workflow.mark(folder, "thickness", "thickness", SOME)
    workflow.find(folder)
    return folder


def test_what_was_made_for_other_arguments_does_not_fit(tmp_path: Path, command: Command) -> None:
    plain, wide = ready(tmp_path / "z"), ready(tmp_path / "w", W)
    notes: list[str] = []
    ids = [the_generator(Run(folder))[0].spec.id for folder in (plain, wide)]
    assert ids[0] != ids[1] and ids[1].startswith(f"{ids[0]}+")
    with pytest.raises(WrongGenerator, match="feature in"):
        workflow.find(plain, FindOptions(also=(str(wide),)))
    with pytest.raises(WrongGenerator):
        workflow.mark(plain, "thickness", str(wide / "feedback.json"))
    workflow.sample(plain, "mnist-stylegan2", FEW, arguments=W, on_note=notes.append)
    assert "marks, feature and copy in it do not fit any more" in notes[-1]
    assert command("preview", plain).code == 2
    with pytest.raises((WrongGenerator, MissingStep)):
        workflow.unlearn(plain, UnlearnOptions(steps=1))


def test_arguments_that_a_generator_has_anyway_make_no_other_one() -> None:
    whole = load_generator("mnist-vae").spec
    assert load_generator("mnist-vae", None, {"latent_dim": 12, "hidden": 256}).spec == whole
    assert load_generator("mnist-vae", None, {"latent_dim": "12"}).spec == whole


def test_a_run_goes_on_after_one_with_arguments(tmp_path: Path) -> None:
    first, second = ready(tmp_path / "first", W), tmp_path / "second"
    workflow.unlearn(first, UnlearnOptions(steps=1))
    workflow.sample(second, options=FEW, after=first)
    after, about = the_generator(Run(second))
    made, _ = the_unlearned(Run(first), the_generator(Run(first))[0])
    assert after.spec.id == made.spec.id == about.after[0].result and "+" in made.spec.id
