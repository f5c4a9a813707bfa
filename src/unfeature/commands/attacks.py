"""Attempts to bring the feature back."""

from __future__ import annotations

import shlex
from typing import Annotated

from cyclopts import Parameter

from unfeature import console
from unfeature.commands.folders import RunFolder
from unfeature.options import AttackOptions


def attack_(
    run: RunFolder,
    /,
    *,
    options: Annotated[AttackOptions, Parameter(name="*")] = AttackOptions(),  # noqa: B008 - frozen
) -> None:
    """What can be brought back."""
    from unfeature import workflow

    notes: list[str] = []
    with console.counting("attacking") as on_job:
        found = workflow.attack(run, options, on_job, notes.append)
    console.attacks(found)
    console.wrote(run, "attacks.json", "attacks.png")
    for note in notes:
        console.say(note)
    console.then("Put it into the report:", f"unfeature report {shlex.quote(str(run))}")
