"""instant-edit.svg of docs/explanation/instant-edit.md:  python docs/images/instant_edit.py FOLDER

Distance to the teacher after so many Adam steps on mnist-vae, begun from the original and from the instant edit. Makes
its runs in FOLDER, or takes those that are there; some minutes.
"""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib as mpl
import torch

from unfeature import options as o
from unfeature import workflow
from unfeature.artifacts import StepRecord
from unfeature.store import Run
from unfeature.unlearners.distillation import Distillation
from unfeature.unlearners.instant import best_edit
from unfeature.workflow import inputs

HERE = Path(__file__).parent
FEATURES = ("thickness", "slant")
STEPS = (250, 500, 1000)


def curves(folder: Path, feature: str) -> tuple[float, float, dict[bool, list[float]]]:
    """Distance of the original and of the instant edit, and of the copy after each of STEPS without and with it."""
    if not (folder / "feature.safetensors").is_file():
        workflow.sample(folder, "mnist-vae", o.SampleOptions())
        workflow.mark(folder, feature, feature)
        workflow.find(folder, o.FindOptions(margin=0.5))
    generator, _ = inputs.the_generator(Run(folder))
    found, _ = inputs.the_feature(Run(folder), generator)
    edit = best_edit(generator, found, 0)
    assert edit is not None, "mnist-vae has layers that can be edited"
    reached: dict[bool, list[float]] = {}
    for warm in (False, True):
        for steps in STEPS:
            last: list[StepRecord] = []
            options = o.UnlearnOptions(steps=steps, tolerance=1e-9, warm_start=warm)
            Distillation(options).unlearn(generator, found, on_step=last.append)
            reached.setdefault(warm, []).append(last[-1].distance or 0.0)
    return edit.before, edit.distance, reached


def main(folder: Path) -> None:
    """Both features side by side."""
    mpl.use("agg")
    mpl.rcParams["svg.hashsalt"] = "unfeature"
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
    for axis, feature in zip(axes, FEATURES, strict=True):
        before, edited, reached = curves(folder / feature, feature)
        axis.plot([0, *STEPS], [before, *reached[False]], "o--", color="0.4", label="from the original")
        axis.plot([0, *STEPS], [edited, *reached[True]], "o-", color="tab:blue", label="from the instant edit")
        axis.set_ylim(0)
        axis.set_title(f"mnist-vae, {feature}")
        axis.set_xlabel("Adam steps, at most (0: the instant edit alone)")
    axes[0].set_ylabel("pixel distance to the teacher")
    axes[0].legend(frameon=False)
    figure.savefig(HERE / "instant-edit.svg", metadata={"Date": None, "Creator": None})


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]))
