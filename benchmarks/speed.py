"""The promised speeds, each measured in this run:  python benchmarks/speed.py [--demo]

step ratio   one step of the unlearning loop over its bare arithmetic (one frozen forward, one forward and backward, the
             loss, one Adam step), taken in turns; bar 1.25
help         CPU seconds of `unfeature --help`, the best of five; bar 0.3
preview      seconds of the verb, torch being loaded; bar 2
unlearn      seconds of `unlearn` on mnist-vae with the paper's preset and a margin; bar 20
auto         seconds of find, preview and unlearn on mnist-vae with --preset auto from 100 marks a side; bar 60
stylegan2    with random weights at 256 px, the official release's widest configuration: seconds a picture; bar 1.5;
             GiB at most that unlearning it takes, two steps of a batch of 8 in space w, in a process of its own; bar 6
demo         seconds of `unfeature demo` as a process; bar 90

Writes benchmarks/results/speed.json.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

from unfeature import paper, workflow
from unfeature.features.linear import LinearFeature
from unfeature.generators.loading import load_generator
from unfeature.generators.module import from_module
from unfeature.generators.stylegan2 import StyleGAN2
from unfeature.options import MarkOptions, UnlearnOptions
from unfeature.seeds import stream
from unfeature.unlearners.distillation import Distillation, Distilling
from unfeature.unlearners.training import fabric_of

RESULTS = Path(__file__).parent / "results"


def seconds(job: Callable[[], object]) -> float:
    """Wall-clock seconds of one call."""
    began = time.perf_counter()
    job()
    return time.perf_counter() - began


def step_ratio(name: str, blocks: int = 12, steps: int = 15) -> dict[str, float]:
    """Median milliseconds of a step and of its arithmetic, in alternating blocks, and the median of their ratios."""
    generator, options = load_generator(name), UnlearnOptions()
    feature = LinearFeature("any", generator.spec.id, paper.unit(torch.ones(generator.spec.latent_dim)), 0.0)
    loop = Distilling(options, 0, generator, feature, fabric_of(options))
    twin = generator.copy()
    adam = torch.optim.Adam(twin.module.parameters(), lr=options.learning_rate, fused=True)
    latents = generator.sample_latents(stream("speed", 0, 0, options.batch))
    erased, flagged = feature.erase(latents), feature.contains(latents)

    def bare() -> None:
        with torch.no_grad():
            target = generator.synthesize(erased)
        loss = paper.losses(twin.synthesize(latents), target, flagged, alpha=1.0).total
        adam.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        adam.step()

    pairs = []
    for block in range(blocks):
        ours = seconds(lambda b=block: [loop.step(b * steps + i) for i in range(steps)])  # type: ignore[misc]
        pairs.append(
            (
                ours / steps * 1e3,
                seconds(lambda: [bare() for _ in range(steps)])  # type: ignore[func-returns-value]
                / steps
                * 1e3,
            )
        )
    kept = pairs[2:]
    return {
        "step_ms": statistics.median(a for a, _ in kept),
        "bare_ms": statistics.median(b for _, b in kept),
        "ratio": statistics.median(a / b for a, b in kept),
    }


def help_cpu() -> float:
    """CPU seconds of `unfeature --help`: the best of five."""
    found = []
    for _ in range(5):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-m", "unfeature", "--help"], check=True, capture_output=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        found.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return min(found)


def verbs() -> dict[str, float]:
    """Seconds of preview and unlearn on mnist-vae with the paper's preset and a margin."""
    options = workflow.read_options(base="paper")
    with tempfile.TemporaryDirectory() as folder:
        workflow.sample(folder, "mnist-vae", options.sample)
        workflow.mark(folder, "thick strokes", "thickness", options.mark)
        workflow.find(folder, options.find.model_copy(update={"margin": 0.5}))
        preview = seconds(lambda: workflow.preview(folder, options.preview))
        return {"preview": preview, "unlearn": seconds(lambda: workflow.unlearn(folder, options.unlearn))}


def automatic() -> float:
    """Seconds from marks to checkpoint by --preset auto."""
    options = workflow.read_options(base="auto")
    with tempfile.TemporaryDirectory() as folder:
        workflow.sample(folder, "mnist-vae")
        workflow.mark(folder, "thickness", "thickness", MarkOptions(per_side=100))

        def job() -> None:
            workflow.find(folder, options.find)
            workflow.preview(folder, options.preview)
            workflow.unlearn(folder, options.unlearn)

        return seconds(job)


WIDEST = [512, 512, 512, 512, 512, 256, 128]
"""Channels of StyleGAN2's synthesis at 4 to 256 px."""


def stylegan2() -> dict[str, float]:
    """Seconds a picture of 256 px, best of five, and peak memory of unlearning."""
    generator = from_module("widest", StyleGAN2(WIDEST, space="w"), 512)
    with torch.no_grad():
        one = generator.sample_latents(stream("speed", 0, 0, 1))
        sample = min(seconds(lambda: generator.synthesize(one)) for _ in range(5))
    peak = subprocess.run([sys.executable, __file__, "--peak"], check=True, capture_output=True, text=True)
    return {"sample": sample, "unlearn_gib": float(peak.stdout)}


def peak_memory() -> float:
    """GiB that this process took at most, after two steps and a check on the widest StyleGAN2."""
    generator = from_module("widest", StyleGAN2(WIDEST, space="w"), 512)
    feature = LinearFeature("any", generator.spec.id, paper.unit(torch.ones(512)), 0.0)
    Distillation(UnlearnOptions(steps=2, check_every=2, batch=8)).unlearn(generator, feature)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--demo", action="store_true", help="also time the whole demo")
    parser.add_argument("--peak", action="store_true", help="print the memory that StyleGAN2 takes, nothing else")
    arguments = parser.parse_args()
    if arguments.peak:
        print(peak_memory())
        return
    found: dict[str, object] = {"versions": workflow.versions(), "help_cpu": help_cpu(), **verbs()}
    found["auto"] = automatic()
    found["step"] = {name: step_ratio(name) for name in ("mnist-vae", "mnist-gan")}
    found["stylegan2"] = stylegan2()
    if arguments.demo:
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, "-m", "unfeature", "demo", folder]
            found["demo"] = seconds(lambda: subprocess.run(command, check=True, capture_output=True))
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "speed.json").write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
