"""Who marks and who decides: from a name, a file or a function to a Judge and to Feedback."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unfeature.artifacts import Feedback, Gallery
from unfeature.errors import BadFile, UnknownName
from unfeature.metrics import EXTRACTORS, MEASUREMENTS
from unfeature.metrics.judges import CallableJudge, CutJudge, calibrate, load_measurement
from unfeature.options import MarkOptions
from unfeature.plugins import call_object, is_file_reference, load_object
from unfeature.protocols import Extractor, Generator, Judge
from unfeature.seeds import Seeds, stream
from unfeature.store import parse_json
from unfeature.tables import resolve

BATCH = 500
"""Images made and judged at a time: memory does not grow with the number of samples."""

CALIBRATION = 10_000
"""Samples of the original on which a measured feature's cut is fixed."""

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


def batches(generator: Generator, seeds: Seeds) -> Iterator[tuple[Tensor, Tensor]]:
    """Latents (m, d) and images (m, c, h, w) of the seeds, m <= BATCH at a time, without gradients."""
    for start in range(0, len(seeds), BATCH):
        with torch.no_grad():
            latents = generator.sample_latents(seeds[start : start + BATCH])
            images = generator.synthesize(latents)
        yield latents, images  # outside: a generator left half-way would leave its caller without gradients


def is_marks_file(reference: str) -> bool:
    """True for the name of a JSON or CSV file of marks."""
    return reference.endswith((".json", ".csv"))


def load_judge(reference: str, generator: Generator, seed: int, share: float, cut: float | None = None) -> Judge:
    """A measurement by name, its cut fixed on the original unless given; or FILE.py:NAME, a Judge or a function.

    UnknownName, BadFile.
    """
    if is_file_reference(reference):
        found = load_object(reference)
        if isinstance(found, CutJudge):
            return found
        if isinstance(found, Judge):
            return CallableJudge(reference, _guarded(reference, found.score), dict(found.about))
        return CallableJudge(reference, _guarded(reference, found))
    if reference not in MEASUREMENTS:
        raise UnknownName("judge", reference, MEASUREMENTS)
    measurement = load_measurement(reference)
    if cut is not None:
        return CutJudge(measurement, cut)
    drawn = batches(generator, stream("calibrate", seed, 0, CALIBRATION))
    return calibrate(measurement, torch.cat([images for _, images in drawn]), share)


def _guarded(reference: str, function: Any) -> Callable[[Tensor], Any]:
    """The user's function; what goes wrong in it becomes BadFile, naming it and the error."""
    if not callable(function):
        raise BadFile(f'"{reference}" is a {type(function).__name__}; expected a function of images (n, c, h, w).')

    def called(images: Tensor) -> Any:
        try:
            with torch.no_grad():
                return function(images)
        except Exception as error:
            raise BadFile(
                f'judge "{reference}" failed on {len(images)} images of {"x".join(map(str, images.shape[1:]))}: '
                f"{type(error).__name__}: {error}. It is given (n, c, h, w) in [0, 1] and returns (n,): mend the file."
            ) from error

    return called


def load_extractor(reference: str) -> Extractor:
    """A shipped extractor by name, or what FILE.py:FUNCTION returns."""
    if is_file_reference(reference):
        made: Extractor = call_object(reference)
        return made
    loaded: Extractor = resolve("extractor", EXTRACTORS, reference)()
    return loaded


def marks_by_judge(
    judge: Judge, reference: str, generator: Generator, gallery: Gallery, feature: str, options: MarkOptions
) -> Feedback:
    """Simulated feedback: the first `per_side` pictures of the gallery with and without the feature."""
    seeds = np.array(gallery.seeds, dtype=np.int64)
    sides: tuple[list[int], list[int]] = ([], [])
    for start in range(0, len(seeds), BATCH):
        part = seeds[start : start + BATCH]
        scores = torch.cat([judge.score(images) for _, images in batches(generator, part)])
        for seed, shows in zip(part.tolist(), (scores >= 0.5).tolist(), strict=True):
            sides[not shows].append(seed)
        if min(len(side) for side in sides) >= options.per_side:
            break
    positives, negatives = (tuple(side[: options.per_side]) for side in sides)
    cut = judge.cut if isinstance(judge, CutJudge) else None
    return Feedback(feature, gallery.generator, positives, negatives, source=f"simulated by {reference}", cut=cut)


def marks_from_file(path: Path, gallery: Gallery, feature: str) -> Feedback:
    """Marks made elsewhere: our JSON, a JSON of positives and negatives, or a CSV with columns seed, mark. BadFile."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BadFile(f"cannot read {path}: {error.strerror}. Check the path.") from error
    value = _read_csv(path, data) if path.suffix == ".csv" else parse_json(path, data)
    try:
        sides: list[tuple[int, ...]] = [
            tuple(map(_seed, value.get(side, ()))) for side in ("positives", "negatives", "unsure")
        ]
    except (TypeError, ValueError) as error:
        raise BadFile(f"{path} has marks that are not whole numbers ({error}); expected lists of seeds.") from error
    seen = [seed for side in sides for seed in side]
    if len(set(seen)) < len(seen):
        twice = next(seed for seed in seen if seen.count(seed) > 1)
        raise BadFile(f"{path} marks seed {twice} twice; expected one mark a picture. Remove one.")
    generator = value.get("generator", gallery.generator)
    return Feedback(feature, generator, sides[0], sides[1], sides[2], source=f"marks in {path.name}")


def _seed(value: Any) -> int:
    if isinstance(value, float | bool):
        raise ValueError(f"got {value}")
    return int(value)


def _read_csv(path: Path, data: bytes) -> dict[str, Any]:
    sides: dict[str, list[str]] = {"positives": [], "negatives": [], "unsure": []}
    reader = csv.DictReader(io.StringIO(data.decode("utf-8-sig", errors="replace")))
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
