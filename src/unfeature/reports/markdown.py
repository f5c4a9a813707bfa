"""The same report as Markdown, without pictures and curves."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from unfeature.artifacts import Attacks, Evaluation, Preview, StepRecord
from unfeature.reports.attacks import AttackSection
from unfeature.reports.content import Content, content
from unfeature.reports.pictures import Pictures
from unfeature.reports.tables import Cell, FullTable, MainTable


def render_markdown(
    evaluation: Evaluation,
    preview: Preview | None,
    log: Sequence[StepRecord],
    pictures: Pictures,
    facts: Mapping[str, object],
    attacks: Attacks | None = None,
) -> str:
    """The report's words and figures; `pictures` only say how many pairs the HTML page shows."""
    words = content(evaluation, preview, log, facts, attacks)
    shown = sum(map(len, (pictures.edited_before, pictures.moved_before, pictures.untouched_before)))
    blocks = [*_top(words), *_results(words, shown), *_fine_print(words)]
    return "\n\n".join(blocks) + "\n"


def _top(words: Content) -> Iterator[str]:
    yield f"# {plain(words.title)}"
    yield f"**{words.status}.** {plain(words.verdict.sentence)}"
    yield listed((tile.label, f"{tile.value} ({tile.note})") for tile in words.tiles)
    yield "## What was asked"
    yield listed(words.asked)
    if words.preview:
        yield plain(words.preview)
    if words.choice:
        yield "## How the edit was chosen"
        yield "\n".join(f"- {plain(sentence)}" for sentence in words.choice)


def _results(words: Content, shown: int) -> Iterator[str]:
    yield "## The figures"
    if shown:
        yield f"The HTML report beside this one shows {shown} pairs of pictures, before and after."
    yield "Below each figure stand its 95 % interval, or why it has none, and the number of pictures (n) behind it."
    yield main_figures(words.main)
    yield listed((line.name, line.about) for line in words.main.lines if line.about)
    if words.strengths:
        unit = f", in {words.strengths.unit}" if words.strengths.unit else ""
        yield plain(f"The measured feature{unit}; it begins at {words.strengths.cut}.")
        heads = ["Of the pictures", *map(plain, words.strengths.columns)]
        yield _table(heads, [[name, *map(plain, cells)] for name, cells in words.strengths.lines])
    if words.training:
        yield plain(words.training)
    yield "## Every figure"
    yield _full(words.full)
    if words.collateral:
        yield "## What else changed"
        yield plain(" ".join(words.collateral.sentences))
        yield "Every attribute stands in the table at the end."
    if words.attacks is not None:
        yield "## Attacks"
        yield from attacked(words.attacks)
        yield _full(words.attacks.table)
        if words.attacks.left_out:
            yield listed(words.attacks.left_out)


def attacked(section: AttackSection) -> Iterator[str]:
    """Blocks: the attacks' first figures as a table, then each attack in words."""
    yield plain(section.intro)
    heads = ["Attack", *section.columns]
    yield _table(heads, [[plain(title), *map(_cell, cells)] for title, cells in section.main])
    for part in section.parts:
        yield f"### {plain(part.title)}"
        yield plain(" ".join(part.sentences))


def _fine_print(words: Content) -> Iterator[str]:
    yield "## The fine print"
    for section in words.sections:
        yield f"### {section.title}"
        if section.intro:
            yield plain(section.intro)
        yield listed(section.entries)
    yield "### Limits"
    yield "\n".join(f"- {plain(limit)}" for limit in words.limits)
    if words.command:
        yield "### Command"
        yield code(words.command)
    if words.collateral:
        yield "## Every attribute"
        yield _full(words.collateral.table)


def main_figures(table: MainTable) -> str:
    """The short table, below each figure its interval and number of pictures."""
    heads = ["Pictures made by", *(f"{plain(head.title)}<br>({head.better})" for head in table.heads)]
    lines = [[f"**{plain(line.name)}**", *map(_cell, line.cells)] for line in table.lines]
    return _table(heads, lines)


def _full(table: FullTable) -> str:
    lines = [
        [f"{plain(head.title)} ({head.better})<br>{code(head.code)}", *map(_cell, cells)]
        for group in table.groups
        for head, cells in group.lines
    ]
    return _table(["Figure", *map(plain, table.columns)], lines)


def _table(heads: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    rule = ["---", *("---:" for _ in heads[1:])]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (heads, rule, *lines))


def _cell(cell: Cell | None) -> str:
    return "–" if cell is None else plain(cell.value) + f"<br>{plain(cell.interval)}<br>n = {cell.n}"


def listed(entries: Iterable[tuple[str, str]]) -> str:
    """A list of `name: value`."""
    return "\n".join(f"- {plain(name)}: {plain(value)}" for name, value in entries)


def plain(text: str) -> str:
    """Text that Markdown and the HTML inside it leave alone, on one line."""
    text = re.sub(r"\s+", " ", text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_\[\]|#])", r"\\\1", text)


def code(text: str) -> str:
    """A code span that its own back quotes cannot end, on one line, fit for a table."""
    text = re.sub(r"\s+", " ", text).replace("|", "\\|")
    fence = "`" * (max((len(run) for run in re.findall("`+", text)), default=0) + 1)
    gap = " " if text.startswith("`") or text.endswith("`") else ""
    return f"{fence}{gap}{text}{gap}{fence}"
