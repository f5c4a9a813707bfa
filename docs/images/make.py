"""The pictures of README.md from a finished run:  unfeature demo runs/demo && python docs/images/make.py runs/demo

demo.png needs unfeature alone; report.png also a chromium on the PATH, and is left as it is where there is none.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import matplotlib as mpl
import torch

from unfeature import load_generator
from unfeature.images import grid, to_pixels
from unfeature.metrics.judges import load_measurement
from unfeature.seeds import stream
from unfeature.store import Run
from unfeature.workflow.inputs import the_feature

HERE = Path(__file__).parent
COLUMNS = 14


def pairs(run: Path) -> None:
    """demo.png: the first pictures of the evaluation with the feature and without it, before above after."""
    about = json.loads((run / "evaluation.json").read_text())
    original, unlearned = load_generator(about["generator"]["name"]), load_generator(str(run / "unlearned.safetensors"))
    feature = the_feature(Run(run), original)[0]
    latents = original.sample_latents(stream("evaluate", about["options"]["sample"]["seed"], 0, 500))
    with torch.no_grad():
        before, after = original.synthesize(latents), unlearned.synthesize(latents)
    shows = load_measurement(about["judge"]["name"]).measure(before) >= about["judge"]["cut"]
    sides = {
        "with thick strokes": shows & feature.contains(latents),
        "without": ~shows & ~feature.contains(latents),
    }
    mpl.use("agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(2, 1, figsize=(10, 3.4), layout="constrained")
    for axis, (name, mask) in zip(axes, sides.items(), strict=True):
        chosen = torch.nonzero(mask).flatten()[:COLUMNS]
        axis.imshow(grid(to_pixels(torch.cat([before[chosen], after[chosen]])), COLUMNS), cmap="gray", vmin=0, vmax=255)
        axis.set_yticks([14, 44], ["before", "after"])
        axis.set_xticks([])
        axis.set_ylabel(name)
        axis.spines[:].set_visible(False)
        axis.tick_params(length=0)
    figure.savefig(HERE / "demo.png", dpi=100, metadata={"Software": None})


def screenshot(run: Path) -> None:
    """report.png: the report's first screen."""
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        sys.exit("no chromium found: report.png was left as it was")
    page = (run / "report.html").resolve().as_uri()
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--window-size=1100,780"]
    subprocess.run([browser, *flags, f"--screenshot={HERE / 'report.png'}", page], check=True, capture_output=True)  # noqa: S603


if __name__ == "__main__":
    pairs(Path(sys.argv[1]))
    screenshot(Path(sys.argv[1]))
