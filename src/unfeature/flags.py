"""Options as they stand in a command that is to be pasted. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from shlex import quote
from typing import Any


def flags(options: Mapping[str, Any]) -> str:
    """Each with a space before it; what has several values several times."""
    told = [(name.replace("_", "-"), value) for name, value in options.items()]
    return "".join(
        _flag(name, one) for name, value in told for one in (value if isinstance(value, list | tuple) else [value])
    )


def _flag(name: str, value: Any) -> str:
    if isinstance(value, bool):
        return f" --{name}" if value else f" --no-{name}"
    return f" --{name} {quote(str(value))}"
