"""How benchmarks keep and show their rows: made anew in place of older ones, figures with their intervals."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

Row = dict[str, Any]


def merged(path: Path, made: list[Row], keys: tuple[str, ...]) -> list[Row]:
    """The rows in a result file, where there is one, and those made now in place of rows with the same keys."""
    known = json.loads(path.read_text())["rows"] if path.is_file() else []
    return list({tuple(row[key] for key in keys): row for row in (*known, *made)}.values())


def interval(score: Row) -> str:
    """A share as JSON -> `0.1234 (0.1200-0.1300)`."""
    return f"{score['value']:.4f} ({score['low']:.4f}-{score['high']:.4f})"
