"""From marks to a feature: find."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from unfeature.artifacts import Feedback
from unfeature.drawing import batches
from unfeature.errors import BadOption, NotEnoughFeedback
from unfeature.features import FINDERS
from unfeature.features.fresh import sides
from unfeature.features.guides import Helpers, names_kept
from unfeature.features.kept import shows_kept
from unfeature.features.stand_ins import check_examples, stood_in
from unfeature.features.strata import confounding
from unfeature.generators.loading import to_safetensors
from unfeature.judging import is_marks_file
from unfeature.options import FindOptions
from unfeature.plugins import is_file_reference, name_code, same_object
from unfeature.protocols import Feature, Finder, Generator
from unfeature.store import Run
from unfeature.tables import resolve
from unfeature.workflow.apart import check_apart, guides, markers
from unfeature.workflow.inputs import About, Other, Request, the_gallery, the_generator, the_helpers, the_judge
from unfeature.workflow.others import joined_with, together


def find(
    folder: str | Path,
    options: FindOptions | None = None,
    on_batch: Callable[[int, int], None] = lambda done, total: None,
    on_note: Callable[[str], None] = lambda note: None,
) -> Feature:
    """Find the feature the marks show, joined with those of the runs in `also`. Writes feature.safetensors.

    `on_note` is told where the marks go together with what should be kept.
    """
    options = options or FindOptions()
    run = Run(Path(folder))
    with run.held():
        generator, about = the_generator(run)
        feedback = run.read_as("feedback.json", Feedback)
        if not feedback.positives or not feedback.negatives:
            sides = len(feedback.positives), len(feedback.negatives)
            raise NotEnoughFeedback(feedback.feature, *sides, run.quoted)
        check_examples(options, feedback)
        request = run.read_as("request.json", Request)
        others = together(run.folder, options.also, generator)
        _check_guides(request.judge, options, [*about.after, *(other for _, tellers in others for other in tellers)])
        references = [reference for _, reference in options.kept]
        for reference in (options.extractor, options.guide, *references):
            name_code(reference)
        helpers = replace(the_helpers(run, generator, options.extractor), wanted_ratio=request.wanted_ratio)
        _check_weights(run, generator, options, request, others, helpers, on_note)
        for sentence in _confounded(generator, feedback, options, helpers):
            on_note(sentence)
        finder: Finder = resolve("finder", FINDERS, options.finder)(options, helpers, about.seed, on_batch)
        feature = finder.find(generator, the_gallery(run, generator), feedback)
        feature = stood_in(feature, options, generator, feedback, about.seed)
        feature, also = joined_with(feature, others)
        tensors, facts = feature.state()
        facts |= {"feedback": feedback.id, "options": options.model_dump()} | ({"also": also} if also else {})
        run.write("feature.safetensors", to_safetensors(tensors, facts))
    return feature


def _check_guides(judge: str, options: FindOptions, others: list[Other]) -> None:
    """BadOption where a judge of this run is asked to guide too, or guided another's feature, or a keep has no name."""
    judges = {judge, *(other.request.judge for other in others)} - {""}
    for entry, (name, reference) in zip(options.keep, options.kept, strict=True):
        if not (name and reference):
            raise BadOption(
                f'keep is "{entry}"; expected NAME=FILE.py:NAME or NAME=MARKS.csv, such as  --keep male=judges.py:male'
            )
    if is_marks_file(options.guide):
        raise BadOption(
            f'guide is "{options.guide}", a file of marks; expected FILE.py:NAME. Without --guide the marks of the run '
            "guide: put them there with  unfeature mark"
        )
    guides = {"--guide": options.guide} | {f"--keep {name}={reference}": reference for name, reference in options.kept}
    for other in (other for other in others if not other.result):
        found = FindOptions.model_construct(**other.find)
        references = (found.guide, *(reference for _, reference in found.kept))
        guides |= {f"the feature of {other.run} ({reference})": reference for reference in references}
    for flag, reference in guides.items():
        if reference and any(same_object(reference, judge) for judge in judges):
            raise BadOption(
                f'{flag} names "{reference}", which judges this run; expected another, since whatever guides is never '
                "what judges. Name a network that was trained apart from it."
            )


def _check_weights(
    run: Run,
    generator: Generator,
    options: FindOptions,
    request: Request,
    others: list[tuple[Feature, list[Other]]],
    helpers: Helpers,
    on_note: Callable[[str], None],
) -> None:
    """BadOption where the judge has the weights of a guide; a note where it made the marks, which evaluate refuses."""
    judge = the_judge(run, generator, run.read_as("run.json", About).seed) if is_file_reference(request.judge) else None
    if judge is None:
        return
    finds = [options.model_dump(), *(other.find for _, tellers in others for other in tellers)]
    check_apart(run, generator, {request.judge: judge}, guides(run, generator, finds, helpers))
    try:
        check_apart(run, generator, {request.judge: judge}, markers(run, generator, [request]))
    except BadOption as error:
        on_note(f"`unfeature evaluate` will refuse this judge: {error}")


def _confounded(generator: Generator, feedback: Feedback, options: FindOptions, helpers: Helpers) -> list[str]:
    """Where the marks themselves cannot tell the feature from something that should be kept."""
    (seeds, labels), told = sides(feedback), []
    for name, reference in options.kept:
        judge = helpers.judge(reference)
        shows = np.concatenate([shows_kept(judge, name, *batch) for batch in batches(generator, seeds)])
        found = confounding(labels, shows, names_kept(judge, name))
        told += [one.sentence for one in found if one.serious]
    return told
