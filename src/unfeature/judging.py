"""Who marks and who decides: from a name, a file or a function to a Judge and to Feedback."""

from __future__ import annotations

import csv
import io
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unfeature import devices
from unfeature.artifacts import Feedback, Gallery
from unfeature.drawing import BATCH, batches
from unfeature.errors import BadFile, BadOption, UnknownName
from unfeature.metrics import EXTRACTORS, MEASUREMENTS
from unfeature.metrics.judges import CallableJudge, CutJudge, cut_at, cut_of, guarded, judge_of, load_measurement
from unfeature.once import known
from unfeature.options import MarkOptions
from unfeature.plugins import call_object, is_file_reference, load_object
from unfeature.protocols import Extractor, Generator, Judge, Measurement
from unfeature.seeds import SEEDS, Seeds, stream
from unfeature.store import parse_json
from unfeature.tables import resolve

CALIBRATION = 10_000
"""Samples of the original on which a measured feature's cut is fixed."""

TRUTH = "truth"
"""Marks by what the generator itself knows of its pictures."""

CLIP, CLIP_CALIBRATION = "clip", 1_000
"""Marks by an image-and-text model, and its samples: it only guides, and is slow on a CPU."""

MARKS = {
    "1": "positives",
    "positive": "positives",
    "0": "negatives",
    "negative": "negatives",
    "?": "unsure",
    "unsure": "unsure",
    "": None,
}
"""What may stand in the `mark` column of a CSV."""


def is_marks_file(reference: str) -> bool:
    """True for the name of a JSON or CSV file of marks, the latter between tabs too."""
    return reference.lower().endswith((".json", ".csv", ".tsv"))


def only_guides(reference: str) -> bool:
    """True for who marks but cannot decide the result: a file of marks, an image-and-text model, the truth."""
    return is_marks_file(reference) or reference in (CLIP, TRUTH)


def check_guide(reference: str, options: MarkOptions) -> None:
    """BadOption where the options of an image-and-text model are incomplete, or given to somebody else."""
    asked = [name for name in ("clip_model", "prompt", "contrast", "examples") if getattr(options, name)]
    if reference != CLIP:
        if asked:
            flag = asked[0].replace("_", "-")
            raise BadOption(f"--{flag} was given with --by {reference}; expected --by clip. Give that or leave it out.")
    elif not options.clip_model or bool(options.prompt) == bool(options.examples):
        raise BadOption(
            "--by clip needs to know which model to ask and what for; expected  --clip-model FOLDER  and either  "
            '--prompt "a face with glasses"  or  --examples FOLDER_OF_PICTURES'
        )
    elif options.contrast and not options.prompt:
        raise BadOption("--contrast was given without --prompt; expected both or neither. Say what to look for too.")


def guide(reference: str, generator: Generator, seed: int, options: MarkOptions, original: str) -> tuple[Judge, str]:
    """Who marks, and what reports call it: an image-and-text model, or as in `load_judge`. BadOption, BadFile."""
    if reference != CLIP:
        return load_judge(reference, generator, seed, options.share, original=original), reference
    judge = _clip_judge(generator, seed, options)
    return judge, str(judge.about["name"])


def _clip_judge(generator: Generator, seed: int, options: MarkOptions) -> Judge:
    """The image-and-text model that the options name, with what it is to look for."""
    from unfeature.metrics import clip

    model = clip.ClipModel(options.clip_model)
    if options.contrast:
        return clip.ContrastJudge(model, options.prompt, options.contrast)
    like = clip.like_sentence(model, options.prompt) if options.prompt else clip.like_pictures(model, options.examples)
    return _calibrated(like, generator, stream("calibrate", seed, 0, CLIP_CALIBRATION), options.share)


def _calibrated(measurement: Measurement, generator: Generator, seeds: Seeds, share: float) -> CutJudge:
    """The measurement with its cut fixed on the generator's pictures of these seeds."""
    return cut_at(measurement, torch.cat([measurement.measure(x) for _, x in batches(generator, seeds)]), share)


