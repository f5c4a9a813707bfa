"""A dossier's archive: a plain zip of stored files with sorted names and one fixed date, and no other zip at all.

It is written and read here byte by byte, not by `zipfile`: the same files give the same bytes on every version of
Python, nothing is ever unpacked, and a reader that knows one form only has nothing to be misled by.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Mapping
from typing import NoReturn

from unfeature.errors import BadFile

MAX_BYTES = 2**31
"""Of an archive, weights and all."""

MAX_TEXT = 64 * 2**20
"""Of a file in it that is not a checkpoint."""

MAX_FILES = 32

CHECKPOINT = re.compile(r"(original|unlearned)\.(safetensors|pt|pth|ckpt|pkl|bin)")
"""Names of the weights in it."""

_NAME = re.compile(r"[a-z][a-z0-9]{0,31}\.[a-z0-9]{1,12}")
_LOCAL, _CENTRAL, _END = struct.Struct("<4s5H3I2H"), struct.Struct("<4s6H3I5H2I"), struct.Struct("<4s4H2IH")
_FILE, _ENTRY, _LAST = b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06"
_VERSION, _STORED, _TIME, _DATE = 20, 0, 0, 0x21  # zip 2.0; midnight, 1 January 1980
_UNIX, _ORDINARY = 3 << 8, 0o100644 << 16


def packed(files: Mapping[str, bytes]) -> bytes:
    """The archive of these files; BadFile where it would be too large to be read again."""
    total = sum(map(len, files.values()))
    if total > MAX_BYTES - 2**20:
        raise BadFile(f"the dossier would have {total:,} bytes; expected less than {MAX_BYTES:,}. Leave --weights out.")
    made, entries = bytearray(), bytearray()
    for name, data in sorted(files.items()):
        told = zlib.crc32(data), len(data), len(data), len(name), 0
        common = _VERSION, 0, _STORED, _TIME, _DATE, *told
        entries += _CENTRAL.pack(_ENTRY, _UNIX | _VERSION, *common, 0, 0, 0, _ORDINARY, len(made)) + name.encode()
        made += _LOCAL.pack(_FILE, *common) + name.encode() + data
    end = _LAST, 0, 0, len(files), len(files), len(entries), len(made), 0
    return bytes(made + entries + _END.pack(*end))


def unpacked(where: str, data: bytes) -> dict[str, bytes]:
    """Name -> bytes of an archive's files; nothing is written anywhere. BadFile for a zip of any other form."""
    found: dict[str, bytes] = {}
    at = 0
    while data[at : at + 4] != _ENTRY or not found:
        if data[at : at + 4] != _FILE or len(data) < at + _LOCAL.size:
            _refuse(where, f"at byte {at:,} a file should begin; got {data[at : at + 4].hex(' ') or 'the end'}")
        _, _, flags, method, _, _, _, size, unpacked_size, name_length, extra = _LOCAL.unpack_from(data, at)
        start = at + _LOCAL.size + name_length
        raw = data[at + _LOCAL.size : start]
        name = raw.decode("ascii", "replace")
        if not _NAME.fullmatch(name):
            _refuse(where, f"it has a file {name[:80]!a}, a name that no dossier has")
        if flags or method != _STORED or size != unpacked_size or extra:
            _refuse(where, f"{name} is compressed, encrypted or more than a plain file; expected it stored as it is")
        if name in found:
            _refuse(where, f"{name} is there twice")
        if len(found) == MAX_FILES:
            _refuse(where, f"it has more than {MAX_FILES} files")
        if size > MAX_TEXT and not CHECKPOINT.fullmatch(name):
            _refuse(where, f"{name} should have {size:,} bytes; expected at most {MAX_TEXT:,}")
        if start + size > len(data):
            _refuse(where, f"{name} should have {size:,} bytes; got {max(0, len(data) - start):,} before the end")
        found[name] = data[start : start + size]
        at = start + size
    return found


def first_difference(data: bytes, files: Mapping[str, bytes]) -> str:
    """Where an archive's own bytes, outside its files, are not what they should be, in words; empty where they are."""
    expected = packed(files)
    if data == expected:
        return ""
    at = next((i for i, (one, other) in enumerate(zip(data, expected, strict=False)) if one != other), None)
    if at is None:
        return f"the archive has {len(data):,} bytes; expected {len(expected):,}"
    near, offset = "the list of files at the end", 0
    for name, content in sorted(files.items()):
        offset += _LOCAL.size + len(name)
        if at < offset:
            near = f"what stands before {name}"
            break
        offset += len(content)
    return f"byte {at:,} of the archive, in {near}: expected {expected[at]:02x}, got {data[at]:02x}"


def _refuse(where: str, problem: str) -> NoReturn:
    raise BadFile(
        f"{where} is not a whole dossier ({problem}); expected the zip that `unfeature dossier` writes. "
        "Ask for it again; do not unpack this one."
    )
