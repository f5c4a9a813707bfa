"""Curves as inline SVG, the same bytes for the same input; colours come from the page's own variables."""

from __future__ import annotations

import io
import re
import textwrap
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter

from unfeature.artifacts import Curve, Distribution, Evaluation, StepRecord
from unfeature.reports.collateral import HeatMap
from unfeature.reports.words import percent

# Stand-ins that matplotlib draws with and `_for_page` replaces by CSS variables: one drawing, light and dark.
INK, RULE, TEXT = "#010203", "#010204", "#010208"
ORIGINAL, TEACHER, UNLEARNED = "#010205", "#010206", "#010207"
_VARIABLES = {
    INK: "ink-soft",
    RULE: "rule",
    TEXT: "ink",
    ORIGINAL: "original",
    TEACHER: "teacher",
    UNLEARNED: "unlearned",
}
_POINTS = 160
"""A curve needs no more points than this at the size it is shown."""
_RC: dict[Any, object] = {
    "font.size": 9.5, "axes.edgecolor": RULE, "axes.labelcolor": INK, "text.color": INK, "xtick.color": RULE,
    "ytick.color": RULE, "xtick.labelcolor": INK, "ytick.labelcolor": INK, "grid.color": RULE, "axes.grid": True,
    "axes.grid.axis": "y", "axes.spines.top": False, "axes.spines.right": False, "axes.spines.left": False,
    "axes.axisbelow": True, "grid.linewidth": 0.6, "ytick.major.size": 0.0, "svg.fonttype": "none",
    "text.parse_math": False, "axes.formatter.useoffset": False,
}  # fmt: skip


def distribution_svg(evaluation: Evaluation) -> str:
    """The measured feature over all pictures of original, teacher and result, with the cut; or empty."""
    shapes = {row.name: row.distribution for row in evaluation.rows if row.distribution is not None}
    if "original" not in shapes or len(shapes) < 2:
        return ""
    unit, cut = shapes["original"].unit, shapes["original"].cut

    def draw(axes: Axes) -> None:
        heights, edges = _shares(shapes["original"])
        axes.stairs(heights, edges, fill=True, color=ORIGINAL, alpha=0.28, linewidth=0)
        axes.stairs(heights, edges, color=ORIGINAL, linewidth=1.2)
        for name, colour, style, width in (("teacher", TEACHER, (0, (4, 2)), 1.5), ("unlearned", UNLEARNED, "-", 2.0)):
            if name in shapes:
                heights, edges = _shares(shapes[name])
                axes.stairs(heights, edges, color=colour, linestyle=style, linewidth=width)
        axes.axvline(cut, color=INK, linewidth=1.2)
        axes.margins(x=0.01)
        axes.set_ylim(0, axes.get_ylim()[1] * 1.12)
        left, right = axes.get_xlim()
        roomy = cut < (left + right) / 2  # to the right of the line
        axes.annotate(
            "→ feature from here on" if roomy else "feature from here on →", (cut, 1.0),
            xycoords=("data", "axes fraction"), xytext=(5 if roomy else -5, -3), textcoords="offset points",
            ha="left" if roomy else "right", va="top", color=INK,
        )  # fmt: skip
        axes.set_xlabel(f"measured on the picture{f', in {unit}' if unit else ''}")
        axes.set_ylabel("pictures per bin, %")

    return _svg("distribution", (4.8, 2.8), draw)


def _shares(shape: Distribution) -> tuple[list[float], list[float]]:
    total = sum(shape.counts) or 1
    return [100.0 * count / total for count in shape.counts], list(shape.edges)


def losses_svg(log: Sequence[StepRecord]) -> str:
    """The three parts of the loss over the steps; empty for an empty log."""
    if not log:
        return ""
    parts = {
        "unlearn": ([r.unlearn for r in log], UNLEARNED, "-"),
        "perceptual": ([r.perceptual for r in log], TEACHER, (0, (4, 2))),
        "reconstruction": ([r.reconstruction for r in log], ORIGINAL, (0, (1, 1))),
    }

    def draw(axes: Axes) -> None:
        steps = _thinned([r.step for r in log])
        for values, colour, style in parts.values():
            axes.plot(steps, _thinned(values), color=colour, linestyle=style, linewidth=1.6)
        if all(value > 0 for values, _, _ in parts.values() for value in values):
            axes.set_yscale("log")
            axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            axes.yaxis.set_minor_formatter(NullFormatter())
            axes.tick_params(axis="y", which="minor", left=False)
        _step_axis(axes, log)

    return _svg("losses", (4.2, 2.5), draw)


