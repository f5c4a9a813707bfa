"""What is wrong with options, in one sentence. No torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydantic import ValidationError


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
