"""What stands in for a feature, several features in one run, one run after another, and one of them brought back."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import Command

from unfeature import load_generator, workflow
from unfeature.artifacts import OTHER, Evaluation
from unfeature.errors import BadFile, BadOption, MissingStep, UntrustedCode, WrongGenerator
from unfeature.features.counterfactual import Counterfactual
from unfeature.features.linear import Linear, LinearFeature
from unfeature.features.several import GuidedSeveral, Several, joined
from unfeature.features.stand_ins import check_examples, stood_in
from unfeature.options import EvaluateOptions, FindOptions, MarkOptions, RunOptions, SampleOptions, UnlearnOptions
from unfeature.protocols import GuidedFeature
from unfeature.seeds import stream
from unfeature.testing import TinyGenerator, check_feature, tiny_marks
from unfeature.workflow.reverting import without_change

GENERATOR = TinyGenerator()
GALLERY, FEEDBACK = tiny_marks(GENERATOR)
OPTIONS = FindOptions(extractor="", samples=2000, search_steps=100)
LATENTS = GENERATOR.sample_latents(stream("test", 0, 0, 400))
FEATURE = Linear(FindOptions(threshold=0.5, margin=0.25)).find(GENERATOR, GALLERY, FEEDBACK)
FEW = UnlearnOptions(steps=2, check_every=1, batch=4)
JUDGE = """
def bright(images):
    return (images.mean(dim=(1, 2, 3)) > 0.14).float()
