"""The table and the plot of a benchmark, from its results file alone."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ROWS = {"original": "original", "filter": "rejection filter", "teacher": "teacher", "unlearned": "unlearned"}
FIGURES = {
    "target_ratio": "target ratio",
    "flips_edited": "flips, edited",
    "flips_never_had": "flips, never had it",
    "flips_untouched": "flips, untouched",
}
Rows = Sequence[Mapping[str, Any]]


def bench_table(results: Mapping[str, Any]) -> str:
    """Markdown: a line for each combination and row, means over the seeds with their least and largest."""
    rows: Rows = results["rows"]
    if not rows:
        return f"# {results['title']}\n\nNo cell is finished yet.\n"
    axes = results["axes"]
    distance = next((name for name in rows[0]["floor"] if name.startswith("fd")), "")
    columns = [*axes, "row", *FIGURES.values(), f"{distance or 'FD'}", "floor", "removed", "seeds", "pictures"]
    lines = [columns, ["---"] * len(columns)]
    for values, cells in grouped(rows, axes).items():
        for row, named in ROWS.items():
            found = [[cell["scores"][row].get(name) for cell in cells] for name in (*FIGURES, distance)]
            floor = [cell["floor"].get(distance) for cell in cells]
            removed = f"{sum(cell['verdict'] == 'removed' for cell in cells)} of {len(cells)}"
            last = [removed if row == "unlearned" else "", str(len(cells)), f"{cells[0]['n']:,} each"]
            lines.append([*values, named, *map(_over_seeds, [*found, floor]), *last])
    plot = "![Target ratio against pictures that changed though they never had it](results.svg)"
    head = (
        f"# {results['title']}\n\n{plot}\n\nMean over the seeds (least to largest); of one seed its 95 % interval.\n\n"
    )
    return head + "".join(f"| {' | '.join(line)} |\n" for line in lines)


def grouped(rows: Rows, axes: Sequence[str]) -> dict[tuple[str, ...], list[Mapping[str, Any]]]:
    """Values of the axes, in their order -> the cells of every seed."""
    found: dict[tuple[str, ...], list[Mapping[str, Any]]] = {}
    for row in rows:
        found.setdefault(tuple(row["values"][axis] for axis in axes), []).append(row)
    return found


def _over_seeds(scores: Sequence[Mapping[str, Any] | None]) -> str:
    known = [score for score in scores if score is not None and score["n"]]
    if not known:
        return ""
    values = [score["value"] for score in known]
    low, high = (known[0]["low"], known[0]["high"]) if len(known) == 1 else (min(values), max(values))
    return f"{sum(values) / len(values):.4f} ({low:.4f} to {high:.4f})"


def bench_svg(results: Mapping[str, Any]) -> str:
    """Target ratio against pictures that changed though they never had it, a colour for each value of the last axis."""
    rows: Rows = results["rows"]
    last = results["axes"][-1]
    names = list(dict.fromkeys(row["values"][last] for row in rows))
    stream = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": "bench", "font.size": 9}):
        figure = Figure(figsize=(6.4, 4), layout="constrained")
        FigureCanvasSVG(figure)
        axes = figure.add_subplot()
        for row in rows:
            _points(axes, row, f"C{names.index(row['values'][last])}")
        for i, name in enumerate(names):
            axes.plot([], [], "o", color=f"C{i}", label=name)
        axes.set_title(results["title"])
        axes.set_xlabel("pictures that changed though they never had it, %")
        axes.set_ylabel("pictures that show it, %")
        axes.set_xlim(left=0)
        axes.set_ylim(bottom=0)
        if names:
            axes.legend(frameon=False, title="filled: unlearned, open: teacher")
        figure.savefig(stream, format="svg", metadata={"Date": None})
    return stream.getvalue()


def _points(axes: Axes, row: Mapping[str, Any], colour: str) -> None:
    """One for the teacher and one for the copy, where both figures were measured."""
    for side, filled in (("teacher", "none"), ("unlearned", colour)):
        scores = [row["scores"][side].get(name) for name in ("flips_never_had", "target_ratio")]
        if all(score is not None and score["n"] for score in scores):
            x, y = (100 * score["value"] for score in scores)
            axes.plot(x, y, "o", markerfacecolor=filled, color=colour)
