"""One file for a reviewer, and that file checked."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from unfeature import console
from unfeature.errors import NotVerified


def dossier_(
    run: Annotated[Path, Parameter(help="Run folder that was evaluated, e.g. runs/thick.")],
    /,
    *,
    to: Annotated[Path | None, Parameter(help="File to write; by default dossier.zip in the run folder.")] = None,
    key: Annotated[Path | None, Parameter(help="Ed25519 private key in PEM that signs it.")] = None,
    weights: Annotated[bool, Parameter(help="With both checkpoints, as they are.", negative="")] = False,
) -> None:
    """Everything in one file."""
    from unfeature import workflow

    with console.working("collecting the evidence"):
        made = workflow.dossier(run, to, key, weights=weights)
    console.say(f"wrote {made.file}")
    console.say(f"{len(made.files)} files, no path of this machine in them{'' if weights else ', no weights'}.")
    console.say(f"SHA-256 of its manifest: {made.manifest_sha256}")
    console.say(f"Signed by the key {made.signer}" if made.signer else "Not signed; sign it with  --key KEY.pem")
    where = f"{shlex.quote(str(made.file))}{' --key PUBLIC.pem' if made.signer else ''}"
    console.then(
        "Check it:", f"unfeature verify {where} --checkpoint {shlex.quote(str(run / 'unlearned.safetensors'))}"
    )


def verify_(
    file: Annotated[Path, Parameter(help="What `unfeature dossier` wrote.")],
    /,
    *,
    key: Annotated[Path | None, Parameter(help="The signer's public key in PEM, got from the signer.")] = None,
    checkpoint: Annotated[Path | None, Parameter(help="Is this the unlearned checkpoint that was measured?")] = None,
) -> None:
    """Is it what it was?"""
    from unfeature import workflow

    with console.working(f"checking {file}"):
        found = workflow.verify(file, key, checkpoint)
    if found.findings:
        for finding in found.findings:
            console.say(f"WRONG  {finding}")
        count = len(found.findings)
        raise NotVerified(
            f"{file} does not hold: {count} thing{'s are' if count > 1 else ' is'} wrong, told above; expected none. "
            "Do not rely on it; ask whoever made it for another."
        )
    console.say(f"{found.feature} out of {found.generator}: {found.files} files, each with the hash it should have.")
    console.say("Marks, feature, training, evaluation and report belong to each other.")
    console.say(f"SHA-256 of its manifest: {found.manifest_sha256}")
    console.say(_signed(found.signer, key, vouched=found.vouched))
    if checkpoint is not None:
        console.say(f"{checkpoint} is the checkpoint that was measured: {found.checkpoint}.")
    console.then("Read it:", f"unzip -p {shlex.quote(str(file))} dossier.md")


def _signed(signer: str, key: Path | None, *, vouched: bool) -> str:
    if not signer:
        return "Nobody signed it: it is whole, but anybody can have made it."
    if vouched:
        return f"Signed by the key in {key}, {signer}"
    return f"Signed by the key {signer}; nobody vouches for it. Get the signer's public key:  --key PUBLIC.pem"
