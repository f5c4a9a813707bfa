"""Named sets of options, one TOML file each; what a file does not say is the default. No torch here."""

from __future__ import annotations

import tomllib
from importlib.resources import files
from pathlib import Path
from typing import Any

from unfeature.errors import BadFile, BadOption, UnknownName
from unfeature.options import RunOptions, laid_over


def presets() -> dict[str, str]:
    """Name -> TOML text of every preset."""
    found = sorted(files(__name__).iterdir(), key=lambda entry: entry.name)
    return {e.name.removesuffix(".toml"): e.read_text(encoding="utf-8") for e in found if e.name.endswith(".toml")}


def preset(name: str) -> str:
    """The TOML text of a preset; UnknownName."""
    known = presets()
    if name not in known:
        raise UnknownName("preset", name, known)
    return known[name]


def read_options(path: str | Path | None = None, base: str = "") -> RunOptions:
    """Options from a TOML file, a table for each verb, over those of a preset; BadFile, UnknownName, BadOption."""
    return over_preset(base, read_toml(path) if path is not None else {})


def over_preset(base: str, given: dict[str, Any]) -> RunOptions:
    """What is given over a preset, `base` or one that it names; that alone counts as set. UnknownName, BadOption."""
    made = RunOptions.parse(_whole(given, base))
    for verb in ("find", "unlearn"):
        getattr(made, verb).model_fields_set.intersection_update(given.get(verb, {}))
    for name, other in made.also.items():
        other.find.model_fields_set.intersection_update(given.get("also", {}).get(name, {}).get("find", {}))
    return made


def preset_values(name: str) -> dict[str, Any]:
    """What the preset of that name says, over the one it begins with, if any; UnknownName."""
    return _whole(_toml(f"preset {name}", preset(name)))


def _whole(given: dict[str, Any], base: str = "") -> dict[str, Any]:
    """What is given, over the preset `base` or else the one that it names, if any."""
    told = dict(given)
    named = told.pop("preset", "")
    if not isinstance(named, str):
        raise BadOption(f"preset is {named!r}; expected one of {', '.join(presets())}. Name one, or leave it out.")
    return laid_over(preset_values(base or named), told) if base or named else told


def read_toml(path: str | Path) -> dict[str, Any]:
    """The tables of a TOML file; BadFile."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise BadFile(f"cannot read {path}: {error.strerror}. Check the path.") from error
    except UnicodeDecodeError as error:
        raise BadFile(f"{path} is not text in UTF-8: {error.reason}. Save it again as UTF-8.") from error
    return _toml(str(path), text)


def _toml(name: str, text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise BadFile(f"{name} is not TOML: {error}. Mend that line.") from error
