"""Objects from the user's own Python files, named as FILE.py:NAME: the only code of others we ever run.

Which files the user has named on this machine is remembered, so that a run folder from somebody else cannot have other
files run. Modules beside such a file can be imported by it; those that are installed come first.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import json
import os
import shlex
import sys
import tempfile
import traceback
from pathlib import Path
from typing import Any

from unfeature.errors import BadFile, UnfeatureError, UnknownName, UntrustedCode

_named: set[str] = set()
"""Absolute paths named in this process, which count even where they cannot be written down."""


def is_file_reference(name: str) -> bool:
    """True for FILE.py:NAME."""
    return ".py:" in name


def _path(reference: str) -> Path:
    return Path(reference.rpartition(":")[0]).resolve()


def same_object(one: str, other: str) -> bool:
    """Whether two references are the same name of the same file, however its path is written, or of a copy of it."""
    if not (is_file_reference(one) and is_file_reference(other)):
        return one == other
    if one.rpartition(":")[2] != other.rpartition(":")[2]:
        return False
    return _path(one) == _path(other) or (bool(source_hash(one)) and source_hash(one) == source_hash(other))


def source_hash(reference: str) -> str:
    """SHA-256 of the file of FILE.py:NAME; empty for other names, and where the file cannot be read."""
    try:
        return hashlib.sha256(_path(reference).read_bytes()).hexdigest() if is_file_reference(reference) else ""
    except OSError:
        return ""


def register() -> Path:
    """Where the named files are written down: ~/.local/state/unfeature/code.json, or below XDG_STATE_HOME."""
    state = os.environ.get("XDG_STATE_HOME", "")
    below = Path(state if state.startswith("/") else os.path.expanduser("~/.local/state"))  # noqa: PTH111 - never fails
    return below / "unfeature" / "code.json"


def _written_down() -> list[str]:
    try:
        found = json.loads(register().read_text(encoding="utf-8"))["files"]
        return [path for path in found if isinstance(path, str)]
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return []  # nothing was named, as far as anybody can tell


def name_code(reference: str) -> bool:
    """The user has named this FILE.py:NAME, so run folders on this machine may name it too. Other names are no code.

    False where the list of such files cannot be written: it holds for this process only.
    """
    if not is_file_reference(reference):
        return True
    path, listed = str(_path(reference)), register()
    _named.add(path)
    if path in _written_down():
        return True
    try:
        listed.parent.mkdir(parents=True, exist_ok=True)
        with open(listed.with_suffix(".lock"), "a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            files = _written_down()
            if path not in files:
                write_own(listed, json.dumps({"files": sorted([*files, path])}, indent=1) + "\n")
    except OSError:
        return False  # a home that cannot be written to must not stop the work
    return True


def write_own(path: Path, text: str) -> None:
    """Replace a small file, which its owner alone can read, whole or not at all; OSError."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        os.replace(temporary, path)
    except OSError:
        Path(temporary).unlink(missing_ok=True)
        raise


def require_named(reference: str, source: str) -> None:
    """UntrustedCode where `source`, a file of a run folder, names code that the user never named on this machine."""
    if not is_file_reference(reference):
        return
    path = str(_path(reference))
    if path not in _named and path not in _written_down():
        raise UntrustedCode(
            f'{source} asks to run "{reference}", and you have never named {path} on this machine; expected code you '
            "know, since it runs with your rights. Read that file; if you trust it, allow it and try again:  "
            f"unfeature trust {shlex.quote(path)}"
        )


def load_object(reference: str) -> Any:
    """The object NAME of FILE.py. BadFile where the file is missing or fails, UnknownName where it has no NAME."""
    file, _, attribute = reference.rpartition(":")
    path = _path(reference)
    if not path.is_file():
        raise BadFile(f'there is no file "{file}" (from "{reference}"); expected FILE.py:NAME. Check the path.')
    unique = f"unfeature_user_{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
    spec = importlib.util.spec_from_file_location(unique, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[unique] = module
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        raise BadFile(f"{file} could not be run{_line(error, path)}: {_told(error)}. Mend the file.") from error
    try:
        return getattr(module, attribute)
    except AttributeError:
        raise UnknownName(f"name in {file}", attribute, [n for n in vars(module) if not n.startswith("_")]) from None
    except UnfeatureError:
        raise
    except Exception as error:  # a file may make its names as they are asked for
        raise BadFile(f'"{reference}" failed{_line(error, path)}: {_told(error)}. Mend the file.') from error


def call_object(reference: str, **arguments: Any) -> Any:
    """What the function NAME of FILE.py returns; BadFile, naming error and line, where it raises another error."""
    function = load_object(reference)
    if not callable(function):
        raise BadFile(f'"{reference}" is a {type(function).__name__}; expected a function without arguments')
    try:
        return function(**arguments)
    except UnfeatureError:
        raise
    except (Exception, SystemExit) as error:
        given = f"was given {', '.join(arguments)}" if arguments else "has no arguments"
        raise BadFile(
            f'"{reference}()" failed{_line(error, _path(reference))}: {_told(error)}. Mend the function; it {given}.'
        ) from error


def _told(error: BaseException) -> str:
    """Kind and message, without the full stop at its end."""
    return f"{type(error).__name__}: {error}".rstrip(". ")


def _line(error: BaseException, path: Path) -> str:
    """The last line of the user's file that was being run."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    return f" in line {lines[-1]}" if lines else ""
