"""From marks to a feature: find."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from unfeature.artifacts import Feedback
from unfeature.drawing import batches
from unfeature.errors import BadOption, NotEnoughFeedback
from unfeature.features import FINDERS
from unfeature.features.guides import Helpers, kept_by_judge, names_kept
from unfeature.features.strata import confounding
from unfeature.generators.loading import to_safetensors
from unfeature.options import FindOptions
from unfeature.plugins import name_code
from unfeature.protocols import Feature, Finder, Generator
from unfeature.store import Run
from unfeature.tables import resolve
from unfeature.workflow.inputs import Request, the_gallery, the_generator, the_helpers


def find(
    folder: str | Path,
    options: FindOptions | None = None,
    on_batch: Callable[[int, int], None] = lambda done, total: None,
    on_note: Callable[[str], None] = lambda note: None,
) -> Feature:
    """Find the feature the marks show. Writes feature.safetensors.

    `on_note` is told where the marks go together with what should be kept.
    """
    options = options or FindOptions()
    run = Run(Path(folder))
    with run.held():
        generator, about = the_generator(run)
        feedback = run.read_as("feedback.json", Feedback)
        if not feedback.positives or not feedback.negatives:
            sides = len(feedback.positives), len(feedback.negatives)
            raise NotEnoughFeedback(feedback.feature, *sides, shlex.quote(str(run.folder)))
        _check_guides(run, options)
        for reference in (options.extractor, options.guide, *(reference for _, reference in options.kept)):
            name_code(reference)
        wanted = run.read_as("request.json", Request).wanted_ratio
        helpers = replace(the_helpers(run, generator), wanted_ratio=wanted)
        for sentence in _confounded(generator, feedback, options, helpers):
            on_note(sentence)
        finder: Finder = resolve("finder", FINDERS, options.finder)(options, helpers, about.seed, on_batch)
        feature = finder.find(generator, the_gallery(run, generator), feedback)
        tensors, facts = feature.state()
        facts |= {"feedback": feedback.id, "options": options.model_dump()}
        run.write("feature.safetensors", to_safetensors(tensors, facts))
    return feature


def _check_guides(run: Run, options: FindOptions) -> None:
    """BadOption where the judge of this run is asked to guide too, or a keep has no name."""
    judge = run.read_as("request.json", Request).judge
    for entry, (name, reference) in zip(options.keep, options.kept, strict=True):
        if not (name and reference):
            raise BadOption(f'keep is "{entry}"; expected NAME=FILE.py:NAME, such as  --keep male=judges.py:male')
    guides = {"--guide": options.guide} | {f"--keep {name}={reference}": reference for name, reference in options.kept}
    for flag, reference in guides.items():
        if reference and reference == judge:
            raise BadOption(
                f'{flag} names "{judge}", which judges this run; expected another, since whatever guides is never what '
                "judges. Name a network that was trained apart from it."
            )


def _confounded(generator: Generator, feedback: Feedback, options: FindOptions, helpers: Helpers) -> list[str]:
    """Where the marks themselves cannot tell the feature from something that should be kept."""
    seeds = np.array([*feedback.positives, *feedback.negatives], dtype=np.int64)
    labels, told = np.arange(len(seeds)) < len(feedback.positives), []
    for name, reference in options.kept:
        judge = helpers.judge(reference)
        said = kept_by_judge(judge)
        with torch.no_grad():
            shows = torch.cat([said(images) >= 0 for _, images in batches(generator, seeds)])
        found = confounding(labels, shows.numpy(), names_kept(judge, name))
        told += [one.sentence for one in found if one.serious]
    return told
