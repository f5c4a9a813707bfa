"""Is a dossier what it was when it was made? Hashes, signature, and whether its parts belong to each other."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from unfeature.artifacts import Feedback, GeneratorSpec, content_id
from unfeature.dossiers.archive import CHECKPOINT, first_difference
from unfeature.dossiers.sealing import (
    CHECKSUM,
    EVIDENCE,
    FORMAT,
    MANIFEST,
    PUBLIC,
    SEAL,
    SIGNATURE,
    checksum,
    sha256,
    signer,
)
from unfeature.dossiers.signing import is_signed


@dataclass(frozen=True)
class Examined:
    """What was found."""

    findings: tuple[str, ...]
    """What is wrong, a sentence each; none where all is right."""
    manifest: dict[str, Any]
    """{} where it cannot be relied on."""
    manifest_sha256: str
    """Names the whole dossier: equal, equal evidence."""
    signer: str
    """Fingerprint of the key that made a good signature; empty where there is none."""


def examine(data: bytes, files: Mapping[str, bytes]) -> Examined:
    """Everything that is wrong with an archive's bytes and its `unpacked` files. BadOption without the library."""
    raw = files.get(MANIFEST, b"")
    findings = list(_seal(files))
    manifest = _json(files, MANIFEST) if not findings else {}
    if not findings and manifest.get("format") != FORMAT:
        got = json.dumps(manifest.get("format"))[:40]
        findings.append(f"{MANIFEST}: expected format {FORMAT}, got {got}; a newer unfeature may read it")
        manifest = {}
    signed_by = signer(files) if not findings and SIGNATURE in files else ""
    if manifest:
        findings += _understood(_listed, manifest, files)
        findings += _signed_by(manifest, signed_by)
        findings += [] if findings else _understood(_belongings, manifest, files)
    changed = first_difference(data, files)
    findings += [changed] if changed and not findings else []
    return Examined(tuple(map(printable, findings)), manifest, sha256(raw), signed_by)


def printable(text: str) -> str:
    """What a stranger wrote, without anything that a terminal obeys."""
    return "".join(character if character.isprintable() else "?" for character in text)


def _seal(files: Mapping[str, bytes]) -> Iterator[str]:
    """Manifest against checksum and signature."""
    if MANIFEST not in files:
        yield f"{MANIFEST}: expected it, got none"
        return
    manifest = files[MANIFEST]
    expected, got = checksum(manifest), files.get(CHECKSUM, b"")
    if got != expected:
        yield (
            f"{MANIFEST} or {CHECKSUM}: the one says {got[:64].decode('ascii', 'replace')!a}, the other has SHA-256 "
            f"{sha256(manifest)}; expected them the same"
        )
    if (SIGNATURE in files) != (PUBLIC in files):
        there, missing = (SIGNATURE, PUBLIC) if SIGNATURE in files else (PUBLIC, SIGNATURE)
        yield f"{missing}: expected it beside {there}, got none"
    elif SIGNATURE in files:
        key = signer(files)
        if not key:
            yield f"{PUBLIC}: expected an Ed25519 key in PEM, got something else"
        elif not is_signed(manifest, files[SIGNATURE], files[PUBLIC]):
            yield f"{SIGNATURE} or {PUBLIC}: expected the signature of {MANIFEST} by the key {key}, got another"


def _signed_by(manifest: dict[str, Any], signed_by: str) -> Iterator[str]:
    if (manifest.get("signed_by") or "") != signed_by:
        yield f"{SIGNATURE}: expected a signature by {manifest.get('signed_by')}, got {signed_by or 'none'}"


def _understood(check: Any, manifest: dict[str, Any], files: Mapping[str, bytes]) -> list[str]:
    """A check's findings; a part that is missing or of another kind is one."""
    try:
        return list(check(manifest, files))
    except (LookupError, TypeError, ValueError, AttributeError, RecursionError) as error:
        return [f"{MANIFEST}: a part is missing or of another kind ({type(error).__name__}: {str(error)[:80]})"]


def _listed(manifest: dict[str, Any], files: Mapping[str, bytes]) -> Iterator[str]:
    """Every file against what the manifest says of it."""
    expected = {entry["name"]: entry for entry in manifest["files"]}
    for name in sorted({*expected, *EVIDENCE, *files} - {*SEAL}):
        if name not in expected:
            yield f"{name}: expected {'a hash' if name in EVIDENCE else 'no such file'}, but the manifest lists none"
        elif name not in files:
            yield f"{name}: expected SHA-256 {expected[name]['sha256']}, got no such file"
        elif (found := sha256(files[name])) != expected[name]["sha256"]:
            yield f"{name}: expected SHA-256 {expected[name]['sha256']}, got {found}"
        elif len(files[name]) != expected[name]["size"]:
            yield f"{name}: expected {expected[name]['size']} bytes, got {len(files[name])}"


