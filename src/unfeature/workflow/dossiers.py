"""From a measured run to one file for a reviewer, and that file checked."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unfeature import zoo
from unfeature.artifacts import Evaluation, Feedback, content_id
from unfeature.dossiers.archive import MAX_BYTES, packed, unpacked
from unfeature.dossiers.checking import examine, printable
from unfeature.dossiers.privacy import paths_in, text_without_paths, without_paths
from unfeature.dossiers.sealing import (
    CHECKSUM,
    MANIFEST,
    PUBLIC,
    SIGNATURE,
    fingerprint_in,
    json_bytes,
    sealed,
    sha256,
    signer,
)
from unfeature.errors import BadFile, UnfeatureError
from unfeature.generators.checkpoints import SUFFIXES, Opened, open_checkpoint, read_file
from unfeature.generators.loading import checkpoint_bytes, taken
from unfeature.generators.module import weights_id
from unfeature.protocols import Generator
from unfeature.reports.dossier import Told, render_dossier
from unfeature.store import Run, parse_json, write_atomic
from unfeature.workflow.inputs import About, the_feature, the_generator, the_unlearned
from unfeature.workflow.proving import report

_UNLEARNED = "unlearned.safetensors"
_JSON = ("report.json", "request.json", "feedback.json", "gallery.json", "preview.json", "evaluation.json")


@dataclass(frozen=True)
class Dossier:
    """What was written."""

    file: Path
    files: tuple[str, ...]
    """Names in it."""
    manifest_sha256: str
    signer: str
    """Fingerprint of the key; empty where nobody signed."""


@dataclass(frozen=True)
class Verified:
    """What was found in a dossier."""

    findings: tuple[str, ...]
    """What is wrong, a sentence each."""
    feature: str
    generator: str
    files: int
    manifest_sha256: str
    signer: str
    vouched: bool
    """The signer is whose key was given."""
    checkpoint: str
    """How the given checkpoint is the one that was measured: "the same bytes", "the same weights"; else empty."""


def dossier(
    folder: str | Path, to: str | Path | None = None, key: str | Path | None = None, *, weights: bool = False
) -> Dossier:
    """Write everything a reviewer needs into one archive, by default dossier.zip of the run; the report is made anew.

    `key`: an Ed25519 private key in PEM that signs it. `weights`: with both checkpoints. The same run, key and options
    give the same bytes. MissingStep before the evaluation; BadFile where `to` is there; BadOption without cryptography.
    """
    run = Run(Path(folder))
    if to is not None and Path(to).exists():
        raise BadFile(f"{to} is there already; expected a new name. Name another, or move that file away.")
    run.read("evaluation.json")
    report(folder)
    with run.held():
        files, stripped, facts = _evidence(run, weights=weights)
        signing = Path(key) if key is not None else None
        page = Told(
            parse_json(run.path("report.json"), files["report.json"]),
            parse_json(run.path("feature.json"), files["feature.json"]),
            parse_json(run.path("training.json"), files["training.json"]),
            (*files, "dossier.md", MANIFEST, CHECKSUM, *((SIGNATURE, PUBLIC) if signing else ())),
            signing is not None,
        )
        files["dossier.md"] = render_dossier(page).encode()
        whole = sealed(files, facts, stripped, signing)
        data = packed(whole)
        if to is None:
            path = run.write("dossier.zip", data)
        else:
            path = Path(to)
            write_atomic(path, data)
    return Dossier(path, tuple(sorted(whole)), sha256(whole[MANIFEST]), signer(whole))


def _evidence(run: Run, *, weights: bool) -> tuple[dict[str, bytes], frozenset[str], dict[str, Any]]:
    """Files without paths, which of them had any, and the manifest's facts."""
    generator, about = the_generator(run)
    _, feature = the_feature(run, generator)
    student, training = the_unlearned(run, generator)
    checkpoints, contents = _checkpoints(run, generator, about)
    plain: dict[str, Any] = {name: run.read_json(name) for name in _JSON}
    if plain["report.json"]["attacks"] is not None:  # otherwise there are none, or they are of another copy
        plain["attacks.json"] = run.read_json("attacks.json")
    plain["feature.json"] = feature
    plain["training.json"] = {
        "from": generator.spec.id,
        "result": student.spec.id,
        "feature": content_id(feature),
        "training": training["key"],
        "options": training["options"],
        "step": training["step"],
        "stopped": training["stopped"],
        "checkpoints": checkpoints,
        "tensors": sorted(student.module.state_dict()),
    }
    facts = _facts(run, about, plain)
    known = {str(run.folder), str(run.folder.resolve()), *paths_in([*plain.values(), about.to_json()])}
    files, stripped = {}, set()
    for name, value in plain.items():
        clean = without_paths(value, known)
        changed = content_id(clean) != content_id(value)
        files[name] = run.read(name) if run.has(name) and not changed else json_bytes(clean)
        stripped |= {name} if changed else set()
    for name in ("report.html", "report.md"):
        text = run.read(name).decode()
        files[name] = text_without_paths(text, known).encode()
        stripped |= {name} if files[name] != text.encode() else set()
    return files | (contents if weights else {}), frozenset(stripped), without_paths(facts, known)


