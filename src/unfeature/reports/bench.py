"""The tables of a benchmark, from its results file alone; `bench_plot` draws it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from unfeature.artifacts import OTHER
from unfeature.reports.attacks import TARGETS, TOLD, attack_title
from unfeature.reports.words import ROWS, Group, flips_key

GROUPS: dict[Group, str] = {"edited": "edited", "never_had": "never had it", "untouched": "untouched"}
UNEDITED = ("original", "filter")
"""Rows of pictures that are the original's own: none of them changed."""

Rows = Sequence[Mapping[str, Any]]
Line = Sequence[str]


def bench_table(results: Mapping[str, Any]) -> str:
    """Markdown: a part for each combination of all axes but the last, as in the plot; then what attacks brought back.

    Figures are means over the seeds, with their least and largest. Rows that are alike are written once, with the
    names of all values of the last axis that they hold for.
    """
    rows: Rows = results["rows"]
    if not rows:
        return f"# {results['title']}\n\nNo cell is finished yet.\n"
    plot = "![Target ratio against pictures that changed though they never had it](results.svg)"
    head = (
        f"# {results['title']}\n\n{plot}\n\nMeans over the seeds (least to largest); of one seed its 95 % interval. "
        "Below the distance of the rejection filter, which chance alone makes, no result can be expected."
        f"{_made_by(results.get('versions', {}))}\n"
    )
    axes, parts = results["axes"], parted(rows, results["axes"])
    return head + "".join(_part(title, cells, axes[-1]) for title, cells in parts.items()) + _attacked(rows, axes)


def _made_by(versions: Mapping[str, str]) -> str:
    """A sentence; none where nothing is told."""
    where = f" ({versions['device']})" if "device" in versions else ""
    return f" Made with torch {versions['torch']}{where}." if "torch" in versions else ""


def _part(title: str, cells: Rows, axis: str) -> str:
    """The rows of all values of the last axis."""
    figures, named = _figures(cells), grouped(cells, (axis,))
    lines: list[Line] = []
    for row, called in ROWS.items():
        alike: dict[Line, list[str]] = {}
        for (name,), mine in named.items():
            if any(row in cell["scores"] for cell in mine):
                alike.setdefault(_row(row, mine, figures), []).append(name)
        lines += [
            [called, "all" if 1 < len(names) == len(named) else ", ".join(names), *told]
            for told, names in alike.items()
        ]
    facts = f"{_seeds(named.values())}, {_range({cell['n'] for cell in cells})} pictures each."
    return _headed(f"## {title}" if title else "", facts, ["row", axis, *figures.values(), "removed"], lines)


def _figures(cells: Rows) -> dict[str, str]:
    """Scores -> titles of their columns."""
    distances = dict.fromkeys(next((name for name in cell["floor"] if name.startswith("fd")), "") for cell in cells)
    shown = dict.fromkeys(name for cell in cells for name in cell["scores"]["original"] if name.startswith(OTHER))
    figures = {"target_ratio": "target ratio"}
    for cell in cells:  # each may look at other numbers of pictures, through another network
        figures |= _flips(cell)
    figures |= {name: f"target ratio, {name.removeprefix(OTHER)}" for name in shown}
    return figures | {name: name for name in distances if name}


def _row(row: str, cells: Rows, figures: Iterable[str]) -> tuple[str, ...]:
    """What one line tells of the cells of every seed."""

    def told(name: str) -> str:
        if row in UNEDITED and "flips" in name:
            return ""
        return _over_seeds([cell["scores"].get(row, {}).get(name) for cell in cells])

    removed = f"{sum(cell['verdict'] == 'removed' for cell in cells)} of {len(cells)}"
    return (*map(told, figures), removed if row == "unlearned" else "")


def _seeds(named: Iterable[Rows]) -> str:
    """Of the cells of each value: `3 seeds`."""
    made = {len(cells) for cells in named}
    return f"{_range(made)} {'seed' if max(made) == 1 else 'seeds'}"


def _range(numbers: set[int]) -> str:
    return " to ".join(f"{number:,}" for number in sorted({min(numbers), max(numbers)}))


def _attacked(rows: Rows, axes: Sequence[str]) -> str:
    """Markdown: for each combination and attack what it brought back of each target; nothing where nobody attacked."""
    attacked = [row for row in rows if row.get("attacks")]
    if not attacked:
        return ""
    parts = parted(attacked, axes).items()
    return (
        "\n## What attacks brought back\n\nShares that show it, the first figure of each attack. Steps: of relearning "
        "from so many pictures until half of the original's share is back.\n"
        + "".join(_attacks(title, cells, axes[-1]) for title, cells in parts)
    )


