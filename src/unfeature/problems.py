"""What is wrong with options, in one sentence. No torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from unfeature.errors import BadOption

if TYPE_CHECKING:
    from pydantic import BaseModel, ValidationError


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
