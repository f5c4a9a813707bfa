"""What a verb reads of its run before it works: generator, judge, feature, trained copy, each checked to belong."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import torch

from unfeature.artifacts import Artifact, Feedback, Gallery, GeneratorSpec, Preview, content_id
from unfeature.drawing import drawn
from unfeature.errors import BadFile, BadOption, MissingStep, ShapeError, TooFewMarks, WrongGenerator
from unfeature.features import load_feature
from unfeature.features.fresh import sides
from unfeature.features.guides import Helpers, ProbeJudge
from unfeature.features.kept import by_marks
from unfeature.features.probes import LEAST
from unfeature.generators.filling import fill
from unfeature.generators.loading import load_generator
from unfeature.judging import CLIP, is_marks_file, load_extractor, load_guide, load_judge, marks_from_file
from unfeature.marks import SOURCE
from unfeature.plugins import is_file_reference, name_code, require_named
from unfeature.protocols import Extractor, Feature, Generator, Judge
from unfeature.store import Run, TrainingState


@dataclass(frozen=True)
class About(Artifact):
    """run.json: which generator, which seed, how the gallery was drawn."""

    generator: str
    """As it was named on the command line."""
    weights: str | None
    spec: GeneratorSpec
    seed: int
    sample: dict[str, Any]
    versions: dict[str, str]
    arguments: dict[str, Any] = field(default_factory=dict)
    """Of the generator, over those its file says; runs of earlier versions have none."""
    after: tuple[Other, ...] = ()
    """What was unlearned from the generator before, the first run first."""

    @property
    def original(self) -> str:
        """All that the original's pictures depend on but their seeds; its id says nothing of arguments."""
        return json.dumps([self.spec.id, self.generator, self.weights, self.arguments], sort_keys=True)


@dataclass(frozen=True)
class Request(Artifact):
    """request.json: what is to be unlearned, who marked it, who decides."""

    feature: str
    by: str
    judge: str
    """Empty where nobody decides."""
    cut: float | None
    share: float
    per_side: int
    wanted_ratio: float


@dataclass(frozen=True)
class Other(Artifact):
    """A feature of another run that this run answers for too: unlearned with its own, or before it."""

    run: str
    """The folder, as it was named."""
    request: Request
    """With the cut fixed on the generator that the other run began with."""
    find: dict[str, Any]
    """Options that its feature was found with."""
    result: str = ""
    """Id of the generator that the other run made; empty where the features go together."""


@dataclass(frozen=True)
class Teachers(Artifact):
    """preview.json: the feature's own teacher first, then those it was compared with."""

    previews: tuple[Preview, ...]
    feature: dict[str, Any]
    """Facts of the feature they were measured for."""
    judge: dict[str, Any] | None = None
    """Who judged them, as `told_of` tells; runs of earlier versions do not say."""

    def judged_by(self, told: dict[str, Any]) -> bool:
        """Whether that is who judged them."""
        return self.judge is not None and content_id(self.judge) == content_id(told)


def the_generator(run: Run) -> tuple[Generator, About]:
    """The run's generator and run.json; WrongGenerator where the file it came from has changed since, UntrustedCode."""
    about = run.read_as("run.json", About)
    for name in (about.generator, about.weights or ""):
        _check_here(run, name)
    require_named(about.generator, str(run.path("run.json")))
    generator = load_generator(about.generator, about.weights, about.arguments)
    if generator.spec.id != about.spec.id:
        raise WrongGenerator("run", about.spec.id, generator.spec.id)
    return generator, about


def _check_here(run: Run, name: str) -> None:
    """BadFile where a run's generator was named from another folder than this."""
    path = Path(name.rpartition(":")[0] if is_file_reference(name) else name)
    if path.suffix and not path.is_absolute() and not path.exists():
        raise BadFile(
            f'the run in {run.folder} is of "{name}", named from the folder in which `unfeature sample` was called; '
            f"expected it below {Path.cwd()}. Go to that folder, and call this again there."
        )


def the_control(about: About, generator: Generator, weights: str) -> Generator:
    """The run's own architecture with a file's weights, made without the feature. BadCheckpoint, BadFile, BadOption."""
    control = load_generator(about.generator, weights, about.arguments)
    if control.spec.id == generator.spec.id:
        raise BadOption(
            f"--control {weights} has the weights of the original itself; expected a generator that never had "
            "the feature. Train one without it, or leave --control out."
        )
    return control


def the_gallery(run: Run, generator: Generator) -> Gallery:
    """The run's gallery; WrongGenerator where its pictures are another's."""
    gallery = run.read_as("gallery.json", Gallery)
    if gallery.generator != generator.spec.id:
        raise WrongGenerator("gallery", gallery.generator, generator.spec.id)
    return gallery


def the_judge(run: Run, generator: Generator, seed: int) -> Judge | None:
    """Who decides in this run; None where only a file of marks was given. UntrustedCode."""
    request = run.read_as("request.json", Request)
    require_named(request.judge, str(run.path("request.json")))
    return load_judge(request.judge, generator, seed, request.share, request.cut) if request.judge else None


def told_of(run: Run, judge: Judge | None) -> dict[str, Any]:
    """What the run's judge is: its reference, and what it says of itself; empty where nobody judges."""
    if judge is None:
        return {}
    return {"reference": run.read_as("request.json", Request).judge, "about": dict(judge.about)}


