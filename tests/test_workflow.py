"""The whole job, verb by verb, through the library and through the command line."""

from __future__ import annotations

import itertools
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import VERBS, Command, contents

from unfeature import judging, load_generator, once, workflow
from unfeature.artifacts import Evaluation, Feedback
from unfeature.errors import MissingStep, WrongGenerator
from unfeature.evaluation import Evaluator
from unfeature.generators.loading import read_safetensors, to_safetensors
from unfeature.generators.module import ModuleGenerator
from unfeature.images import read_picture
from unfeature.metrics.strokes import Slant
from unfeature.options import (
    EvaluateOptions,
    FindOptions,
    MarkOptions,
    PreviewOptions,
    RunOptions,
    SampleOptions,
    UnlearnOptions,
)
from unfeature.seeds import stream
from unfeature.store import Run, TrainingState
from unfeature.workflow.inputs import About, Teachers
from unfeature.workflow.marking import versions_of

JUDGE = """
def bright(images):
    return (images.mean(dim=(1, 2, 3)) > 0.14).float()
"""
GENERATOR = """
import unfeature

def load():
    shipped = unfeature.load_generator("mnist-vae")
    return unfeature.from_module("mine", shipped.module, shipped.spec.latent_dim)
"""


@pytest.fixture
def judge(tmp_path: Path) -> str:
    path = tmp_path / "my_judge.py"
    path.write_text(JUDGE)
    return f"{path}:bright"


def _evaluation(run: Path) -> Evaluation:
    return Evaluation.from_json(json.loads((run / "evaluation.json").read_text()))


def _state(path: Path) -> dict[str, bytes]:
    tensors, _ = read_safetensors(path.name, path.read_bytes())
    return {name: value.numpy().tobytes() for name, value in tensors.items()}


def test_the_whole_job_leaves_every_file(finished_run: Path) -> None:
    expected = {"run.json", "gallery.json", "gallery.png", "gallery.csv", "feedback.json", "request.json"}
    expected |= {"feature.safetensors", "preview.json", "preview.png", "training.safetensors", "unlearned.safetensors"}
    expected |= {"evaluation.json", "report.html", "report.md", "report.json"}
    assert set(contents(finished_run)) == expected
    report = json.loads((finished_run / "report.json").read_text())
    assert report["verdict"]["status"] in {"removed", "reduced", "failed"}
    assert report["verdict"]["sentence"] in (finished_run / "report.md").read_text()


def test_the_evaluation_has_its_four_rows_on_disjoint_seeds(finished_run: Path, small: RunOptions) -> None:
    found = _evaluation(finished_run)
    assert [row.name for row in found.rows] == ["original", "filter", "teacher", "unlearned"]
    assert all("target_ratio" in row.scores for row in found.rows)
    used = {purpose: range(first, last + 1) for purpose, (first, last) in found.seeds.items()}
    assert set(used) == {"reference", "filter", "evaluate"}
    for purpose, count in {"gallery": 400, "calibrate": 10_000, "preview": 300, "stop": 40 * 6000}.items():
        seeds = stream(purpose, 0, 0, count)
        used[purpose] = range(int(seeds[0]), int(seeds[-1]) + 1)
    trained = stream("train", 0, 0, small.unlearn.steps * small.unlearn.batch)
    used["train"] = range(int(trained[0]), int(trained[-1]) + 1)
    ordered = sorted(used.values(), key=lambda seeds: seeds.start)
    for before, after in itertools.pairwise(ordered):
        assert before.stop <= after.start, used


def test_library_and_command_line_make_the_same_things(finished_run: Path, tmp_path: Path, command: Command) -> None:
    run = tmp_path / "by hand"
    for verb, arguments in VERBS.items():
        said = command(verb, run, *arguments)
        assert said.code == 0, said.err
        assert "wrote " in said.out
        following = list(VERBS)[list(VERBS).index(verb) + 1 :][:1]
        assert (f"unfeature {following[0]} '{run}'" if following else "report.html") in said.out.splitlines()[-1]
    one, other = contents(finished_run), contents(run)
    different = {name for name in one | other if one.get(name) != other.get(name)}
    assert different <= {"report.html", "report.md", "report.json"}  # they quote the command, which names the folder
    assert _evaluation(run).id == _evaluation(finished_run).id


