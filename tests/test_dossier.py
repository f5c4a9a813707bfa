"""One file for a reviewer: the same bytes from the same run, no path of the machine, every change found and named."""

from __future__ import annotations

import builtins
import io
import json
import shutil
import struct
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Command
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from unfeature import load_generator, workflow
from unfeature.artifacts import content_id
from unfeature.dossiers.archive import packed, unpacked
from unfeature.dossiers.checking import examine
from unfeature.dossiers.privacy import paths_in, text_without_paths, without_paths
from unfeature.dossiers.sealing import CHECKSUM, EVIDENCE, MANIFEST, PUBLIC, SIGNATURE, checksum, json_bytes, sealed
from unfeature.errors import BadFile, BadOption, MissingStep
from unfeature.generators.module import weights_id
from unfeature.options import AttackOptions, EvaluateOptions, FindOptions, MarkOptions, SampleOptions, UnlearnOptions
from unfeature.reports.dossier import FILES


def write_key(folder: Path, name: str, seed: int) -> tuple[Path, Path]:
    """Files of a private key and of its public one."""
    private = Ed25519PrivateKey.from_private_bytes(bytes([seed]) * 32)
    secret, public = folder / f"{name}.pem", folder / f"{name}.public.pem"
    secret.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    public.write_bytes(private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return secret, public


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Path]]:
    folder = tmp_path_factory.mktemp("keys")
    return {"ours": write_key(folder, "ours", 1), "theirs": write_key(folder, "theirs", 2)}


