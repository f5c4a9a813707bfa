"""From a generator to marks: sample, request, mark."""

from __future__ import annotations

import contextlib
import importlib.metadata
import math
import platform
import shlex
from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from unfeature import devices
from unfeature.artifacts import Feedback, Gallery
from unfeature.drawing import drawn
from unfeature.errors import BadFile, BadOption, NotEnoughFeedback, UnfeatureError, UnknownName, WrongGenerator
from unfeature.generators.loading import load_generator
from unfeature.images import grid, png, rows_at_once, to_pixels
from unfeature.judging import (
    TRUTH,
    check_guide,
    guide,
    is_marks_file,
    load_judge,
    marks_by_judge,
    marks_by_truth,
    marks_from_file,
    only_guides,
    swapped,
)
from unfeature.marks import SOURCE
from unfeature.metrics import MEASUREMENTS
from unfeature.options import MarkOptions, SampleOptions
from unfeature.plugins import is_file_reference, name_code
from unfeature.protocols import Generator, Judge
from unfeature.seeds import Seeds, stream
from unfeature.store import Run
from unfeature.workflow import others
from unfeature.workflow.inputs import About, Other, Request, the_gallery, the_generator

SHEET, SHEET_PIXELS = 400, 2**22
"""Pictures on the gallery's contact sheet; fewer of large ones."""


def versions() -> dict[str, str]:
    """Of everything whose change could change a number."""
    packages = ("unfeature", "torch", "numpy", "torchmetrics", "scikit-image", "scipy")
    found = {package: importlib.metadata.version(package) for package in packages}
    elsewhere = {"device": devices.told()} if devices.named() != "cpu" else {}
    return {"python": platform.python_version(), **found, "threads": str(torch.get_num_threads()), **elsewhere}


def versions_of(*made: Mapping[str, str]) -> dict[str, str]:
    """Of all that had a part in something; those of a name that differ one after the other."""
    names = dict.fromkeys(name for one in made for name in one)
    told = {name: [one[name].split("; ") for one in made if name in one] for name in names}
    return {name: "; ".join(dict.fromkeys(chain.from_iterable(all_of))) for name, all_of in told.items()}


def sample(
    folder: str | Path,
    generator: str = "",
    options: SampleOptions | None = None,
    weights: str | None = None,
    arguments: Mapping[str, Any] | None = None,
    on_note: Callable[[str], None] = lambda note: None,
    after: str | Path = "",
) -> Gallery:
    """Start a run: draw the gallery of a generator; `generator`, `weights`, `arguments` as in `load_generator`.

    `after`: a finished run, whose unlearned generator is taken in place of these; what it unlearned stays on record.
    `on_note` is told what was found and assumed in its file, and what no longer fits where another's run was there.
    Writes run.json, gallery.json, gallery.png (the first pictures) and gallery.csv (a form for marks made elsewhere).
    """
    options = options or SampleOptions()
    run, gone = Run(Path(folder)), tuple[Other, ...]()
    if bool(after) == bool(generator) or (after and (weights or arguments)):
        raise BadOption(
            "sample needs a generator or a run to go on after, with its generator as it is; expected one of them. Give "
            "--generator, --weights and --argument, or --after RUN alone."
        )
    if after:
        generator, weights, arguments, gone = others.after(after)
        if Path(folder).resolve() in {Path(run).resolve() for run in (after, *(other.run for other in gone))}:
            raise BadOption(
                f"{folder} is to go on after itself, whose unlearned generator it would replace; expected another "
                f"folder. Name a new one:  unfeature sample NEW --after {shlex.quote(str(after))}"
            )
    name_code(generator)
    source = load_generator(generator, weights, arguments)
    for note in getattr(source, "notes", ()):
        on_note(note)
    seeds = stream("gallery", options.seed, 0, options.count)
    gallery = Gallery(source.spec.id, tuple(seeds.tolist()))
    images = _first(source, seeds[: rows_at_once(source.spec.image_shape, SHEET_PIXELS, 40, SHEET)], generator)
    sheet = png(grid(to_pixels(images), columns=20), zoom=enlarge(images.shape[-1]))
    with run.held(new=True):
        before, kept = _generator_before(run), _history(run)
        drawn_with = options.seed, options.model_dump(), versions(), dict(arguments or {})
        about = About(generator, weights, source.spec, *drawn_with, gone)
        run.write_json("run.json", about.to_json())
        if not (_is_there(run, gallery) and run.has("gallery.csv")):  # somebody may have filled it in
            form = "seed,mark\n" + "".join(f"{seed},\n" for seed in gallery.seeds)
            run.write("gallery.csv", form.encode())
        run.write_json("gallery.json", gallery.to_json())
        run.write("gallery.png", sheet)
        moved = ", ".join(sorted(_history(run) - kept))
    if before not in ("", source.spec.id):
        on_note(
            f"{run.folder} was a run of {before}, and marks, feature and copy in it do not fit any more; mark anew. "
            f"To go back, copy {moved} from {run.path('history')} over the files of those names without the number."
        )
    return gallery