def test_marking_anew_keeps_the_old_marks_and_asks_to_find_again(tiny_run: Path) -> None:
    before = (tiny_run / "feedback.json").read_bytes()
    workflow.mark(tiny_run, "slanted strokes", "slant", MarkOptions(per_side=20))
    assert (tiny_run / "history" / "feedback-1.json").read_bytes() == before
    for verb in (workflow.preview, workflow.unlearn, workflow.evaluate):
        with pytest.raises(MissingStep, match="unfeature find"):
            verb(tiny_run)
    workflow.mark(tiny_run, "slanted strokes", "slant", MarkOptions(per_side=10))
    assert {"feedback-1.json", "feedback-2.json"} <= set(contents(tiny_run / "history"))


def test_another_feature_asks_for_training_and_another_request_for_measuring(tiny_run: Path) -> None:
    workflow.mark(tiny_run, "slanted strokes", "slant", MarkOptions(per_side=30, wanted_ratio=0.5))
    with pytest.raises(MissingStep, match="unfeature evaluate"):
        workflow.report(tiny_run)
    workflow.find(tiny_run, FindOptions(margin=0.5))
    for verb in (workflow.evaluate, workflow.report):
        with pytest.raises(MissingStep, match="unfeature unlearn"):
            verb(tiny_run)


def test_another_judge_asks_for_another_preview_and_training(tiny_run: Path, judge: str) -> None:
    options, run = UnlearnOptions(steps=1, check_every=1, batch=4), Run(tiny_run)

    def marked(by: str) -> None:
        workflow.mark(tiny_run, "slanted strokes", "slant", MarkOptions(per_side=30, wanted_ratio=0.9), judge=by)

    def previewed() -> Teachers:
        return run.read_as("preview.json", Teachers)

    marked("slant")
    workflow.unlearn(tiny_run, options)
    first, training = previewed(), (tiny_run / "training.safetensors").read_bytes()
    marked(judge)
    workflow.evaluate(tiny_run, EvaluateOptions(count=100))
    with pytest.raises(MissingStep, match=r"preview in .* is by another judge .*unfeature preview"):
        workflow.report(tiny_run)
    workflow.unlearn(tiny_run, options)
    second, kept = previewed(), sorted((tiny_run / "history").glob("training-*.safetensors"))
    assert first.judge is not None and first.judge["reference"] == "slant" and first.judge["about"]["cut"] > 0
    assert second.judge == {"reference": judge, "about": {"name": judge, "kind": "callable"}}
    assert second.previews[0].ratio_before != first.previews[0].ratio_before
    assert kept[-1].read_bytes() == training, "begun anew, for the goal is told by another"
    workflow.evaluate(tiny_run, EvaluateOptions(count=100))
    workflow.report(tiny_run)
    assert json.loads((tiny_run / "report.json").read_text())["preview"] == second.previews[0].to_json()


def test_a_preview_of_a_feature_that_was_given_up_is_not_reported(tiny_run: Path) -> None:
    workflow.find(tiny_run, FindOptions(margin=0.5))
    workflow.preview(tiny_run)
    workflow.find(tiny_run, FindOptions(margin=0.25))
    with pytest.raises(MissingStep, match=r"preview in .* is of another feature .*unfeature preview"):
        workflow.report(tiny_run)
    workflow.preview(tiny_run)
    workflow.report(tiny_run)


def test_sampling_again_keeps_what_was_filled_in(tmp_path: Path) -> None:
    options, form = SampleOptions(count=50), tmp_path / "gallery.csv"
    workflow.sample(tmp_path, "mnist-vae", options)
    filled = form.read_text().replace(",", ",1", 3)
    form.write_text(filled)
    workflow.sample(tmp_path, "mnist-vae", options)
    assert form.read_text() == filled
    workflow.sample(tmp_path, "mnist-vae", SampleOptions(count=60))
    assert len(form.read_text().splitlines()) == 61
    assert (tmp_path / "history" / "gallery-1.csv").read_text() == filled


def test_versions_of_several_machines_are_told_one_after_the_other() -> None:
    here, there = {"torch": "2.13", "python": "3.11"}, {"torch": "2.11", "python": "3.11", "device": "cuda, X"}
    both = {"torch": "2.13; 2.11", "python": "3.11", "device": "cuda, X"}
    assert versions_of() == {} and versions_of(here) == here
    assert versions_of(here, there) == both and versions_of(both, here) == versions_of(both, there) == both


