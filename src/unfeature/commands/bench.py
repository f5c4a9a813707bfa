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
    with console.counting("cells") as on_cell:
        paths = workflow.bench(file, folder, processes=processes, on_cell=lambda done, of, name: on_cell(done, of))
    console.wrote(folder, *(path.name for path in paths))
    console.then("Look at the table:", f"{paths[1]}")