def the_decider(run: Run, generator: Generator, seed: int) -> Judge:
    """Who decides in this run; MissingStep, saying how to name somebody, where nobody does."""
    judge = the_judge(run, generator, seed)
    if judge is not None:
        return judge
    request = run.read_as("request.json", Request)
    named = f"{run.quoted} {shlex.quote(request.feature)}"
    marks = shlex.quote(str(run.path("feedback.json")))
    by = {CLIP: f"{CLIP} ...", SOURCE: marks}.get(request.by, request.by)
    raise MissingStep(
        f"nobody judges run {run.folder}; expected a measurement or a function that decides whether a picture "
        f"shows the feature. Name one:  unfeature mark {named} --by {by} "
        "--judge FILE.py:FUNCTION"
    )


def the_extractor(reference: str, generator: Generator) -> Extractor:
    """A shipped extractor by name or what FILE.py:FUNCTION returns; ShapeError where the pictures do not fit it.

    The name is the user's, given with the verb.
    """
    name_code(reference)
    extractor, shape = load_extractor(reference), generator.spec.image_shape
    try:
        images = torch.zeros(2, *shape)
        with torch.no_grad():
            made = extractor.embed(images), extractor.logits(images)
        found = [tuple(rows.shape) for rows in made]
        fits = all(len(rows) == 2 and rows[0] == 2 for rows in found) and bool(extractor.name + extractor.hash)
        problem = "" if fits else f"2 pictures gave features and class scores of shapes {found[0]} and {found[1]}"
        elsewhere = [str(rows.device) for rows in made if rows.device != images.device]
        problem = problem or (f"what it gave for pictures on the CPU is on {elsewhere[0]}" if elsewhere else "")
    except Exception as error:
        problem = f"{type(error).__name__}: {error}".partition("\n")[0]
    if problem:
        raise ShapeError(
            f'extractor "{reference}" cannot look at pictures of {"x".join(map(str, shape))} ({problem}); expected an '
            "object with name, hash, embed (n, k) and logits (n, classes). Name one that fits:  --extractor "
            'FILE.py:FUNCTION  (`find`, `preview` and `attack` also do without:  --extractor "")'
        )
    return extractor


def the_helpers(run: Run, generator: Generator, network: str = "") -> Helpers:
    """Networks and judges that a feature is found with and saved by name. UntrustedCode for names nobody gave here.

    What a file of marks says is learnt by a probe of pictures, through the network where one is named.
    """

    @cache
    def extractor(reference: str) -> Extractor | None:
        require_named(reference, str(run.path("feature.safetensors")))
        return the_extractor(reference, generator) if reference else None

    @cache
    def judge(reference: str) -> Judge:
        require_named(reference, str(run.path("feature.safetensors")))
        if is_marks_file(reference):
            return _learnt(Path(reference), run, generator, extractor(network))
        return load_guide(reference)

    return Helpers(extractor, judge)


def _learnt(path: Path, run: Run, generator: Generator, network: Extractor | None) -> ProbeJudge:
    """A probe of the marks in a file, whatever gallery of this generator they are of. BadFile, WrongGenerator."""
    feedback = marks_from_file(path, the_gallery(run, generator), "")
    if feedback.generator != generator.spec.id:
        raise WrongGenerator(f"file of marks {path}", feedback.generator, generator.spec.id)
    counts = len(feedback.positives), len(feedback.negatives)
    if min(counts) < LEAST:
        raise TooFewMarks(
            f"{path} marks {counts[0]} pictures as showing it and {counts[1]} as not; what is kept needs at least "
            f"{LEAST} of each. Mark more."
        )
    seeds, labels = sides(feedback)
    latents, images = drawn(generator, seeds)
    seed = run.read_as("run.json", About).seed
    return by_marks(latents, images, labels, seed=seed, extractor=network, name=f"a probe of {path}")


def the_feature(run: Run, generator: Generator) -> tuple[Feature, dict[str, Any]]:
    """The run's feature and the facts beside it; MissingStep where the marks have changed since, WrongGenerator."""
    tensors, facts = run.read_tensors("feature.safetensors")
    with run.making_sense("feature.safetensors"):
        found_from, feature = facts["feedback"], load_feature(tensors, facts, generator, the_helpers(run, generator))
    if found_from != run.read_as("feedback.json", Feedback).id:
        raise MissingStep(
            f"the feature in {run.folder} was found from other marks than those there now; expected the same. "
            f"Find it again:  unfeature find {run.quoted}"
        )
    if feature.generator != generator.spec.id:
        raise WrongGenerator("feature", feature.generator, generator.spec.id)
    return feature, facts


def the_teacher(run: Run) -> tuple[Preview, Teachers]:
    """The teacher's numbers last measured, and the file they stand in: whose they are, and who judged them."""
    teachers = run.read_as("preview.json", Teachers)
    with run.making_sense("preview.json"):
        return teachers.previews[0], teachers


def the_unlearned(run: Run, generator: Generator) -> tuple[Generator, dict[str, Any]]:
    """The trained copy and its training's facts; MissingStep where feature or training has changed since."""
    name = "unlearned.safetensors"
    tensors, facts = run.read_tensors(name)
    _, training = run.read_tensors(TrainingState.NAME)
    _, feature = the_feature(run, generator)
    with run.making_sense(name):
        trained_for, options, key = facts["feature"], facts["options"], facts["training"]
    with run.making_sense(TrainingState.NAME):
        finished = training["key"] == key and {"records", "step", "stopped"} <= training.keys()
    if trained_for != content_id(feature) or not finished:
        why = "has begun anew and is not finished" if not finished else "was for another feature than the one there now"
        raise MissingStep(
            f"training in {run.folder} {why}; expected it done for this feature. "
            f"Finish it:  unfeature unlearn {run.quoted}"
        )
    student = generator.copy()
    fill(student.module, tensors, str(run.path(name)))
    return student, training | {"options": options}