def _facts(run: Run, about: About, plain: dict[str, Any]) -> dict[str, Any]:
    """What the manifest says beside the list of files."""
    evaluation, training = run.read_as("evaluation.json", Evaluation), plain["training.json"]
    attacks = plain.get("attacks.json", {})
    attacked = {"attack": attacks["made_from"]["options"]} if attacks else {}
    return {
        "feature": evaluation.feature,
        "generator": {"named": about.generator, "arguments": about.arguments, **about.spec.to_json()},
        "ids": {
            "generator": about.spec.id,
            "result": training["result"],
            "feedback": run.read_as("feedback.json", Feedback).id,
            "feature": training["feature"],
            "training": training["training"],
            "evaluation": content_id(plain["evaluation.json"]),
        },
        "seeds": {"run": about.seed, **evaluation.seeds},
        "options": {**evaluation.options, "unlearn": training["options"], **attacked},
        "versions": {"sample": about.versions, "evaluate": evaluation.versions, "attack": attacks.get("versions", {})},
        "checkpoints": training["checkpoints"],
    }


def _checkpoints(run: Run, generator: Generator, about: About) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Name, size and SHA-256 of original and unlearned, and the contents by the names they have in an archive.

    The original is the user's file, or the shipped one; for weights from code alone, a file of ours.
    """
    source = getattr(generator, "source", None)
    if source is not None:
        name, data = source.path.name, read_file(source.path)
        if sha256(data) != source.sha256:
            raise BadFile(f"{source.path} has changed just now; expected it to stay. Give the command again.")
    elif about.generator in zoo.cards("generator"):
        name, data = f"{about.generator}.safetensors", zoo.weights(about.generator)
    else:
        name, data = "original.safetensors", checkpoint_bytes(generator, {})
    suffix = Path(name).suffix.lower()
    inside = "original" + (suffix if suffix in SUFFIXES else ".bin")
    both = {"original": (name, inside, data), "unlearned": (_UNLEARNED, _UNLEARNED, run.read(_UNLEARNED))}
    told = {
        which: {"name": name, "size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        for which, (name, _, data) in both.items()
    }
    return told, {inside: data for _, inside, data in both.values()}


def verify(file: str | Path, key: str | Path | None = None, checkpoint: str | Path | None = None) -> Verified:
    """Check a dossier: hashes, signature, what belongs to what; whether that key signed it, that file was measured.

    `key`: the signer's public key in PEM. Nothing in the dossier is run or unpacked. BadFile for another kind of file;
    BadOption where there is a signature and no cryptography.
    """
    wanted = fingerprint_in(Path(key)) if key is not None else ""
    data = read_file(Path(file), MAX_BYTES)
    files = unpacked(str(file), data)
    found = examine(data, files)
    findings, manifest = list(found.findings), found.manifest
    if wanted and found.signer != wanted:
        got = f"that of {found.signer}" if found.signer else "none" if SIGNATURE not in files else "no good one"
        findings.append(f"{SIGNATURE}: expected a signature by the key in {key}, {wanted}; got {got}")
    same = ""
    if checkpoint is not None and not found.findings:
        same, wrong = _same(Path(checkpoint), parse_json(Path(file), files["training.json"]), manifest)
        findings += [wrong] if wrong else []
    return Verified(
        tuple(findings),
        printable(str(manifest.get("feature", ""))),
        printable(str(manifest["ids"]["generator"])) if not found.findings else "",
        len(files),
        found.manifest_sha256,
        found.signer,
        bool(wanted) and wanted == found.signer,
        same,
    )


def _same(path: Path, training: dict[str, Any], manifest: dict[str, Any]) -> tuple[str, str]:
    """How a file is the checkpoint that was measured, or what is wrong where it is not. BadFile."""
    expected, got = training["checkpoints"]["unlearned"]["sha256"], sha256(read_file(path))
    if got == expected:
        return "the same bytes", ""
    other = (
        f"{path} is not the checkpoint that was measured: expected SHA-256 {expected}, or those "
        f"weights in another file; got {got}"
    )
    try:
        opened = open_checkpoint(path, training["tensors"])
    except UnfeatureError:  # no checkpoint at all, so another file
        return "", other
    own = {name: opened.tensors[name] for name in training["tensors"] if name in opened.tensors}
    result = training["result"].rpartition("@")[2].partition("+")[0]  # weights, without arguments
    if len(own) != len(training["tensors"]) or result != weights_id(own):
        return "", other
    arguments = manifest["generator"]["arguments"]
    wrong = _loaded_instead(path, opened, own, {key: arguments[key] for key in arguments if key == "keys"})
    return ("", wrong) if wrong else ("the same weights", "")


def _loaded_instead(path: Path, opened: Opened, own: Collection[str], picked: dict[str, Any]) -> str:
    """What is wrong where loading takes other tensors of the file than `own`; `picked`: what picked them in the run."""
    for given in (picked, {}) if picked else ({},):
        try:
            loaded = taken(str(path), given)[0]
        except UnfeatureError:
            continue  # it is loaded by code that asks for its own names
        got, expected = _keys(loaded, loaded.tensors), _keys(opened, own)
        if not (got <= expected if given == picked else got & expected):
            return (
                f"{path} has the weights that were measured, {_told(opened, own)}, beside others: loading it takes "
                f"{_told(loaded, loaded.tensors)}; expected the measured ones. Ask for a file that holds them alone"
            )
    return ""


def _keys(opened: Opened, names: Iterable[str]) -> set[tuple[tuple[str, ...], str]]:
    """Where in the file each of the tensors is."""
    return {(opened.where, opened.prefix + name) for name in names}


def _told(opened: Opened, names: Collection[str]) -> str:
    where = ".".join([*opened.where, opened.prefix]).rstrip(".")
    return f"{len(names)} tensors " + (f'in "{printable(where)}"' if where else "at its top")
