"""pseudo-labels.svg of docs/explanation/pseudo-labels.md, and its table:  python docs/images/pseudo_labels.py

Some minutes on two cores; needs unfeature alone.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import matplotlib as mpl
import numpy as np
import torch
from sklearn.metrics import roc_auc_score

from unfeature import load_generator, paper
from unfeature.artifacts import Feedback, Gallery
from unfeature.drawing import drawn
from unfeature.features import FINDERS
from unfeature.features.guides import Helpers
from unfeature.features.linear import LinearFeature
from unfeature.judging import load_extractor, load_guide, load_judge
from unfeature.options import FindOptions
from unfeature.protocols import Finder, Generator
from unfeature.seeds import stream
from unfeature.tables import resolve

HERE = Path(__file__).parent
GENERATORS, FEATURES = ("mnist-vae", "mnist-gan"), ("thickness", "slant")
SEEDS = range(50, 55)
MARKS = (20, 50, 100)
WRONG = (0.0, 0.2)
SAMPLES = 4000
FRESH = 10_000
WAYS = {"linear": "#b5442c", "pseudo-label": "#2b6f8f"}
HELPERS = Helpers(lambda name: load_extractor(name) if name else None, load_guide)


class Cell:
    """A generator, the judge of a feature, and fresh samples that tell how good a direction is."""

    def __init__(self, name: str, feature: str) -> None:
        self.generator: Generator = load_generator(name)
        self.feature, self.judge = feature, load_judge(feature, self.generator, 0, 0.1)
        self.latents, images = drawn(self.generator, stream("evaluate", 0, 0, FRESH))
        self.shows = (self.judge.score(images) >= 0.5).numpy()

    def marks(self, seed: int) -> Iterator[tuple[int, float, tuple[Gallery, Feedback]]]:
        """The first pictures of each side of a gallery, so many, that share of each side's marks on the other."""
        seeds, identity = stream("gallery", seed, 0, 2000), self.generator.spec.id
        shows = (self.judge.score(drawn(self.generator, seeds)[1]) >= 0.5).numpy()
        for per_side in MARKS:
            yes, no = (seeds[side][:per_side].tolist() for side in (shows, ~shows))
            for wrong in WRONG:
                n = round(wrong * per_side)
                sides = tuple(yes[n:] + no[:n]), tuple(no[n:] + yes[:n])
                feedback = Feedback(self.feature, identity, *sides)
                yield per_side, wrong, (Gallery(identity, tuple(seeds.tolist())), feedback)

    def auc(self, way: str, seed: int, marks: tuple[Gallery, Feedback]) -> float:
        """How well the projection on the direction found tells fresh pictures that show the feature from others."""
        options = FindOptions(finder=way, samples=SAMPLES)
        finder: Finder = resolve("finder", FINDERS, way)(options, HELPERS, seed)
        found = finder.find(self.generator, *marks)
        assert isinstance(found, LinearFeature)
        return float(roc_auc_score(self.shows, paper.project(self.latents, found.vector).numpy()))


def measured(pair: tuple[str, str]) -> dict[tuple[str, float], np.ndarray]:
    """Of a generator and feature: (way, share of wrong marks) -> AUC (number of marks, seeds)."""
    torch.set_num_threads(1)
    cell, told = Cell(*pair), dict[tuple[str, float], list[list[float]]]()
    for seed in SEEDS:
        for per_side, wrong, marks in cell.marks(seed):
            for way in WAYS:
                rows = told.setdefault((way, wrong), [[] for _ in MARKS])
                rows[MARKS.index(per_side)].append(cell.auc(way, seed, marks))
    return {key: np.array(rows) for key, rows in told.items()}


def main() -> None:
    """A panel for each generator and feature; the means as rows of a table on the way."""
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, 4, figsize=(11, 3), layout="constrained", sharey=True)
    pairs = [(name, feature) for name in GENERATORS for feature in FEATURES]
    with ProcessPoolExecutor(2) as pool:
        results = list(pool.map(measured, pairs))
    for axis, (name, feature), told in zip(axes, pairs, results, strict=True):
        for (way, wrong), auc in told.items():
            line, filled = (":", "white") if wrong else ("-", WAYS[way])
            label = f"{way}, {wrong:.0%} wrong" if wrong else way
            axis.plot(MARKS, auc.mean(axis=1), color=WAYS[way], linestyle=line, label=label, zorder=2)
            spots = np.repeat(MARKS, len(SEEDS)), auc.ravel()
            axis.scatter(*spots, s=9, facecolors=filled, edgecolors=WAYS[way], linewidths=0.7, zorder=3)
            cells = " | ".join(f"{mean:.3f}" for mean in auc.mean(axis=1))
            sys.stdout.write(f"| {name}, {feature} | {wrong:.0%} | {way} | {cells} |\n")
        axis.set(xscale="log", xlabel="marks a side", title=f"{name}, {feature}", ylim=(0.5, 1))
        axis.set_xticks(MARKS, [str(count) for count in MARKS])
        axis.minorticks_off()
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel("AUC on fresh samples")
    axes[0].legend(frameon=False, fontsize=7, loc="lower right")
    figure.savefig(HERE / "pseudo-labels.svg", metadata={"Date": None})
    plt.close(figure)


if __name__ == "__main__":
    mpl.use("agg")
    mpl.rcParams["svg.hashsalt"] = "unfeature"
    main()
