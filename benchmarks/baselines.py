"""Other methods of unlearning on the protocol of this one: what is left, what else changed?

    UNFEATURE_ASSETS=../shared/assets python benchmarks/baselines.py

Thick strokes out of mnist-vae, 500 marks a side, the paper's preset with a margin, but for steps and weights below.
Fresh samples, the same for all. `--never FILE`: the same recipe trained without thick strokes, a row of its own; for
its command see recipes/README.md, the cut is printed. Resumable: a copy that is in the folder is not trained again.
Writes benchmarks/results/baselines.json and .md, docs/images/baselines.png (thick pictures, other rewritten ones,
untouched ones, each before and after).
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import torch
from tabulated import interval

from unfeature import workflow
from unfeature.artifacts import Score
from unfeature.drawing import drawn
from unfeature.evaluation import Evaluator
from unfeature.generators.loading import checkpoint_bytes, load_generator
from unfeature.images import grid, png, to_pixels
from unfeature.judging import load_extractor, load_judge
from unfeature.protocols import Feature, Generator
from unfeature.rows import Rows, Seen
from unfeature.seeds import stream
from unfeature.store import Run
from unfeature.tables import resolve
from unfeature.unlearners import UNLEARNERS
from unfeature.workflow.inputs import the_feature, the_generator

RESULTS = Path(__file__).parent / "results"
SHEET = RESULTS.parents[1] / "docs" / "images" / "baselines.png"

OPTIONS = workflow.read_options(base="paper")
FIND = OPTIONS.find.model_copy(update={"margin": 0.5})

SHOWN = 4
"""Pictures of a kind in a row of the sheet."""

CASES: dict[str, dict[str, Any]] = {
    "distillation": {},
    "saliency": {},
    "negatives": {},
    "repulsion": {},
    "amnesia": {"penalty": 10.0},
    "ascent": {"steps": 10},
    "ascent-descent": {},
    "surgery": {},
    "orthogonal": {},
}
"""Unlearner -> options beside --steps; ascent would leave nothing at all."""


def begun(folder: Path) -> tuple[Generator, Feature, float]:
    """The original, the feature and the cut of its judge."""
    run = Run(folder)
    if not run.has("feature.safetensors"):
        workflow.sample(folder, "mnist-vae", OPTIONS.sample)
        workflow.mark(folder, "thick strokes", "thickness", OPTIONS.mark)
        workflow.find(folder, FIND)
    generator, _ = the_generator(run)
    return generator, the_feature(run, generator)[0], float(run.read_json("request.json")["cut"])


def copies(folder: Path, original: Generator, feature: Feature, steps: int) -> dict[str, Generator]:
    """A copy by each unlearner, trained where the folder has none."""
    for name, more in CASES.items():
        path = folder / f"{name}.safetensors"
        if not path.is_file():
            options = OPTIONS.unlearn.model_copy(update={"steps": steps} | more)
            began = time.perf_counter()
            made = resolve("unlearner", UNLEARNERS, name)(options, seed=0).unlearn(original, feature)
            path.write_bytes(checkpoint_bytes(made, {"unlearned": name, "seconds": time.perf_counter() - began}))
    return {name: load_generator(str(folder / f"{name}.safetensors")) for name in CASES}


class Measured:
    """Rows beside each other, on the same latents and against the same reference."""

    def __init__(self, evaluator: Evaluator, original: Generator, feature: Feature) -> None:
        self.evaluator, self.feature = evaluator, feature
        self.reference = evaluator.reference(original)
        self.latents, images = drawn(original, stream("evaluate", 0, 0, evaluator.n))
        self.flags, self.before = feature.contains(self.latents), evaluator.see(images)

    def row(self, images: torch.Tensor, *, paired: bool = True) -> dict[str, Score]:
        """Every metric's scores of images (n, c, h, w) at the latents; or of others, without a pair."""
        rows, name = Rows(self.reference), "unlearned" if paired else "filter"
        before: Seen | None = self.before if paired else None
        rows.update(name, self.evaluator.see(images), before, self.flags & paired)
        kept = (metric for metric in rows.metrics[name] if paired or not metric.paired)
        return {score.name: score for metric in kept for score in metric.compute()}

    def sheet(self, made: dict[str, torch.Tensor]) -> bytes:
        """PNG: a line for each row."""
        shows, flags = self.before.look.shows, self.flags
        kinds = [torch.nonzero(kind).flatten()[:SHOWN] for kind in (shows & flags, flags & ~shows, ~flags)]
        chosen = torch.cat(kinds)
        before = self.before.look.images[chosen]
        lines = [torch.stack([before, images[chosen]], dim=1).flatten(0, 1) for images in made.values()]
        return png(grid(to_pixels(torch.cat(lines)), columns=2 * len(chosen)), zoom=2)


def write(found: dict[str, dict[str, Score]], n: int, steps: int) -> None:
    """Both tables; nothing in them is typed by hand."""
    RESULTS.mkdir(exist_ok=True)
    rows: list[dict[str, Any]] = [
        {"row": name, **{key: score.to_json() for key, score in told.items()}} for name, told in found.items()
    ]
    facts = {"versions": workflow.versions(), "n": n, "steps": steps, "options": CASES, "rows": rows}
    (RESULTS / "baselines.json").write_text(json.dumps(facts, indent=1) + "\n")
    distance = next(key for key in rows[0] if key.startswith("fd") and "_to_all" not in key)
    lines = [
        f"made by | shows it | {distance} | drift where untouched | digits changed where untouched",
        "--- | --- | --- | --- | ---",
    ]
    for row in rows:
        cells = [row["row"], interval(row["target_ratio"]), f"{row[distance]['value']:.2f}"]
        cells += [f"{row['drift_untouched']['value']:.4f}" if "drift_untouched" in row else ""]
        cells += [interval(row["flips_untouched"]) if "flips_untouched" in row else ""]
        lines.append(" | ".join(cells))
    (RESULTS / "baselines.md").write_text("".join(f"| {line} |\n" for line in lines))


def main() -> None:
    """Train what is missing, measure all, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, default=Path("runs/baselines"))
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--never", type=Path)
    a = parser.parse_args()
    original, feature, cut = begun(a.runs)
    print(f"cut: thickness:{cut}")
    trained = copies(a.runs, original, feature, a.steps)
    judge = load_judge("thickness", original, 0, 0.1, cut)
    measured = Measured(
        Evaluator(judge, load_extractor("mnist-gradients"), a.count, 0, lambda *_: None), original, feature
    )
    latents = measured.latents
    with torch.no_grad():
        made = {"original": original.synthesize(latents), "teacher": original.synthesize(feature.erase(latents))}
        made |= {name: copy.synthesize(latents) for name, copy in trained.items()}
        found = {name: measured.row(images) for name, images in made.items()}
        if a.never is not None:
            images = load_generator(str(a.never)).synthesize(latents)
            found["trained without"] = measured.row(images, paired=False)
    write(found, a.count, a.steps)
    SHEET.write_bytes(measured.sheet(made))


if __name__ == "__main__":
    main()
