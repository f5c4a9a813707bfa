"""One feature after another: does the first stay gone?

    UNFEATURE_ASSETS=../shared/assets python benchmarks/sequence.py

Thick strokes out of mnist-vae from 100 marks a side by --preset counterfactual, then slant out of the result the same
way; and the two in one run beside it. 10,000 fresh samples a figure, each feature by its own measurement, cut on the
generator as it came. Resumable: a run folder that has its evaluation is not made again. Writes
benchmarks/results/sequence.json and .md.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from tabulated import interval

from unfeature import options as o
from unfeature import workflow
from unfeature.artifacts import Evaluation
from unfeature.workflow import read_options

HERE = Path(__file__).parent
RESULTS, LENET = HERE / "results", f"{HERE / 'judges/lenet.py'}:load"
COLUMNS = ("run", "row", "thickness", "slant", "digits changed where untouched")


def run(folder: Path, feature: str, *, seed: int, after: Path | None = None, also: Path | None = None) -> Evaluation:
    """From gallery to evaluation, on the result of `after` or together with `also`."""
    options = read_options(base="counterfactual")
    if not (folder / "evaluation.json").is_file():
        of = {"after": after} if after is not None else {"generator": "mnist-vae"}
        workflow.sample(folder, options=o.SampleOptions(seed=seed), **of)
        workflow.mark(folder, feature, feature, o.MarkOptions(per_side=100))
        more = {"also": (str(also),)} if also is not None else {}
        workflow.find(folder, options.find.model_copy(update=more))
        workflow.preview(folder, o.PreviewOptions(extractor=LENET))
        workflow.unlearn(folder, options.unlearn)
        workflow.evaluate(folder, o.EvaluateOptions(extractor=LENET))
    return Evaluation.from_json(json.loads((folder / "evaluation.json").read_text()))


def rows(name: str, result: Evaluation) -> list[dict[str, Any]]:
    """What shows in each row, by feature."""
    told = []
    for row in result.rows:
        if row.name == "filter":
            continue
        shown = {result.feature: row.scores["target_ratio"].to_json()}
        shown |= {
            key.partition(": ")[2]: s.to_json() for key, s in row.scores.items() if key.startswith("target_ratio: ")
        }
        told.append({"run": name, "row": row.name, **shown, "flips": row.scores["flips_untouched"].to_json()})
    return told


def write(found: list[dict[str, Any]]) -> None:
    """Both result files; nothing in them is typed by hand."""
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "sequence.json").write_text(
        json.dumps({"versions": workflow.versions(), "rows": found}, indent=1) + "\n"
    )
    lines = [" | ".join(COLUMNS), " | ".join("---" for _ in COLUMNS)]
    for row in found:
        scores = (row.get(name) for name in ("thickness", "slant", "flips"))
        lines.append(" | ".join([row["run"], row["row"], *(interval(score) if score else "" for score in scores)]))
    (RESULTS / "sequence.md").write_text("".join(f"| {line} |\n" for line in lines))


def main() -> None:
    """First, second, both; the results written after each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, default=Path("runs/sequence"))
    parser.add_argument("--seed", type=int, default=1)
    a = parser.parse_args()
    first = a.runs / "first"
    found = rows("first", run(first, "thickness", seed=a.seed))
    write(found)
    found += rows("second, after the first", run(a.runs / "second", "slant", seed=a.seed, after=first))
    write(found)
    found += rows("both in one run", run(a.runs / "both", "slant", seed=a.seed, also=first))
    write(found)


if __name__ == "__main__":
    main()