def _generator_before(run: Run) -> str:
    """The generator that a folder's run is of; empty where there is none that can be read."""
    with contextlib.suppress(BadFile):
        return run.read_as("run.json", About).spec.id if run.has("run.json") else ""
    return ""


def _is_there(run: Run, gallery: Gallery) -> bool:
    with contextlib.suppress(BadFile):
        return run.has("gallery.json") and run.read_as("gallery.json", Gallery) == gallery
    return False


def _history(run: Run) -> set[str]:
    return {path.name for path in run.path("history").glob("*")}


def _first(source: Generator, seeds: Seeds, generator: str) -> Tensor:
    """The first pictures (n, c, h, w); BadFile where there are none, none in [0, 1], or none to learn from."""
    look = f"See all that is wrong:  unfeature check {shlex.quote(generator)}"
    try:
        _, images = drawn(source, seeds)
        shape = tuple(images.shape)
    except UnfeatureError:
        raise
    except Exception as error:  # of whatever the user's own code gives
        raise BadFile(
            f'generator "{generator}" makes no pictures ({type(error).__name__}: {str(error)[:200]}); expected latents '
            f"(n, d) -> pictures (n, c, h, w). {look}"
        ) from error
    if len(shape) != 4 or shape[0] != len(seeds) or shape[1] not in (1, 3):
        raise BadFile(
            f'generator "{generator}" makes {shape} of {len(seeds)} latents; expected a picture each, of 1 or 3 '
            f"channels, (n, c, h, w). {look}"
        )
    _check_values(images, generator)
    twin = source.copy()
    twin.module.requires_grad_(True)
    with torch.enable_grad():
        learns = twin.synthesize(twin.sample_latents(seeds[:1])).requires_grad
    if not learns:
        raise BadFile(
            f'generator "{generator}" passes no gradient from its pictures to its weights, so no copy could learn; '
            f"expected torch all the way, without .numpy(), .detach() and torch.no_grad(). {look}"
        )
    return images


def _check_values(images: Tensor, generator: str) -> None:
    """BadFile for pictures (n, c, h, w) that are not in [0, 1]."""
    low, high = float(images.min()), float(images.max())  # NaN if any is
    if math.isnan(low):
        raise BadFile(
            f'generator "{generator}" makes pixel values that are no numbers; expected 0 to 1. Are its weights whole?'
        )
    if not (low >= -1e-3 and high <= 1 + 1e-3):
        raise BadFile(
            f'generator "{generator}" makes pixel values from {low:.3g} to {high:.3g}; expected 0 to 1. '
            "Rescale them in its code, for instance with `(images + 1) / 2`."
        )


