"""Attempts to bring the feature back."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from unfeature import console
from unfeature.options import AttackOptions


def attack_(
    run: Annotated[Path, Parameter(help="Run folder, e.g. runs/thick.")],
    /,
    *,
    options: Annotated[AttackOptions, Parameter(name="*")] = AttackOptions(),  # noqa: B008 - frozen
) -> None:
    """What can be brought back."""
    from unfeature import workflow

    with console.counting("attacking") as on_job:
        found = workflow.attack(run, options, on_job)
    console.attacks(found)
    console.wrote(run, "attacks.json", "attacks.png")
    console.then("Put it into the report:", f"unfeature report {shlex.quote(str(run))}")
