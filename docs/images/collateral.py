"""collateral.svg of docs/explanation/collateral.md:  python docs/images/collateral.py FOLDER

Which digits of mnist-vae become others where thick strokes are edited away, and by a placebo. Makes its run in FOLDER,
or takes the one that is there; about a minute.
"""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib as mpl
import torch

from unfeature import options as o
from unfeature import workflow
from unfeature.artifacts import Evaluation, Score
from unfeature.changes import Matrix
from unfeature.store import Run

HERE = Path(__file__).parent


def measured(folder: Path) -> Matrix:
    """The matrix of thickness: 400 steps, 2,000 fresh samples."""
    if not (folder / "evaluation.json").is_file():
        workflow.sample(folder, "mnist-vae", o.SampleOptions(count=4000))
        workflow.mark(folder, "thick strokes", "thickness")
        workflow.find(folder, o.FindOptions(margin=0.5))
        workflow.unlearn(folder, o.UnlearnOptions(steps=400))
        workflow.evaluate(folder, o.EvaluateOptions(count=2000))
    return Matrix.from_json(Run(folder).read_as("evaluation.json", Evaluation).collateral["matrix"])


def main(folder: Path) -> None:
    """Left where the edit moves the latent, against the placebo; right by what the original's picture showed."""
    from matplotlib import pyplot as plt

    groups = measured(folder).groups
    names = [change.attribute.removeprefix("is ") for change in groups[0].changes]
    everywhere, had, never = (group.changes for group in groups[:3])
    sides: tuple[tuple[str, dict[str, list[Score]]], ...] = (
        ("edited latents", {"edit": [c.edit for c in everywhere], "placebo": [c.placebo for c in everywhere]}),
        ("all latents", {"had it": [c.flips for c in had], "never had it": [c.flips for c in never]}),
    )
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained", sharey=True)
    for axis, (title, shares) in zip(axes, sides, strict=True):
        for shift, (label, scores), colour in zip((-0.15, 0.15), shares.items(), ("#0b6a8f", "#b3590f"), strict=True):
            places = [i + shift for i in range(len(names))]
            errors = [[100 * (s.value - s.low) for s in scores], [100 * (s.high - s.value) for s in scores]]
            values = [100 * s.value for s in scores]
            axis.errorbar(values, places, xerr=errors, fmt="o", markersize=4, color=colour, label=label)
        axis.set(title=title, xlabel="% in which it came or went", xlim=(0, None))
        axis.set_yticks(range(len(names)), names)
        axis.spines[["top", "right"]].set_visible(False)
        axis.legend(frameon=False)
    axes[0].invert_yaxis()
    figure.savefig(HERE / "collateral.svg", metadata={"Date": None, "Creator": None})


if __name__ == "__main__":
    mpl.use("agg")
    mpl.rcParams["svg.hashsalt"] = "unfeature"
    torch.set_num_threads(1)
    main(Path(sys.argv[1]))
