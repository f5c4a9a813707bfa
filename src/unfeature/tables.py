"""Tables of names offered to users: name -> "module:attribute", imported only when asked for."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from unfeature.errors import UnknownName


def resolve(kind: str, table: Mapping[str, str], name: str, own: str = "") -> Any:
    """What the entry points to, its module imported now; UnknownName, with kind and `own`, where there is no entry."""
    if name not in table:
        raise UnknownName(kind, name, table, own)
    module, attribute = table[name].split(":")
    return getattr(importlib.import_module(module), attribute)
