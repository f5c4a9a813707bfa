"""From an unlearned generator to evidence: evaluate, report."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from unfeature.artifacts import Attacks, Evaluation, Feedback, StepRecord, content_id
from unfeature.drawing import BATCH, drawn
from unfeature.errors import MissingStep
from unfeature.evaluation import Evaluator
from unfeature.features.choosing import own_choice
from unfeature.features.guides import kept_by_judge, names_kept
from unfeature.images import rows_at_once, to_pixels
from unfeature.metrics.matrix import Kept
from unfeature.options import EvaluateOptions, FindOptions, UnlearnOptions
from unfeature.protocols import Feature, Generator, Judge
from unfeature.rows import ASKED, floor
from unfeature.seeds import stream
from unfeature.store import Run, TrainingState
from unfeature.unlearners.instant import InstantEdit
from unfeature.workflow.apart import (
    Guided,
    about_extractor,
    check_apart,
    described,
    doubt,
    guides,
    guides_told,
    markers,
    pictures,
)
from unfeature.workflow.inputs import (
    Other,
    Request,
    Teachers,
    the_control,
    the_decider,
    the_extractor,
    the_feature,
    the_generator,
    the_helpers,
    the_teacher,
    the_unlearned,
    told_of,
)
from unfeature.workflow.marking import versions
from unfeature.workflow.others import joined_others, the_others

if TYPE_CHECKING:
    from unfeature.reports import Pictures

SHOWN = 2**22
"""Pixels of all the pictures together among which the report's are looked for."""

PAIRS = 12
"""Pictures of a kind in the report, each before and after."""


def evaluate(
    folder: str | Path,
    options: EvaluateOptions | None = None,
    on_batch: Callable[[int, int], None] = lambda done, total: None,
) -> Evaluation:
    """Measure original, rejection filter, teacher and unlearned on fresh seeds. Writes evaluation.json.

    With `instant` the feature's instant edit has a row too, with `control` a generator that never had the feature.
    """
    options = options or EvaluateOptions()
    run = Run(Path(folder))
    with run.held():
        generator, about = the_generator(run)
        feature, facts = the_feature(run, generator)
        student, _ = the_unlearned(run, generator)
        request, judge = run.read_as("request.json", Request), the_decider(run, generator, about.seed)
        others = the_others(run, generator, about, facts)
        guided = _apart(run, generator, facts, {request.judge: judge} | _judges(others))
        extractor = the_extractor(options.extractor, generator)
        control = the_control(about, generator, options.control) if options.control else None
        feedback, images = run.read_as("feedback.json", Feedback), pictures(run, generator)
        judged, looked = described(request.judge, judge, images), about_extractor(extractor)
        original = json.dumps([about.original, judged, looked, options.count, about.seed])
        teacher = original + hashlib.sha256(run.read("feature.safetensors")).hexdigest()
        asked, same = [row for row in ASKED if getattr(options, row)], {"original": original, "teacher": teacher}
        evaluator = Evaluator(judge, extractor, options.count, about.seed, on_batch, asked=asked, **same)
        copies = {"unlearned": student}
        if options.instant:
            copies["instant"] = InstantEdit(UnlearnOptions(), seed=about.seed).unlearn(generator, feature)
        rows = evaluator.rows(generator, {name: judge for name, (_, judge) in others.items()})
        evaluator.rejection_filter(generator, rows)
        if control is not None:
            evaluator.control(control, rows)
        collateral = evaluator.paired(generator, copies, feature, rows, _kept(run, generator, facts))
        table = rows.finish(judge)
        result = Evaluation(
            feature=request.feature,
            generator=generator.spec,
            result=student.spec,
            judge={**judged, "guided_by": feedback.source} | ({"guides": guides_told(guided)} if guided else {}),
            extractor=looked | doubt(options.extractor, extractor, guided, images),
            n=options.count,
            seeds=evaluator.seeds,
            wanted_ratio=request.wanted_ratio,
            rows=table,
            floor=floor(table),
            collateral=collateral,
            options={
                "find": facts["options"],
                "evaluate": options.model_dump(),
                "mark": request.to_json(),
                "sample": about.sample,
                **({"control": {"id": control.spec.id}} if control is not None else {}),
                **({"others": {name: _told(*other, images) for name, other in others.items()}} if others else {}),
            },
            versions=versions(),
        )
        run.write_json("evaluation.json", result.to_json())
    return result


def _kept(run: Run, generator: Generator, facts: dict[str, Any]) -> list[Kept]:
    """What the feature was to leave as it is: the strata of the collateral matrix. UntrustedCode, BadFile."""
    found = FindOptions.model_construct(**facts["options"])
    helpers, kept = the_helpers(run, generator, found.extractor), []
    for name, reference in found.kept:
        judge = helpers.judge(reference)
        kept.append(Kept(names_kept(judge, name), _shown(kept_by_judge(judge, name))))
    return kept


