"""Shipped weights: NAME.safetensors beside NAME.json, its card. Reading a card imports no torch."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any


def cards(kind: str) -> dict[str, dict[str, Any]]:
    """Name -> card of every shipped "generator" or "extractor"."""
    found = (
        json.loads(entry.read_text(encoding="utf-8"))
        for entry in sorted(files(__name__).iterdir(), key=lambda e: e.name)
        if entry.name.endswith(".json")
    )
    return {card["name"]: card for card in found if card["kind"] == kind}


def weights(name: str) -> bytes:
    """The bytes of a shipped safetensors file."""
    return (files(__name__) / f"{name}.safetensors").read_bytes()
