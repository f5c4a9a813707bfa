"""Writes docs/reference/options.md from the code:  python docs/reference.py"""

from __future__ import annotations

import typing
from pathlib import Path

from unfeature import zoo
from unfeature.attacks import ATTACKS
from unfeature.cli import COMMANDS
from unfeature.devices import VARIABLE
from unfeature.features import FINDERS
from unfeature.generators import GENERATORS
from unfeature.metrics import EXTRACTORS, MEASUREMENTS, METRICS
from unfeature.options import AttackOptions, Options, RunOptions
from unfeature.presets import presets
from unfeature.unlearners import UNLEARNERS

PAGE = Path(__file__).parent / "reference" / "options.md"

TABLES = {
    "Measurements (`--by`, `--judge`)": MEASUREMENTS,
    "Finders": FINDERS,
    "Unlearners": UNLEARNERS,
    "Metrics": METRICS,
    "Extractors": EXTRACTORS,
    "Attacks": ATTACKS,
    "Generator families": GENERATORS,
}
BOUNDS = {"ge": "≥ ", "gt": "> ", "le": "≤ ", "lt": "< "}


def _range(field: typing.Any) -> str:
    """What a value may be: bounds, or the words to choose from."""
    if typing.get_origin(field.annotation) is dict:
        return "table"
    kinds = typing.get_args(field.annotation) or (field.annotation,)
    words = [value for kind in kinds for value in (typing.get_args(kind) or [kind]) if isinstance(value, str)]
    limits = [
        f"{sign}{getattr(bound, name):,}"
        for bound in field.metadata
        for name, sign in BOUNDS.items()
        if hasattr(bound, name)
    ]
    told = [", ".join(f"`{word}`" for word in words)] if words else []
    if float in kinds and words:
        told.append("or a number")
    words_for = {str: "text", bool: "`true`, `false`", tuple: "numbers", AttackOptions: "table"}
    return " ".join(told) or ", ".join(limits) or words_for.get(kinds[0], "numbers")


def _toml(value: object) -> object:
    return str(value).lower() if isinstance(value, bool) else value


def _options(verb: str, model: type[Options]) -> list[str]:
    lines = [
        "",
        f"## `{verb}`",
        "",
        (model.__doc__ or "").strip(),
        "",
        "| option | default | range | meaning |",
        "|---|---|---|---|",
    ]
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Options):
            continue
        default = "none" if field.default in ("", ()) else f"`{_toml(field.default)}`"
        if field.default_factory is not None:  # of the device alone
            default = f"`{VARIABLE}`, else `cpu`"
        lines.append(f"| `{name}` | {default} | {_range(field)} | {field.description} |")
    return lines


def page() -> str:
    """The reference as Markdown."""
    lines = ["# Options, names and commands", "", "Made from the code by `python docs/reference.py`; do not edit.", ""]
    lines += [
        "An option is a flag of its verb (`--learning-rate 0.001`), a key of the verb's table in a TOML file for",
        "`unfeature run` (`[unlearn]`, `learning_rate = 0.001`) and a field in Python",
        "(`UnlearnOptions(learning_rate=0.001)`).",
    ]
    lines += _options("run", RunOptions)
    for verb, field in RunOptions.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Options):
            lines += _options(verb, field.annotation)
    lines += _options("attack", AttackOptions)
    lines += ["", "## Commands", ""]
    for name, text in COMMANDS.items():
        what, *examples = (line for line in text.splitlines() if line)
        lines += [f"- `{name}`: {what}", *(f"  {line}" for line in examples)]
    lines += [
        "",
        "## Names",
        "",
        "Generators and extractors that are shipped, with their cards in `src/unfeature/zoo`:",
        "",
    ]
    lines += [
        f"- `{name}`: {card['family']}, {card['licence']}"
        for kind in ("generator", "extractor")
        for name, card in zoo.cards(kind).items()
    ]
    for title, table in TABLES.items():
        lines += ["", f"{title}:", "", *(f"- `{name}`: `{where}`" for name, where in table.items())]
    lines += ["", "Presets:", ""]
    for name, text in presets().items():
        lines += [f"`{name}`", "", "```toml", text.strip(), "```", ""]
    return "\n".join(lines).rstrip() + "\n"


if __name__ == "__main__":
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(page(), encoding="utf-8")