def load_judge(
    reference: str, generator: Generator, seed: int, share: float, cut: float | None = None, original: str = ""
) -> Judge:
    """A measurement by name, its cut fixed on the generator unless given; or FILE.py:NAME, a Judge or a function.

    original: all that the generator's pictures depend on but seeds; where it is told a cut is fixed once for all runs
    of a process, as far as KNOWN has room. UnknownName, BadFile.
    """
    if is_file_reference(reference):
        found = load_object(reference)
        if isinstance(found, CutJudge):
            return cut_of(reference, found)
        if isinstance(found, Judge):
            return judge_of(reference, found)
        return CallableJudge(reference, guarded(reference, found))
    if reference == CLIP:
        raise BadOption(
            "clip was named as the judge, but it only guides: whatever guides should not judge. Name a measurement or "
            "a function of yours:  --judge FILE.py:FUNCTION"
        )
    if reference not in MEASUREMENTS:
        raise UnknownName("judge", reference, MEASUREMENTS, "FILE.py:NAME")
    measurement = load_measurement(reference)
    if cut is not None:
        return CutJudge(measurement, cut)
    make = partial(_calibrated, measurement, generator, stream("calibrate", seed, 0, CALIBRATION), share)
    return known(original, ("calibrate", reference, seed, share), make, sys.getsizeof)


def load_guide(reference: str) -> Judge:
    """FILE.py:NAME, a Judge whose scores have a gradient: it guides a search, so it may judge nothing.

    BadOption, BadFile.
    """
    if not is_file_reference(reference):
        raise BadOption(
            f'"{reference}" cannot guide a search: its scores have no gradient; expected a network: FILE.py:NAME'
        )
    found = load_object(reference)
    if not isinstance(found, Judge):
        raise BadOption(
            f'"{reference}" is a {type(found).__name__}; expected a Judge, with `about` and `score(images)`.'
        )
    return judge_of(reference, found, "guide")


def load_extractor(reference: str) -> Extractor:
    """A shipped extractor by name, or what FILE.py:FUNCTION returns."""
    named = is_file_reference(reference)
    loaded: Extractor = (
        call_object(reference) if named else resolve("extractor", EXTRACTORS, reference, "FILE.py:NAME")()
    )
    return loaded


def marks_by_judge(
    judge: Judge, reference: str, generator: Generator, gallery: Gallery, feature: str, options: MarkOptions
) -> Feedback:
    """Simulated feedback: the first `per_side` pictures of the gallery with and without the feature."""

    def shows(seeds: Seeds) -> Tensor:
        return torch.cat([judge.score(images) >= 0.5 for _, images in batches(generator, seeds)])

    positives, negatives = _first_of_each(gallery, shows, options.per_side)
    cut = judge.cut if isinstance(judge, CutJudge) else None
    return Feedback(feature, gallery.generator, positives, negatives, source=f"simulated by {reference}", cut=cut)


def marks_by_truth(generator: Generator, gallery: Gallery, feature: str, options: MarkOptions) -> Feedback:
    """Marks without error: the first `per_side` pictures told to have the attribute of that name, and told not to."""
    truth = truth_of(generator, feature)
    positives, negatives = _first_of_each(gallery, lambda s: truth(generator.sample_latents(s)), options.per_side)
    return Feedback(feature, gallery.generator, positives, negatives, source="the generator's own truth")


def swapped(feedback: Feedback, share: float, seed: int) -> Feedback:
    """With wrong marks: that share of the smaller side's, drawn from each side and put on the other."""
    draw, sides = np.random.default_rng(seed), (feedback.positives, feedback.negatives)
    count = round(share * min(map(len, sides)))
    if not count:
        return feedback
    shows, without = (draw.permutation(side).tolist() for side in sides)
    positives, negatives = (
        tuple(sorted(new)) for new in (without[:count] + shows[count:], shows[:count] + without[count:])
    )
    source = f"{feedback.source}, {count} of each side wrong"
    return replace(feedback, positives=positives, negatives=negatives, source=source)


def truth_of(generator: Generator, attribute: str) -> Callable[[Tensor], Tensor]:
    """Latents (n, d) -> (n,) bool: what the generator's module knows of its pictures.

    The module has `truth`, latents -> (n, k) bool, and the k names in `attributes`; without names they are 0, 1...
    BadOption where it has no truth; UnknownName.
    """
    truth = getattr(generator.module, "truth", None)
    if truth is None:
        raise BadOption(
            f'generator "{generator.spec.name}" does not know what its pictures show; expected a module with a method '
            "truth(latents) -> (n, k) bool. Mark by hand, or name who marks:  --by FILE.py:FUNCTION"
        )
    told = partial(devices.carried, truth, generator.module)
    k = told(torch.zeros(1, generator.spec.latent_dim)).shape[1]
    names = tuple(getattr(generator.module, "attributes", map(str, range(k))))
    if attribute not in names:
        raise UnknownName("attribute", attribute, names)

    def has(latents: Tensor) -> Tensor:
        return told(latents)[:, names.index(attribute)]

    return has