@pytest.fixture(scope="module")
def run(finished_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(shutil.copytree(finished_run, tmp_path_factory.mktemp("dossier") / "run"))


@pytest.fixture(scope="module")
def plain(run: Path) -> bytes:
    """Of an unsigned dossier."""
    return workflow.dossier(run).file.read_bytes()


@pytest.fixture(scope="module")
def signed_file(run: Path, keys: dict[str, tuple[Path, Path]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return workflow.dossier(run, tmp_path_factory.mktemp("signed") / "d.zip", keys["ours"][0]).file


@pytest.fixture(scope="module")
def signed(signed_file: Path) -> bytes:
    return signed_file.read_bytes()


@pytest.fixture
def put(tmp_path: Path) -> Callable[[bytes], Path]:
    """A file with those bytes."""

    def write(data: bytes) -> Path:
        (tmp_path / "d.zip").write_bytes(data)
        return tmp_path / "d.zip"

    return write


def begins(archive: bytes, name: str, data: bytes) -> int:
    """Where a file's bytes begin."""
    return archive.index(name.encode() + data) + len(name)


def resealed(files: dict[str, bytes], **changes: Any) -> dict[str, bytes]:
    """The files, some JSON changed, with manifest and checksum that fit: what somebody may do who knows the form."""
    files = dict(files)
    for name, change in changes.items():
        value = json.loads(files[f"{name}.json"])
        change(value)
        files[f"{name}.json"] = json_bytes(value)
    facts = json.loads(files[MANIFEST])
    inside = {name: data for name, data in files.items() if name not in (MANIFEST, CHECKSUM, SIGNATURE, PUBLIC)}
    return sealed(inside, facts, frozenset(), None)


# Made


def test_a_dossier_holds_the_evidence_and_any_zip_program_reads_it(plain: bytes, run: Path) -> None:
    with zipfile.ZipFile(io.BytesIO(plain)) as archive:
        assert archive.testzip() is None
        names = archive.namelist()
        files = {name: archive.read(name) for name in names}
        assert all(entry.external_attr >> 16 == 0o100644 for entry in archive.infolist())
    assert names == sorted({*EVIDENCE, MANIFEST, CHECKSUM})
    assert files == unpacked("d.zip", plain)
    assert set(FILES) >= set(names)
    manifest = json.loads(files[MANIFEST])
    assert manifest["format"] == 1
    assert set(manifest["options"]) >= {"sample", "mark", "find", "unlearn", "evaluate"}
    assert manifest["seeds"]["run"] == 0 and "evaluate" in manifest["seeds"]
    assert manifest["versions"]["evaluate"]["unfeature"]
    assert {entry["name"] for entry in manifest["files"]} == set(EVIDENCE)
    page = files["dossier.md"].decode()
    for title in ("asked", "done", "measured", "attacked", "Limits", "How to check"):
        assert f"{title}" in page
    assert "10.7 %" in page and "unfeature verify" in page and "30 pictures with it" in page
    assert all(f"`{name}`" in page for name in names)


def test_the_same_run_gives_the_same_bytes(plain: bytes, signed: bytes, run: Path, keys: Any, tmp_path: Path) -> None:
    assert workflow.dossier(run, tmp_path / "again.zip").file.read_bytes() == plain
    assert workflow.dossier(run, tmp_path / "signed.zip", keys["ours"][0]).file.read_bytes() == signed != plain
    workflow.dossier(run)
    assert not (run / "history" / "dossier-1.zip").exists()
    with pytest.raises(BadFile, match="is there already; expected a new name"):
        workflow.dossier(run, tmp_path / "again.zip")


@given(
    st.dictionaries(
        st.from_regex(r"[a-z][a-z0-9]{0,8}\.[a-z0-9]{1,5}", fullmatch=True),
        st.binary(max_size=60),
        min_size=1,
        max_size=20,
    )
)
def test_what_was_packed_is_unpacked(files: dict[str, bytes]) -> None:
    data = packed(files)
    assert unpacked("d.zip", data) == files
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert {name: archive.read(name) for name in archive.namelist()} == files


def test_weights_go_in_where_asked(run: Path, tmp_path: Path) -> None:
    made = workflow.dossier(run, tmp_path / "d.zip", weights=True)
    files = unpacked("d.zip", made.file.read_bytes())
    assert files["unlearned.safetensors"] == (run / "unlearned.safetensors").read_bytes()
    from unfeature import zoo

    assert files["original.safetensors"] == zoo.weights("mnist-vae")
    assert workflow.verify(made.file).findings == ()
    files["original.safetensors"] += b"x"
    (tmp_path / "d.zip").write_bytes(packed(resealed(files)))
    (finding,) = workflow.verify(tmp_path / "d.zip").findings
    assert "original.safetensors is another checkpoint" in finding


def test_it_needs_an_evaluation(tiny_run: Path, command: Command) -> None:
    (tiny_run / "evaluation.json").unlink()
    with pytest.raises(MissingStep, match="has no evaluation.json yet; .* unfeature evaluate "):
        workflow.dossier(tiny_run)
    said = command("dossier", tiny_run)
    assert said.code == 2 and len(said.err.splitlines()) == 1


def test_it_refuses_an_evaluation_of_another_training(tiny_run: Path) -> None:
    workflow.unlearn(tiny_run, UnlearnOptions(steps=10, check_every=10))
    with pytest.raises(MissingStep, match="is of another training or request"):
        workflow.dossier(tiny_run)


def test_attacks_are_in_it_where_they_are_of_this_copy(tiny_run: Path, tmp_path: Path) -> None:
    workflow.attack(tiny_run, AttackOptions(attack=("quantisation",), pictures=50))
    made = workflow.dossier(tiny_run, tmp_path / "d.zip")
    files = unpacked("d.zip", made.file.read_bytes())
    assert workflow.verify(made.file).findings == ()
    assert "attacks.json" in files and "quantisation" in files["attacks.json"].decode()
    assert "Weights are rounded to 8 bits" in files["dossier.md"].decode()
    assert json.loads(files[MANIFEST])["options"]["attack"]["pictures"] == 50
    other = resealed(files, attacks=lambda value: value["made_from"].update(unlearned="mnist-vae@0123456789abcdef"))
    found = examine(packed(other), other).findings
    assert any(text.startswith("attacks.json is of another unlearned: expected") for text in found)
    other = resealed(files, attacks=lambda value: value["made_from"]["judge"].update(cut=-1.0))
    assert any("attacks.json is of another judge" in text for text in examine(packed(other), other).findings)


def test_a_folder_at_the_root_takes_nothing_else_with_it() -> None:
    """However short its name: containers mount runs as /r or /p."""
    page = '<p>one</p> /p/x.py, --keep a=/p/y.csv "/p". /price /p1 <img src="data:image/png;base64,A/pB/p/C/r==">'
    assert text_without_paths(page, {"/p"}) == (
        '<p>one</p> p/x.py, --keep a=p/y.csv "p". /price /p1 <img src="data:image/png;base64,A/pB/p/C/r==">'
    )


def test_a_preview_by_another_judge_is_found(plain: bytes) -> None:
    files = unpacked("d.zip", plain)
    assert json.loads(files["preview.json"])["judge"]["about"]["name"] == "slant"
    other = resealed(files, preview=lambda value: value["judge"]["about"].update(name="thickness"))
    assert any("preview.json is of another judge" in text for text in examine(packed(other), other).findings)
    older = resealed(files, preview=lambda value: value.pop("judge"))
    assert examine(packed(older), older).findings == ()


# Checked


def test_a_whole_one_is_all_right(plain: bytes, signed: bytes, run: Path, keys: Any, put: Any) -> None:
    found = workflow.verify(put(plain), checkpoint=run / "unlearned.safetensors")
    assert (found.findings, found.signer, found.vouched, found.checkpoint) == ((), "", False, "the same bytes")
    assert (found.feature, found.files) == ("slanted strokes", 13)
    found = workflow.verify(put(signed), keys["ours"][1])
    assert found.findings == () and found.vouched and len(found.signer) == 64
    assert not workflow.verify(put(signed)).vouched


MEMBERS = (*EVIDENCE, MANIFEST, CHECKSUM, SIGNATURE, PUBLIC)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.sampled_from(MEMBERS), st.floats(0, 1, exclude_max=True), st.integers(1, 255), st.booleans())
@example(MANIFEST, 0.0, 1, True)
@example(PUBLIC, 0.6, 3, True)
@example(PUBLIC, 0.5, 1, False)
def test_a_changed_byte_in_any_file_is_found_and_named(
    signed_file: Path, name: str, where: float, change: int, from_scratch: bool
) -> None:
    """Whether or not the archive around it was made anew, with checksums that fit."""
    signed = signed_file.read_bytes()
    files = unpacked("d.zip", signed)
    data = bytearray(files[name])
    start = begins(signed, name, files[name])
    data[int(where * len(data))] ^= change
    files[name] = bytes(data)
    archive = packed(files) if from_scratch else signed[:start] + bytes(data) + signed[start + len(data) :]
    assert unpacked("d.zip", archive) == files
    findings = examine(archive, files).findings
    assert findings
    assert any(name in text and "expected" in text for text in findings)


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.floats(0, 1, exclude_max=True), st.integers(1, 255))
def test_a_changed_byte_anywhere_in_the_archive_is_found(signed_file: Path, where: float, change: int) -> None:
    data = bytearray(signed_file.read_bytes())
    data[int(where * len(data))] ^= change
    try:
        files = unpacked("d.zip", bytes(data))
    except BadFile as error:
        assert "is not a whole dossier" in str(error)  # noqa: PT017 - or it is found below
    else:
        assert examine(bytes(data), files).findings


def test_bytes_of_the_archive_itself_are_named(plain: bytes) -> None:
    files = unpacked("d.zip", plain)
    at = begins(plain, "report.html", files["report.html"]) - len("report.html") - 16  # the checksum before it
    changed = plain[:at] + bytes([plain[at] ^ 1]) + plain[at + 1 :]
    (finding,) = examine(changed, files).findings
    assert f"byte {at:,} of the archive, in what stands before report.html: expected {plain[at]:02x}" in finding
    (finding,) = examine(plain + b"more", files).findings
    assert f"the archive has {len(plain) + 4:,} bytes; expected {len(plain):,}" in finding


@pytest.mark.parametrize("name", [MANIFEST, CHECKSUM, "report.html", "evaluation.json", "dossier.md"])
def test_a_missing_file_is_named(plain: bytes, name: str) -> None:
    files = unpacked("d.zip", plain)
    del files[name]
    assert any(name in text for text in examine(packed(files), files).findings)


def test_a_file_too_many_is_named(plain: bytes) -> None:
    files = {**unpacked("d.zip", plain), "extra.txt": b"!"}
    (finding,) = examine(packed(files), files).findings
    assert finding == "extra.txt: expected no such file, but the manifest lists none"


OTHER = "mnist-vae@0123456789abcdef"
FOREIGN: dict[str, tuple[str, Callable[[dict[str, Any]], object]]] = {
    "result": ("evaluation", lambda v: v["result"].update(weights="0" * 16)),
    "generator": ("evaluation", lambda v: v["generator"].update(weights="0" * 16)),
    "request": ("request", lambda v: v.update(wanted_ratio=0.5)),
    "marks": ("feedback", lambda v: v["positives"].pop()),
    "gallery": ("gallery", lambda v: v.update(generator=OTHER)),
    "feature": ("feature", lambda v: v.update(margin=9.0)),
    "training": ("training", lambda v: v.update(training="0" * 16)),
    "trained for": ("training", lambda v: v.update(feature="0" * 16)),
    "checkpoint": ("training", lambda v: v["checkpoints"]["unlearned"].update(sha256="0" * 64)),
    "preview": ("preview", lambda v: v["feature"].update(margin=9.0)),
    "report": ("report", lambda v: v["evaluation"].update(n=7)),
}


@pytest.mark.parametrize("case", FOREIGN)
def test_parts_of_other_runs_are_found_though_all_hashes_fit(plain: bytes, case: str) -> None:
    name, change = FOREIGN[case]
    files = resealed(unpacked("d.zip", plain), **{name: change})
    findings = examine(packed(files), files).findings
    assert any(".json is of another " in text and "expected" in text and "got" in text for text in findings)


NONSENSE: dict[str, Callable[[dict[str, bytes]], None]] = {
    "list": lambda files: files.update({"evaluation.json": b"[]"}),
    "cut": lambda files: files.update({"evaluation.json": b'{"a": '}),
    "deep": lambda files: files.update({"feature.json": b'{"a":' + b"[" * 100_000}),
    "names": lambda files: files.update({"training.json": b'{"checkpoints": 3}'}),
    "binary": lambda files: files.update({"feedback.json": bytes(range(256))}),
}


@pytest.mark.parametrize("case", NONSENSE)
def test_nonsense_with_hashes_that_fit_is_a_finding(plain: bytes, case: str) -> None:
    files = unpacked("d.zip", plain)
    NONSENSE[case](files)
    files = resealed(files)
    assert examine(packed(files), files).findings


@pytest.mark.parametrize("text", [b"{}", b'{"format": 1}', b'{"format": 2}', b"[1]", b'{"format": 1, "files": [3]}'])
def test_a_manifest_of_nonsense_is_a_finding(plain: bytes, text: bytes) -> None:
    files = {**unpacked("d.zip", plain), MANIFEST: text, CHECKSUM: checksum(text)}
    (finding,) = examine(packed(files), files).findings
    assert finding.startswith("manifest.json: ")


def test_what_a_stranger_wrote_cannot_command_the_terminal(plain: bytes) -> None:
    files = resealed(unpacked("d.zip", plain), gallery=lambda v: v.update(generator="\x1b[2J"))
    files[CHECKSUM] = b"\x1b[2J"
    assert "\x1b" not in "".join(examine(packed(files), files).findings)


# Signatures


def test_the_wrong_key_and_no_signature_are_said(signed: bytes, plain: bytes, keys: Any, put: Any) -> None:
    (finding,) = workflow.verify(put(signed), keys["theirs"][1]).findings
    assert "expected a signature by the key in" in finding and "got that of" in finding
    (finding,) = workflow.verify(put(plain), keys["ours"][1]).findings
    assert finding.endswith("; got none")


def test_a_signature_cannot_be_taken_off_or_replaced_by_a_copy(signed: bytes, keys: Any, run: Path, put: Any) -> None:
    files = unpacked("d.zip", signed)
    bare = {name: data for name, data in files.items() if name not in (SIGNATURE, PUBLIC)}
    (finding,) = examine(packed(bare), bare).findings
    assert "manifest.sig: expected a signature by" in finding and "got none" in finding
    half = {name: data for name, data in files.items() if name != PUBLIC}
    (finding,) = examine(packed(half), half).findings
    assert finding == "public.pem: expected it beside manifest.sig, got none"
    theirs = {**files, PUBLIC: keys["theirs"][1].read_bytes()}
    assert "expected the signature of manifest.json by the key" in examine(packed(theirs), theirs).findings[0]
    changed = {**files, MANIFEST: files[MANIFEST] + b" "}
    changed[CHECKSUM] = checksum(changed[MANIFEST])
    found = workflow.verify(put(packed(changed)), keys["ours"][1])
    assert len(found.findings) == 2 and not found.vouched and found.signer == ""


def test_openssl_agrees(signed: bytes, keys: Any, tmp_path: Path) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("no openssl here")
    files = unpacked("d.zip", signed)
    for name in (MANIFEST, SIGNATURE):
        (tmp_path / name).write_bytes(files[name])
    line = ["openssl", "pkeyutl", "-verify", "-pubin", "-inkey", keys["ours"][1], "-rawin", "-in", MANIFEST]
    done = subprocess.run([*line, "-sigfile", SIGNATURE], check=False, cwd=tmp_path, capture_output=True, text=True)
    if "rawin" in done.stderr:
        pytest.skip("an openssl before 3")
    assert done.returncode == 0, done.stderr


def test_bad_keys_are_one_sentence(run: Path, keys: Any, tmp_path: Path, plain: bytes, put: Any) -> None:
    secret, public = keys["ours"]
    locked, other = tmp_path / "locked.pem", tmp_path / "other.pem"
    form = Encoding.PEM, PrivateFormat.PKCS8
    locked.write_bytes(Ed25519PrivateKey.generate().private_bytes(*form, BestAvailableEncryption(b"word")))
    other.write_bytes(ec.generate_private_key(ec.SECP256R1()).private_bytes(*form, NoEncryption()))
    for bad, told in (
        (locked, "locked with a passphrase"),
        (other, "expected an Ed25519 private key"),
        (public, "holds no private key"),
        (tmp_path / "none.pem", "cannot read"),
    ):
        with pytest.raises(BadFile, match=told):
            workflow.dossier(run, tmp_path / "new.zip", bad)
        assert not (tmp_path / "new.zip").exists()
    with pytest.raises(BadFile, match="holds no public Ed25519 key"):
        workflow.verify(put(plain), secret)


def test_without_the_library_signing_is_one_sentence(
    run: Path, keys: Any, plain: bytes, signed: bytes, put: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load = builtins.__import__

    def missing(name: str, *more: Any) -> Any:
        if name.partition(".")[0] == "cryptography":
            raise ImportError(name)
        return load(name, *more)

    monkeypatch.setattr(builtins, "__import__", missing)
    for ask in (
        lambda: workflow.dossier(run, tmp_path / "d2.zip", keys["ours"][0]),
        lambda: workflow.verify(put(signed)),
        lambda: workflow.verify(put(plain), keys["ours"][1]),
    ):
        with pytest.raises(BadOption, match=r'pip install "unfeature\[sign\]"'):
            ask()
    assert workflow.verify(put(plain)).findings == ()
    assert workflow.dossier(run, tmp_path / "d3.zip").signer == ""


# Checkpoints


def test_the_checkpoint_that_was_measured(run: Path, plain: bytes, put: Any, tmp_path: Path) -> None:
    from unfeature import zoo

    workflow.export(run, tmp_path / "out.safetensors")
    assert workflow.verify(put(plain), checkpoint=tmp_path / "out.safetensors").checkpoint == "the same weights"
    for data in (zoo.weights("mnist-vae"), b"no checkpoint"):
        (tmp_path / "original.safetensors").write_bytes(data)
        (finding,) = workflow.verify(put(plain), checkpoint=tmp_path / "original.safetensors").findings
        assert "is not the checkpoint that was measured: expected SHA-256" in finding
    with pytest.raises(BadFile, match="cannot read"):
        workflow.verify(put(plain), checkpoint=tmp_path / "none")


def layers(seed: int, begin: str = "net") -> dict[str, Tensor]:
    """Of a fully connected generator of somebody else's, which is known by its sizes."""
    draw = torch.Generator().manual_seed(seed)
    sizes = {f"{begin}.0": (16, 4), f"{begin}.2": (64, 16)}
    weights = {f"{name}.weight": torch.randn(size, generator=draw) for name, size in sizes.items()}
    return weights | {f"{name}.bias": torch.zeros(size[0]) for name, size in sizes.items()}


def of_layers(plain: bytes, **arguments: Any) -> bytes:
    """The dossier as one of a run whose copy has `layers(1)`."""
    files = unpacked("d.zip", plain)
    old, new = json.loads(files["training.json"])["result"], f"net@{weights_id(layers(1))}"

    def to(value: dict[str, Any]) -> None:
        value["result"].update(name="net", weights=weights_id(layers(1)))

    manifest = json.loads(files[MANIFEST])
    manifest["ids"]["result"], manifest["generator"]["arguments"] = new, arguments
    evaluation = json.loads(files["evaluation.json"])
    to(evaluation)
    manifest["ids"]["evaluation"] = content_id(evaluation)
    files[MANIFEST] = json_bytes(manifest)
    assert old != new
    return packed(
        resealed(
            files,
            training=lambda value: value.update(result=new, tensors=sorted(layers(1))),
            evaluation=to,
            report=lambda value: to(value["evaluation"]),
        )
    )


FILES_OF_LAYERS: dict[str, tuple[Callable[[], Any], str]] = {
    "alone": (lambda: layers(1), ""),
    "nested": (lambda: {"generator": layers(1), "optimizer": {"state": {0: {"step": 1}}}, "epoch": 3}, ""),
    "beside a critic": (
        lambda: {"netG": layers(1), "netD": {"net.0.weight": torch.ones(8, 64), "net.2.weight": torch.ones(1, 8)}},
        "",
    ),
    "beside older ones": (lambda: {"raw": layers(2), "ema": layers(1)}, ""),
    "below the averaged": (lambda: {"ema": layers(2), "model": layers(1)}, "is not the checkpoint that was measured"),
    "below others averaged": (
        lambda: {"ema": layers(2, "body"), "model": layers(1)},
        '4 tensors in "model", beside others: loading it takes 4 tensors in "ema"; expected the measured ones',
    ),
    "at the top": (
        lambda: layers(1) | {f"ema.{name}": value for name, value in layers(2, "body").items()},
        '4 tensors at its top, beside others: loading it takes 4 tensors in "ema"; expected the measured ones',
    ),
}


@pytest.mark.parametrize("case", FILES_OF_LAYERS)
def test_a_checkpoint_is_the_measured_one_only_where_loading_takes_those_weights(
    case: str, plain: bytes, put: Any, tmp_path: Path
) -> None:
    content, told = FILES_OF_LAYERS[case]
    path = tmp_path / "copy.pt"
    torch.save(content(), path)
    found = workflow.verify(put(of_layers(plain)), checkpoint=path)
    if told:
        (finding,) = found.findings
        assert told in finding and found.checkpoint == ""
    else:
        assert (found.findings, found.checkpoint) == ((), "the same weights")
        assert weights_id(load_generator(str(path)).module.state_dict()) == weights_id(layers(1))


def test_other_weights_are_not_hidden_by_picking_layers(
    plain: bytes, put: Any, tmp_path: Path, command: Command
) -> None:
    path, dossier = tmp_path / "copy.pt", put(of_layers(plain, keys="net"))
    torch.save({"encoder.weight": torch.ones(3, 5), **layers(1)}, path)
    assert workflow.verify(dossier, checkpoint=path).checkpoint == "the same weights"
    torch.save({"ema": layers(2, "body"), "model": layers(1)}, path)
    said = command("verify", dossier, "--checkpoint", path)
    assert said.code == 2 and 'loading it takes 4 tensors in "ema"' in " ".join(said.out.split())


def test_a_manifest_without_arguments_is_a_finding(plain: bytes) -> None:
    files = unpacked("d.zip", plain)
    manifest = json.loads(files[MANIFEST])
    manifest["generator"] = None
    files = resealed({**files, MANIFEST: json_bytes(manifest)})
    (finding,) = examine(packed(files), files).findings
    assert finding.startswith("manifest.json: a part is missing")


# Hostile archives


def made_with(*entries: tuple[str | zipfile.ZipInfo, bytes], compressed: bool = False) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED if compressed else zipfile.ZIP_STORED) as archive:
        for name, data in entries:
            archive.writestr(name, data)
    return buffer.getvalue()


def link() -> bytes:
    entry = zipfile.ZipInfo("report.html")
    entry.create_system, entry.external_attr = 3, 0o120777 << 16
    return made_with((entry, b"/etc/passwd"))


def twice() -> bytes:
    data = packed({"a.md": b"1", "b.md": b"2"})
    return data.replace(b"b.md", b"a.md")


def sized(size: int) -> bytes:
    """An archive whose one file says it has that many bytes."""
    data = bytearray(packed({"report.html": b"x"}))
    data[18:26] = struct.pack("<2I", size, size)
    return bytes(data)


HOSTILE: dict[str, Callable[[], bytes]] = {
    "absolute": lambda: made_with(("/etc/cron.d/x", b"x")),
    "upwards": lambda: made_with(("../../x.md", b"x")),
    "backslash": lambda: made_with(("..\\x.md", b"x")),
    "drive": lambda: made_with(("C:x.md", b"x")),
    "folder": lambda: made_with(("a/", b"")),
    "bomb": lambda: made_with(("report.html", bytes(10**7)), compressed=True),
    "unicode": lambda: made_with(("re\u0301port.html", b"x")),
    "twice": twice,
    "many": lambda: packed({f"f{i}.md": b"" for i in range(1000)}),
    "empty": made_with,
    "nothing": lambda: b"",
    "text": lambda: b"<html>not found</html>",
    "prefixed": lambda: b"#!/bin/sh\n" + packed({"a.md": b"1"}),
    "cut": lambda: packed({"a.md": b"1" * 100})[:60],
    "too long": lambda: sized(2**20),
    "too large": lambda: sized(2**31),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_other_zips_are_refused_before_they_are_read(case: str, put: Any, command: Command) -> None:
    file = put(HOSTILE[case]())
    said = command("verify", file)
    assert said.code == 2
    assert said.err.startswith("BadFile: ") and "is not a whole dossier" in said.err
    assert len(said.err.splitlines()) == 1
    assert list(file.parent.iterdir()) == [file]


@pytest.mark.parametrize("make", [link, lambda: made_with(("report.html", b"x"))])
def test_links_and_foreign_archives_do_not_hold(make: Callable[[], bytes], put: Any) -> None:
    assert workflow.verify(put(make())).findings


def test_a_list_at_the_end_that_says_otherwise_is_found(plain: bytes) -> None:
    """Other programs read that list: it could name files elsewhere."""
    at = plain.rindex(b"report.html")
    changed = plain[:at] + b"../../x.htm" + plain[at + 11 :]
    (finding,) = examine(changed, unpacked("d.zip", changed)).findings
    assert "in the list of files at the end: expected 72, got 2e" in finding


def test_a_file_that_is_none_or_too_large_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadFile, match="cannot read"):
        workflow.verify(tmp_path)
    with open(tmp_path / "large.zip", "wb") as file:
        file.truncate(2**31 + 1)
    with pytest.raises(BadFile, match="expected at most"):
        workflow.verify(tmp_path / "large.zip")


# Paths

CODE = """
import unfeature
def load():
    return unfeature.load_generator("mnist-vae")
def bright(images):
    return (images.mean(dim=(1, 2, 3)) > 0.16).float()
class Guide:
    about = {"name": "guide", "kind": "network"}
    def score(self, images):
        return (50 * (images.mean(dim=(1, 2, 3)) - 0.16)).sigmoid()
guide = Guide()
"""


@pytest.mark.slow
def test_no_path_of_the_machine_is_given_away(tmp_path: Path) -> None:
    home = tmp_path / "Jane_Doe's home"
    home.mkdir()
    code, run, other = home / "theirs.py", home / "runs" / "secret run", home / "runs" / "other"
    code.write_text(CODE)
    for folder, feature, judge in ((other, "slant", "slant"), (run, "bright", f"{code}:bright")):
        workflow.sample(folder, f"{code}:load", SampleOptions(count=400))
        workflow.mark(folder, feature, judge, MarkOptions(per_side=30))
        workflow.find(folder, FindOptions(also=(str(other),) if folder == run else ()))
    workflow.unlearn(run, UnlearnOptions(steps=5, check_every=5, perceptual=0))
    workflow.evaluate(run, EvaluateOptions(count=200))
    workflow.attack(run, AttackOptions(attack=("quantisation",), guide=f"{code}:guide", pictures=20))
    made = workflow.dossier(run)
    for name, data in unpacked("d.zip", made.file.read_bytes()).items():
        text = data.decode("utf-8", "ignore")
        for secret in ("Jane", "Doe", str(tmp_path), "/tmp/", "/home/"):
            assert secret not in text, name
    files = unpacked("d.zip", made.file.read_bytes())
    assert json.loads(files["request.json"])["by"] == "theirs.py:bright"
    assert json.loads(files[MANIFEST])["generator"]["named"] == "theirs.py:load"
    assert b"secret run" in files["report.html"] and b"secret run" in files["report.md"]
    found = workflow.verify(made.file, checkpoint=run / "unlearned.safetensors")
    assert found.findings == () and found.checkpoint == "the same bytes"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("/home/jane/toy.py:load", "toy.py:load"),
        ("/home/Jane Doe/my runs", "my runs"),
        ("~/marks/a.csv", "a.csv"),
        ("../../home/jane/a.csv", "a.csv"),
        ("hair=/home/jane/judge.py:hair", "hair=judge.py:hair"),
        ("unfeature report /home/jane/runs/thick", "unfeature report thick"),
        ("thick in /home/jane/runs/thick, 2", "thick in thick, 2"),
        ("see '/home/Jane Doe/my runs' there", "see 'my runs' there"),
        ("runs/thick", "runs/thick"),
        ("shows it / unsure / without it", "shows it / unsure / without it"),
        ("1/2/3 and/or 5 km/h, https://example.org/a/b", "1/2/3 and/or 5 km/h, https://example.org/a/b"),
        ("data:image/png;base64,/9j/abc/def+/x/y", "data:image/png;base64,/9j/abc/def+/x/y"),
        ("~5 px/step", "~5 px/step"),
    ],
)
def test_paths_become_file_names(before: str, after: str) -> None:
    known = paths_in({"a": ["/home/Jane Doe/my runs:x", "/home/Jane Doe/my runs"]})
    assert without_paths({before: [before, 1, None]}, known) == {after: [after, 1, None]}


