"""What can be done with a generator without a run folder."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from unfeature import console
from unfeature.commands.job import Arguments, named_values
from unfeature.errors import BadFile, NotConforming


def check_(
    generator: Annotated[str, Parameter(help="FILE.py:FUNCTION, a checkpoint file or a shipped name.")],
    /,
    *,
    weights: Annotated[str | None, Parameter(help="File put in place of the generator's own weights.")] = None,
    argument: Arguments = (),
    sheet: Annotated[Path | None, Parameter(help="PNG file to write pictures to, where it conforms.")] = None,
) -> None:
    """Everything that is wrong at once, or facts."""
    from unfeature import workflow

    with console.working(f"checking {generator}"):
        checked = workflow.check(generator, weights, named_values(argument), sheet)
    named = shlex.quote(generator) + (f" --weights {shlex.quote(weights)}" if weights else "")
    named += "".join(f" --argument {shlex.quote(pair)}" for pair in argument)
    if checked.facts is None:
        console.findings(checked.findings)
        count = len(checked.findings)
        raise NotConforming(
            f"{generator} breaks {count} promise{'s' * (count > 1)} of a generator, told above. "
            f"Mend {'them' if count > 1 else 'it'} and check again:  unfeature check {named}"
        )
    console.conforms(generator, checked.facts)
    if sheet is not None:
        console.say(f"wrote {sheet}")
    run = shlex.quote(f"runs/{checked.facts.spec.name}")
    console.then("Draw pictures to mark:", f"unfeature sample {run} --generator {named}")


def trust_(
    file: Annotated[Path, Parameter(help="Python file that a run folder names, e.g. their_generator.py.")], /
) -> None:
    """Let run folders name it."""
    from unfeature.plugins import name_code, register

    if file.suffix != ".py" or not file.is_file():
        raise BadFile(f"{file} is no Python file; expected the FILE.py that the run folder names. Check the path.")
    if not name_code(f"{file}:"):
        raise BadFile(f"cannot write {register()}, where allowed files are listed. Check that folder's permissions.")
    console.say(f"Run folders on this machine may now have {file.resolve()} run.")
    console.say(f"The list of allowed files is {register()}.")
