"""The plots of docs/explanation/correlated-features.md and wrong-marks.md:  python docs/images/marks.py

Some minutes on one core; needs unfeature alone.
"""

from __future__ import annotations

import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import torch
from scipy.special import logit
from torch import Tensor

from unfeature import load_generator, paper
from unfeature.drawing import drawn
from unfeature.features import noise, strata
from unfeature.features.fresh import MISSED, Marked
from unfeature.features.guides import ProbeGuide
from unfeature.features.probes import fit_probe
from unfeature.metrics.judges import load_measurement
from unfeature.seeds import stream

HERE = Path(__file__).parent
FACES = HERE.parents[1] / "benchmarks" / "generators" / "face_cvae40.py"
PER_SIDE, SETS = 500, 5
WRONG = (0.0, 0.05, 0.1, 0.2)
COLOURS = {"marks alone": "#b5442c", "strata": "#c99a2e", "readout": "#2b6f8f"}


def faces() -> Any:
    """What face_cvae40 is told to show, Male and Goatee correlated at 0.8; its weights are not needed."""
    return runpy.run_path(str(FACES))["Decoder"]({"Male+Goatee": 0.8})


def shown(decoder: Any, latents: Tensor) -> Tensor:
    """(n, 104) -> (n, 2) bool: Male, Goatee."""
    truth: Tensor = decoder.truth(latents)[:, [decoder.attributes.index(name) for name in ("Male", "Goatee")]]
    return truth


def latents_of(seed: int, n: int) -> Tensor:
    """(n, 104)."""
    return torch.randn(n, 104, generator=torch.Generator().manual_seed(seed))


def directions(decoder: Any, seed: int, per_side: int) -> dict[str, Tensor]:
    """From that many marks a side, and Male known of 20,000 latents."""
    many = latents_of(seed, 20_000)
    male, goatee = shown(decoder, many).unbind(1)
    rows = torch.cat([torch.nonzero(side).flatten()[:per_side] for side in (goatee, ~goatee)])
    sides = many[rows[:per_side]], many[rows[per_side:]]
    codes = male.long().numpy()[rows.numpy()]
    told = many[rows] @ strata.readouts(many, male[:, None].double().numpy()).T
    labels = np.arange(2 * per_side) < per_side
    return {
        "marks alone": paper.target_vector(*sides),
        "strata": strata.stratified_vector(*sides, codes[:per_side], codes[per_side:]),
        "readout": strata.residualised_vector(many[rows], labels.astype(float), told.numpy()),
    }


def leaks(axis: Any) -> None:
    """How far Male's number moves per unit of Goatee's, by the number of marks."""
    decoder = faces()
    male, goatee = (decoder.mixing[decoder.attributes.index(name)] for name in ("Male", "Goatee"))
    counts = (20, 50, 100, 200, 500, 1000)
    found: dict[str, list[list[float]]] = {name: [] for name in COLOURS}
    for count in counts:
        sets = [directions(decoder, seed, count) for seed in range(SETS)]
        for name, told in found.items():
            told.append([float((male @ one[name][-40:]) / (goatee @ one[name][-40:])) for one in sets])
    for name, told in found.items():
        axis.errorbar(
            counts, np.mean(told, axis=1), np.std(told, axis=1), color=COLOURS[name], marker="o", capsize=3, label=name
        )
    axis.axhline(0, color="0.8", linewidth=0.8, zorder=0)
    axis.set(xscale="log", xlabel="marks a side", ylabel="Male moves per unit of Goatee", ylim=(-0.1, 1.1))
    axis.set_xticks(counts, [str(count) for count in counts], minor=False)
    axis.minorticks_off()
    axis.legend(frameon=False, ncols=3, fontsize=8, loc="upper center")