def distance_svg(log: Sequence[StepRecord]) -> str:
    """Distance to the teacher on the steps that checked; empty where none did."""
    checked = [(r.step, r.distance) for r in log if r.distance is not None]
    if not checked:
        return ""

    def draw(axes: Axes) -> None:
        steps, values = zip(*checked, strict=True)
        axes.plot(steps, [100 * v for v in values], color=UNLEARNED, marker="o", markersize=3.5, linewidth=1.6)
        axes.set_ylim(bottom=0)
        axes.set_ylabel("% of full brightness")
        _step_axis(axes, log)

    return _svg("distance", (4.2, 2.5), draw)


def ratio_svg(log: Sequence[StepRecord], wanted: float) -> str:
    """Target ratio with its interval on the steps that judged, beside the wanted ratio; empty where none did."""
    judged = [(r.step, r.ratio) for r in log if r.ratio is not None]
    if not judged:
        return ""

    def draw(axes: Axes) -> None:
        steps = [step for step, _ in judged]
        low, high = [100 * r.low for _, r in judged], [100 * r.high for _, r in judged]
        axes.vlines(steps, low, high, color=UNLEARNED, linewidth=1.6, alpha=0.55)
        axes.plot(steps, [100 * r.value for _, r in judged], color=UNLEARNED, marker="o", markersize=3.5, linewidth=1.6)
        axes.axhline(100 * wanted, color=INK, linewidth=1.2, linestyle=(0, (4, 2)))
        axes.annotate(
            "wanted", (1.0, 100 * wanted), xycoords=("axes fraction", "data"), xytext=(0, 3),
            textcoords="offset points", ha="right", va="bottom", color=INK,
        )  # fmt: skip
        axes.set_ylim(bottom=0)
        axes.set_ylabel("% of pictures")
        _step_axis(axes, log)

    return _svg("ratio", (4.2, 2.5), draw)


def choice_svg(choice: Any) -> str:
    """Change on the rest against the ratio up to its bound, for each teacher compared; empty where none was chosen.

    Hollow are those that go too far.
    """
    if not choice:
        return ""
    taken = choice["points"][choice["picked"]]
    harm = "drift" if taken["flips"] is None else "flips"

    def draw(axes: Axes) -> None:
        for point in choice["points"]:
            colour = UNLEARNED if point["finder"] == "counterfactual" else TEACHER
            x, y = 100 * point[harm], 100 * point["ratio"]
            left = 100 * point.get("left", point["upper"])  # files of earlier versions do not tell it, nor distances
            near = point.get("near", True)
            axes.vlines([x], [y], [left], color=colour, linewidth=1.6, alpha=0.55)
            axes.plot([x], [y], color=colour, marker="o", markersize=4, markerfacecolor=colour if near else "none")
        axes.plot([100 * taken[harm]], [100 * taken["ratio"]], "o", markersize=10, markerfacecolor="none", color=INK)
        axes.axhline(100 * choice["wanted"], color=INK, linewidth=1.2, linestyle=(0, (4, 2)))
        axes.set_xlim(left=0)
        axes.set_ylim(bottom=0)
        axes.set_xlabel(
            "pixel change of other pictures, %" if harm == "drift" else "other pictures that change class, %"
        )
        axes.set_ylabel("% of pictures that show it")

    return _svg("choice", (4.2, 2.5), draw)


TARGETS = {"original": (ORIGINAL, "-"), "control": (TEACHER, (0, (4, 2))), "unlearned": (UNLEARNED, "-")}
"""Colour and line of what was attacked, the copy drawn last."""


def spent_svg(name: str, curves: Mapping[str, Curve]) -> str:
    """A share against what was spent, for each target, with intervals; empty where there is none."""
    if not curves:
        return ""

    def draw(axes: Axes) -> None:
        for target, (colour, style) in TARGETS.items():
            if target in curves:
                points = curves[target].points
                x, scores = [point.x for point in points], [point.score for point in points]
                axes.fill_between(
                    x,
                    [100 * s.low for s in scores],
                    [100 * s.high for s in scores],
                    color=colour,
                    alpha=0.15,
                    linewidth=0,
                )
                axes.plot(x, [100 * s.value for s in scores], color=colour, linestyle=style, linewidth=1.6)
        axes.set_xlim(left=0)
        axes.set_ylim(bottom=0)
        axes.set_xlabel(next(iter(curves.values())).x)
        axes.set_ylabel("% that show it")

    return _svg(name, (4.2, 2.5), draw)


