"""The paper's method on three public generators of faces: what is gone, what else changed, is it like its teacher?

    UNFEATURE_ASSETS=../shared/assets python benchmarks/faces.py

face_vae64   Bangs, Smiling, Male from 1,000 and from 200 marks, half a side; network a marks, network b judges
face_gan36   two features found by looking at its pictures and marked by eye (benchmarks/marks)
face_cvae40  Eyeglasses, Bangs, Goatee from 1,000 marks without error; what its pictures show is known exactly

Pooled threshold, unit vector, no margin: the paper's teacher as it is. Judged on 10,000 seeds that chose nothing
(face_cvae40: 1,500).
Resumable: a run folder that has its report is not made again. Writes benchmarks/results/faces.json and .md.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from tabulated import interval, merged
from torch import Tensor

from unfeature import options as o
from unfeature import workflow
from unfeature.artifacts import Evaluation, Score
from unfeature.changes import Matrix
from unfeature.drawing import batches
from unfeature.generators.labelled import Labelled
from unfeature.judging import load_judge
from unfeature.metrics import EXTRACTORS
from unfeature.seeds import stream
from unfeature.store import Run
from unfeature.workflow import inputs

HERE = Path(__file__).parent
RESULTS, JUDGES = HERE / "results", HERE / "judges"
SEED, GALLERY = 0, 12_000
MOST_FLIPPED = 5
"""Attributes that are named."""
COLUMNS = {
    "generator": "generator",
    "feature": "feature",
    "marks": "marks",
    "before": "ratio before",
    "teacher": "teacher",
    "unlearned": "after",
    "gap": "after - teacher",
    "truth_before": "exact truth before",
    "truth_teacher": "exact truth, teacher",
    "truth_unlearned": "nearer to on than off, after",
    "fd_teacher": "FD to feature-free, teacher",
    "fd": "FD, after",
    "fd_floor": "floor",
    "flips_never_had": "other attributes flipped, never had it",
    "flips_edited": "flipped, edited",
    "most_flipped": "most flipped where edited",
    "perceptual_untouched": "perceptual distance, untouched",
    "perceptual_edited": "edited",
    "distance": "pixels from teacher",
    "steps": "steps",
    "seconds": "unlearning, s",
}


@dataclass(frozen=True)
class Case:
    """One run."""

    generator: str
    feature: str
    marks: int
    """Pictures marked."""
    by: str
    judge: str
    second: str = ""
    """Another judge, asked for the ratios only."""
    count: int = 10_000
    """Fresh samples per row."""
    training: dict[str, Any] = field(default_factory=dict)
    """Options of `unlearn` other than the defaults."""

    @property
    def name(self) -> str:
        """Of its run folder."""
        return f"{self.generator}-{self.feature}-{self.marks}"


def cases() -> list[Case]:
    """All of them."""
    celeba, gan = f"{JUDGES / 'celeba.py'}:", f"{JUDGES / 'gan36.py'}:"
    vae = [
        Case("face_vae64", feature, marks, f"{celeba}a_{feature}", f"{celeba}b_{feature}", training=LONG)
        for feature in ("Bangs", "Smiling", "Male")
        for marks in (1000, 200)
    ]
    by_eye = [
        Case("face_gan36", feature, marks, _by_eye(feature), gan + feature, second, training=CROP)
        for feature, marks, second in (("teeth", 353, f"{gan}teeth_a"), ("orange", 423, ""))
    ]
    known = [
        Case("face_cvae40", feature, 1000, "truth", f"{celeba}b_{feature}", "", 1500, SLOW)
        for feature in ("Eyeglasses", "Bangs", "Goatee")
    ]
    return [*vae, *by_eye, *known]


def _by_eye(feature: str) -> str:
    return str(HERE / f"marks/face_gan36-{feature}.csv")


LONG: dict[str, Any] = {"steps": 3000, "tolerance": 0.003}
"""The default's 1,000 steps end before the copy is as near to its teacher as it can come on a face."""
CROP: dict[str, Any] = LONG | {"batch": 64}
SLOW: dict[str, Any] = {"batch": 16, "steps": 1500, "tolerance": 0.002}
"""face_cvae40 makes a hundred pictures a second; its labels change few pixels, so the copy has to come closer."""


