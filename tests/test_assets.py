"""The list of others' files: what is whole, what is not, and fetching, against a server on this machine."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import socket
import threading
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import safetensors.torch
import torch
from conftest import Command

from unfeature import assets
from unfeature.generators.checkpoints import open_checkpoint

ROOT = Path(__file__).parent.parent
LISTED = ROOT / "benchmarks" / "assets.toml"
COMMIT = "0123456789" * 4
WEIGHTS = {"fc.weight": torch.arange(6.0).view(2, 3), "fc.bias": torch.zeros(2), "seen": torch.tensor(7)}


def _pth(weights: dict[str, torch.Tensor]) -> bytes:
    out = io.BytesIO()
    torch.save(weights, out)
    return out.getvalue()


@dataclass
class Server:
    """Answers every path below a commit with the same thing, and remembers what it was asked for."""

    base: str = ""
    answer: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)


@pytest.fixture
def server() -> Iterator[Server]:
    state = Server(answer=_pth(WEIGHTS))

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state.asked.append(self.path)
            self.send_response(state.status)
            for key, value in {"Content-Length": str(len(state.answer)), **state.headers}.items():
                self.send_header(key, value)
            self.end_headers()
            self.wfile.write(state.answer)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as serving:
        state.base = f"http://127.0.0.1:{serving.server_port}"
        thread = threading.Thread(target=serving.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield state
        serving.shutdown()
        thread.join()


@pytest.fixture
def place(tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a list of two files, of which one lies there."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(assets.VARIABLE, str(tmp_path / "assets"))
    for proxy in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(proxy, raising=False)
    whole = tmp_path / "assets" / "networks" / "here.safetensors"
    whole.parent.mkdir(parents=True)
    whole.write_bytes(safetensors.torch.save(WEIGHTS))
    common = {"about": "a test", "licence": "MIT", "redistribute": True}
    tensors = assets.tensors_hash(open_checkpoint(whole))
    entries = {
        "here": {
            **common,
            "file": "networks/here.safetensors",
            "sha256": hashlib.sha256(whole.read_bytes()).hexdigest(),
            "tensors_sha256": tensors,
            "by_hand": "It was made for a test.",
        },
        "away": {
            **common,
            "file": "generators/away.safetensors",
            "sha256": "0" * 64,
            "tensors_sha256": tensors,
            "repository": "some-body/their.models",
            "commit": COMMIT,
            "path": "weights/net epoch=3.pth",
        },
    }
    _write_list(server.base, entries)
    return tmp_path / "assets"


def _write_list(base: str, entries: dict[str, dict[str, object]]) -> None:
    lines = [f"base = {json.dumps(base)}"]
    for name, entry in entries.items():
        lines += [f"[assets.{name}]", *(f"{key} = {json.dumps(value)}" for key, value in entry.items())]
    Path("benchmarks").mkdir(exist_ok=True)
    Path("benchmarks/assets.toml").write_text("\n".join(lines))


def _replace(old: str, new: str) -> None:
    path = Path("benchmarks/assets.toml")
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))


# Checking


def test_check_tells_whole_from_missing(place: Path, server: Server, command: Command) -> None:
    said = command("assets", "check")
    assert said.code == 2
    assert re.search(r"^here +whole +MIT", said.out, re.MULTILINE)
    assert re.search(r"^away +missing +MIT", said.out, re.MULTILINE)
    assert "1 of 2 files" in said.err and "unfeature assets fetch away" in said.err
    assert command("assets", "check", "here").code == 0
    assert server.asked == []


@pytest.mark.parametrize("where", [0, 9, -1])
def test_one_flipped_bit_is_damage(where: int, place: Path, command: Command) -> None:
    path = place / "networks" / "here.safetensors"
    data = bytearray(path.read_bytes())
    # The last byte belongs to the last value; the first ones to the header's length and text.
    data[where if where >= 0 else data.index(b"\x00\x00\x80?") + 3] ^= 1
    path.write_bytes(data)
    said = command("assets", "check", "here")
    assert said.code == 2
    assert re.search(r"^here +damaged", said.out, re.MULTILINE)


def test_the_same_weights_in_another_file_are_accepted(place: Path, command: Command) -> None:
    path = place / "networks" / "here.safetensors"
    path.write_bytes(safetensors.torch.save({**WEIGHTS, "seen": torch.tensor([8])}, {"note": "converted elsewhere"}))
    said = command("assets", "check", "here")
    assert said.code == 0
    assert re.search(r"^here +same weights", said.out, re.MULTILINE)


def test_the_folder_can_be_named(place: Path, command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(assets.VARIABLE)
    assert command("assets", "check", "here", "--folder", place).code == 0
    said = command("assets", "check", "here")
    assert said.code == 2 and "--folder DIR or $UNFEATURE_ASSETS" in said.err


def test_the_hash_of_weights_sees_names_shapes_and_values(tmp_path: Path) -> None:
    def hashed(weights: dict[str, torch.Tensor], name: str = "x.safetensors") -> str:
        path = tmp_path / name
        path.write_bytes(_pth(weights) if name.endswith("pth") else safetensors.torch.save(weights))
        return assets.tensors_hash(open_checkpoint(path))

    first = hashed(WEIGHTS)
    assert hashed(WEIGHTS, "x.pth") == first
    assert hashed(dict(reversed(WEIGHTS.items())), "y.pth") == first
    assert hashed({**WEIGHTS, "fc.weight": WEIGHTS["fc.weight"].half()}) == first
    assert hashed({**WEIGHTS, "fc.bias": torch.tensor([0.0, 1e-7])}) != first
    assert hashed({**WEIGHTS, "fc.weight": WEIGHTS["fc.weight"].view(3, 2)}) != first
    assert hashed({"gc.bias" if key == "fc.bias" else key: value for key, value in WEIGHTS.items()}) != first


# Fetching


def test_fetch_asks_first_and_says_whom(place: Path, server: Server, command: Command) -> None:
    said = command("assets", "fetch", "away")
    assert said.code == 2
    assert f"{server.base}/some-body/their.models/{COMMIT}/weights/net%20epoch%3D3.pth" in said.out
    assert "127.0.0.1" in said.err and "--yes" in said.err
    assert server.asked == []
    assert not (place / "generators").exists()


def test_fetch_converts_what_it_checked(place: Path, server: Server, command: Command) -> None:
    said = command("assets", "fetch", "away", "--yes")
    assert said.code == 0, said.err
    assert server.asked == [f"/some-body/their.models/{COMMIT}/weights/net%20epoch%3D3.pth"]
    opened = open_checkpoint(place / "generators" / "away.safetensors")
    assert all(torch.equal(opened.tensors[key], value) for key, value in WEIGHTS.items())
    assert opened.metadata["licence"] == "MIT" and COMMIT in opened.metadata["source"]
    assert command("assets", "check").code == 0
    again = command("assets", "fetch", "away", "here", "--yes")
    assert again.code == 0 and "Nothing to fetch" in again.out
    assert len(server.asked) == 1


def _untouched(place: Path) -> bool:
    return [path.name for path in place.rglob("*") if path.is_file()] == ["here.safetensors"]


def test_other_weights_are_refused(place: Path, server: Server, command: Command) -> None:
    server.answer = _pth({**WEIGHTS, "fc.bias": torch.ones(2)})
    said = command("assets", "fetch", "away", "--yes")
    assert said.code == 2 and _untouched(place)
    assert "127.0.0.1 sent as away" in said.err and "nothing was kept" in said.err


class Hostile:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("touch executed",)


@pytest.mark.parametrize(
    ("answer", "word"),
    [
        (b"<html>not found</html>", "web page"),
        (b"", "bytes"),
        (_pth({"x": Hostile()}), "system"),  # type: ignore[dict-item]
        (_pth(WEIGHTS)[:300], "original"),
    ],
)
def test_what_is_no_checkpoint_is_refused(
    answer: bytes, word: str, place: Path, server: Server, command: Command
) -> None:
    server.answer = answer
    said = command("assets", "fetch", "away", "--yes")
    assert said.code == 2 and _untouched(place), said.err
    assert word in said.err and "Traceback" not in said.err
    assert not Path("executed").exists()


def test_a_refusal_of_the_host_is_one_sentence(place: Path, server: Server, command: Command) -> None:
    server.status = 404
    said = command("assets", "fetch", "away", "--yes")
    assert said.code == 2 and _untouched(place)
    assert "cannot fetch away from 127.0.0.1: HTTP 404" in said.err


def test_another_host_is_not_followed(place: Path, server: Server, command: Command) -> None:
    server.status, server.headers = 302, {"Location": "http://127.0.0.1:1/elsewhere"}
    said = command("assets", "fetch", "away", "--yes")
    assert said.code == 2 and _untouched(place)
    assert "HTTP 302" in said.err and len(server.asked) == 1


def test_an_answer_that_is_cut_off_is_refused(place: Path, server: Server, command: Command) -> None:
    server.headers = {"Content-Length": str(len(server.answer) + 10)}
    said = command("assets", "fetch", "away", "--yes")
    assert said.code == 2 and _untouched(place)
    assert "cannot fetch away" in said.err and "bytes" in said.err


def test_an_endless_answer_is_refused(
    place: Path, server: Server, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(assets, "LARGEST", 100)
    said = command("assets", "fetch", "away", "--yes")
    assert said.code == 2 and _untouched(place)
    assert "more than 100 bytes" in said.err


def test_a_slow_answer_is_given_up(
    place: Path, server: Server, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(assets, "PATIENCE", -1.0)
    assert "not done after" in command("assets", "fetch", "away", "--yes").err


def test_nobody_there_is_one_sentence(place: Path, server: Server, command: Command) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        _replace(server.base, f"http://127.0.0.1:{taken.getsockname()[1]}")
        said = command("assets", "fetch", "away", "--yes")
    assert said.code == 2 and "refused" in said.err and "Traceback" not in said.err


def test_what_cannot_be_fetched_says_why(place: Path, server: Server, command: Command) -> None:
    (place / "networks" / "here.safetensors").unlink()
    said = command("assets", "fetch", "here", "--yes")
    assert said.code == 2 and "here cannot be fetched. It was made for a test." in said.err
    assert server.asked == []


# Lists that are wrong


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("http://127.0.0.1", "http://elsewhere.example", ("expected an https address",)),
        ("http://127.0.0.1", "file:///etc", ("expected an https address",)),
        ("generators/away", "../away", ("leads out of its folder",)),
        ("generators/away", "/tmp/away", ("leads out of its folder",)),
        ("weights/net", "../../other/net", ("leads out of its folder",)),
        (COMMIT, "main", ("commit", "pattern")),
        ("some-body/their.models", "..", ("repository", "pattern")),
        ("sha256", "sha265", ("sha265",)),
        ("[assets.away]", "[assets.away", ("not TOML",)),
        ("MIT", 'MIT"\npath = "\nx', ("not TOML",)),
    ],
)
def test_a_list_that_is_wrong_is_one_sentence(
    old: str, new: str, words: tuple[str, ...], place: Path, server: Server, command: Command
) -> None:
    _replace(old, new)
    said = command("assets", "fetch", "away", "--yes")
    assert said.code == 2 and "Traceback" not in said.err
    assert len(said.err.strip().splitlines()) == 1
    assert all(word in said.err for word in words), said.err
    assert server.asked == [] and _untouched(place)


def test_mistakes_on_the_command_line(place: Path, server: Server, command: Command) -> None:
    for line, word in {
        "assets fetch": "fetch was given no name",
        "assets check awya": 'Did you mean "away"',
        "assets check --manifest no.toml": "benchmarks/assets.toml",
        "assets steal": "check",
    }.items():
        said = command(*line.split())
        assert said.code == 2 and word in said.err, said.err
    assert server.asked == []


# The list of this repository


def test_the_list_names_source_commit_hash_and_licence_of_each() -> None:
    listed = assets.Manifest.read(LISTED)
    assert listed.host == "raw.githubusercontent.com"
    assert len(listed.assets) == 10
    for name, asset in listed.assets.items():
        assert asset.licence and asset.about, name
        if asset.file.startswith("generators/"):
            assert asset.repository and asset.commit and asset.path and asset.tensors_sha256
        if "none stated" in asset.licence or "not to be" in asset.licence:
            assert not asset.redistribute
    assert {name for name, asset in listed.assets.items() if not asset.by_hand} == {
        "face_vae64",
        "mnist_vae20",
        "mnist_dcgan64",
        "mnist_lenet",
    }
    assert all("not published" in listed.assets[f"celeba_attr_{side}"].by_hand for side in "ab")
    assert max(map(len, LISTED.read_text().splitlines())) < 300 and tomllib.loads(LISTED.read_text())


@pytest.mark.skipif(assets.VARIABLE not in os.environ, reason="UNFEATURE_ASSETS names no folder of assets")
def test_the_assets_here_are_whole_by_file_and_by_weights() -> None:
    folder, listed = assets.folder_of(None), assets.Manifest.read(LISTED)
    assert set(assets.states(listed.assets, folder).values()) == {"whole"}
    for asset in listed.assets.values():
        if asset.tensors_sha256:
            assert assets.tensors_hash(open_checkpoint(folder / asset.file)) == asset.tensors_sha256


def test_nothing_else_in_the_package_can_open_a_connection() -> None:
    """The page listens, and a test of its own records that it connects to nobody; no other module knows the network."""
    modules = re.compile(r"^\s*(?:from|import) (?:urllib\.request|http|socket|requests|httpx|aiohttp|ftplib|asyncio)\b")
    connects = re.compile(r"\bopen_connection\b|\bcreate_connection\b|\.connect(?:_ex)?\(|\burlopen\b")
    found = {}
    for path in (ROOT / "src").rglob("*.py"):
        lines = path.read_text(encoding="utf-8").splitlines()
        if any(modules.match(line) for line in lines):
            found[str(path.relative_to(ROOT / "src" / "unfeature"))] = any(map(connects.search, lines))
    listening = {name for name in found if name == "commands/page.py" or name.startswith("web/")}
    assert set(found) - listening == {"assets.py"}
    assert not any(found[name] for name in listening)
