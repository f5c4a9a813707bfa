"""Many runs, one table."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

from unfeature import console


def bench_(
    file: Annotated[Path, Parameter(help="TOML file: seeds, base, and axes of values with their options.")],
    folder: Annotated[Path, Parameter(help="Where runs and results go, e.g. runs/digits.")],
    /,
    *,
    processes: Annotated[int, Parameter(help="Cells made at a time.", validator=Number(gte=1))] = 1,
    dry_run: Annotated[bool, Parameter(help="Name the cells and stop.", negative="")] = False,
) -> None:
    """Every combination."""
    from unfeature import workflow

    if dry_run:
        for cell in workflow.bench_cells(workflow.read_bench(file)):
            console.say(cell.name)
        return
    last = 0, 0
    with console.counting("cells") as on_cell:

        def told(done: int, of: int, name: str) -> None:
            nonlocal last
            last = done, of
            on_cell(done, of)

        paths = workflow.bench(file, folder, processes=processes, on_cell=told)
    console.wrote(folder, *(path.name for path in paths))
    if last[0] < last[1]:
        console.say(
            f"{last[1] - last[0]} of {last[1]} cells are at work elsewhere and not in the table; give this again."
        )
    console.then("Look at the table:", f"{paths[1]}")
