"""ZIP archives byte by byte, with whatever is wrong with them."""

import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from signalbox_catalog.domain.packages import (
    inspect,
)
from signalbox_catalog.errors import BadInput

MD = b"---\nname: greeter\ndescription: Greets everybody.\n---\n# Greeter\n"
MIB = 1024 * 1024
LOCAL, CENTRAL, END = struct.Struct("<4s5H3L2H"), struct.Struct("<4s6H3L5H2L"), struct.Struct("<4s4H2LH")
NARROW = 0xFFFF_FFFF


@dataclass(frozen=True)
class Part:
    """One entry, honest unless it is told otherwise."""

    name: str | bytes = "a.txt"
    content: bytes = b"content"
    method: int = 8
    flags: int = 0
    mode: int = 0o100644
    dos: int = 0
    comment: bytes = b""
    packed: bytes | None = None
    local: Mapping[str, Any] = field(default_factory=dict)
    central: Mapping[str, Any] = field(default_factory=dict)
    behind: bytes = b""
    """What lies between the packed bytes and the next entry."""

    @property
    def raw_name(self) -> bytes:
        return self.name if isinstance(self.name, bytes) else self.name.encode()

    @property
    def bytes(self) -> bytes:
        if self.packed is not None:
            return self.packed
        return deflated(self.content) if self.method == 8 else self.content

    def header(self, **overrides: Any) -> dict[str, Any]:
        flags = self.flags | (0 if self.raw_name.isascii() else 0x800)
        return {
            "name": self.raw_name,
            "flags": flags,
            "method": self.method,
            "crc": zlib.crc32(self.content),
            "packed": len(self.bytes),
            "size": len(self.content),
            "extra": b"",
            "version": 20,
            "disk": 0,
            "mark": None,
            **overrides,
        }


SKILL = Part("SKILL.md", MD)


def deflated(content: bytes) -> bytes:
    compressor = zlib.compressobj(9, zlib.DEFLATED, -15)
    return compressor.compress(content) + compressor.flush()


def local_of(part: Part) -> bytes:
    h = part.header(**part.local)
    numbers = (h["crc"], h["packed"], h["size"])
    head: bytes = LOCAL.pack(
        h["mark"] or b"PK\x03\x04",
        h["version"],
        h["flags"],
        h["method"],
        0,
        33,
        *numbers,
        len(h["name"]),
        len(h["extra"]),
    )
    return b"".join((head, h["name"], h["extra"]))


def central_of(part: Part, offset: int) -> bytes:
    h = {"offset": offset, **part.header(**part.central)}
    attributes = part.mode << 16 | part.dos
    head: bytes = CENTRAL.pack(
        h["mark"] or b"PK\x01\x02",
        0x0314,
        h["version"],
        h["flags"],
        h["method"],
        0,
        33,
        h["crc"],
        h["packed"],
        h["size"],
        len(h["name"]),
        len(h["extra"]),
        len(part.comment),
        h["disk"],
        0,
        attributes,
        h["offset"],
    )
    return b"".join((head, h["name"], h["extra"], part.comment))


def zipped(
    *parts: Part,
    prefix: bytes = b"",
    gap: bytes = b"",
    slack: bytes = b"",
    tail: bytes = b"",
    comment: bytes = b"",
    told: int = 0,
    records: bytes = b"",
    **end: int,
) -> bytes:
    """A ZIP of these parts; `told` is how much of the prefix the offsets know of."""
    body, offsets = bytearray(prefix), []
    for part in parts:
        offsets.append(len(body) - len(prefix) + told)
        body += local_of(part) + part.bytes + part.behind
    body += gap
    directory = b"".join(central_of(part, offset) for part, offset in zip(parts, offsets, strict=True))
    told_end = {
        "disk": 0,
        "first": 0,
        "here": len(parts),
        "count": len(parts),
        "size": len(directory),
        "start": len(body) - len(prefix) + told,
        "comment": len(comment),
        **end,
    }
    return (
        bytes(body)
        + directory
        + slack
        + records
        + END.pack(b"PK\x05\x06", *told_end.values())
        + comment
        + tail
    )


def zip64(*parts: Part, **changed: int) -> bytes:
    """With a ZIP64 end record, although it would not need one."""
    plain = zipped(*parts)
    _, *narrow, _ = END.unpack_from(plain, len(plain) - END.size)
    stop = len(plain) - END.size
    told = {
        "length": 44,
        "stop": stop,
        "disk": 0,
        "disks": 1,
        "count": narrow[3],
        "start": narrow[5],
        "gap": 0,
        **changed,
    }
    wide = (told["disk"], told["disk"], told["count"], told["count"], narrow[4], told["start"])
    record = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", told["length"], 45, 45, *wide)
    locator = struct.pack("<4sLQL", b"PK\x06\x07", told["disk"], told["stop"], told["disks"])
    records = record + bytes(told["gap"]) + locator
    return zipped(*parts, records=records, here=0xFFFF, count=0xFFFF, size=NARROW, start=NARROW)


def described(part: Part, form: str, *mark: bytes, **changed: int) -> Part:
    """With its sizes in a data descriptor, as whoever writes to a pipe has to do it."""
    told = {"crc": zlib.crc32(part.content), "packed": len(part.bytes), "size": len(part.content), **changed}
    behind = b"".join(mark) + struct.pack(form, *told.values())
    return replace(part, flags=part.flags | 8, local={"crc": 0, "packed": 0, "size": 0}, behind=behind)


def extra(kind: int, data: bytes) -> bytes:
    return struct.pack("<2H", kind, len(data)) + data


def both(part: Part, **overrides: Any) -> Part:
    return replace(part, local={**part.local, **overrides}, central={**part.central, **overrides})


def flaw_of(raw: bytes) -> tuple[str, str, str, int | None]:
    with pytest.raises(BadInput) as caught:
        inspect(raw)
    (flaw,) = caught.value.flaws
    return flaw.code, flaw.field, flaw.message, flaw.line


UNICODE_PATH = extra(0x7075, b"\x01" + struct.pack("<L", zlib.crc32(b"a.txt")) + b"a.txt")
UNIX_TIME = extra(0x5455, b"\x01\0\0\0\0")
WIDE = {"packed": NARROW, "size": NARROW, "extra": extra(1, struct.pack("<2Q", 7, len(deflated(b"content"))))}