def _attacks(title: str, cells: Rows, axis: str) -> str:
    lines: list[Line] = []
    made = {name for cell in cells for name in cell["attacks"]}
    named = grouped(cells, (axis,))
    for attack in [*filter(made.__contains__, TOLD), *sorted(made - TOLD.keys())]:
        told = {
            name: [cell["attacks"][attack] for cell in mine if attack in cell["attacks"]]
            for (name,), mine in named.items()
        }
        lines += _attack(attack, {name: cells for name, cells in told.items() if cells})
    facts = f"{_seeds(named.values())}."
    return _headed(f"### {title}" if title else "", facts, ["attack", axis, *TARGETS.values()], lines)


def _attack(attack: str, told: Mapping[str, Rows]) -> list[Line]:
    """The attack's first figure for each value of the axis; of relearning, then the steps from each number."""
    called = _first(attack, told.values())
    lines: list[Line] = [
        [called, name, *(_over_seeds([one.get(t, {}).get("figure") for one in cells]) for t in TARGETS)]
        for name, cells in told.items()
    ]
    sides = [side for cells in told.values() for one in cells for side in one.values()]
    for number in sorted({number for side in sides for number in side.get("steps_to_half", ())}, key=int):
        for name, cells in told.items():
            steps = [_steps([one[target] for one in cells if target in one], number) for target in TARGETS]
            lines += [[f"Steps to half, from {number}", name, *steps]] if any(steps) else []
    return lines


def _first(name: str, told: Iterable[Rows]) -> str:
    """The attack and what first figures are of: `Relearning, from 64`; `Search further inside, w or w+`."""
    figures = [target["figure"]["name"] for cells in told for one in cells for target in one.values()]
    places = sorted({figure.partition(": ")[2] for figure in figures} - {""})
    return ", ".join(filter(None, (attack_title(name), " or ".join(places))))


def _steps(told: Sequence[Mapping[str, Any]], number: str) -> str:
    """Of every seed that had so many pictures, least first; those where it did not come back as `over 200`."""
    known = [(one["steps_to_half"][number], one["steps"]) for one in told if number in one["steps_to_half"]]
    found = sorted(steps for steps, _ in known if steps is not None)
    return ", ".join([*map(str, found), *(f"over {most}" for steps, most in known if steps is None)])


def _headed(heading: str, facts: str, columns: Line, lines: Sequence[Line]) -> str:
    """A part: its heading if any, what holds for all its lines, and its table."""
    table = "".join(f"| {' | '.join(line)} |\n" for line in (columns, ["---"] * len(columns), *lines))
    return "\n" + "\n\n".join(filter(None, (heading, facts, table)))


def grouped(rows: Rows, axes: Sequence[str]) -> dict[tuple[str, ...], list[Mapping[str, Any]]]:
    """Values of the axes, in their order -> the cells of every seed."""
    found: dict[tuple[str, ...], list[Mapping[str, Any]]] = {}
    for row in rows:
        found.setdefault(tuple(row["values"][axis] for axis in axes), []).append(row)
    return found


def parted(rows: Rows, axes: Sequence[str]) -> dict[str, list[Mapping[str, Any]]]:
    """`mnist-vae, thickness, marks 20`: values of all axes but the last -> their cells."""
    named: dict[str, list[Mapping[str, Any]]] = {}
    for values, cells in grouped(rows, axes[:-1]).items():
        told = [f"{axis} {value}" if value[0].isdigit() else value for axis, value in zip(axes, values, strict=False)]
        named[", ".join(told)] = cells
    return named


def _flips(cell: Mapping[str, Any]) -> dict[str, str]:
    """Scores that tell flips -> titles."""
    keys = {flips_key(cell["scores"]["unlearned"], cell["extractor"], group): told for group, told in GROUPS.items()}
    whose = {key: "attribute flips" if key.startswith("attribute") else "flips" for key in keys}
    return {key: f"{whose[key]}, {told}" for key, told in keys.items() if key}


def _over_seeds(scores: Sequence[Mapping[str, Any] | None]) -> str:
    known = [score for score in scores if score is not None and score["n"]]
    if not known:
        return ""
    values = [score["value"] for score in known]
    low, high = (known[0]["low"], known[0]["high"]) if len(known) == 1 else (min(values), max(values))
    return f"{sum(values) / len(values):.4f} ({low:.4f} to {high:.4f})"