def _belongings(manifest: dict[str, Any], files: Mapping[str, bytes]) -> Iterator[str]:
    """Whether marks, feature, training, evaluation, attacks and report are of each other."""
    ids, stripped = manifest["ids"], {entry["name"] for entry in manifest["files"] if entry["paths_stripped"]}
    found = {name: _json(files, name) for name in files if name.endswith(".json")}
    feature, training, evaluation = found["feature.json"], found["training.json"], found["evaluation.json"]
    report, attacks = found["report.json"], found.get("attacks.json")

    pairs = [
        ("gallery.json", "generator", found["gallery.json"]["generator"], ids["generator"]),
        ("feedback.json", "generator", found["feedback.json"]["generator"], ids["generator"]),
        ("feature.json", "generator", feature["generator"], ids["generator"]),
        ("feature.json", "marks", feature["feedback"], ids["feedback"]),
        ("training.json", "generator", training["from"], ids["generator"]),
        ("training.json", "feature", training["feature"], ids["feature"]),
        ("training.json", "training", training["training"], ids["training"]),
        ("training.json", "result", training["result"], ids["result"]),
        ("training.json", "checkpoints", training["checkpoints"], manifest["checkpoints"]),
        ("evaluation.json", "generator", GeneratorSpec.from_json(evaluation["generator"]).id, ids["generator"]),
        ("evaluation.json", "result", GeneratorSpec.from_json(evaluation["result"]).id, ids["result"]),
        ("evaluation.json", "request", evaluation["options"]["mark"], found["request.json"]),
        ("evaluation.json", "options of find", evaluation["options"]["find"], feature["options"]),
        ("preview.json", "feature", found["preview.json"]["feature"], feature),
        ("report.json", "evaluation", report["evaluation"], evaluation),
        ("report.json", "attacks", report["attacks"], attacks),
    ]
    whole = {"feature.json": ids["feature"], "feedback.json": ids["feedback"], "evaluation.json": ids["evaluation"]}
    made = {name: content_id(found[name]) for name in whole}
    made["feedback.json"] = Feedback.from_json(found["feedback.json"]).id
    pairs += [(name, "id", made[name], id_) for name, id_ in whole.items() if name not in stripped]
    if attacks is not None:
        pairs += [
            ("attacks.json", "unlearned", attacks["made_from"]["unlearned"], ids["result"]),
            ("attacks.json", "feature", attacks["made_from"]["feature"], ids["feature"]),
        ]
    pairs += _judges(evaluation["judge"], attacks, found["preview.json"].get("judge"))
    for name, what, got, expected in pairs:
        if content_id(got) != content_id(expected):
            yield f"{name} is of another {what}: expected {_short(expected)}, got {_short(got)}"
    yield from _weights(manifest, files)


def _judges(
    decided: dict[str, Any], attacks: dict[str, Any] | None, previewed: dict[str, Any] | None
) -> list[tuple[str, str, Any, Any]]:
    """Who judged attacks and preview against who decided, of whom the evaluation tells more."""
    told = {"attacks.json": attacks["made_from"]["judge"]} if attacks is not None else {}
    told |= {"preview.json": previewed["about"]} if previewed else {}  # runs of earlier versions do not say
    return [(name, "judge", about, {key: decided.get(key) for key in about}) for name, about in told.items()]


def _weights(manifest: dict[str, Any], files: Mapping[str, bytes]) -> Iterator[str]:
    """Checkpoints inside are those that the manifest names; what tells others is there."""
    for which in ("original", "unlearned"):
        if not isinstance(manifest["checkpoints"][which]["sha256"], str):
            raise TypeError(f"SHA-256 of {which}")
    if not all(isinstance(name, str) for name in _json(files, "training.json")["tensors"]):
        raise TypeError("names of tensors")
    if not isinstance(manifest["generator"]["arguments"], dict):
        raise TypeError("arguments of the generator")
    for name in filter(CHECKPOINT.fullmatch, files):
        expected, got = manifest["checkpoints"][name.partition(".")[0]]["sha256"], sha256(files[name])
        if got != expected:
            yield f"{name} is another checkpoint: expected SHA-256 {expected}, got {got}"


def _short(value: object) -> str:
    text = json.dumps(value, sort_keys=True)
    return text if len(text) <= 100 else f"something of id {content_id(value)}"


def _json(files: Mapping[str, bytes], name: str) -> dict[str, Any]:
    """A JSON object; {} for anything else, in which every part is missing."""
    try:
        value = json.loads(files[name])
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
