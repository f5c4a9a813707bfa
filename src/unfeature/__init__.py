"""Remove a feature from a pre-trained image generator. `import unfeature` is quick; torch comes with the first use."""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {
    "load_generator": "unfeature.generators.loading",
    "from_module": "unfeature.generators.module",
    "conditional": "unfeature.generators.conditional",
    **dict.fromkeys(
        ("sample", "mark", "find", "preview", "unlearn", "evaluate", "attack", "report"), "unfeature.workflow"
    ),
    **dict.fromkeys(
        (
            "SampleOptions",
            "MarkOptions",
            "FindOptions",
            "PreviewOptions",
            "UnlearnOptions",
            "EvaluateOptions",
            "AttackOptions",
        ),
        "unfeature.options",
    ),
}

__all__ = list(_HOMES)
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'unfeature' has no attribute {name!r}; it has {', '.join(sorted(_HOMES))}")
    return getattr(importlib.import_module(_HOMES[name]), name)
