"""Checkpoints of others that benchmarks and tests run against: are the files there and whole, and how to get them.

`fetch` is the only place in this program that opens a connection, and only after the user has said so.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import tempfile
import time
import tomllib
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import IO, Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

import unfeature
from unfeature.errors import BadCheckpoint, BadFile, BadOption, UnfeatureError, UnknownName
from unfeature.generators.checkpoints import Opened, open_checkpoint
from unfeature.options import Options
from unfeature.problems import told
from unfeature.store import write_atomic

BASE = "https://raw.githubusercontent.com"
"""Where REPOSITORY/COMMIT/PATH is looked for, unless the manifest's `base` says otherwise."""

LARGEST = 512 * 2**20
"""Bytes of a file that is fetched, at most."""

PATIENCE, STALL = 900.0, 30.0
"""Seconds that fetching a file may take, and that nothing may come."""

VARIABLE = "UNFEATURE_ASSETS"
"""Names the folder where the files are."""

State = Literal["whole", "same weights", "missing", "damaged"]


class Asset(Options):
    """One file: what it is, how it is recognised, where its original lies and what may be done with it."""

    file: str
    about: str
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    tensors_sha256: str = Field("", pattern=r"^([0-9a-f]{64})?$")
    """`tensors_hash` of a checkpoint: the same for the same weights in another file format; empty for data."""
    repository: str = Field("", pattern=r"^(\w[\w.-]*/\w[\w.-]*)?$")
    commit: str = Field("", pattern=r"^([0-9a-f]{40})?$")
    path: str = ""
    licence: str
    redistribute: bool
    by_hand: str = ""
    """Why it cannot be fetched, and what to do; empty where it can."""

    @model_validator(mode="after")
    def _safe_and_whole(self) -> Self:
        for name in (self.file, self.path):
            parts = PurePosixPath(name).parts
            if name.startswith("/") or ".." in parts or "\\" in name:
                raise ValueError(f"{name} leads out of its folder")
        if not self.by_hand and not (self.repository and self.commit and self.path and self.tensors_sha256):
            raise ValueError("needs repository, commit, path and tensors_sha256, or by_hand")
        return self


class Manifest(Options):
    """All files that are listed, and the host their originals are fetched from."""

    base: str = BASE
    assets: dict[str, Asset]

    @classmethod
    def read(cls, path: Path) -> Self:
        """From a TOML file; BadFile."""
        try:
            return cls(**tomllib.loads(path.read_text(encoding="utf-8")))
        except OSError as error:
            raise BadFile(
                f"cannot read {path}: {error.strerror}. The list of assets lies in the source repository, at "
                "benchmarks/assets.toml; name it:  --manifest FILE"
            ) from error
        except ValidationError as error:
            raise BadFile(f"{path} is not a list of assets: {told(error)}. Mend it.") from error
        except ValueError as error:
            raise BadFile(f"{path} is not TOML: {error}. Mend that line.") from error

    def chosen(self, names: tuple[str, ...]) -> dict[str, Asset]:
        """The assets of these names, all of them where none is given; UnknownName."""
        for name in names:
            if name not in self.assets:
                raise UnknownName("asset", name, self.assets)
        return {name: self.assets[name] for name in names or self.assets}

    def address(self, asset: Asset) -> str:
        """Where the original is fetched from."""
        path = f"{asset.repository}/{asset.commit}/{urllib.parse.quote(asset.path)}"
        return f"{self.base.rstrip('/')}/{path}"

    @property
    def host(self) -> str:
        """Which host `fetch` would talk to; BadFile where that would not be safe."""
        parts = urllib.parse.urlsplit(self.base)
        here = parts.hostname in ("localhost", "127.0.0.1", "::1")
        if not parts.hostname or not (parts.scheme == "https" or (parts.scheme == "http" and here)):
            raise BadFile(f"the list of assets has base {self.base}; expected an https address. Mend it.")
        return parts.hostname


def folder_of(given: Path | None) -> Path:
    """The folder of assets: as given, or as the environment says; BadOption where neither does."""
    if given is None and not os.environ.get(VARIABLE):
        raise BadOption(f"no folder of assets is known; expected --folder DIR or ${VARIABLE}. Give one of them.")
    return given or Path(os.environ[VARIABLE])