def test_a_preview_of_an_earlier_version_names_no_judge(tiny_run: Path) -> None:
    path = tiny_run / "preview.json"
    saved = json.loads(path.read_text())
    path.write_text(json.dumps({key: value for key, value in saved.items() if key != "judge"}))
    workflow.report(tiny_run)
    workflow.unlearn(tiny_run, UnlearnOptions(steps=1, check_every=1, batch=4))
    assert json.loads(path.read_text())["judge"] == saved["judge"], "measured anew"


def test_finding_the_same_again_changes_nothing(tiny_run: Path, small: RunOptions) -> None:
    before = contents(tiny_run)
    workflow.run(tiny_run, small)
    after = contents(tiny_run)
    different = {name for name in before | after if before.get(name) != after.get(name)}
    assert {name for name in different if not name.startswith(("report", "history/report"))} == set()


@pytest.mark.parametrize("kind", ["csv", "csv of a spreadsheet", "json", "our own json"])
def test_marks_from_a_file_give_the_feature_of_the_judge(tiny_run: Path, tmp_path: Path, kind: str) -> None:
    marked = Feedback.from_json(json.loads((tiny_run / "feedback.json").read_text()))
    path = tmp_path / ("marks.csv" if kind.startswith("csv") else "marks.json")
    if kind.startswith("csv"):
        lines = [f"{seed},1" for seed in marked.positives] + [f"{seed},0" for seed in marked.negatives]
        text = "\n".join(["seed,mark", *lines, "399,"]) + "\n"
        path.write_text(text if kind == "csv" else "\ufeff" + text.replace(",", ";").replace("\n", "\r\n"))
    elif kind == "json":
        path.write_text(json.dumps({"positives": marked.positives, "negatives": marked.negatives}))
    else:
        path.write_bytes((tiny_run / "feedback.json").read_bytes())
    before = _state(tiny_run / "feature.safetensors")
    again = workflow.mark(tiny_run, "slanted strokes", str(path), judge="slant")
    assert (again.positives, again.negatives) == (marked.positives, marked.negatives)
    workflow.find(tiny_run, FindOptions(margin=0.25))
    assert _state(tiny_run / "feature.safetensors") == before


def test_a_generator_and_a_judge_of_ones_own(tmp_path: Path, judge: str) -> None:
    (tmp_path / "my_generator.py").write_text(GENERATOR)
    run = tmp_path / "run"
    options = RunOptions.parse(
        {
            "generator": f"{tmp_path / 'my_generator.py'}:load",
            "feature": "bright",
            "marks": judge,
            "sample": {"count": 100},
            "mark": {"per_side": 10},
            "preview": {"count": 50},
            "unlearn": {"steps": 2, "check_every": 1, "batch": 4},
            "evaluate": {"count": 100},
        }
    )
    paths = workflow.run(run, options)
    assert [path.name for path in paths] == ["report.html", "report.md", "report.json"]
    found = _evaluation(run)
    assert found.generator.name == "mine"
    assert found.judge["name"] == judge
    assert found.row("original").distribution is None


def test_without_a_judge_all_but_the_proof_works(tiny_run: Path, tmp_path: Path) -> None:
    path = tmp_path / "marks.json"
    path.write_bytes((tiny_run / "feedback.json").read_bytes())
    workflow.mark(tiny_run, "slanted strokes", str(path))
    workflow.find(tiny_run)
    (teacher,) = workflow.preview(tiny_run, PreviewOptions(count=50))
    assert teacher.ratio is None
    assert teacher.rewritten.n == 50
    options = UnlearnOptions(steps=2, check_every=1, batch=4)
    workflow.unlearn(tiny_run, options)
    run = Run(tiny_run)
    made_from = {"feature": run.read_facts("feature.safetensors"), "options": options.model_dump(), "seed": 0}
    made_from |= {"generator": run.read_as("run.json", About).spec.id, "goal": None}
    assert run.read_facts("training.safetensors")["key"] == TrainingState(run, made_from).key, "as in earlier versions"
    with pytest.raises(MissingStep, match=r"nobody judges.*--judge FILE.py:FUNCTION"):
        workflow.evaluate(tiny_run, EvaluateOptions(count=100))


