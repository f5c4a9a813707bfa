"""The paper's own figures beside the digits' table: same protocol, other checkpoints.

    python benchmarks/paper.py

Reads docs/benchmark/digits/results.json (`make publish`), writes docs/benchmark/paper.md. The paper tells a target
ratio of 0.0028 to 0.0042, an FID comparable to the original's, an IS of up to 1.29 times the original's.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from unfeature.reports.bench import grouped

FOLDER = Path(__file__).parents[1] / "docs" / "benchmark"
METHODS = {"paper": "the paper's method, `--preset paper`", "counterfactual": "ours, `--preset counterfactual`"}
PAPER = [
    "Moon, Cho, Kim 2024",
    "their own",
    "about 0.10",
    "0.0028 to 0.0042",
    "comparable to the original's",
    "up to 1.29",
]
COLUMNS = [
    "who",
    "generator, feature",
    "target ratio before",
    "after",
    "FD to all: original, after",
    "IS, times the original's",
]
HEAD = """# Beside the paper's own figures

The protocol is the paper's: marks on generated pictures, a copy trained on the original's pictures at erased
latents, the share of samples that still show the feature. The checkpoints are not, and neither are the judges: the
paper's code and models were never released, and its FID and IS are of Inception's features where ours are of a
digit network's. So this says whether the protocol reaches what the paper reports, and nothing about who is better.
Means over the seeds of [the digits' table](digits/results.md), from which `python benchmarks/paper.py` makes this
page.

"""


def lines(results: dict[str, Any]) -> list[list[str]]:
    """The paper's line, then one for each generator, feature and method."""
    told = [PAPER]
    for (generator, feature, method), cells in grouped(results["rows"], ("generator", "feature", "method")).items():
        if method not in METHODS:
            continue
        before, after = (_mean(cells, row, "target_ratio") for row in ("original", "unlearned"))
        fd = next(name for name in cells[0]["scores"]["original"] if name.startswith("fd") and name.endswith("_to_all"))
        distances = [f"{_mean(cells, row, fd):.3f}" for row in ("original", "unlearned")]
        inception = next(name for name in cells[0]["scores"]["original"] if name.startswith("is"))
        times = _mean(cells, "unlearned", inception) / _mean(cells, "original", inception)
        told.append(
            [
                METHODS[method],
                f"{generator}, {feature}",
                f"{before:.4f}",
                f"{after:.4f}",
                ", ".join(distances),
                f"{times:.3f}",
            ]
        )
    return told


def _mean(cells: Any, row: str, name: str) -> float:
    """Over the seeds."""
    return float(sum(cell["scores"][row][name]["value"] for cell in cells) / len(cells))


def page(results: dict[str, Any]) -> str:
    """Markdown."""
    table = [COLUMNS, ["---"] * len(COLUMNS), *lines(results)]
    return HEAD + "".join(f"| {' | '.join(line)} |\n" for line in table)


def main() -> None:
    """Read, write."""
    results = json.loads((FOLDER / "digits" / "results.json").read_text())
    (FOLDER / "paper.md").write_text(page(results))


if __name__ == "__main__":
    main()
