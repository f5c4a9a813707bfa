"""Named sets of options, one TOML file each; what a file does not say is the default."""

from __future__ import annotations

from importlib.resources import files

from unfeature.errors import UnknownName


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
