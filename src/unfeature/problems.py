"""What is wrong with options, in one sentence. No torch."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, get_args

from unfeature.errors import BadOption, UnknownName

if TYPE_CHECKING:
    from pydantic import BaseModel, ValidationError

VERBS = ("sample", "mark", "find", "preview", "unlearn", "evaluate", "attack")
"""That have a table in a file of options."""


def check_unused(options: BaseModel, unused: Sequence[str], who: str, use: Callable[[str], str]) -> None:
    """BadOption for an option that `who` does not look at and that was given, not by a preset.

    use: option -> the flag that names somebody who does.
    """
    plain = type(options)()
    for name in filter(options.model_fields_set.__contains__, unused):
        value, default = getattr(options, name), getattr(plain, name)
        if value and value != default:
            raise BadOption(
                f"{name} is {value}, but {who} does not use it; expected {default}. "
                f"Leave it out, or name one that does:  {use(name)}"
            )


def tables(error: ValidationError) -> str:
    """The verb whose table of a file the first problem is in; `run` for what stands in none."""
    first = error.errors()[0]["loc"]
    return str(first[0]) if len(first) > 1 and first[0] in VERBS else "run"


def unknown(model: type[BaseModel], where: tuple[int | str, ...]) -> UnknownName:
    """Of an option that is none: those of its table, and the nearest, which may stand in another table."""
    inside = (*where[:1], *where[2:]) if where[0] == "also" else where  # its tables have names of their own
    table, got = "".join(f"{part}." for part in inside[:-1]), str(where[-1])
    every = _names(model)
    beside = {name.removeprefix(table).partition(".")[0] for name in every if name.startswith(table)}
    here = difflib.get_close_matches(got, beside, n=1)
    leaves = {name.rpartition(".")[2]: name for name in reversed(every)}
    there = difflib.get_close_matches(got, leaves, n=1)
    near = ".".join(map(str, (*where[:-1], here[0]))) if here else leaves[there[0]] if there else ""
    return UnknownName("option", ".".join(map(str, where)), beside, near=near)


def _names(model: type[BaseModel], prefix: str = "") -> list[str]:
    """Of all options and, where a table has tables, with the names of these before theirs."""
    names = []
    for name, field in model.model_fields.items():
        kinds = [kind for kind in (field.annotation, *get_args(field.annotation)) if hasattr(kind, "model_fields")]
        names += _names(kinds[0], f"{prefix}{name}.") if kinds else [prefix + name]
    return names


def told(error: ValidationError) -> str:
    """Every problem of a validation: option, what was given, what is expected; once where a word or a number may be."""
    problems = error.errors()
    either = {p["loc"][:-1] for p in problems if p["loc"] and str(p["loc"][-1]).startswith("literal[")}
    found: dict[tuple[int | str, ...], tuple[Any, list[str]]] = {}
    for p in problems:
        where = p["loc"][:-1] if p["loc"][:-1] in either else p["loc"]
        found.setdefault(where, (p["input"], []))[1].append(p["msg"].lower())
    return f"option {'; option '.join(_problem(where, *rest) for where, rest in found.items())}"


def _problem(where: tuple[int | str, ...], given: object, messages: list[str]) -> str:
    first, *others = messages
    or_else = (f", or {other.removeprefix('input should be ').partition(',')[0]}" for other in others)
    return f"{'.'.join(map(str, where))} is {given!r}: {first}{''.join(or_else)}"