def enlarge(width: int) -> int:
    """How many screen pixels a picture's pixel takes on a sheet."""
    return max(1, 56 // width)


def request(folder: str | Path, feature: str, judge: str = "", options: MarkOptions | None = None) -> None:
    """Name the feature and who decides the result, before anybody has marked. Writes request.json; UnknownName."""
    run = Run(Path(folder))
    _check_name(feature)
    name_code(judge)
    with run.held():
        if is_file_reference(judge):
            generator, about = the_generator(run)
            load_judge(judge, generator, about.seed, 0.5)
        elif judge and judge not in MEASUREMENTS:
            raise UnknownName("judge", judge, MEASUREMENTS, "FILE.py:NAME")
        _write_request(run, feature, SOURCE, judge, None, options or MarkOptions())


def fix_cut(folder: str | Path) -> None:
    """Where a measured feature begins, fixed on the original if it was not yet: takes seconds. Writes request.json."""
    run = Run(Path(folder))
    with run.held():
        asked = run.read_as("request.json", Request)
        if asked.judge in MEASUREMENTS and asked.cut is None:
            generator, about = the_generator(run)
            judge = load_judge(asked.judge, generator, about.seed, asked.share)
            run.write_json("request.json", replace(asked, cut=getattr(judge, "cut", None)).to_json())


def _check_name(feature: str) -> None:
    if not feature.strip():
        raise BadOption("the feature has no name; expected one, for files and reports. Give it one, such as thickness.")


def _check_marks(feedback: Feedback, gallery: Gallery, path: str, run: Run) -> None:
    """WrongGenerator, BadFile, NotEnoughFeedback for marks in a file that nothing can be found from."""
    if feedback.generator != gallery.generator:
        raise WrongGenerator("feedback", feedback.generator, gallery.generator)
    strangers = {*feedback.positives, *feedback.negatives, *feedback.unsure} - set(gallery.seeds)
    if strangers:
        raise BadFile(
            f"{path} marks seed {min(strangers)}, which is not in the gallery of {run.folder}; expected the seeds in "
            "its gallery.csv. Mark pictures of this gallery."
        )
    if not feedback.positives or not feedback.negatives:
        counts = len(feedback.positives), len(feedback.negatives)
        raise NotEnoughFeedback(feedback.feature, *counts, run.quoted)


def _check_sides(feedback: Feedback, by: str, gallery: Gallery) -> None:
    """BadOption where whoever marks finds no picture of a kind."""
    if feedback.positives and feedback.negatives:
        return
    which = "with it" if not feedback.positives else "without it"
    raise BadOption(
        f"{by} finds none {which} among the {len(gallery.seeds)} pictures of the gallery; expected some of each kind. "
        "Draw more (sample --count), name a larger --share of a measurement, or look at what your function returns."
    )


def _write_request(run: Run, feature: str, by: str, judge: str, deciding: Judge | None, options: MarkOptions) -> None:
    cut = getattr(deciding, "cut", None)
    asked = Request(feature, by, judge, cut, options.share, options.per_side, options.wanted_ratio)
    run.write_json("request.json", asked.to_json())


def mark(folder: str | Path, feature: str, by: str, options: MarkOptions | None = None, judge: str = "") -> Feedback:
    """Name the feature and take marks: a measurement or FILE.py:NAME marks the gallery, or a JSON or CSV holds them.

    `clip` marks as `options` say, `truth` by what the generator itself knows of the attribute called `feature`. `judge`
    decides the result later; by default whoever marks, where that is none of the last three. Writes feedback.json and
    request.json. NotEnoughFeedback, BadFile for a file without marks of each kind, or of pictures not in the gallery.
    """
    options = options or MarkOptions()
    _check_name(feature)
    check_guide(by, options)
    run = Run(Path(folder))
    for code in (by, judge):
        name_code(code)
    with run.held():
        generator, about = the_generator(run)
        gallery = the_gallery(run, generator)
        decides = judge or ("" if only_guides(by) else by)
        deciding = None
        if is_marks_file(by):
            feedback = marks_from_file(Path(by), gallery, feature)
            _check_marks(feedback, gallery, by, run)
        elif by == TRUTH:
            feedback = marks_by_truth(generator, gallery, feature, options)
        else:
            marking, told = guide(by, generator, about.seed, options, about.original)
            feedback = marks_by_judge(marking, told, generator, gallery, feature, options)
            deciding = marking if decides == by else None
        _check_sides(feedback, by, gallery)
        feedback = swapped(feedback, options.wrong, about.seed)
        if decides and deciding is None:
            deciding = load_judge(decides, generator, about.seed, options.share, original=about.original)
        run.write_json("feedback.json", feedback.to_json())
        _write_request(run, feature, by, decides, deciding, options)
    return feedback