def test_a_feature_that_flags_nothing_is_previewed_and_said(tiny_run: Path, command: Command) -> None:
    assert command("find", tiny_run, "--threshold", "99").code == 0
    for verb, more in (("preview", ("--count", "50")), ("unlearn", ("--steps", "1", "--batch", "4"))):
        said = command(verb, tiny_run, *more)
        assert said.code == 0, said.err
        told = f"flags none of these latents, so the teacher changes no picture.*unfeature find {tiny_run} --threshold"
        assert re.search(told, said.out)
    sheet = read_picture(tiny_run / "preview.png")
    assert len(sheet.unique()) > 20, "the first pictures, as they are"
    several = command("preview", tiny_run, "--count", "50", "--thresholds", "0")
    assert several.code == 0 and "flags none of these latents" in several.out


def test_a_judge_that_finds_it_everywhere_leaves_no_rest_to_measure(tiny_run: Path, command: Command) -> None:
    (tiny_run.parent / "j.py").write_text("import torch\ndef always(images):\n    return torch.ones(len(images))\n")
    reference = f"{tiny_run.parent / 'j.py'}:always"
    workflow.mark(tiny_run, "slanted strokes", "slant", MarkOptions(per_side=30), judge=reference)
    said = command("preview", tiny_run, "--count", "50")
    assert said.code == 0, said.err
    teacher = Run(tiny_run).read_as("preview.json", Teachers).previews[0]
    assert teacher.ratio_before is not None and teacher.ratio_before.value == 1.0
    rest = teacher.drift_rest
    assert (rest.value, rest.low, rest.high, rest.n, rest.note) == (0.0, 0.0, 1.0, 0, "no such picture")
    row = next(line for line in said.out.splitlines() if line.lstrip().startswith("teacher "))
    assert row.split()[-2:] == ["-", "-"]


def test_the_original_is_never_touched_and_the_result_loads_by_path(finished_run: Path) -> None:
    about = json.loads((finished_run / "run.json").read_text())
    original, unlearned = load_generator("mnist-vae"), load_generator(str(finished_run / "unlearned.safetensors"))
    assert original.spec.to_json() == {**about["spec"], "image_shape": tuple(about["spec"]["image_shape"])}
    assert unlearned.spec.weights == _evaluation(finished_run).result.weights != original.spec.weights
    latents = unlearned.sample_latents(np.arange(3))
    with torch.no_grad():
        assert unlearned.synthesize(latents).shape == (3, 1, 28, 28)


def test_a_copy_that_learned_nothing_scores_as_the_original(tiny_run: Path) -> None:
    path = tiny_run / "unlearned.safetensors"
    _, facts = read_safetensors(path.name, path.read_bytes())
    path.write_bytes(to_safetensors(load_generator("mnist-vae").module.state_dict(), facts))
    found = workflow.evaluate(tiny_run, EvaluateOptions(count=300))
    assert found.row("unlearned").scores == found.row("original").scores
    assert found.row("unlearned").distribution == found.row("original").distribution


