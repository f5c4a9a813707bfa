"""pleased.png of docs/explanation/counterfactual.md:  python docs/images/pleased.py FOLDER

Thick strokes out of mnist-vae from 100 marks a side, twice: a copy that learns what pleases the guide, which is no way
of this package, and one that is held to the whole of its teacher's edit. Makes its run in FOLDER; some minutes.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from unfeature import options as o
from unfeature import paper, workflow
from unfeature.drawing import made
from unfeature.images import grid, png, to_pixels
from unfeature.protocols import GuidedFeature
from unfeature.seeds import stream
from unfeature.store import Run
from unfeature.unlearners.bank import Batch
from unfeature.unlearners.distillation import Distillation, Distilling
from unfeature.workflow import inputs, read_options

HERE = Path(__file__).parent
SEED, STEPS, SHOWN, PLEASING = 5, 1000, 16, 0.004


class Pleasing(Distilling):
    """The guide's opinion of the copy's own pictures in place of equation (13)."""

    def losses(self, batch: Batch) -> paper.Losses:
        """Equations (6) to (9), and what the guide still sees."""
        assert isinstance(self.feature, GuidedFeature)
        pictures, target = self.pictures(batch)
        told = paper.losses(pictures, target, batch.flags, alpha=self.options.alpha)
        seen = self.feature.remaining(pictures[batch.flags]).sum() / len(batch.flags)
        return replace(told, total=told.total + PLEASING * seen)


class Pleased(Distillation):
    """Trains it."""

    loop = Pleasing


def main(folder: Path) -> None:
    """Rows: the original, the teacher, the copy that pleases, the copy that is held to the edit."""
    options = read_options(base="counterfactual")
    if not (folder / "feature.safetensors").is_file():
        workflow.sample(folder, "mnist-vae", o.SampleOptions(seed=SEED))
        workflow.mark(folder, "thickness", "thickness", o.MarkOptions(per_side=100))
        workflow.find(folder, options.find)
    generator, about = inputs.the_generator(Run(folder))
    feature, _ = inputs.the_feature(Run(folder), generator)
    training = options.unlearn.model_copy(update={"steps": STEPS})
    copies = [kind(training, seed=about.seed).unlearn(generator, feature) for kind in (Pleased, Distillation)]
    judge = inputs.the_judge(Run(folder), generator, about.seed)
    assert judge is not None, "a measurement judges this run"
    latents = generator.sample_latents(stream("evaluate", about.seed, 0, 4000))
    for name, copy in zip(("pleased", "held"), copies, strict=True):
        sys.stdout.write(f"{name}: {float((judge.score(made(copy, latents)) >= 0.5).float().mean()):.4f} show it\n")
    shown = latents[judge.score(made(generator, latents)) >= 0.5][:SHOWN]
    rows = [made(model, z) for model, z in ((generator, shown), (generator, feature.erase(shown)))]
    rows += [made(copy, shown) for copy in copies]
    pixels = np.concatenate([to_pixels(row) for row in rows])
    (HERE / "pleased.png").write_bytes(png(grid(pixels, SHOWN), zoom=2))


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]))
