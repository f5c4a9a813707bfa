"""A run folder on the command line: refused at once where another process works in it, before torch is imported."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from unfeature.store import Run


def _free(kind: object, path: Path) -> None:
    """RunBusy where another process has the folder of a run; verbs take seconds to find out."""
    run = Run(path)
    if run.has("run.json"):
        with run.held(together=True):
            pass


RunFolder = Annotated[Path, Parameter(help="Run folder, e.g. runs/thick.", validator=_free)]
