"""Objects from the user's own Python files, named as FILE.py:NAME: the only code of others we ever run."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from pathlib import Path
from typing import Any

from unfeature.errors import BadFile, UnknownName


def is_file_reference(name: str) -> bool:
    """True for FILE.py:NAME."""
    return ".py:" in name


def load_object(reference: str) -> Any:
    """The object NAME of FILE.py. BadFile where the file is missing or fails, UnknownName where it has no NAME."""
    file, _, attribute = reference.rpartition(":")
    path = Path(file).resolve()
    if not path.is_file():
        raise BadFile(f'there is no file "{file}" (from "{reference}"); expected FILE.py:NAME. Check the path.')
    unique = f"unfeature_user_{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
    spec = importlib.util.spec_from_file_location(unique, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[unique] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise BadFile(f"{file} could not be run: {type(error).__name__}: {error}. Mend the file.") from error
    if not hasattr(module, attribute):
        raise UnknownName(f"name in {file}", attribute, [n for n in vars(module) if not n.startswith("_")])
    return getattr(module, attribute)


def call_object(reference: str) -> Any:
    """What the function NAME of FILE.py returns; BadFile, naming the error, where it raises."""
    function = load_object(reference)
    if not callable(function):
        raise BadFile(f'"{reference}" is a {type(function).__name__}; expected a function without arguments')
    try:
        return function()
    except Exception as error:
        raise BadFile(f'"{reference}()" failed: {type(error).__name__}: {error}') from error