def _first_of_each(gallery: Gallery, shows: Callable[[Seeds], Tensor], count: int) -> tuple[tuple[int, ...], ...]:
    """The first `count` seeds that show it, and that do not; pictures after those are never made."""
    seeds = np.array(gallery.seeds, dtype=np.int64)
    sides: tuple[list[int], list[int]] = ([], [])
    for start in range(0, len(seeds), BATCH):
        part = seeds[start : start + BATCH]
        for seed, shown in zip(part.tolist(), shows(part).tolist(), strict=True):
            sides[not shown].append(seed)
        if min(len(side) for side in sides) >= count:
            break
    return tuple(tuple(side[:count]) for side in sides)


def marks_from_file(path: Path, gallery: Gallery, feature: str) -> Feedback:
    """Marks made elsewhere: our JSON, a JSON of positives and negatives, or a CSV with columns seed, mark. BadFile."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BadFile(f"cannot read {path}: {error.strerror}. Check the path.") from error
    form = path.suffix.lower() != ".json"
    value = _read_csv(path, data) if form else parse_json(path, data)
    if not {"positives", "negatives", "unsure"} & set(value):
        raise BadFile(
            f"{path} names no marks; expected positives and negatives, lists of seeds. Choose a file of marks."
        )
    try:
        sides: list[tuple[int, ...]] = [
            tuple(map(_seed, value.get(side, ()))) for side in ("positives", "negatives", "unsure")
        ]
    except (TypeError, ValueError) as error:
        raise BadFile(
            f"{path} marks seeds that are not whole numbers ({error}); expected those of gallery.csv. Mend them."
        ) from error
    seen = [seed for side in sides for seed in side]
    strange = next((seed for seed in seen if not 0 <= seed < SEEDS), None)
    if strange is not None:
        raise BadFile(f"{path} marks seed {strange}; expected 0 to {SEEDS - 1}, as in gallery.csv. Mend that mark.")
    if form and not seen:  # a form nobody filled in; a JSON of no marks was saved by somebody
        raise BadFile(
            f"{path} has no mark in it; expected 1 (shows it), 0 or ? in its column mark. Mark some pictures."
        )
    twice = next((seed for seed, times in Counter(seen).items() if times > 1), None)
    if twice is not None:
        raise BadFile(f"{path} marks seed {twice} twice; expected one mark a picture. Remove one.")
    generator = value.get("generator", gallery.generator)
    told = value.get("source")
    source = told if isinstance(told, str) and told else f"marks in {path.name}"
    return Feedback(feature, generator, sides[0], sides[1], sides[2], source=source)


def _seed(value: Any) -> int:
    if isinstance(value, float | bool):
        raise ValueError(f"got {value}")
    return int(value.removesuffix(".0") if isinstance(value, str) else value)  # as spreadsheets write them


def _read_csv(path: Path, data: bytes) -> dict[str, Any]:
    sides: dict[str, list[str]] = {"positives": [], "negatives": [], "unsure": []}
    if b"\0" in data:
        raise BadFile(
            f"{path} is no text in UTF-8; expected a table with columns seed and mark. Save it as CSV, UTF-8."
        )
    text = data.decode("utf-8-sig", errors="replace")
    header = text.partition("\n")[0]
    between = max(",;\t", key=header.count)  # spreadsheets write semicolons where a comma stands in numbers
    reader = csv.DictReader(io.StringIO(text), delimiter=between)
    try:
        columns, rows = reader.fieldnames or (), list(reader)
    except csv.Error as error:
        raise BadFile(f"{path} is not CSV ({error}); expected columns seed and mark. Check the file.") from error
    if not {"seed", "mark"} <= set(columns):
        raise BadFile(
            f"{path} has columns {', '.join(columns)[:100]!r}; expected seed and mark. Add a header line:  seed,mark"
        )
    for line, row in enumerate(rows, start=2):
        mark = (row["mark"] or "").strip().lower()
        if mark not in MARKS:
            raise BadFile(f'{path} line {line} has mark "{mark}"; expected 1, 0, ? or nothing. Mend that line.')
        side = MARKS[mark]
        if side is not None:
            sides[side].append(row["seed"])
    return dict(sides)
