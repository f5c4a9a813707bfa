"""From a run to files for other programs, and what was changed put into a checkpoint or taken out again."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from unfeature import console
from unfeature.commands.folders import RunFolder


def export_(
    run: RunFolder,
    /,
    *,
    to: Annotated[Path, Parameter(help="File to write; a card, FILE.md, comes beside it.")],
    format: Annotated[
        Literal["", "original", "safetensors", "diff", "torch-export", "onnx"],
        Parameter(help="By default what FILE's ending says: .safetensors, .onnx, .pt2, .diff, or your checkpoint's."),
    ] = "",
) -> None:
    """For other programs."""
    from unfeature import workflow

    with console.working(f"writing {to}"):
        made = workflow.export(run, to, format)
    console.say(f"wrote {made.file}, {made.card}")
    console.say(f"Format: {made.form}. Its pixels are within {made.parity:.2g} of the trained copy's.")
    if made.form == "diff":
        console.then("Put it into a checkpoint:", f"unfeature apply {shlex.quote(str(to))} ORIGINAL --to UNLEARNED")
    else:
        console.then("Read the card:", str(made.card))


def apply_(
    diff: Annotated[Path, Parameter(help="What `export --format diff` wrote.")],
    checkpoint: Annotated[Path, Parameter(help="What it was made for: a checkpoint (left as it is) or shipped name.")],
    /,
    *,
    to: Annotated[Path, Parameter(help="File to write, in the checkpoint's format and names.")],
    revert: Annotated[bool, Parameter(help="Take the diff out again.", negative="")] = False,
) -> None:
    """A diff into a checkpoint."""
    from unfeature import workflow

    workflow.apply(diff, checkpoint, to, revert=revert)
    console.say(f"wrote {to}")
    back, files = "" if revert else " --revert", f"{shlex.quote(str(diff))} {shlex.quote(str(to))}"
    console.then("And back:", f"unfeature apply {files} --to OTHER{back}")


def revert_(
    run: Annotated[Path, Parameter(help="The last run of a sequence, e.g. runs/slant.")],
    /,
    *,
    of: Annotated[Path, Parameter(help="The earlier run whose feature comes back, e.g. runs/thick.")],
    to: Annotated[Path, Parameter(help="Checkpoint to write.")],
) -> None:
    """About as it was."""
    from unfeature import workflow

    with console.working(f"writing {to}"):
        made = workflow.revert(run, of, to)
    console.say(f"wrote {to}")
    console.say("This is approximate: what the earlier run changed in the weights was subtracted from the last one's.")
    for told in made.ratios:
        shares = f"{console.percent(told.before)} at first, {console.percent(told.both)} with both unlearned"
        console.say(f"{told.feature}: {shares}, {console.percent(told.reverted)} now (n = {told.reverted.n:,})")
    file = shlex.quote(str(to))
    whose = f"{shlex.quote(made.code)} --weights {file}" if made.code else file
    console.then("Look at its pictures:", f"unfeature check {whose} --sheet pictures.png")
