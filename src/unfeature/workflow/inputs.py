"""What a verb reads of its run before it works: generator, judge, feature, trained copy, each checked to belong."""

from __future__ import annotations

from typing import Any

from unfeature.artifacts import Feedback, GeneratorSpec
from unfeature.errors import MissingStep, WrongGenerator
from unfeature.features import load_feature
from unfeature.generators.loading import fill, load_generator, read_safetensors
from unfeature.judging import load_judge
from unfeature.protocols import Feature, Generator, Judge
from unfeature.store import Run, TrainingState


def the_generator(run: Run) -> tuple[Generator, dict[str, Any]]:
    """The run's generator and run.json; WrongGenerator where the file it came from has changed since."""
    about = run.read_json("run.json")
    generator = load_generator(about["generator"], about["weights"])
    expected = GeneratorSpec.from_json(about["spec"]).id
    if generator.spec.id != expected:
        raise WrongGenerator("run", expected, generator.spec.id)
    return generator, about


def the_judge(run: Run, generator: Generator, seed: int) -> Judge | None:
    """Who decides in this run; None where only a file of marks was given."""
    request = run.read_json("request.json")
    if not request["judge"]:
        return None
    return load_judge(request["judge"], generator, seed, request["share"], request["cut"])


def the_feature(run: Run) -> tuple[Feature, dict[str, Any]]:
    """The run's feature and the facts beside it; MissingStep where the marks have changed since."""
    tensors, facts = read_safetensors("feature.safetensors", run.read("feature.safetensors"))
    if facts["feedback"] != Feedback.from_json(run.read_json("feedback.json")).id:
        raise MissingStep(
            f"the feature in {run.folder} was found from other marks than those there now; expected the same. "
            f"Find it again:  unfeature find {run.folder}"
        )
    return load_feature(tensors, facts), facts


def the_unlearned(run: Run, generator: Generator) -> tuple[Generator, dict[str, Any]]:
    """The trained copy and its training's facts; MissingStep where the feature has changed since."""
    tensors, facts = read_safetensors("unlearned.safetensors", run.read("unlearned.safetensors"))
    _, training = read_safetensors(TrainingState.NAME, run.path(TrainingState.NAME).read_bytes())
    if training["key"] != facts["training"]:
        raise MissingStep(
            f"training in {run.folder} has begun anew and is not finished; expected it done. "
            f"Finish it:  unfeature unlearn {run.folder}"
        )
    student = generator.copy()
    fill(student.module, tensors, "unlearned.safetensors")
    return student, training | {"options": facts["options"]}
