"""What git's index remembers of files, written without git: it would ask the filter of LFS."""

import hashlib
import struct
from collections.abc import Mapping
from pathlib import Path

_HEADER = struct.Struct(">4sII")
_VERSIONS = (2, 3)
_FLAGS, _NAME, _MTIME, _SIZE = 60, 62, 8, 36
_EXTENDED = 0x4000
_DIGEST = 20


class IndexNotUnderstood(Exception):
    """It has a form that we do not write."""


def remember(index: Path, sizes: Mapping[bytes, int], moment: int) -> None:
    """That these files are unchanged as long as they have that size, and this time of change.

    It is what git writes down itself where a filter lays a file out in another form than it keeps.
    """
    raw = bytearray(index.read_bytes())
    magic, version, count = _HEADER.unpack_from(raw)
    if magic != b"DIRC" or version not in _VERSIONS:
        raise IndexNotUnderstood(f"an index of version {version}")
    at = _HEADER.size
    for _ in range(count):
        (flags,) = struct.unpack_from(">H", raw, at + _FLAGS)
        name = at + _NAME + (2 if flags & _EXTENDED else 0)
        end = raw.index(b"\0", name)
        size = sizes.get(bytes(raw[name:end]))
        if size is not None:
            struct.pack_into(">II", raw, at + _MTIME, moment, 0)
            struct.pack_into(">I", raw, at + _SIZE, size & 0xFFFFFFFF)
        at += (end - at + 8) & ~7  # entries are padded to eight, by one byte at least
    raw[-_DIGEST:] = hashlib.sha1(raw[:-_DIGEST], usedforsecurity=False).digest()
    draft = index.with_name("index.lock")
    draft.write_bytes(raw)
    draft.replace(index)
