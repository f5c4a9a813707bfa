"""The plot of a benchmark, from its results file alone."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogFormatter

from unfeature.reports.bench import Rows, parted
from unfeature.reports.words import ROWS, flips_key

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PIXELS = "drift_never_had"
ACROSS, LEAST, SHAPES = 4, 0.01, "osD^vP*X<>"
"""Panels beside each other; per cent where shares of none are drawn; markers."""
WITHOUT: dict[str, Any] = {"color": "0.5", "linestyle": "--", "linewidth": 1}
"""Look of the line."""
WITHIN = (1.0, 0.4)
"""Decades of an axis below which numbers between powers of ten are written, and below which all of them."""


class _Plain(LogFormatter):
    """Writes 0.2 where matplotlib's own would write 2e-01."""

    def __call__(self, x: float, pos: int | None = None) -> str:
        return f"{x:g}" if super().__call__(x, pos) else ""


def bench_svg(results: Mapping[str, Any]) -> str:
    """Target ratio against pictures that changed though they never had it.

    A panel for each combination of all axes but the last, a colour and a shape for each of its values. Both scales are
    logarithmic; what is less than LEAST is drawn there. A line says what training without the feature leaves, if known.
    """
    rows, axes = results["rows"], results["axes"]
    names = list(dict.fromkeys(row["values"][axes[-1]] for row in rows))
    groups = parted(rows, axes) or {"": []}
    pixels = " of pixels" if any(_changed(cell) == PIXELS for cell in rows) else ""
    wide = min(ACROSS, len(groups))
    deep = -(-len(groups) // wide)
    stream = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": "bench", "font.size": 9}):
        figure = Figure(figsize=(max(6.4, 3.4 * wide), 2.8 * deep + 1.4), layout="constrained")
        FigureCanvasSVG(figure)
        panels = figure.subplots(deep, wide, squeeze=False, sharex=True, sharey=True).flatten()
        for panel, (title, cells) in zip(panels, groups.items(), strict=False):
            panel.set_title(title, fontsize=9)
            panel.set(xscale="log", yscale="log", xlabel=f"never had it, yet changed, %{pixels}")
            for axis in (panel.xaxis, panel.yaxis):
                axis.set_major_formatter("{x:g}")
                axis.set_minor_formatter(_Plain(labelOnlyBase=False, minor_thresholds=WITHIN))
            for cell in cells:
                _points(panel, cell, names.index(cell["values"][axes[-1]]))
            _without(panel, cells)
        for panel in panels[len(groups) :]:
            panel.set_axis_off()
        lines = [Line2D([], [], linestyle="", **_look(i), label=name) for i, name in enumerate(names)]
        if any("control" in row["scores"] for row in rows):
            lines.append(Line2D([], [], **WITHOUT, label=ROWS["control"].lower()))
        figure.suptitle(results["title"])
        panels[0].set_ylabel("pictures that show it, %")
        if lines:
            told = f"filled: unlearned, open: teacher; at {LEAST:g} %: that or less"
            figure.legend(handles=lines, loc="outside lower center", ncols=4, frameon=False, title=told)
        figure.savefig(stream, format="svg", metadata={"Date": None})
    return stream.getvalue()


def _look(number: int) -> dict[str, Any]:
    return {"color": f"C{number % 10}", "marker": SHAPES[(number + number // 10) % len(SHAPES)], "markersize": 5}


def _changed(cell: Mapping[str, Any]) -> str:
    """The score that tells what changed though it never had the feature: flips, or pixels where nobody tells flips."""
    return flips_key(cell["scores"]["unlearned"], cell["extractor"], "never_had") or PIXELS


def _points(panel: Axes, cell: Mapping[str, Any], number: int) -> None:
    """One for the teacher and one for the copy, where both figures were measured."""
    for side, filled in (("teacher", {"markerfacecolor": "none"}), ("unlearned", {})):
        scores = [cell["scores"][side].get(name) for name in (_changed(cell), "target_ratio")]
        if all(score is not None and score["n"] for score in scores):
            x, y = (max(LEAST, 100 * score["value"]) for score in scores)
            panel.plot(x, y, linestyle="", **(_look(number) | filled))


def _without(panel: Axes, cells: Rows) -> None:
    """What the same architecture leaves that was trained without the feature: the mean of all seeds."""
    known = [cell["scores"]["control"]["target_ratio"]["value"] for cell in cells if "control" in cell["scores"]]
    if known:
        panel.axhline(max(LEAST, 100 * sum(known) / len(known)), **WITHOUT)