def run(case: Case, folder: Path, count: int) -> dict[str, Any]:
    """The run from gallery to report; its figures."""
    if not (folder / "evaluation.json").is_file():
        workflow.sample(folder, f"{HERE / 'generators' / case.generator}.py:load", o.SampleOptions(count=GALLERY))
        workflow.mark(folder, case.feature, case.by, o.MarkOptions(per_side=case.marks // 2), case.judge)
        workflow.find(folder)
        workflow.preview(folder, o.PreviewOptions(extractor="squeezenet"))
        began, fresh = time.monotonic(), not (folder / "training.safetensors").exists()
        workflow.unlearn(folder, o.UnlearnOptions(**case.training))
        if fresh:
            (folder / "seconds.json").write_text(json.dumps(time.monotonic() - began))
        workflow.evaluate(folder, o.EvaluateOptions(count=count, extractor="squeezenet"))
    if not (folder / "report.json").is_file():
        workflow.report(folder)
    more = folder / "more.json"
    if not more.is_file():
        found = second_opinion(folder, case.second, count) if case.second else {}
        found |= exact(folder, case.feature, count) if case.by == "truth" else {}
        more.write_text(json.dumps(found, indent=1))
    told: dict[str, Any] = json.loads(more.read_text())
    return figures(folder) | {"feature": case.feature, "marks": case.marks} | told


def second_opinion(folder: Path, judge: str, count: int) -> dict[str, Any]:
    """The three ratios by another judge, on the pictures that were evaluated."""
    run = Run(folder)
    original, _ = inputs.the_generator(run)
    feature, _ = inputs.the_feature(run, original)
    unlearned, _ = inputs.the_unlearned(run, original)
    other = load_judge(judge, original, SEED, 0.1)
    hits = dict.fromkeys(("before", "teacher", "unlearned"), 0)
    for latents, images in batches(original, stream("evaluate", SEED, 0, count)):
        with torch.no_grad():
            made = images, original.synthesize(feature.erase(latents)), unlearned.synthesize(latents)
        hits = {row: hits[row] + shown(other.score(x) >= 0.5) for row, x in zip(hits, made, strict=True)}
    told = {f"second_{row}": Score.share("target_ratio", number, count).to_json() for row, number in hits.items()}
    return {"second_judge": str(other.about["name"])} | told


def exact(folder: Path, attribute: str, count: int) -> dict[str, Any]:
    """The ratios from the labels themselves; the copy's by what its picture is nearer to in pixels.

    At each latent: to the original's picture at the erased latent with that one label told, or with it not told. How
    often this rule is right is measured where the answer is known, on the teacher's pictures.
    """
    run = Run(folder)
    original, _ = inputs.the_generator(run)
    feature, _ = inputs.the_feature(run, original)
    unlearned, _ = inputs.the_unlearned(run, original)
    labels = original.module
    assert isinstance(labels, Labelled)
    place = labels.attributes.index(attribute)
    hits = dict.fromkeys(("before", "teacher", "unlearned", "right"), 0)
    for latents, _ in batches(original, stream("evaluate", SEED, 0, count)):
        with torch.no_grad():
            erased = feature.erase(latents)
            on, off = (original.synthesize(labels.telling(erased, attribute, shows)) for shows in (True, False))
            had, has = (labels.truth(z)[:, place] for z in (latents, erased))
            right = nearer(original.synthesize(erased), on, off) == has
            found = had, has, nearer(unlearned.synthesize(latents), on, off), right
        hits = {name: hits[name] + shown(mask) for name, mask in zip(hits, found, strict=True)}
    return {f"truth_{name}": Score.share("truth", number, count).to_json() for name, number in hits.items()}


def nearer(images: Tensor, on: Tensor, off: Tensor) -> Tensor:
    """(n, c, h, w) three times -> (n,) bool: nearer to `on` than to `off`, in squared difference of pixels."""
    with_it, without = ((images - x).square().sum(dim=(1, 2, 3)) for x in (on, off))
    return with_it < without


def shown(mask: Tensor) -> int:
    """How many are true."""
    return int(mask.sum())


def figures(folder: Path) -> dict[str, Any]:
    """The columns of a finished run."""
    told, seconds = json.loads((folder / "report.json").read_text()), folder / "seconds.json"
    result = Evaluation.from_json(told["evaluation"])
    rows = {name: result.row(name).scores for name in ("original", "teacher", "unlearned")}
    copy = rows["unlearned"]
    fd = next(name for name in result.floor if name.startswith("fd"))
    ratios = {name: scores["target_ratio"] for name, scores in rows.items()}
    everywhere = Matrix.from_json(result.collateral["matrix"]).groups[0]
    most = sorted(everywhere.changes, key=lambda change: -change.edit.value)[:MOST_FLIPPED]
    perceptual = f"perceptual_{result.extractor['name']}"
    return {
        "generator": result.generator.name,
        "judge": result.judge,
        "before": ratios["original"].to_json(),
        "teacher": ratios["teacher"].to_json(),
        "unlearned": ratios["unlearned"].to_json(),
        "gap": ratios["unlearned"].value - ratios["teacher"].value,
        "fd_teacher": rows["teacher"][fd].value,
        "fd": copy[fd].value,
        "fd_floor": result.floor[fd].value,
        "flips_never_had": copy["attribute_flips_never_had"].value,
        "flips_edited": copy["attribute_flips_edited"].value,
        "most_flipped": {change.attribute: change.edit.value for change in most},
        "perceptual_untouched": copy[f"{perceptual}_untouched"].value,
        "perceptual_edited": copy[f"{perceptual}_edited"].value,
        "distance": told["log"][-1]["distance"],
        "steps": told["log"][-1]["step"],
        "seconds": json.loads(seconds.read_text()) if seconds.is_file() else "resumed",
        "verdict": told["verdict"]["sentence"],
    }


def _cell(value: Any) -> str:
    if isinstance(value, dict) and "value" in value:
        return interval(value)
    if isinstance(value, dict):
        return ", ".join(f"{name} {share:.0%}" for name, share in value.items())
    return f"{value:.4f}" if isinstance(value, float) else str(value)


def write(made: list[dict[str, Any]]) -> None:
    """Both result files, rows made anew in place of older ones; nothing in them is typed by hand."""
    RESULTS.mkdir(exist_ok=True)
    path, keys = RESULTS / "faces.json", ("generator", "feature", "marks")
    of_case = {tuple(row[key] for key in keys): row for row in merged(path, made, keys)}
    order = [(case.generator, case.feature, case.marks) for case in cases()]
    rows = [of_case[name] for name in order if name in of_case]
    path.write_text(json.dumps({"versions": workflow.versions(), "rows": rows}, indent=1) + "\n")
    lines = [" | ".join(COLUMNS.values()), " | ".join("---" for _ in COLUMNS)]
    lines += [" | ".join(_cell(row.get(column, "")) for column in COLUMNS) for row in rows]
    (RESULTS / "faces.md").write_text("".join(f"| {line} |\n" for line in lines))


def main() -> None:
    """Every case in turn, the results written after each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="cases whose name has this in it")
    parser.add_argument("--most", type=int, default=10_000, help="fresh samples per row at most, to try it out")
    parser.add_argument("--runs", type=Path, default=Path("runs/faces"))
    arguments = parser.parse_args()
    EXTRACTORS["squeezenet"] = "remembering:load_squeezenet"
    rows = []
    for case in cases():
        if arguments.only in case.name:
            rows.append(run(case, arguments.runs / case.name, min(case.count, arguments.most)))
            print(" | ".join(_cell(rows[-1].get(column, "")) for column in COLUMNS), flush=True)
            write(rows)


if __name__ == "__main__":
    main()