def _shown(log_odds: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    return lambda images: log_odds(images) >= 0


def _told(other: Other, judge: Judge, images: Tensor) -> dict[str, Any]:
    """Of another feature: in which run it was found, when it went, and who decides."""
    when = "before" if other.result else "together"
    return {"run": other.run, "unlearned": when, "judge": described(other.request.judge, judge, images)}


def _judges(others: dict[str, tuple[Other, Judge]]) -> dict[str, Judge]:
    """By reference, as they were named."""
    return {other.request.judge: judge for other, judge in others.values()}


def _apart(run: Run, generator: Generator, facts: dict[str, Any], judges: dict[str, Judge]) -> list[Guided]:
    """All that guided this run's feature; BadOption where some of it judges too."""
    also = joined_others(run, facts)
    finds = [facts["options"], *(other.find for other in also)]
    requests = [run.read_as("request.json", Request), *(other.request for other in also)]
    helpers = the_helpers(run, generator, facts["options"]["extractor"])
    guided = [*guides(run, generator, finds, helpers), *markers(run, generator, requests)]
    check_apart(run, generator, judges, guided)
    return guided


def report(folder: str | Path) -> list[Path]:
    """Write report.html, report.md and report.json from the evaluation; their paths, the page first."""
    from unfeature.reports import render_html, render_markdown, verdict  # matplotlib: half a second

    run = Run(Path(folder))
    with run.held():
        generator, about = the_generator(run)
        result = run.read_as("evaluation.json", Evaluation)
        student, training = the_unlearned(run, generator)
        (teacher, teachers), judge = the_teacher(run), the_decider(run, generator, about.seed)
        feature, found = the_feature(run, generator)
        _check_same(run, result, student, teachers, judge, found)
        with run.making_sense(TrainingState.NAME):
            log = [StepRecord.from_json(record) for record in training["records"]]
        feedback = run.read_as("feedback.json", Feedback)
        counts = {side: len(getattr(feedback, side)) for side in ("positives", "negatives", "unsure")}
        facts: dict[str, Any] = {
            "command": f"unfeature report {run.quoted}",
            "feedback": {**counts, "source": feedback.source},
            "steps": f"{training['step']}; {training['stopped']}",
            "unlearn options": training["options"],
        }
        chosen = own_choice(found)
        facts |= {"choice": chosen} if chosen else {}
        pictures = _pictures(generator, student, feature, judge, about.seed)
        attacks = _attacks(run, student.spec.id, judge, found, facts)
        given = (result, teacher, log, pictures, facts, attacks)
        plain: dict[str, Any] = {
            "verdict": vars(verdict(result, attacks)),
            "evaluation": result.to_json(),
            "preview": teacher.to_json(),
        }
        plain |= {"log": training["records"], "facts": facts, "attacks": attacks.to_json() if attacks else None}
        return [
            run.write("report.html", render_html(*given).encode()),
            run.write("report.md", render_markdown(*given).encode()),
            run.write_json("report.json", plain),
        ]


def _check_same(
    run: Run, result: Evaluation, student: Generator, teachers: Teachers, judge: Judge, feature: dict[str, Any]
) -> None:
    """MissingStep where the evaluation is of another training or request, the preview of another feature or judge."""
    request = run.read_as("request.json", Request)
    if result.result.id != student.spec.id or result.options.get("mark") != request.to_json():
        raise MissingStep(
            f"the evaluation in {run.folder} is of another training or request than those there now; expected the "
            f"same. Measure again:  unfeature evaluate {run.quoted}"
        )
    if content_id(teachers.feature) != content_id(feature):
        raise MissingStep(
            f"the preview in {run.folder} is of another feature than the one there now; expected the same. Measure "
            f"again:  unfeature preview {run.quoted}"
        )
    if teachers.judge is not None and not teachers.judged_by(told_of(run, judge)):
        raise MissingStep(
            f"the preview in {run.folder} is by another judge than the one there now; expected the same. Measure "
            f"again:  unfeature preview {run.quoted}"
        )


def _attacks(run: Run, unlearned: str, judge: Judge, feature: dict[str, Any], facts: dict[str, Any]) -> Attacks | None:
    """What attacks found, where this copy was attacked and this judge decided; otherwise the facts say so."""
    if not run.has("attacks.json"):
        return None
    found = run.read_as("attacks.json", Attacks)
    with run.making_sense("attacks.json"):
        made_from = {name: content_id(found.made_from[name]) for name in ("unlearned", "feature", "judge")}
    now = {"unlearned": unlearned, "feature": content_id(feature), "judge": dict(judge.about)}
    if made_from == {name: content_id(value) for name, value in now.items()}:
        return found
    facts["attacks"] = (
        "left out, since they were made on another copy, for another feature or by another judge; attack again: "
        f"unfeature attack {run.quoted}"
    )
    return None


def _pictures(generator: Generator, student: Generator, feature: Feature, judge: Judge, seed: int) -> Pictures:
    """Pictures of the evaluation: the first that showed the feature, and the first that were never touched.

    Between them those that never had it and are moved, the most changed first.
    """
    from unfeature.reports import Pictures

    seeds = stream("evaluate", seed, 0, rows_at_once(generator.spec.image_shape, SHOWN, 2 * PAIRS, BATCH))
    (latents, before), (_, after) = drawn(generator, seeds), drawn(student, seeds)
    shows, flagged = judge.score(before) >= 0.5, feature.contains(latents)
    edited = torch.nonzero(shows & flagged).flatten()[:PAIRS]
    untouched = torch.nonzero(~shows & ~flagged).flatten()[:PAIRS]
    moved = torch.nonzero(~shows & flagged).flatten()
    changes = (after[moved] - before[moved]).abs().flatten(1).mean(dim=1)
    moved = moved[changes.argsort(descending=True, stable=True)[:PAIRS]]
    return Pictures(*(to_pixels(side[rows]) for rows in (edited, moved, untouched) for side in (before, after)))
