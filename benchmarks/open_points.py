"""What the paper leaves open, one option at a time from the defaults: the measurements of decision record 0002.

    python benchmarks/open_points.py

mnist-vae and thickness, 500 marks a side, run seed 0, a margin of 0.25. Teachers on 10,000 fresh samples; copies after
600 steps, whatever the stop rule says, on the same samples. Writes benchmarks/results/open_points.md.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import torch
from tabulated import interval

from unfeature import options as o
from unfeature import teacher, workflow
from unfeature.features.linear import LinearFeature
from unfeature.generators.loading import load_generator
from unfeature.judging import load_extractor, load_judge
from unfeature.protocols import Extractor, Generator, Judge
from unfeature.unlearners.distillation import Distillation

RESULT = Path(__file__).parent / "results" / "open_points.md"
SAMPLES, STEPS, MARGIN = 10_000, 600, 0.25
TEACHERS: list[dict[str, Any]] = [
    {},
    {"margin": 0.0},
    {"margin": 0.0, "vector": "raw"},
    {"margin": 0.0, "threshold": "balanced"},
    {"threshold": "balanced"},
    {"margin": 0.5},
]
TRAININGS: list[dict[str, Any]] = [
    {},
    {"alpha": 0.1},
    {"alpha": 1.0},
    {"perceptual": 0.0},
    {"perceptual": 3.0},
    {"l1": "sum"},
    {"learning_rate": 5e-4},
    {"learning_rate": 5e-3},
    {"schedule": "constant"},
    {"batch": 32},
    {"batch": 128},
]


def name(changed: dict[str, Any]) -> str:
    """`alpha 3.0`, or `the defaults`."""
    return ", ".join(f"{key} {value}" for key, value in changed.items()) or "the defaults"


def teachers(
    folder: Path, generator: Generator, judge: Judge, extractor: Extractor, drawn: teacher.Sample
) -> list[str]:
    """A row for each way to make the teacher."""
    rows = []
    for changed in TEACHERS:
        feature = workflow.find(folder, o.FindOptions(**{"margin": MARGIN, **changed}))
        found = teacher.measure(generator, feature, drawn, judge, extractor, "thickness")
        assert found.ratio is not None and found.flips_rest is not None
        ratio = interval(found.ratio.to_json())
        rows.append(f"| {name(changed)} | {ratio} | {found.rewritten.value:.3f} | {found.flips_rest.value:.4f} |")
        print(rows[-1], flush=True)
    return rows


def trainings(
    generator: Generator, feature: LinearFeature, judge: Judge, extractor: Extractor, drawn: teacher.Sample
) -> list[str]:
    """A row for each way to train the copy."""
    rows = []
    flagged, before = feature.contains(drawn.latents), drawn.classes
    assert before is not None
    with torch.no_grad():
        target = generator.synthesize(feature.erase(drawn.latents))
    for changed in TRAININGS:
        options = o.UnlearnOptions(**{"steps": STEPS, "tolerance": 1e-9, **changed})
        copy = Distillation(options).unlearn(generator, feature)
        with torch.no_grad():
            images = copy.synthesize(drawn.latents)
            flips = torch.ne(extractor.logits(images).argmax(1), before)[~flagged].float().mean()
        ratio, distance = (judge.score(images) >= 0.5).float().mean(), (images - target).abs().mean()
        rows.append(f"| {name(changed)} | {float(ratio):.4f} | {float(distance):.4f} | {float(flips):.4f} |")
        print(rows[-1], flush=True)
    return rows


def main() -> None:
    """Both tables."""
    generator, extractor = load_generator("mnist-vae"), load_extractor("mnist-gradients")
    judge = load_judge("thickness", generator, 0, 0.10)
    drawn = teacher.draw(generator, judge, extractor, SAMPLES, 0)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        workflow.sample(folder, "mnist-vae")
        workflow.mark(folder, "thickness", "thickness")
        first = teachers(folder, generator, judge, extractor, drawn)
        feature = workflow.find(folder, o.FindOptions(margin=MARGIN))
    assert isinstance(feature, LinearFeature)
    second = trainings(generator, feature, judge, extractor, drawn)
    lines = ["| teacher | target ratio | rewritten | flips, never had it |", "| --- | --- | --- | --- |", *first, ""]
    lines += [
        "| training | target ratio | distance to teacher | flips, untouched |",
        "| --- | --- | --- | --- |",
        *second,
    ]
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