def test_paths_in_html_and_markdown_are_seen_through_escapes() -> None:
    known = {"/home/Jane_Doe's & Co/my runs", "runs/thick"}
    for text, clean in (
        ("<p>/home/Jane_Doe&#39;s &amp; Co/my runs</p>", "<p>my runs</p>"),
        ("in /home/Jane\\_Doe's &amp; Co/my runs now", "in my runs now"),
        ("`unfeature report runs/thick`", "`unfeature report thick`"),
        ("<td>/srv/data/x.pth</td></tr></b>", "<td>x.pth</td></tr></b>"),
        ('<img src="data:image/png;base64,/9j/abc/d">', '<img src="data:image/png;base64,/9j/abc/d">'),
    ):
        assert text_without_paths(text, known) == clean


# Commands


def test_the_commands_say_what_they_found_and_what_comes_next(
    tiny_run: Path, keys: Any, tmp_path: Path, command: Command
) -> None:
    file = tmp_path / "thick strokes.zip"
    said = command("dossier", tiny_run, "--to", file, "--key", keys["ours"][0])
    assert said.code == 0, said.err
    assert f"wrote {file}" in said.out and "15 files" in said.out
    assert f"unfeature verify '{file}' --key PUBLIC.pem --checkpoint" in said.out
    said = command("verify", file)
    assert said.code == 0 and "nobody vouches for it" in said.out and "dossier.md" in said.out
    copy = tiny_run / "unlearned.safetensors"
    said = command("verify", file, "--key", keys["ours"][1], "--checkpoint", copy)
    assert said.code == 0
    assert f"Signed by the key in {keys['ours'][1]}" in said.out and "the same bytes" in said.out
    said = command("verify", file, "--key", keys["theirs"][1], "--checkpoint", tiny_run / "report.json")
    assert said.code == 2
    assert said.out.count("WRONG  ") == 2
    assert said.err.startswith("NotVerified: ") and "2 things are wrong" in said.err
    said = command("dossier", tiny_run)
    assert f"wrote {tiny_run / 'dossier.zip'}" in said.out and "Not signed" in said.out
    assert "anybody can have made it" in command("verify", tiny_run / "dossier.zip").out