HUES = {True: UNLEARNED, False: TEACHER, None: ORIGINAL}
"""Of a heat map: more often there than before, less often, not told."""

DEEPEST = 0.45
"""Opacity of a heat map's darkest square: the ink on it can still be read, light and dark."""


def heat_svg(heat: HeatMap | None) -> str:
    """Shares as squares of one colour for more and one for less, the deeper the more; significant ones ringed."""
    if heat is None:
        return ""
    # A tenth of the pictures is deep enough to be seen as much, even where nothing changed more.
    most = max([0.1, *(square.share for _, squares in heat.lines for square in squares if square)])

    def draw(axes: Axes) -> None:
        axes.grid(visible=False)
        compared = len(heat.columns) - 2
        for y, (_, squares) in enumerate(heat.lines):
            for i, square in enumerate(squares):
                x = i + 0.25 * (i >= compared)
                if square is not None:
                    colour, depth = HUES[square.up], DEEPEST * square.share / most
                    axes.add_patch(Rectangle((x - 0.46, y - 0.43), 0.92, 0.86, color=colour, alpha=depth, linewidth=0))
                    if square.ringed:
                        box = (x - 0.46, y - 0.43), 0.92, 0.86
                        axes.add_patch(Rectangle(*box, fill=False, edgecolor=TEXT, linewidth=1.2))
                told = percent(square.share) if square is not None else "–"
                axes.text(x, y, told, ha="center", va="center", color=TEXT, fontsize=8.5)
        axes.set_xlim(-0.5, len(heat.columns) - 0.2)
        axes.set_ylim(len(heat.lines) - 0.5, -0.5)
        places = [i + 0.25 * (i >= compared) for i in range(len(heat.columns))]
        axes.set_xticks(places, [textwrap.fill(column, 13) for column in heat.columns])
        axes.set_yticks(range(len(heat.lines)), [name for name, _ in heat.lines])
        axes.tick_params(length=0)
        axes.xaxis.tick_top()
        axes.spines[:].set_visible(False)

    return _svg("heat", (1.6 + 0.9 * len(heat.columns), 0.7 + 0.27 * len(heat.lines)), draw)


def _step_axis(axes: Axes, log: Sequence[StepRecord]) -> None:
    axes.set_xlim(0, 1.03 * max(log[-1].step, 1))
    axes.set_xlabel("training step")
    axes.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))


def _thinned(values: Sequence[float]) -> list[float]:
    """Means over equal stretches, so that a long log costs no more than a short one."""
    if len(values) <= _POINTS:
        return list(values)
    return [float(part.mean()) for part in np.array_split(np.asarray(values, dtype=np.float64), _POINTS)]


def _svg(name: str, inches: tuple[float, float], draw: Callable[[Axes], None]) -> str:
    """One drawing as an `<svg>` element whose ids begin with `name`."""
    with matplotlib.rc_context({**_RC, "svg.hashsalt": name}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from", UserWarning)  # the browser has its own fonts
        figure = Figure(figsize=inches, layout="constrained")
        FigureCanvasSVG(figure)
        draw(figure.add_subplot())
        stream = io.StringIO()
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(stream, format="svg", transparent=True, metadata=nothing)
    return _for_page(stream.getvalue(), name)


def _for_page(text: str, name: str) -> str:
    """The bare element, fit for standing several times in one HTML page with the page's colours and fonts."""
    text = text[text.index("<svg") :].strip()
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", text, flags=re.DOTALL)
    text = re.sub(r"<!--.*?-->\s*", "", text, flags=re.DOTALL)
    text = re.sub(r'\s(?:xmlns(?::\w+)?|version)="[^"]*"', "", text).replace("xlink:href", "href")
    used = set(re.findall(r'(?:href="#|url\(#)([^")]+)', text))
    text = re.sub(r'\sid="([^"]+)"', lambda m: f' id="{name}-{m[1]}"' if m[1] in used else "", text)
    text = re.sub(r'(href="#|url\(#)', rf"\g<1>{name}-", text)
    for stand_in, variable in _VARIABLES.items():
        text = text.replace(stand_in, f"var(--{variable})")
    element = r'<svg \1 aria-hidden="true" focusable="false">'
    text = re.sub(r'<svg [^>]*?(viewBox="[^"]*")[^>]*>', element, text, count=1)
    return re.sub(r"\s*\n\s*", "\n", text)
