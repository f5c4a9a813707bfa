"""Paths of the user's machine taken out of what is given away: only file names stay."""

from __future__ import annotations

import html
import re
import shlex
from collections.abc import Iterable, Iterator
from typing import Any

_WHOLE = re.compile(r"~\w*/|/|\.\./")
_PATH = re.compile(r"(?<![\w+/.~\\-])(?:~\w*|(?:\.\./)*\.\.)?/(?:[\w.@+~%\\-]+/)+(?=[\w.@+~%\\-])")
"""The folders before a name, inside a sentence."""

_START, _END = r"(?<![\w</])", r"(?!\w)"
"""Around a known path: a tag's end or a longer name is none, however short the path."""

_DATA = re.compile(r"(data:[\w/.+-]+;base64,[A-Za-z0-9+/=]+)")


def paths_in(value: object) -> set[str]:
    """Every text in a JSON value that is a path from the root, from home or upwards, `:NAME` behind it taken off."""
    return {_file(text) for text in _texts(value) if _WHOLE.match(text)}


def without_paths(value: Any, known: Iterable[str]) -> Any:
    """The JSON value with file names in place of paths, in keys too; `known` paths anywhere in a text."""
    return _mapped(value, _known(known))


def text_without_paths(text: str, known: Iterable[str]) -> str:
    """The same for HTML or Markdown, whose own escapes inside a path are seen through."""
    return _cleaned(text, _known(known))


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        for key, part in value.items():
            yield str(key)
            yield from _texts(part)
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _texts(part)
    elif isinstance(value, str):
        yield value


def _file(text: str) -> str:
    """FILE.py of FILE.py:NAME."""
    file, colon, name = text.rpartition(":")
    return file if colon and name.isidentifier() else text


def _known(paths: Iterable[str]) -> re.Pattern[str] | None:
    """One pattern of all those paths, the longest first; the last part of each is a group named by what to keep."""
    known = {path.rstrip("/") for path in paths if "/" in path.rstrip("/")}
    known |= {shlex.quote(path)[1:-1] for path in known if "'" in path}  # as a command has it, between its quotes
    whole = sorted(known, key=len, reverse=True)
    if not whole:
        return None
    folders = [(path[: path.rindex("/") + 1], path[path.rindex("/") + 1 :]) for path in whole]
    ways = "|".join(f"{_escaped(folder)}(?={_escaped(name)}{_END})" for folder, name in folders)
    return re.compile(f"{_START}(?:{ways})")


def _escaped(text: str) -> str:
    """A pattern of the text however HTML or Markdown writes it."""
    return "".join(rf"\\?(?:{'|'.join(re.escape(way) for way in _ways(c))})" for c in text)


def _ways(character: str) -> list[str]:
    templates = {"'": "&#39;", '"': "&#34;"}
    return list(dict.fromkeys((character, html.escape(character), templates.get(character, character))))


def _mapped(value: Any, known: re.Pattern[str] | None) -> Any:
    if isinstance(value, dict):
        return {_mapped(key, known): _mapped(part, known) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_mapped(part, known) for part in value]
    if not isinstance(value, str) or "/" not in value or value.startswith("data:"):
        return value
    if _WHOLE.match(value) and "\n" not in value:
        return value.rstrip("/").rpartition("/")[2] or value
    return _cleaned(value, known)


def _cleaned(text: str, known: re.Pattern[str] | None) -> str:
    """Whatever is not data of a picture."""
    parts = _DATA.split(text)
    parts[::2] = [_PATH.sub("", known.sub("", part) if known else part) for part in parts[::2]]
    return "".join(parts)
