"""Features that go together, on a generator that knows what its pictures show: does keeping one leave it alone?

    UNFEATURE_ASSETS=../shared/assets python benchmarks/correlated.py

face_cvae40 with two labels made to correlate at 0.8 (or -0.8); 500 marks a side without error; the paper's direction,
the same with everything kept that network a tells (benchmarks/judges/celeba.py), and with the one label kept that goes
with it, by MARKED marks of its own, at thresholds around the pooled one, and at it with margins. Teachers alone, on
20,000 fresh latents whose truth is known before and after: no judge.
Writes benchmarks/results/correlated.json and .md.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

from tabulated import interval, merged
from torch import Tensor

from unfeature import options as o
from unfeature import workflow
from unfeature.artifacts import Score
from unfeature.features.linear import LinearFeature
from unfeature.generators.labelled import Labelled
from unfeature.seeds import stream
from unfeature.store import Run
from unfeature.workflow import inputs

HERE = Path(__file__).parent
RESULTS = HERE / "results"
PAIRS = {("Goatee", "Male"): 0.8, ("Gray_Hair", "Young"): -0.8, ("Wearing_Lipstick", "Heavy_Makeup"): 0.8}
"""(removed, kept) -> correlation of their latents."""
COUNT, OFFSETS, MARGINS = 20_000, (-1.5, -1.0, -0.5, 0.0, 0.5, 0.75, 1.0, 1.25, 1.5), (0.0, 0.5, 1.0, 2.0)
MARKED = {f"kept by {n} marks": n for n in (200, 500, 1000)}
"""Of the kept label, on each side."""
WAYS = ("paper", "kept", *MARKED)
COLUMNS = (
    *("removed", "kept", "way", "threshold", "margin", "removed: before", "after", "where kept shows", "where not"),
    *("kept: before", "after", "warned"),
)


def run(folder: Path, removed: str, kept: str, correlation: float, way: str) -> list[dict[str, Any]]:
    """One way on marks that are the same for all; its rows."""
    if not (folder / "warned.json").is_file():
        notes: list[str] = []
        mark(folder, removed, f"{kept}+{removed}", correlation, o.MarkOptions())
        keep: tuple[str, ...] = ()
        if way == "kept":
            keep = (f"rest={HERE / 'judges/celeba.py'}:a_{removed}",)
        if way in MARKED:
            mark(folder / "kept", kept, f"{kept}+{removed}", correlation, o.MarkOptions(per_side=MARKED[way]))
            keep = (f"{kept}={folder / 'kept/feedback.json'}",)
        workflow.find(folder, o.FindOptions(keep=keep, extractor=""), on_note=notes.append)
        (folder / "warned.json").write_text(json.dumps(sum(f"also {kept}" in note for note in notes) if keep else ""))
    told = {"removed": removed, "kept_feature": kept, "way": way}
    warned = {"warned": json.loads((folder / "warned.json").read_text())}
    return [told | figures | warned for figures in front(folder, removed, kept)]


def mark(folder: Path, label: str, pair: str, correlation: float, options: o.MarkOptions) -> None:
    """A run whose marks are the truth."""
    generator = f"{HERE / 'generators/face_cvae40.py'}:load"
    workflow.sample(folder, generator, o.SampleOptions(count=20_000), None, {"correlated": {pair: correlation}})
    workflow.mark(folder, label, "truth", options)


def front(folder: Path, removed: str, kept: str) -> Iterator[dict[str, Any]]:
    """Shares before and after, and inside the strata of the kept feature, at each strength."""
    generator, about = inputs.the_generator(Run(folder))
    found, _ = inputs.the_feature(Run(folder), generator)
    labels = generator.module
    assert isinstance(labels, Labelled) and isinstance(found, LinearFeature)
    latents = generator.sample_latents(stream("evaluate", about.seed, 0, COUNT))
    columns = [labels.attributes.index(name) for name in (removed, kept)]
    for offset, margin in [*((offset, 0.0) for offset in OFFSETS), *((0.0, margin) for margin in MARGINS[1:])]:
        threshold = found.threshold + offset
        erased = found.adjusted(threshold, margin).erase(latents)
        (had, was), (has, stays) = (labels.truth(z)[:, columns].T for z in (latents, erased))
        shares = {
            "before": had,
            "after": has,
            "with": has[was],
            "without": has[~was],
            "kept_before": was,
            "kept": stays,
        }
        yield {"threshold": f"{threshold:.2f}", "margin": margin} | {name: share(mask) for name, mask in shares.items()}


def share(mask: Tensor) -> dict[str, Any]:
    """With its interval."""
    return Score.share("share", int(mask.sum()), len(mask)).to_json()


def write(made: list[dict[str, Any]]) -> None:
    """Both result files; nothing in them is typed by hand."""
    rows = merged(RESULTS / "correlated.json", made, ("removed", "kept_feature", "way", "threshold", "margin"))
    told = {"versions": workflow.versions(), "rows": rows}
    (RESULTS / "correlated.json").write_text(json.dumps(told, indent=1) + "\n")
    lines = [" | ".join(COLUMNS), " | ".join("---" for _ in COLUMNS)]
    for row in rows:
        cells = (interval(v) if isinstance(v, dict) else str(v) for v in row.values())
        lines.append(" | ".join(cells))
    (RESULTS / "correlated.md").write_text("".join(f"| {line} |\n" for line in lines))


def main() -> None:
    """Every pair and way, the results written after each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, default=Path("runs/correlated"))
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=WAYS)
    asked = parser.parse_args()
    for ((removed, kept), correlation), way in product(PAIRS.items(), asked.ways):
        write(run(asked.runs / f"{removed}-{kept}-{way}", removed, kept, correlation, way))


if __name__ == "__main__":
    main()