@pytest.mark.slow
def test_what_is_known_of_original_and_teacher_is_not_looked_at_again_and_changes_no_byte(
    tiny_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tiny_run / "unlearned.safetensors"
    _, facts = read_safetensors(copy.name, copy.read_bytes())
    trained = copy.read_bytes()
    untrained = to_safetensors(load_generator("mnist-vae").module.state_dict(), facts)
    looked: list[int] = []
    see = Evaluator.see
    monkeypatch.setattr(Evaluator, "see", lambda self, images: looked.append(len(images)) or see(self, images))

    def told(weights: bytes, memory: once.Memory) -> tuple[bytes, int]:
        monkeypatch.setattr(once, "KNOWN", memory)
        copy.write_bytes(weights)
        looked.clear()
        workflow.evaluate(tiny_run, EvaluateOptions(count=200))
        return (tiny_run / "evaluation.json").read_bytes(), sum(looked)

    memory = once.Memory(2**27)
    first, other = told(trained, once.Memory()), told(untrained, once.Memory())
    assert told(trained, memory) == first, "nothing was known yet"
    assert told(untrained, memory) == (other[0], 200), "the copy's pictures alone"
    workflow.find(tiny_run, FindOptions(margin=2.0))
    workflow.unlearn(tiny_run, UnlearnOptions(steps=1))
    other_feature = told(copy.read_bytes(), once.Memory())
    again = told(copy.read_bytes(), memory)
    assert again[0] == other_feature[0] and 200 < again[1] < 400, "its teacher's, not the original's"
    request = tiny_run / "request.json"
    request.write_text(json.dumps({**json.loads(request.read_text()), "cut": 5.0}))
    other_judge = told(copy.read_bytes(), once.Memory())
    assert told(copy.read_bytes(), memory) == other_judge != other_feature


def test_a_cut_is_fixed_once_for_each_original_share_and_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    measured: list[int] = []
    measure = Slant.measure
    monkeypatch.setattr(Slant, "measure", lambda self, images: measured.append(len(images)) or measure(self, images))
    monkeypatch.setattr(judging, "CALIBRATION", 100)
    monkeypatch.setattr(once, "KNOWN", once.Memory(2**20))
    vae, gan = load_generator("mnist-vae"), load_generator("mnist-gan")
    asked = [(vae, 0, 0.1), (vae, 1, 0.1), (vae, 0, 0.2), (gan, 0, 0.1)]

    def cut(generator: ModuleGenerator, seed: int, share: float) -> float:
        return getattr(judging.load_judge("slant", generator, seed, share, original=generator.spec.id), "cut", 0.0)

    cuts = [cut(*which) for which in asked]
    assert len(set(cuts)) == 4 and sum(measured) == 400
    assert [cut(*which) for which in asked] == cuts and sum(measured) == 400
    judging.load_judge("slant", vae, 0, 0.1)
    assert sum(measured) == 500, "who does not say what the pictures depend on is told anew"


def test_an_original_with_other_arguments_is_another(tiny_run: Path) -> None:
    about = Run(tiny_run).read_as("run.json", About)
    others = [replace(about, arguments={"label": 1}), replace(about, generator="other"), replace(about, weights="w")]
    assert len({told.original for told in (about, *others)}) == 4
    assert replace(about, seed=7).original == about.original


def test_a_generator_that_never_had_it_has_a_row_without_pairs(tiny_run: Path, command: Command) -> None:
    copy, counted = tiny_run / "unlearned.safetensors", ["--count", "300"]
    said = command("evaluate", tiny_run, *counted, "--control", copy)
    assert said.code == 0, said.err
    found = _evaluation(tiny_run)
    assert [row.name for row in found.rows] == ["original", "filter", "control", "teacher", "unlearned"]
    control, unlearned = found.row("control"), found.row("unlearned")
    assert control.scores == {name: unlearned.scores[name] for name in control.scores}, "the same pictures at last"
    assert {"target_ratio", "coverage300_mnist-gradients"} <= set(control.scores) == set(found.row("filter").scores)
    assert control.distribution == unlearned.distribution and found.options["control"] == {"id": found.result.id}
    assert command("report", tiny_run).code == 0 and "Trained without it" in (tiny_run / "report.html").read_text()

    before = (tiny_run / "evaluation.json").read_bytes()
    own = load_generator("mnist-vae")
    (tiny_run / "own.safetensors").write_bytes(to_safetensors(own.module.state_dict(), {}))
    said = command("evaluate", tiny_run, *counted, "--control", tiny_run / "own.safetensors")
    assert said.code == 2 and "expected a generator that never had the feature" in said.err
    assert (tiny_run / "evaluation.json").read_bytes() == before


def test_a_run_started_anew_for_another_generator_refuses_the_old_things(tiny_run: Path) -> None:
    workflow.sample(tiny_run, "mnist-gan", SampleOptions(count=50))
    for verb in (workflow.find, workflow.preview, workflow.unlearn, workflow.evaluate):
        with pytest.raises(WrongGenerator, match=r"mnist-vae@.*mnist-gan@"):
            verb(tiny_run)


def test_previews_compare_every_threshold_and_margin(tiny_run: Path) -> None:
    options = PreviewOptions(count=50, thresholds=(0.0, 0.5), margins=(0.0, 0.25, 0.5))
    own, *others = workflow.preview(tiny_run, options)
    assert own.margin == 0.25
    assert [(t.threshold, t.margin) for t in others] == [(t, m) for t in (0.0, 0.5) for m in (0.0, 0.25, 0.5)]