"""


def made(kind, feature=FEATURE, **more):
    return stood_in(feature, FindOptions(stand_in=kind, **more), GENERATOR, FEEDBACK, 0)


@pytest.fixture(scope="module")
def counterfactual():
    return Counterfactual(OPTIONS).find(GENERATOR, *tiny_marks(GENERATOR, 1500))


@pytest.mark.parametrize("kind", ["nearest", "example"])
def test_stand_ins_are_features(kind, counterfactual):
    check_feature(made(kind), GENERATOR)
    guided = made(kind, counterfactual)
    check_feature(guided, GENERATOR)
    assert isinstance(guided, GuidedFeature) and not isinstance(made(kind), GuidedFeature)
    assert len(guided.told()) == len(counterfactual.told()) + 1


def test_the_boundary_is_the_feature_itself():
    assert made("boundary") is FEATURE


def test_the_nearest_is_the_nearest_of_all_without_it_and_past_the_margin():
    feature = made("nearest")
    flagged = LATENTS[feature.contains(LATENTS)][:20]
    erased = feature.erase(flagged)
    bank = GENERATOR.sample_latents(stream("stand-in", 0, 0, 2048))
    free = bank[bank @ FEATURE.vector < FEATURE.threshold - FEATURE.margin]
    for start, found in zip(flagged, erased, strict=True):
        distance = ((free - start) / bank.std(dim=0)).square().sum(dim=1)
        assert torch.equal(free[distance.argmin()], found)


def test_towards_an_example_goes_along_the_line_to_the_margin_and_no_further():
    chosen = FEEDBACK.negatives[3]
    feature = made("example", example=(chosen,))
    aim = GENERATOR.sample_latents(np.array([chosen]))
    flagged = LATENTS[feature.contains(LATENTS)]
    moved, line = feature.erase(flagged) - flagged, aim - flagged
    cosine = torch.nn.functional.cosine_similarity(moved, line)
    assert torch.allclose(cosine, torch.ones(()), atol=1e-4)
    # The line is left where its projection is t - m: analytic for a direction, and met to a thousandth of the line.
    along = line @ FEATURE.vector
    wanted = (FEATURE.threshold - FEATURE.margin - flagged @ FEATURE.vector) / along
    gone = moved.norm(dim=1) / line.norm(dim=1)
    assert bool((gone >= wanted - 1e-5).all()) and bool((gone - wanted <= 2**-10 + 1e-5).all())


def test_an_example_must_be_marked_and_without_the_feature():
    with pytest.raises(BadOption, match="expected --stand-in example"):
        check_examples(FindOptions(example=(1,)), FEEDBACK)
    positive = FEEDBACK.positives[0]
    with pytest.raises(BadOption, match=f"example {positive} is not marked as being without large"):
        check_examples(FindOptions(stand_in="example", example=(positive,)), FEEDBACK)
    low = replace(FEATURE, threshold=-9.0)
    with pytest.raises(BadOption, match="all 2048 fresh latents contain the feature"):
        made("nearest", low)
    with pytest.raises(BadOption, match=f"example {FEEDBACK.negatives[0]} shows large"):
        made("example", low, example=(FEEDBACK.negatives[0],))


def test_another_threshold_leaves_out_stand_ins_that_show_the_feature_then():
    lower = made("nearest").adjusted(0.0, 0.5)
    assert not bool(lower.inner.contains(lower.erase(LATENTS)).any())
    assert (lower.threshold, lower.margin) == (0.0, 0.5)
    assert bool((lower.aims @ FEATURE.vector < -0.5).all())


def half_space(vector, threshold=0.5, margin=0.1):
    direction = torch.nn.functional.normalize(torch.tensor(vector, dtype=torch.float32), dim=0)
    return LinearFeature("side", GENERATOR.spec.id, direction, threshold, margin)


def test_several_are_gone_together_where_erasing_one_brings_back_another():
    first, second = half_space([1.0, 0, 0, 0]), half_space([-0.8, 0.6, 0, 0])
    both = joined("both", [first, second])
    start = torch.tensor([[0.8, 2.4, 0.0, 0.0]])
    assert bool(first.contains(second.erase(first.erase(start))).any())  # once in turn is not enough
    assert not bool(both.contains(both.erase(start)).any())
    assert torch.equal(both.contains(LATENTS), first.contains(LATENTS) | second.contains(LATENTS))
    check_feature(both, GENERATOR)


def test_several_of_any_kind_are_one_feature(counterfactual):
    both = joined("both", [half_space([0, 1.0, 0, 0]), made("nearest", counterfactual)])
    check_feature(both, GENERATOR)
    images = GENERATOR.synthesize(LATENTS[:8])
    assert isinstance(both, GuidedSeveral)
    assert torch.equal(both.remaining(images), counterfactual.remaining(images))
    assert not isinstance(Several("one", (FEATURE,)), GuidedFeature)
    assert both.told()[0].startswith("side: threshold 0.500")


def test_what_an_earlier_change_did_is_subtracted_exactly():
    begun, ended = {"w": torch.tensor([1.0, 2.0])}, {"w": torch.tensor([1.5, 1.0])}
    after = {"w": torch.tensor([2.5, 1.0]), "count": torch.tensor(3)}
    found = without_change(after, begun | {"count": torch.tensor(1)}, ended | {"count": torch.tensor(2)})
    assert found["w"].tolist() == [2.0, 2.0] and int(found["count"]) == 3


@pytest.fixture(scope="module")
def sequence(finished_run: Path, tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """A second feature unlearned from what the finished run left, and one of the same original found beside it."""
    folder = tmp_path_factory.mktemp("sequence")
    (folder / "judge.py").write_text(JUDGE)
    judge = f"{folder / 'judge.py'}:bright"
    runs = {"after": folder / "after", "beside": folder / "beside"}
    workflow.sample(runs["after"], options=SampleOptions(count=200), after=finished_run)
    workflow.sample(runs["beside"], "mnist-vae", SampleOptions(count=200))
    for run in runs.values():
        workflow.mark(run, "bright", judge, MarkOptions(per_side=20))
    workflow.find(runs["after"])
    workflow.unlearn(runs["after"], FEW)
    workflow.find(runs["beside"], FindOptions(also=(str(finished_run),), stand_in="nearest"))
    workflow.unlearn(runs["beside"], FEW)
    return SimpleNamespace(first=finished_run, **runs)


def told_by(run: Path) -> Evaluation:
    return Evaluation.from_json(json.loads((run / "evaluation.json").read_text()))


def test_in_sequence_the_first_feature_is_measured_with_its_own_cut(sequence: SimpleNamespace) -> None:
    found = workflow.evaluate(sequence.after, EvaluateOptions(count=300))
    before = told_by(sequence.first)
    assert found.generator.id == before.result.id
    # Seeds, judge and cut are the first run's, so its result is this run's original, picture by picture.
    assert (
        found.row("original").scores[OTHER + "slanted strokes"].value
        == before.row("unlearned").scores["target_ratio"].value
    )
    assert found.options["others"]["slanted strokes"]["unlearned"] == "before"
    page, *_ = workflow.report(sequence.after)
    assert "Pictures that show slanted strokes" in page.read_text()


def test_together_each_part_has_its_own_judge(sequence: SimpleNamespace, command: Command) -> None:
    said = command("evaluate", sequence.beside, "--count", "300")
    assert said.code == 0, said.err
    found, alone = told_by(sequence.beside), told_by(sequence.first)
    scores = {row.name: row.scores[OTHER + "slanted strokes"] for row in found.rows}
    assert scores["original"].value == alone.row("original").scores["target_ratio"].value
    assert scores["teacher"].value < scores["original"].value
    assert found.options["others"]["slanted strokes"]["unlearned"] == "together"


@pytest.mark.slow
def test_one_file_of_options_unlearns_several(tmp_path: Path, small: RunOptions) -> None:
    told = small.model_dump() | {"also": {"thickness": {"mark": {"per_side": 20}}}}
    options = RunOptions.parse(told)
    workflow.run(tmp_path / "run", options)
    found = told_by(tmp_path / "run")
    assert found.row("original").scores[OTHER + "thickness"].value == pytest.approx(0.1, abs=0.05)
    assert found.options["others"]["thickness"]["unlearned"] == "together"
    inside = tmp_path / "run/also/thickness"
    assert len(json.loads((inside / "feedback.json").read_text())["positives"]) == 20
    kept = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*.safetensors")}
    workflow.run(tmp_path / "run", options)
    assert kept == {path: path.read_bytes() for path in (tmp_path / "run").rglob("*.safetensors")}


def test_others_that_do_not_fit_are_refused(sequence: SimpleNamespace, tmp_path: Path) -> None:
    with pytest.raises(WrongGenerator, match="feature in"):
        workflow.find(sequence.after, FindOptions(also=(str(sequence.first),)))
    with pytest.raises(BadOption, match="the run itself"):
        workflow.find(sequence.beside, FindOptions(also=(str(sequence.beside),)))
    with pytest.raises(BadOption, match="expected one of them"):
        workflow.sample(tmp_path / "both", "mnist-vae", after=sequence.first)
    workflow.sample(tmp_path / "new", "mnist-vae", SampleOptions(count=50))
    with pytest.raises(MissingStep, match=r"unfeature unlearn"):
        workflow.sample(tmp_path / "next", after=tmp_path / "new")


def test_the_judge_of_another_feature_never_guides_nor_runs_unasked(sequence: SimpleNamespace, tmp_path: Path) -> None:
    about = json.loads((sequence.after / "run.json").read_text())
    theirs = tmp_path / "theirs.py"
    theirs.write_text(JUDGE)
    run = tmp_path / "edited"
    run.mkdir()
    for file in sequence.after.iterdir():
        if file.is_file():
            (run / file.name).write_bytes(file.read_bytes())
    about["after"][0]["request"]["judge"] = f"{theirs}:bright"
    (run / "run.json").write_text(json.dumps(about))
    with pytest.raises(UntrustedCode, match=r"run\.json asks to run"):
        workflow.evaluate(run, EvaluateOptions(count=100))
    with pytest.raises(BadOption, match="which judges this run"):
        workflow.find(run, FindOptions(guide=f"{theirs}:bright", finder="counterfactual"))


def test_an_earlier_feature_comes_back(sequence: SimpleNamespace, tmp_path: Path, command: Command) -> None:
    to = tmp_path / "back.safetensors"
    said = command("revert", sequence.after, "--of", sequence.first, "--to", to)
    assert said.code == 0, said.err
    assert "approximate" in said.out and "slanted strokes:" in said.out and "bright:" in said.out
    first, second = (load_generator(str(run / "unlearned.safetensors")) for run in (sequence.first, sequence.after))
    back, original = load_generator(str(to)), load_generator("mnist-vae")
    for name, value in back.module.state_dict().items():
        parts = [one.module.state_dict()[name].double() for one in (second, first, original)]
        assert torch.allclose(value.double(), parts[0] - parts[1] + parts[2], atol=1e-6), name
    with pytest.raises(BadFile, match="there already"):
        workflow.revert(sequence.after, sequence.first, to)
    with pytest.raises(BadOption, match="does not go on after"):
        workflow.revert(sequence.beside, sequence.first, tmp_path / "other.safetensors")


def test_a_feature_of_the_same_name_takes_no_judge_away(sequence: SimpleNamespace, tmp_path: Path) -> None:
    run = tmp_path / "same"
    shutil.copytree(sequence.after, run)
    about = json.loads((run / "run.json").read_text())
    about["after"][0]["request"]["feature"] = "bright"
    (run / "run.json").write_text(json.dumps(about))
    own, earlier = workflow.revert(run, sequence.first, tmp_path / "back.safetensors").ratios
    assert (own.feature, earlier.feature) == ("bright", f"bright in {sequence.first}")
    assert own.before != earlier.before


def test_the_last_feature_goes_back_exactly(sequence: SimpleNamespace, tmp_path: Path) -> None:
    diff, back = tmp_path / "bright.diff", tmp_path / "back.safetensors"
    workflow.export(sequence.after, diff, "diff")
    workflow.apply(diff, sequence.after / "unlearned.safetensors", back, revert=True)
    found, wanted = (load_generator(str(path)) for path in (back, sequence.first / "unlearned.safetensors"))
    assert found.spec.weights == wanted.spec.weights


def test_the_card_tells_of_every_feature(sequence: SimpleNamespace, tmp_path: Path) -> None:
    workflow.evaluate(sequence.beside, EvaluateOptions(count=100))
    card = workflow.export(sequence.beside, tmp_path / "both.safetensors").card.read_text()
    assert '"bright and slanted strokes" was removed' in card
    assert "| unlearned; slanted strokes |" in card
