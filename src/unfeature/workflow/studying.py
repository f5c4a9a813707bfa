"""A study of several annotators: what they agree on, and one unlearning run for each and for all together."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from unfeature.artifacts import Evaluation, Feedback, Gallery, Preview, Score, StepRecord, content_id
from unfeature.drawing import BATCH, drawn
from unfeature.errors import MissingStep, UnknownName
from unfeature.images import rows_at_once, to_pixels
from unfeature.options import FLIPS, EvaluateOptions, FindOptions, PreviewOptions, UnlearnOptions
from unfeature.protocols import Generator, Judge
from unfeature.seeds import stream
from unfeature.store import Run, write_atomic
from unfeature.studies import CONSENSUS, Outcome, Sides, Study, outcome, slug, together
from unfeature.workflow.finding import find
from unfeature.workflow.inputs import About, Request, the_gallery, the_generator, the_judge, the_teacher, the_unlearned
from unfeature.workflow.marking import fix_cut, versions
from unfeature.workflow.proving import SHOWN, evaluate
from unfeature.workflow.training import preview, unlearn

if TYPE_CHECKING:
    from unfeature.reports.study import StudyPictures, StudyRow

SHOWS, LACKS = 8, 4
"""Pictures of the report with and without the feature, the same for everybody."""


def study_outcome(folder: str | Path) -> Outcome:
    """Agreement, consensus, and each annotator's counts and time, as far as they have come."""
    return outcome(Study(Path(folder)))


def study_feedback(folder: str | Path, who: str) -> Feedback:
    """What one annotator, or "consensus", says, in the order of the gallery. UnknownName, MissingStep."""
    study, run = Study(Path(folder)), Run(Path(folder))
    about = run.read_as("run.json", About)
    names = [annotator.name for annotator in study.plan.annotators]
    if who == CONSENSUS:
        found = _consensus(study)
        if found is None:
            raise MissingStep(f"fewer than two annotators of {run.folder} have marked; expected two. Wait for more.")
        sides, source = found
    elif who in names:
        sides, source = study.sides(names.index(who)), f"marked by {who}"
    else:
        raise UnknownName("annotator", who, [*names, CONSENSUS])
    return _feedback(run, about, sides, source)


def _consensus(study: Study) -> tuple[Sides, str] | None:
    every = [study.sides(number) for number in range(len(study.logs))]
    found = together(every, study.plan.count)
    voices = sum(bool(sides["shows"] or sides["without"]) for sides in every)
    return (found[0], f"consensus of {voices} annotators") if found else None


def _feedback(run: Run, about: About, sides: Sides, source: str) -> Feedback:
    first = int(stream("gallery", about.seed, 0, 1)[0])
    positives, negatives, unsure = (tuple(first + i for i in sides[side]) for side in ("shows", "without", "unsure"))
    feature = run.read_as("request.json", Request).feature
    return Feedback(feature, about.spec.id, positives, negatives, unsure, source)


class _Part:
    """One annotator's share of the work, or the consensus: a run folder of its own."""

    def __init__(self, name: str, folder: Path, feedback: Feedback) -> None:
        self.name, self.run, self.feedback = name, Run(folder), feedback
        self.enough = bool(feedback.positives and feedback.negatives)


def study_unlearn(
    folder: str | Path,
    *,
    steps: int = 1000,
    extractors: tuple[str, str] = (FLIPS, FLIPS),
    count: int = 10_000,
    find_options: FindOptions | None = None,
    on_verb: Callable[[str], None] = lambda who: None,
    on_step: Callable[[StepRecord], None] = lambda record: None,
) -> Path:
    """One unlearning run for each annotator and one for the consensus, then the study's report: its path.

    What is done already is not done again. `extractors` tell flips in a preview (empty: nobody) and distances in an
    evaluation of `count` pictures. Each run stands below study/runs. Writes result.json and report.html.
    """
    asked: dict[str, Any] = {
        "find": (find_options or FindOptions()).model_dump(),
        "preview": PreviewOptions(extractor=extractors[0], count=min(2000, count)).model_dump(),
        "unlearn": UnlearnOptions(steps=steps).model_dump(),
        "evaluate": EvaluateOptions(extractor=extractors[1], count=count).model_dump(),
    }
    fix_cut(folder)
    study, run = Study(Path(folder)), Run(Path(folder))
    parts, told = _parts(study, run), outcome(study)
    if not any(part.enough for part in parts):
        raise MissingStep(
            f"no annotator of {run.folder} has marked pictures with and without the feature; expected one of each at "
            "least. Send the links, and try again when there are marks."
        )
    generator, about = the_generator(run)
    gallery = _gallery(run, generator, about, study.plan.count)
    for part in parts:
        if part.enough:
            on_verb(part.name)
            _work(run, part, gallery, asked, on_step)
    from unfeature.reports.study import render_study  # matplotlib: half a second

    request = run.read_as("request.json", Request)
    rows = [_row(part, told) for part in parts]
    result = {
        "feature": request.feature,
        "generator": about.spec.id,
        "judge": request.judge,
        "wanted_ratio": request.wanted_ratio,
        "outcome": told.to_json(),
        "rows": [row.to_json() for row in rows],
        "options": asked,
        "versions": versions(),
    }
    text = json.dumps(result, indent=1, sort_keys=True) + "\n"
    pictures = _pictures(run, generator, about, [part for part in parts if part.enough])
    page = render_study(result, rows, pictures)
    write_atomic(study.path.with_name("result.json"), text.encode())
    path = study.path.with_name("report.html")
    write_atomic(path, page.encode())
    return path