def tensors_hash(opened: Opened) -> str:
    """SHA-256 over the weights by name: names, shapes and values as float32, whatever file they came in.

    Counters and other whole numbers are left out: file formats differ in their shapes.
    """
    digest = hashlib.sha256()
    for name, value in sorted(opened.tensors.items()):
        if value.is_floating_point():
            digest.update(f"{name} {tuple(value.shape)}\n".encode())
            digest.update(value.detach().float().contiguous().numpy().astype("<f4").tobytes())
    return digest.hexdigest()


def state_of(asset: Asset, folder: Path) -> State:
    """Whether the file is there and holds what it should; a file converted elsewhere counts by its weights."""
    path = folder / asset.file
    if not path.is_file():
        return "missing"
    try:
        with path.open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() == asset.sha256:
                return "whole"
        same = bool(asset.tensors_sha256) and tensors_hash(open_checkpoint(path)) == asset.tensors_sha256
    except (OSError, UnfeatureError):
        same = False
    return "same weights" if same else "damaged"


def states(assets: Mapping[str, Asset], folder: Path) -> dict[str, State]:
    """Name -> state of each file."""
    return {name: state_of(asset, folder) for name, asset in assets.items()}


def fetch(name: str, asset: Asset, manifest: Manifest, folder: Path) -> Path:
    """Get an original over the network, check it and put it into the folder as safetensors; the file's path.

    It is read as data, none of it is run. BadOption for one that cannot be fetched; BadFile, BadCheckpoint where
    something else arrives: then nothing is kept.
    """
    if asset.by_hand:
        raise BadOption(f"{name} cannot be fetched. {asset.by_hand}")
    import safetensors.torch

    host = manifest.host
    with tempfile.TemporaryDirectory(prefix="unfeature-") as place:
        original = Path(place) / f"original{Path(asset.path).suffix}"
        _download(name, manifest.address(asset), host, original)
        opened = open_checkpoint(original)
        found = tensors_hash(opened)
        if found != asset.tensors_sha256:
            raise BadCheckpoint(
                f"what {host} sent as {name} has weights with SHA-256 {found}; expected {asset.tensors_sha256}. It was "
                "changed there or on the way, and nothing was kept: try again, or ask whoever listed it."
            )
        about = {"licence": asset.licence, "source": f"{asset.repository} {asset.path} @{asset.commit}"}
        tensors = {key: value.contiguous() for key, value in opened.tensors.items()}
        write_atomic(folder / asset.file, safetensors.torch.save(tensors, about))
    return folder / asset.file


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """The user agreed to one host."""

    def redirect_request(self, *_: Any) -> None:
        return None


def _download(name: str, address: str, host: str, to: Path) -> None:
    request = urllib.request.Request(  # noqa: S310 - Manifest.host allows https, and http on this machine
        address, headers={"User-Agent": f"unfeature/{unfeature.__version__}"}
    )
    try:
        with urllib.request.build_opener(_NoRedirect).open(request, timeout=STALL) as answer, to.open("wb") as file:
            _copy(answer, file)
    except urllib.error.HTTPError as error:
        problem = f"HTTP {error.code} {error.reason}"
        error.close()
    except (OSError, http.client.HTTPException, ValueError) as error:
        problem = str(getattr(error, "reason", None) or error or type(error).__name__)
    else:
        return
    raise BadFile(f"cannot fetch {name} from {host}: {problem}. Try {address} again later, or by hand.")


def _copy(answer: IO[bytes], file: IO[bytes]) -> None:
    """All that comes, within LARGEST bytes and PATIENCE seconds; OSError beyond, or where less comes than announced."""
    announced = getattr(answer, "length", None)
    until, size = time.monotonic() + PATIENCE, 0
    while part := answer.read(2**16):
        size += len(part)
        if size > LARGEST:
            raise OSError(f"more than {LARGEST:,} bytes")
        if time.monotonic() > until:
            raise OSError(f"not done after {PATIENCE:.0f} s")
        file.write(part)
    if announced is not None and size != announced:
        raise OSError(f"{size:,} of {announced:,} bytes came")