def teachers(axis: Any) -> None:
    """Share of Male and of Goatee after a teacher that finds by the marks' direction and moves along each."""
    decoder, fresh = faces(), latents_of(100, 40_000)
    found, before = directions(decoder, 0, PER_SIDE), shown(decoder, fresh).double().mean(dim=0)
    alone = found["marks alone"]
    threshold = float(torch.quantile(paper.project(fresh, alone), 0.5))
    rows = {f"find by marks,\nmove by {name}": (alone, vector) for name, vector in found.items()}
    rows["find and move\nby readout"] = (found["readout"], found["readout"])
    for place, (name, (finder, along)) in enumerate(rows.items()):
        cut = threshold if finder is alone else float(torch.quantile(paper.project(fresh, finder), 0.5))
        after = shown(decoder, strata.translate_along(fresh, finder, cut, 0.0, along)).double().mean(dim=0)
        colour = COLOURS["readout" if "readout" in name else name.split("by ")[-1]]
        axis.barh(place, float(after[0] - before[0]), color=colour)
        axis.text(0.005, place, f"Goatee {float(before[1]):.3f} → {float(after[1]):.3f}", va="center", fontsize=8)
    axis.set_yticks(range(len(rows)), list(rows))
    axis.invert_yaxis()
    axis.set(xlim=(-0.2, 0.13), xlabel="change of the share of Male")


def marked(shows: np.ndarray, per_side: int, wrong: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows (2 per_side,) and their marks, that share of each side wrong."""
    source, count = np.random.default_rng(seed), round(wrong * per_side)
    with_it, without = (source.choice(np.flatnonzero(side), per_side, replace=False) for side in (shows, ~shows))
    rows = np.concatenate([with_it[count:], without[:count], without[count:], with_it[:count]])
    return rows, np.arange(2 * per_side) < per_side


def log_odds(scores: np.ndarray) -> np.ndarray:
    """Of scores in [0, 1]."""
    told: np.ndarray = logit(np.clip(scores, 1e-9, 1 - 1e-9))
    return told


def wrong_marks(axes: Any) -> None:
    """Estimated against true shares of wrong marks; what a cut flags that 0.99 of the feature should reach."""
    for (generator, name), colour in {("mnist-vae", "slant"): "#2b6f8f", ("mnist-gan", "thickness"): "#b5442c"}.items():
        latents, images = drawn(load_generator(generator), stream("calibrate", 0, 0, 12_000))
        values = load_measurement(name).measure(images)
        shows = (values >= values.quantile(0.9)).numpy()
        rates, reached = [], []
        for wrong in WRONG:
            told = []
            for seed in range(SETS):
                rows, labels = marked(shows[:8000], PER_SIDE, wrong, seed)
                probe = fit_probe(latents[rows], images[rows], labels, seed=0, spaces=("pixels",))
                found = noise.noise_rates(labels, probe.held_out)
                odds, guide = log_odds(probe.held_out), ProbeGuide(probe, "")
                cuts = Marked(guide, labels, odds, found).threshold(), np.quantile(odds[labels], MISSED)
                fresh = log_odds(probe.score(latents[8000:], images[8000:]))
                told.append((found.positives.value, found.negatives.value, *((fresh >= cut).mean() for cut in cuts)))
            rates.append(np.array(told)[:, :2].ravel())
            reached.append(np.mean(told, axis=0)[2:])
        axes[0].errorbar(
            WRONG,
            [r.mean() for r in rates],
            [r.std() for r in rates],
            fmt="o",
            capsize=3,
            color=colour,
            label=f"{generator}, {name}",
        )
        axes[1].plot(WRONG, [r[0] for r in reached], color=colour, marker="o", label=f"{name}, by find")
        axes[1].plot(
            WRONG, [r[1] for r in reached], color=colour, marker="o", linestyle=":", label=f"{name}, as marked"
        )
    axes[0].plot((0, 0.22), (0, 0.22), color="0.8", linewidth=0.8, zorder=0)
    axes[0].set(xlabel="share of wrong marks", ylabel="estimate, 500 marks a side")
    axes[1].set(xlabel="share of wrong marks", ylabel="flagged by a cut that 0.99 reach", ylim=(0, 1.25))
    for axis in axes:
        axis.legend(frameon=False, fontsize=8, ncols=2, loc="upper center")
    axes[0].set_ylim(top=0.28)


def plotted(name: str, draw: Callable[[Any], None]) -> None:
    """One figure of two panels, the same bytes each time."""
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
    draw(axes)
    figure.savefig(HERE / name, metadata={"Date": None})
    plt.close(figure)


def correlated(axes: Any) -> None:
    """Both panels about features that go together."""
    leaks(axes[0])
    teachers(axes[1])


if __name__ == "__main__":
    torch.set_num_threads(1)
    mpl.use("agg")
    mpl.rcParams["svg.hashsalt"] = "unfeature"
    plotted("correlated-features.svg", correlated)
    plotted("wrong-marks.svg", wrong_marks)