def _parts(study: Study, run: Run) -> list[_Part]:
    """Every annotator's, and the consensus last where there is one."""
    about, runs = run.read_as("run.json", About), study.path.with_name("runs")
    parts = []
    for number, annotator in enumerate(study.plan.annotators):
        feedback = _feedback(run, about, study.sides(number), f"marked by {annotator.name}")
        parts.append(_Part(annotator.name, runs / slug(number, annotator.name), feedback))
    found = _consensus(study)
    if found is not None:
        parts.append(_Part(CONSENSUS, runs / CONSENSUS, _feedback(run, about, *found)))
    return parts


def _gallery(run: Run, generator: Generator, about: About, count: int) -> Gallery:
    """The run's gallery, with the study's pictures that are not in it."""
    gallery = the_gallery(run, generator)
    known = set(gallery.seeds)
    more = [seed for seed in stream("gallery", about.seed, 0, count).tolist() if seed not in known]
    return replace(gallery, seeds=(*gallery.seeds, *more))


def _work(
    parent: Run, part: _Part, gallery: Gallery, asked: dict[str, Any], on_step: Callable[[StepRecord], None]
) -> None:
    """Every verb from `find` to `evaluate` in the part's folder, unless that was done from the same marks already."""
    run, about = part.run, parent.read_as("run.json", About)
    request = replace(parent.read_as("request.json", Request), by=part.feedback.source)
    made_from = [about.to_json(), gallery.to_json(), request.to_json(), part.feedback.to_json(), asked]
    key = content_id(made_from)
    if run.has("done.json") and run.read_json("done.json").get("key") == key:
        return
    with run.held(new=True):
        run.path("done.json").unlink(missing_ok=True)  # what is written over from here on was done, for other marks
        for name, saved in {"run": about, "gallery": gallery, "request": request, "feedback": part.feedback}.items():
            run.write_json(f"{name}.json", saved.to_json())
    find(run.folder, FindOptions.model_construct(set(), **asked["find"]))  # of which none counts as given here
    preview(run.folder, PreviewOptions(**asked["preview"]))
    unlearn(run.folder, UnlearnOptions.model_construct(set(), **asked["unlearn"]), on_step=on_step)
    if request.judge:
        evaluate(run.folder, EvaluateOptions(**asked["evaluate"]))
    run.write_json("done.json", {"key": key})


def _row(part: _Part, told: Outcome) -> StudyRow:
    """A part's line of the report."""
    from unfeature.reports.study import StudyRow

    marks = part.feedback
    more: dict[str, Any] = {
        "shows": len(marks.positives),
        "unsure": len(marks.unsure),
        "without": len(marks.negatives),
    }
    for annotator in told.annotators:
        if annotator.name == part.name:
            more |= {"seconds": annotator.seconds, "pauses": annotator.pauses, "agreement": annotator.agreement}
    if part.enough:
        teacher, _ = the_teacher(part.run)
        more |= {"folder": part.run.folder.name, **_figures(part.run, teacher)}
    return StudyRow(name=part.name, consensus=part.name == CONSENSUS, **more)


def _figures(run: Run, teacher: Preview) -> dict[str, Score | None]:
    """Target ratios before, of the teacher and after, and the change of pictures that the edit leaves alone."""
    if not run.read_as("request.json", Request).judge:
        return {"rewritten": teacher.rewritten}
    rows = {row.name: row.scores for row in run.read_as("evaluation.json", Evaluation).rows}
    ratios = {key: rows[name]["target_ratio"] for key, name in (("before", "original"), ("teacher", "teacher"))}
    after = {"ratio": rows["unlearned"]["target_ratio"], "drift": rows["unlearned"].get("drift_untouched")}
    return {"rewritten": teacher.rewritten, **ratios, **after}


def _pictures(run: Run, generator: Generator, about: About, parts: list[_Part]) -> StudyPictures:
    """The same latents before, and after each part's unlearning: some that show the feature, some that do not."""
    from unfeature.reports.study import StudyPictures

    shows, lacks = _chosen(generator, about.seed, the_judge(run, generator, about.seed), parts[-1].feedback)
    seeds = np.array([*shows, *lacks], dtype=np.int64)
    before = to_pixels(drawn(generator, seeds)[1])
    after = {part.name: to_pixels(drawn(the_unlearned(part.run, generator)[0], seeds)[1]) for part in parts}
    return StudyPictures(len(shows), before, after)


def _chosen(generator: Generator, seed: int, judge: Judge | None, marks: Feedback) -> tuple[list[int], list[int]]:
    """Seeds with and without the feature: a judge's choice of the evaluation's first pictures, or else the marks'."""
    if judge is None:
        return list(marks.positives[:SHOWS]), list(marks.negatives[:LACKS])
    seeds = stream("evaluate", seed, 0, rows_at_once(generator.spec.image_shape, SHOWN, 24, BATCH))
    shows = (judge.score(drawn(generator, seeds)[1]) >= 0.5).numpy()
    return seeds[shows][:SHOWS].tolist(), seeds[~shows][:LACKS].tolist()
