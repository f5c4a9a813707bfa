"""The manifest of a dossier, which says what every file in it is, and the seal on the manifest."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from unfeature.dossiers.signing import fingerprint, public_key, sign

FORMAT = 1

MANIFEST, CHECKSUM, SIGNATURE, PUBLIC = "manifest.json", "manifest.sha256", "manifest.sig", "public.pem"
SEAL = (MANIFEST, CHECKSUM, SIGNATURE, PUBLIC)
"""Files that the manifest does not list."""

EVIDENCE = (
    *("dossier.md", "evaluation.json", "feature.json", "feedback.json", "gallery.json", "preview.json"),
    *("report.html", "report.json", "report.md", "request.json", "training.json"),
)
"""Files that every dossier has; one of a run that was attacked has attacks.json too."""


def sha256(data: bytes) -> str:
    """In hex."""
    return hashlib.sha256(data).hexdigest()


def json_bytes(value: object) -> bytes:
    """JSON a person can read; the same value gives the same bytes."""
    return (json.dumps(value, indent=1, sort_keys=True) + "\n").encode()


def checksum(manifest: bytes) -> bytes:
    """A line that `sha256sum -c` understands."""
    return f"{sha256(manifest)}  {MANIFEST}\n".encode()


def sealed(
    files: Mapping[str, bytes], facts: Mapping[str, Any], stripped: frozenset[str], key: Path | None
) -> dict[str, bytes]:
    """The files with manifest, checksum and, where there is a private key, signature and public key.

    `stripped`: files from which paths were taken, so that they differ from those in the run folder. BadFile, BadOption.
    """
    listed = [
        {"name": name, "size": len(data), "sha256": sha256(data), "paths_stripped": name in stripped}
        for name, data in sorted(files.items())
    ]
    told = {**facts, "format": FORMAT, "files": listed, "signed_by": None}
    if key is None:
        manifest, seal = json_bytes(told), dict[str, bytes]()
    else:
        _, pem = sign(b"", key)  # the manifest itself says whose signature it has, so that it cannot be left away
        manifest = json_bytes({**told, "signed_by": fingerprint(pem)})
        seal = {SIGNATURE: sign(manifest, key)[0], PUBLIC: pem}
    return {**files, MANIFEST: manifest, CHECKSUM: checksum(manifest), **seal}


def signer(files: Mapping[str, bytes]) -> str:
    """Fingerprint of the key beside a signature; empty where there is none. BadOption."""
    return fingerprint(files[PUBLIC]) if PUBLIC in files else ""


def fingerprint_in(key: Path) -> str:
    """Fingerprint of the public key in a file. BadFile, BadOption."""
    return fingerprint(public_key(key))
