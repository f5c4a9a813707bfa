"""probes.svg of docs/explanation/probes.md, and its table:  python docs/images/probes.py

A minute or two; needs unfeature alone.
"""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib as mpl
import numpy as np
import torch
from sklearn.metrics import roc_auc_score

from unfeature import load_generator
from unfeature.drawing import drawn
from unfeature.features.probes import fit_probe
from unfeature.features.views import Space
from unfeature.judging import load_extractor, load_judge
from unfeature.seeds import stream

HERE = Path(__file__).parent
GENERATORS, FEATURES = ("mnist-vae", "mnist-gan"), ("thickness", "slant")
SEEDS = range(50, 54)
MARKS = (20, 50, 100)
FRESH = 5000
SPACES: tuple[Space, ...] = ("pixels", "texture", "pairs", "spread")
WAYS = dict(zip((*SPACES, "best one"), ("#b5442c", "#8a8f3c", "#c99a2e", "#7a5195", "#777777"), strict=True))
WAYS["stacked"] = "#2b6f8f"


def measured(name: str, feature: str) -> np.ndarray:
    """(ways, numbers of marks, seeds): AUC on fresh pictures of what the measurement says."""
    generator, network = load_generator(name), load_extractor("mnist-digits")
    judge = load_judge(feature, generator, 0, 0.1)
    fresh = drawn(generator, stream("evaluate", 0, 0, FRESH))
    truth = (judge.score(fresh[1]) >= 0.5).numpy()
    found = np.zeros((len(WAYS), len(MARKS), len(SEEDS)))
    for j, seed in enumerate(SEEDS):
        latents, images = drawn(generator, stream("gallery", seed, 0, 2000))
        shows = (judge.score(images) >= 0.5).numpy()
        sides = np.flatnonzero(shows), np.flatnonzero(~shows)
        for i, per_side in enumerate(MARKS):
            rows, labels = np.concatenate([side[:per_side] for side in sides]), np.arange(2 * per_side) < per_side
            marks = latents[rows], images[rows], labels
            probes = [
                fit_probe(*marks, seed=seed, spaces=spaces, extractor=network)
                for spaces in (*((space,) for space in SPACES), SPACES)
            ]
            auc = [roc_auc_score(truth, probe.score(*fresh)) for probe in probes]
            best = auc[int(np.argmax([probe.auc for probe in probes[:-1]]))]
            found[:, i, j] = *auc[:-1], best, auc[-1]
    return found


def main() -> None:
    """A panel for each generator and feature; means and worst as rows of a table on the way."""
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, 4, figsize=(11, 3), layout="constrained", sharey=True)
    pairs = [(name, feature) for name in GENERATORS for feature in FEATURES]
    for axis, (name, feature) in zip(axes, pairs, strict=True):
        found = measured(name, feature)
        for i, per_side in enumerate(MARKS):
            cells = " | ".join(f"{row[i].mean():.3f} / {row[i].min():.3f}" for row in found)
            sys.stdout.write(f"| {name}, {feature} | {per_side} | {cells} |\n")
            sys.stdout.flush()
        for (way, colour), auc in zip(WAYS.items(), found, strict=True):
            axis.plot(MARKS, auc.mean(axis=1), color=colour, label=way, linestyle=":" if way == "best one" else "-")
            axis.scatter(np.repeat(MARKS, len(SEEDS)), auc.ravel(), s=8, color=colour)
        axis.set(xscale="log", xlabel="marks a side", title=f"{name}, {feature}", ylim=(0.8, 1))
        axis.set_xticks(MARKS, [str(count) for count in MARKS])
        axis.minorticks_off()
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel("AUC on fresh samples")
    axes[0].legend(frameon=False, fontsize=7, loc="lower right")
    figure.savefig(HERE / "probes.svg", metadata={"Date": None})
    plt.close(figure)


if __name__ == "__main__":
    mpl.use("agg")
    mpl.rcParams["svg.hashsalt"] = "unfeature"
    torch.set_num_threads(1)
    main()
