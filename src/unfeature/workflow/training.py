"""From a feature to an unlearned generator: preview, unlearn."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from unfeature import teacher as teachers
from unfeature.artifacts import Preview, StepRecord, content_id
from unfeature.errors import BadOption, ShapeError
from unfeature.generators.loading import checkpoint_bytes
from unfeature.images import grid, png
from unfeature.options import PreviewOptions, UnlearnOptions
from unfeature.protocols import Feature, Generator
from unfeature.store import Run, TrainingState
from unfeature.tables import resolve
from unfeature.unlearners import UNLEARNERS
from unfeature.unlearners.instant import InstantEdit
from unfeature.unlearners.stopping import SequentialWilson
from unfeature.workflow.inputs import (
    Request,
    Teachers,
    the_extractor,
    the_feature,
    the_generator,
    the_judge,
    the_teacher,
    told_of,
)
from unfeature.workflow.marking import enlarge

INSTANT = "instant edit"
"""Who made a preview's pictures, where not the teacher."""

RATIO_SLACK = 0.003
"""Where the teacher cannot reach the wanted ratio: how far above the teacher's the copy may stop."""


def preview(folder: str | Path, options: PreviewOptions | None = None) -> list[Preview]:
    """The teacher's numbers without training: the feature's own first, then every threshold x margin asked for.

    Those of the feature's instant edit come last, where `instant` asks for them. Writes preview.json and preview.png
    (pairs of original and teacher).
    """
    options = options or PreviewOptions()
    run = Run(Path(folder))
    with run.held():
        generator, about = the_generator(run)
        feature, facts = the_feature(run, generator)
        judge = the_judge(run, generator, about.seed)
        extractor = the_extractor(options.extractor, generator) if options.extractor else None
        drawn = teachers.draw(generator, judge, extractor, options.count, about.seed)
        compared = [feature, *_variants(feature, options)]
        told = [teachers.measure(generator, t, drawn, judge, extractor, facts["name"]) for t in compared]
        if options.instant:
            unlearner = InstantEdit(UnlearnOptions(perceptual=0), seed=about.seed)  # whose losses nobody asks for
            edited = INSTANT, unlearner.unlearn(generator, feature)
            told.append(teachers.measure(generator, feature, drawn, judge, extractor, facts["name"], copy=edited))
        pictures = teachers.pairs(generator, feature, drawn)
        run.write("preview.png", png(grid(pictures, columns=8), zoom=enlarge(pictures.shape[2])))
        run.write_json("preview.json", Teachers(tuple(told), facts, told_of(run, judge)).to_json())
    return told


def _variants(feature: Feature, options: PreviewOptions) -> list[Feature]:
    if not options.thresholds and not options.margins:
        return []
    if not hasattr(feature, "adjusted"):
        raise BadOption(
            "this kind of feature has no threshold and margin to compare; leave --thresholds and --margins out"
        )
    thresholds = options.thresholds or (feature.threshold,)  # type: ignore[attr-defined]
    margins = options.margins or (feature.margin,)  # type: ignore[attr-defined]
    return [feature.adjusted(threshold, margin) for threshold in thresholds for margin in margins]


def unlearn(
    folder: str | Path,
    options: UnlearnOptions | None = None,
    on_preview: Callable[[Preview, float], None] = lambda preview, wanted: None,
    on_step: Callable[[StepRecord], None] = lambda record: None,
) -> Generator:
    """Train the copy; a run that was stopped goes on where it was, to the same bytes. Writes unlearned.safetensors.

    `on_preview` is told the teacher's numbers and the wanted ratio first. Processes that torchrun began train together.
    """
    options = options or UnlearnOptions()
    run = Run(Path(folder))
    if not _previewed(run):
        try:
            preview(folder)
        except ShapeError:  # the shipped network cannot look at these pictures
            preview(folder, PreviewOptions(extractor=""))
    with run.held(together=True):
        generator, about = the_generator(run)
        feature, facts = the_feature(run, generator)
        teacher, _ = the_teacher(run)
        wanted = wanted_ratio(folder)
        on_preview(teacher, wanted)
        judge = the_judge(run, generator, about.seed)
        stop = None
        if judge is not None and teacher.ratio is not None:
            reachable = teacher.ratio.value <= wanted
            stop = SequentialWilson(judge, wanted if reachable else teacher.ratio.value + RATIO_SLACK)
        made_from = {"feature": facts, "options": options.model_dump(), "seed": about.seed}
        made_from |= {"generator": generator.spec.id, "goal": stop.goal if stop else None}
        made_from |= {"judge": told_of(run, judge)} if judge is not None else {}
        state = TrainingState(run, made_from)
        made = resolve("unlearner", UNLEARNERS, options.unlearner)
        student: Generator = made(options, seed=about.seed, checkpoint=state, stop=stop).unlearn(
            generator, feature, on_step=on_step
        )
        removed = {
            "unlearned": facts["name"],
            "from": generator.spec.id,
            "feature": content_id(facts),
            "training": state.key,
            "options": options.model_dump(),
        }
        run.write("unlearned.safetensors", checkpoint_bytes(student, removed))
    return student


def _previewed(run: Run) -> bool:
    """Whether the teacher's numbers are of the feature there now, and by its judge."""
    if not run.has("preview.json"):
        return False
    (generator, about), (_, teachers) = the_generator(run), the_teacher(run)
    judge = the_judge(run, generator, about.seed)
    return teachers.feature == the_feature(run, generator)[1] and teachers.judged_by(told_of(run, judge))


def wanted_ratio(folder: str | Path) -> float:
    """The target ratio that this run's request counts as removed."""
    return Run(Path(folder)).read_as("request.json", Request).wanted_ratio
