"""How far a run is as it is now: which of its results are of its present marks, by the facts beside them. No torch."""

from __future__ import annotations

import json
import zipfile
from typing import Literal

from unfeature.artifacts import Feedback, content_id
from unfeature.marks import generator_of
from unfeature.store import Run, TrainingState

Stage = Literal["marking", "trained", "proved"]

REPORTED = ("report.html", "report.json", "evaluation.json", "preview.json", "request.json")
"""What a report is and was made from, besides the copy."""

GIVEN: dict[str, Stage] = {"feedback.json": "marking", "feature.safetensors": "trained"}
GIVEN |= {"unlearned.safetensors": "trained"}
"""File -> the stage from which on it is of the run as it is now; the others are of a proved one."""

MAX_MANIFEST = 2**20
"""Bytes of a dossier's manifest; ours are far smaller."""


def stage(run: Run) -> Stage:
    """How far it is, by what the verbs would accept; BadFile."""
    if not trained(run):
        return "marking"
    return "proved" if reported(run) else "trained"


def holds(run: Run, file: str, reached: Stage) -> bool:
    """Whether a file is the run's own and of the run as it is now, at the stage it has reached."""
    stages: tuple[Stage, ...] = ("marking", "trained", "proved")
    if not run.owns(file) or stages.index(reached) < stages.index(GIVEN.get(file, "proved")):
        return False
    return file != "dossier.zip" or _packed(run)


def marked(run: Run) -> str:
    """Id of the marks there now; empty where there are none, or none of this run's generator. BadFile."""
    if not run.has("feedback.json"):
        return ""
    feedback = run.read_as("feedback.json", Feedback)
    return feedback.id if feedback.generator == generator_of(run) else ""


def of_these_marks(run: Run) -> bool:
    """Whether the run's feature was found from its marks as they are now, in its generator as it is now."""
    marks = marked(run)
    if not marks or not run.has("feature.safetensors"):
        return False
    facts = run.read_facts("feature.safetensors")
    with run.making_sense("feature.safetensors"):
        return bool((facts["feedback"], facts["generator"]) == (marks, generator_of(run)))


def trained(run: Run) -> bool:
    """Whether unlearned.safetensors is the copy trained for the feature and the marks there now, by this training."""
    if not run.has("unlearned.safetensors") or not of_these_marks(run):
        return False
    with run.making_sense("unlearned.safetensors"):
        facts = run.read_facts("unlearned.safetensors")
        trained_for, by = facts["feature"], facts["training"]
    if not run.has(TrainingState.NAME):
        return False
    with run.making_sense(TrainingState.NAME):
        began: str = run.read_facts(TrainingState.NAME)["key"]
    return bool(trained_for == content_id(run.read_facts("feature.safetensors")) and by == began)


def reported(run: Run) -> bool:
    """Whether a trained run's report says what `report` would say now: of this request, evaluation and training."""
    if not all(map(run.has, REPORTED)):
        return False
    evaluation, previews = run.read_json("evaluation.json"), run.read_json("preview.json")
    with run.making_sense("evaluation.json"):
        asked = evaluation["options"]["mark"]
    with run.making_sense("preview.json"):
        teacher = previews["previews"][0]
    with run.making_sense(TrainingState.NAME):
        log = run.read_facts(TrainingState.NAME)["records"]
    report = run.read_json("report.json")
    with run.making_sense("report.json"):
        told = report["evaluation"], report["preview"], report["log"]
    return bool(told == (evaluation, teacher, log) and asked == run.read_json("request.json"))


def _packed(run: Run) -> bool:
    """Whether dossier.zip is of the evaluation and the training there now."""
    try:
        with zipfile.ZipFile(run.path("dossier.zip")) as archive, archive.open("manifest.json") as file:
            manifest = file.read(MAX_MANIFEST + 1)
        ids = json.loads(manifest if len(manifest) <= MAX_MANIFEST else b"{}")["ids"]
        told = ids["evaluation"], ids["training"]
    except Exception:  # whatever an archive made by others can raise: encrypted, cut off, packed in another way
        return False
    now = content_id(run.read_json("evaluation.json")), run.read_facts("unlearned.safetensors")["training"]
    return told == now
