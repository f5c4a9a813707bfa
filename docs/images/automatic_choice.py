"""automatic-choice.svg of docs/explanation/automatic-choice.md:  python docs/images/automatic_choice.py FOLDER

What the finder `auto` estimated of the teachers it measured, against the run's judge, on mnist-vae with 100 marks a
side. Makes its runs in FOLDER, or takes those that are there; some minutes.
"""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib as mpl
import torch

from unfeature import options as o
from unfeature import teacher, workflow
from unfeature.features.choosing import Point
from unfeature.features.trials import OFFSETS
from unfeature.store import Run
from unfeature.workflow import inputs, read_options

HERE = Path(__file__).parent
FEATURES, COUNT, SEED = ("thickness", "slant"), 4000, 5


def compared(folder: Path, feature: str) -> list[tuple[Point, float]]:
    """The teachers that share the chosen one's finder, and the judge's ratio of each."""
    if not (folder / "feature.safetensors").is_file():
        workflow.sample(folder, "mnist-vae", o.SampleOptions(seed=SEED))
        workflow.mark(folder, feature, feature, o.MarkOptions(per_side=100))
        workflow.find(folder, read_options(base="auto").find)
    generator, about = inputs.the_generator(Run(folder))
    found, facts = inputs.the_feature(Run(folder), generator)
    judge = inputs.the_judge(Run(folder), generator, about.seed)
    sample = teacher.draw(generator, judge, None, COUNT, about.seed)
    choice = facts["about"]["choice"]
    points = [
        Point(**{key: value for key, value in p.items() if key not in {"left", "near"}}) for p in choice["points"]
    ]
    mine = [point for point in points if point.finder == points[choice["picked"]].finder]
    told = []
    for point in mine:
        adjusted = found.adjusted(point.threshold, point.margin)  # type: ignore[attr-defined]
        ratio = teacher.measure(generator, adjusted, sample, judge, None, feature).ratio
        assert ratio is not None, "a measurement judges this run"
        told.append((point, ratio.value))
    return told


def main(folder: Path) -> None:
    """Both features side by side."""
    mpl.use("agg")
    mpl.rcParams["svg.hashsalt"] = "unfeature"
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    for axis, feature in zip(axes, FEATURES, strict=True):
        for point, true in compared(folder / feature, feature):
            colour = f"C{list(OFFSETS).index(point.finder)}"
            axis.plot([true, true], [point.ratio, point.upper], color=colour, alpha=0.6)
            axis.plot(true, point.ratio, "o", color=colour, markersize=4)
        axis.axline((0, 0), slope=1, color="0.6", lw=0.8)
        axis.axhline(0.0042, color="0.6", lw=0.8, ls="--")
        axis.set_xlim(0)
        axis.set_ylim(0)
        axis.set_title(f"mnist-vae, {feature}")
        axis.set_xlabel("ratio by the judge")
    axes[0].set_ylabel("estimate, up to its bound")
    figure.savefig(HERE / "automatic-choice.svg", metadata={"Date": None, "Creator": None})


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]))
