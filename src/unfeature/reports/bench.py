"""The table and the plot of a benchmark, from its results file alone."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogFormatter

from unfeature.artifacts import OTHER
from unfeature.reports.attacks import TARGETS, TOLD, attack_title
from unfeature.reports.words import ROWS, Group, flips_key

if TYPE_CHECKING:
    from matplotlib.axes import Axes

GROUPS: dict[Group, str] = {"edited": "edited", "never_had": "never had it", "untouched": "untouched"}
PIXELS = "drift_never_had"
Rows = Sequence[Mapping[str, Any]]
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


def bench_table(results: Mapping[str, Any]) -> str:
    """Markdown: a line for each combination and row, means over the seeds, their least and largest; then attacks."""
    rows: Rows = results["rows"]
    if not rows:
        return f"# {results['title']}\n\nNo cell is finished yet.\n"
    axes = results["axes"]
    distance = next((name for name in rows[0]["floor"] if name.startswith("fd")), "")
    shown = dict.fromkeys(name for row in rows for name in row["scores"]["original"] if name.startswith(OTHER))
    figures = {"target_ratio": "target ratio", **_flips(rows[0])}
    figures |= {name: f"target ratio, {name.removeprefix(OTHER)}" for name in shown}
    columns = [*axes, "row", *figures.values(), f"{distance or 'FD'}", "floor", "removed", "seeds", "pictures"]
    lines = [columns, ["---"] * len(columns)]
    for values, cells in grouped(rows, axes).items():
        for row, named in ROWS.items():
            if not any(row in cell["scores"] for cell in cells):
                continue
            found = [[cell["scores"].get(row, {}).get(name) for cell in cells] for name in (*figures, distance)]
            floor = [cell["floor"].get(distance) for cell in cells]
            removed = f"{sum(cell['verdict'] == 'removed' for cell in cells)} of {len(cells)}"
            last = [removed if row == "unlearned" else "", str(len(cells)), f"{cells[0]['n']:,} each"]
            lines.append([*values, named, *map(_over_seeds, [*found, floor]), *last])
    plot = "![Target ratio against pictures that changed though they never had it](results.svg)"
    head = (
        f"# {results['title']}\n\n{plot}\n\nMean over the seeds (least to largest); of one seed its 95 % interval.\n\n"
    )
    return head + _lines(lines) + _attack_table(rows, axes)


def _attack_table(rows: Rows, axes: Sequence[str]) -> str:
    """Markdown: for each combination and attack what it brought back of each target; nothing where nobody attacked."""
    columns = [*axes, "attack", *TARGETS.values(), "seeds"]
    lines = [columns, ["---"] * len(columns)]
    for values, cells in grouped([row for row in rows if row.get("attacks")], axes).items():
        made = {name for cell in cells for name in cell["attacks"]}
        for name in [*filter(made.__contains__, TOLD), *sorted(made - TOLD.keys())]:
            told = [cell["attacks"][name] for cell in cells if name in cell["attacks"]]
            figures = [_over_seeds([one.get(target, {}).get("figure") for one in told]) for target in TARGETS]
            lines.append([*values, _first(name, told[0]), *figures, str(len(told))])
            for number in sorted(told[0].get("unlearned", {}).get("steps_to_half", {}), key=int):
                steps = [_steps([one[target] for one in told if target in one], number) for target in TARGETS]
                lines.append([*values, f"steps to half, from {number}", *steps, str(len(told))])
    if len(lines) == 2:
        return ""
    return (
        "\n## What attacks brought back\n\nShares that show it, the first figure of each attack. Steps: of relearning "
        "from so many pictures until half of the original's share is back.\n\n" + _lines(lines)
    )


def _first(name: str, told: Mapping[str, Any]) -> str:
    """The attack and what its first figure is of: `Relearning, from 64`."""
    figure = next(iter(told.values()))["figure"]["name"]
    return ", ".join(filter(None, (attack_title(name), figure.partition(": ")[2])))


def _steps(told: Sequence[Mapping[str, Any]], number: str) -> str:
    """Of every seed, least first; those where it did not come back as `over 200`."""
    known = [(one["steps_to_half"].get(number), one["steps"]) for one in told]
    found = sorted(steps for steps, _ in known if steps is not None)
    return ", ".join([*map(str, found), *(f"over {most}" for steps, most in known if steps is None)])


def _lines(lines: Sequence[Sequence[str]]) -> str:
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def grouped(rows: Rows, axes: Sequence[str]) -> dict[tuple[str, ...], list[Mapping[str, Any]]]:
    """Values of the axes, in their order -> the cells of every seed."""
    found: dict[tuple[str, ...], list[Mapping[str, Any]]] = {}
    for row in rows:
        found.setdefault(tuple(row["values"][axis] for axis in axes), []).append(row)
    return found


def _flips(cell: Mapping[str, Any]) -> dict[str, str]:
    """Scores that tell flips -> titles."""
    keys = {flips_key(cell["scores"]["unlearned"], cell["extractor"], group): told for group, told in GROUPS.items()}
    whose = {key: "attribute flips" if key.startswith("attribute") else "flips" for key in keys}
    return {key: f"{whose[key]}, {told}" for key, told in keys.items() if key}


def _changed(cell: Mapping[str, Any]) -> str:
    """The score that tells what changed though it never had the feature: flips, or pixels where nobody tells flips."""
    return flips_key(cell["scores"]["unlearned"], cell["extractor"], "never_had") or PIXELS


def _over_seeds(scores: Sequence[Mapping[str, Any] | None]) -> str:
    known = [score for score in scores if score is not None and score["n"]]
    if not known:
        return ""
    values = [score["value"] for score in known]
    low, high = (known[0]["low"], known[0]["high"]) if len(known) == 1 else (min(values), max(values))
    return f"{sum(values) / len(values):.4f} ({low:.4f} to {high:.4f})"


def bench_svg(results: Mapping[str, Any]) -> str:
    """Target ratio against pictures that changed though they never had it.

    A panel for each combination of all axes but the last, a colour and a shape for each of its values. Both scales are
    logarithmic; what is less than LEAST is drawn there. A line says what training without the feature leaves, if known.
    """
    rows, axes = results["rows"], results["axes"]
    names = list(dict.fromkeys(row["values"][axes[-1]] for row in rows))
    groups = grouped(rows, axes[:-1]) or {(): []}
    pixels = " of pixels" if any(_changed(cell) == PIXELS for cell in rows) else ""
    wide = min(ACROSS, len(groups))
    deep = -(-len(groups) // wide)
    stream = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": "bench", "font.size": 9}):
        figure = Figure(figsize=(max(6.4, 3.4 * wide), 2.8 * deep + 1.4), layout="constrained")
        FigureCanvasSVG(figure)
        panels = figure.subplots(deep, wide, squeeze=False, sharex=True, sharey=True).flatten()
        for panel, (values, cells) in zip(panels, groups.items(), strict=False):
            panel.set_title(", ".join(values), fontsize=9)
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
            told = "filled: unlearned, open: teacher"
            figure.legend(handles=lines, loc="outside lower center", ncols=4, frameon=False, title=told)
        figure.savefig(stream, format="svg", metadata={"Date": None})
    return stream.getvalue()


def _look(number: int) -> dict[str, Any]:
    return {"color": f"C{number % 10}", "marker": SHAPES[number % len(SHAPES)], "markersize": 5}


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
