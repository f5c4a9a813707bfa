"""A model card for an exported generator: what was removed, how it was measured, what it was made from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from unfeature.artifacts import OTHER, Evaluation
from unfeature.reports.markdown import code, listed, plain
from unfeature.reports.verdicts import verdict
from unfeature.reports.words import percent, percent_range


@dataclass(frozen=True)
class Card:
    """What the card says."""

    file: str
    form: str
    feature: str
    licence: str
    hashes: Mapping[str, str]
    """Label -> hash: of the original's weights, the result's, the user's file, the file written."""
    options: Mapping[str, Any]
    use: str
    """Lines of Python that load the file."""
    parity: str
    evaluation: Evaluation | None


def render_card(card: Card) -> str:
    """The card as Markdown, with the licence in a header that model hubs read."""
    blocks = [
        f"---\nlicense: {card.licence or 'unknown'}\ntags: [unfeature, machine-unlearning]\n---",
        f"# {plain(card.file)}",
        f'An image generator from which "{plain(card.feature)}" was removed with unfeature. {_result(card)}',
        "## Use",
        f"```python\n{card.use}\n```",
        plain(card.parity),
        "## Made from",
        listed([("licence of the original", card.licence or "not stated"), *card.hashes.items()]),
        "## Training",
        listed((name.replace("_", " "), str(value)) for name, value in card.options.items()),
    ]
    if card.evaluation is not None:
        blocks[8:8] = ["## Evaluation", _evaluation(card.evaluation)]
    return "\n\n".join(blocks) + "\n"


def _result(card: Card) -> str:
    if card.evaluation is None:
        return "**It was not evaluated**: nothing is known of how often the feature remains."
    return plain(verdict(card.evaluation).sentence)


def _evaluation(evaluation: Evaluation) -> str:
    lines = ["| pictures made by | show the feature (95 % interval) | n |", "| --- | ---: | ---: |"]
    for row in evaluation.rows:
        for name in [name for name in row.scores if name == "target_ratio" or name.startswith(OTHER)]:
            score, which = row.scores[name], f"{row.name}; {name.removeprefix(OTHER)}" if ":" in name else row.name
            lines.append(
                f"| {plain(which)} | {percent(score.value)} ({percent_range(score.low, score.high)}) | {score.n:,} |"
            )
    judge, extractor = evaluation.judge, evaluation.extractor
    told = f"Judged by {code(str(judge.get('name', '')))}; marks: {plain(str(judge.get('guided_by', '')))}."
    return "\n".join(lines) + f"\n\n{told} Distances in the features of {code(extractor['name'])}."
