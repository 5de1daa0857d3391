"""Packages of skills: every well-formed one is listed as it is, every hostile one is told why not."""

import hashlib
import io
import json
import stat
import struct
import time
import tracemalloc
import unicodedata
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from signalbox_catalog.domain.archives import CHUNK
from signalbox_catalog.domain.packages import (
    MAX_FILES,
    MAX_FRONT_MATTER,
    MAX_PACKAGE,
    MAX_RATIO,
    MAX_SKILL_MD,
    MAX_UNPACKED,
    Package,
    PackagedFile,
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


def skill_md(front_matter: str | bytes) -> bytes:
    text = front_matter if isinstance(front_matter, bytes) else front_matter.encode()
    return zipped(Part("SKILL.md", b"---\n" + text + b"\n---\n"))


def flaw_of(raw: bytes) -> tuple[str, str, str, int | None]:
    with pytest.raises(BadInput) as caught:
        inspect(raw)
    (flaw,) = caught.value.flaws
    return flaw.code, flaw.field, flaw.message, flaw.line


def test_a_package_is_told_what_it_is() -> None:
    raw = zipped(
        Part("my-skill/", b"", mode=0o040755, dos=0x10, method=0),
        Part("my-skill/scripts/run.sh", b"echo", mode=0o100755),
        Part("my-skill/SKILL.md", MD, method=0),
    )
    package = inspect(raw)
    assert package.sha256 == hashlib.sha256(raw).hexdigest()
    assert (package.size, package.unpacked, package.root) == (len(raw), len(MD) + 4, "my-skill/")
    assert package.files == (
        PackagedFile("my-skill/SKILL.md", len(MD), executable=False, sha256=hashlib.sha256(MD).hexdigest()),
        PackagedFile(
            "my-skill/scripts/run.sh", 4, executable=True, sha256=hashlib.sha256(b"echo").hexdigest()
        ),
    )
    assert (package.name, package.description) == ("greeter", "Greets everybody.")
    assert package.front_matter == {"name": "greeter", "description": "Greets everybody."}


EMPTY_BLOCK = b"\0\0\0\xff\xff"
UNICODE_PATH = extra(0x7075, b"\x01" + struct.pack("<L", zlib.crc32(b"a.txt")) + b"a.txt")
UNIX_TIME = extra(0x5455, b"\x01\0\0\0\0")
WIDE = {"packed": NARROW, "size": NARROW, "extra": extra(1, struct.pack("<2Q", 7, len(deflated(b"content"))))}


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(zipped(SKILL, Part()), id="plain"),
        pytest.param(zipped(Part(), SKILL, comment=b"x" * 1024), id="comment"),
        pytest.param(zipped(SKILL, Part(comment=b"x" * 1024)), id="comment of a file"),
        pytest.param(zipped(SKILL, Part(central={"extra": extra(0xCAFE, b"")})), id="JAR"),
        pytest.param(zipped(SKILL, both(Part(), version=63)), id="latest version"),
        pytest.param(
            zipped(SKILL, both(Part(comment=b"x"), extra=UNIX_TIME + UNICODE_PATH)), id="extra fields"
        ),
        pytest.param(zipped(SKILL, described(Part(), "<3L")), id="bare descriptor"),
        pytest.param(zipped(SKILL, described(Part(), "<3L", b"PK\x07\x08")), id="descriptor"),
        pytest.param(zipped(SKILL, described(Part(), "<L2Q")), id="bare wide descriptor"),
        pytest.param(zipped(described(Part(), "<L2Q", b"PK\x07\x08"), SKILL), id="wide descriptor"),
        pytest.param(zipped(SKILL, described(Part(method=0), "<3L", b"PK\x07\x08")), id="stored, descriptor"),
        pytest.param(zip64(SKILL, Part()), id="ZIP64 end"),
        pytest.param(zipped(SKILL, both(Part(), **WIDE)), id="ZIP64 sizes"),
        pytest.param(zipped(SKILL, replace(Part(), local=WIDE)), id="ZIP64 sizes in the local header"),
        pytest.param(zipped(SKILL, Part("sub/", b"", mode=0o040755)), id="empty folder"),
        pytest.param(zipped(SKILL, Part("sub/", b"", mode=0)), id="folder without a mode"),
        pytest.param(zipped(Part("sub/", b"", mode=0o040755), SKILL, Part("sub/a")), id="folder first"),
        pytest.param(zipped(SKILL, Part("a", mode=0)), id="file without a mode"),
        pytest.param(zipped(SKILL, Part("a", b"", method=0)), id="empty file"),
        pytest.param(zipped(SKILL, Part("/".join("a" * 16))), id="as deep as it may be"),
        pytest.param(zipped(SKILL, Part("é" * 127 + "e")), id="as long as a name may be"),
        pytest.param(
            zipped(SKILL, Part("/".join(["a" * 204] * 5 + ["b"])[2:])), id="as long as a path may be"
        ),
        pytest.param(
            zipped(SKILL, Part(content=b"", packed=EMPTY_BLOCK * 30_000 + deflated(b""))), id="blocks"
        ),
        pytest.param(zipped(SKILL, Part(content=b"a" * 262_165)), id="a last chunk without any input"),
        pytest.param(zipped(SKILL, Part("e\u0301")), id="not normalised"),
        pytest.param(zipped(SKILL, Part(".hidden"), Part("..a"), Part("a b"), Part("-rf")), id="odd names"),
        pytest.param(zipped(SKILL, Part("x", bytes(MIB))), id="a MiB of nothing"),
    ],
)
def test_what_ordinary_tools_write_is_accepted_and_read_as_others_read_it(raw: bytes) -> None:
    package = inspect(raw)
    with zipfile.ZipFile(io.BytesIO(raw)) as archive:
        assert archive.testzip() is None
        files = {i.filename: archive.read(i) for i in archive.infolist() if not i.is_dir()}
    assert {file.path: file.sha256 for file in package.files} == {
        path: hashlib.sha256(content).hexdigest() for path, content in files.items()
    }


def without_mark() -> bytes:
    return zipped(SKILL, Part()).replace(b"PK\x03\x04", b"PK\x03\x05")


def overlapping() -> bytes:
    """As in David Fifield's bombs: the first file quotes the header of the second and shares its bytes."""
    second = Part("b", b"kernel")
    quoted = local_of(second)
    stored = b"\x00" + struct.pack("<HH", len(quoted), len(quoted) ^ 0xFFFF) + quoted
    first = Part("a", quoted + b"kernel", packed=stored + second.bytes)
    lead = local_of(SKILL) + SKILL.bytes
    at = len(lead) + len(local_of(first)) + len(stored) - len(quoted)
    body = lead + local_of(first) + first.bytes
    directory = central_of(SKILL, 0) + central_of(first, len(lead)) + central_of(second, at)
    return body + directory + END.pack(b"PK\x05\x06", 0, 0, 3, 3, len(directory), len(body), 0)


def header_in_the_comment() -> bytes:
    length = len(zipped(SKILL, Part()))
    return zipped(SKILL, Part(central={"offset": length}), comment=b"PK\x03\x04")


def ending_with_a_step() -> bytes:
    """A stored block that ends where the reader's first 64 KiB end."""
    return b"\x01" + struct.pack("<HH", 65_531, 65_531 ^ 0xFFFF) + bytes(65_531)


def twice_the_same_bytes() -> bytes:
    body = local_of(SKILL) + SKILL.bytes
    directory = central_of(SKILL, 0) * 2
    return body + directory + END.pack(b"PK\x05\x06", 0, 0, 2, 2, len(directory), len(body), 0)


def test_the_overlapping_archive_would_deceive_a_trusting_reader() -> None:
    with zipfile.ZipFile(io.BytesIO(overlapping())) as archive:
        assert {i.filename for i in archive.infolist()} == {"SKILL.md", "a", "b"}


PLAIN = zipped(SKILL, Part())
RATIO_TOO_HIGH = bytes(MIB + 1)
ARCHIVES: dict[str, list[tuple[str, bytes, str]]] = {
    "not_a_zip": [
        ("nothing", b"", ""),
        ("text", b"hello" * 100, ""),
        ("another format", b"\x1f\x8b\x08" + bytes(100), ""),
    ],
    "zip_truncated": [
        ("no end", PLAIN[: -END.size], ""),
        ("half", PLAIN[: len(PLAIN) // 2], ""),
        ("inside the end", PLAIN[:-1], ""),
        ("inside the comment", zipped(SKILL, comment=b"abc")[:-1], ""),
    ],
    "zip_foreign_bytes": [
        ("behind the end", PLAIN + b"\n", ""),
        ("a long way behind the end", PLAIN + bytes(70_000), ""),
        ("before the beginning", zipped(SKILL, prefix=b"#!/bin/sh\n"), ""),
        ("before the beginning, as the offsets know", zipped(SKILL, prefix=b"MZ" * 5, told=10), ""),
        ("between entries", zipped(replace(SKILL, behind=b"?"), Part()), ""),
        ("a hidden entry", zipped(replace(SKILL, behind=local_of(Part()) + Part().bytes), Part("b")), ""),
        ("before the central directory", zipped(SKILL, gap=b"gap"), ""),
        ("behind the central directory", zipped(SKILL, slack=b"slack"), ""),
        ("where a descriptor would be", zipped(replace(SKILL, flags=8, behind=b"x" * 13)), ""),
        ("no entries at all", zipped(gap=b"gap"), ""),
    ],
    "bad_zip": [
        ("the directory is elsewhere", zipped(SKILL, start=len(MD) * 9), ""),
        ("the directory has less", zipped(SKILL, here=2, count=2), ""),
        ("the directory has more", zipped(SKILL, Part(), here=1, count=1), ""),
        ("another mark in the directory", zipped(replace(SKILL, central={"mark": b"PK\x01\x03"})), ""),
        ("the directory stops in an entry", zipped(SKILL, slack=b"PK\x01\x02", here=2, count=2, size=58), ""),
        ("something before the ZIP64 locator", zip64(SKILL, gap=4), ""),
        (
            "a name that has no end",
            PLAIN[: PLAIN.rindex(b"PK\x01\x02") + 28]
            + b"\xff\xff"
            + PLAIN[PLAIN.rindex(b"PK\x01\x02") + 30 :],
            "",
        ),
        ("the ZIP64 record is elsewhere", zip64(SKILL, stop=3), ""),
        ("the ZIP64 record is longer", zip64(SKILL, length=45), ""),
        ("the ZIP64 offset is out of bounds", zip64(SKILL, start=2**63), ""),
    ],
    "zip_comment_too_long": [
        ("of the ZIP", zipped(SKILL, comment=b"x" * 1025), ""),
        ("of a file", zipped(SKILL, Part(comment=b"x" * 1025)), "a.txt"),
    ],
    "zip_multi_disk": [
        ("a later disk", zipped(SKILL, disk=1), ""),
        ("a directory on another disk", zipped(SKILL, first=1), ""),
        ("fewer entries here", zipped(SKILL, Part(), here=1), ""),
        ("an entry on another disk", zipped(SKILL, Part(central={"disk": 1})), "a.txt"),
        ("ZIP64 of two disks", zip64(SKILL, disks=2), ""),
        ("ZIP64 on another disk", zip64(SKILL, disk=1), ""),
    ],
    "zip_encrypted": [
        ("as ever", zipped(SKILL, Part(flags=0x1)), "a.txt"),
        ("strongly", zipped(SKILL, Part(flags=0x41)), "a.txt"),
        ("with masked headers", zipped(SKILL, Part(flags=0x2000)), "a.txt"),
    ],
    "zip_method": [
        (f"method {method}", zipped(SKILL, Part(method=method)), "a.txt") for method in (1, 9, 12, 14, 93, 99)
    ],
    "zip_feature": [
        ("patches", zipped(SKILL, Part(flags=0x20)), "a.txt"),
        ("a flag without a meaning", zipped(SKILL, Part(flags=0x80)), "a.txt"),
        ("a later version", zipped(SKILL, Part(central={"version": 64})), "a.txt"),
    ],
    "zip_extra_field": [
        ("unknown", zipped(SKILL, Part(central={"extra": extra(0x9999, b"")})), "a.txt"),
        ("unknown in the local header", zipped(SKILL, Part(local={"extra": extra(0x9999, b"")})), "a.txt"),
        ("with a link in it", zipped(SKILL, both(Part(), extra=extra(0x756E, bytes(14) + b"/etc"))), "a.txt"),
        ("encryption", zipped(SKILL, both(Part(), extra=extra(0x9901, bytes(7)))), "a.txt"),
        ("too long", zipped(SKILL, Part(central={"extra": struct.pack("<2H", 0x5455, 5)})), "a.txt"),
        ("too short", zipped(SKILL, Part(central={"extra": b"UT"})), "a.txt"),
        ("twice", zipped(SKILL, Part(central={"extra": UNIX_TIME * 2})), "a.txt"),
        ("ZIP64 that nobody asked for", zipped(SKILL, Part(central={"extra": extra(1, bytes(8))})), "a.txt"),
        (
            "ZIP64 that is too short",
            zipped(SKILL, Part(central={**WIDE, "extra": extra(1, bytes(8))})),
            "a.txt",
        ),
    ],
    "zip_headers_disagree": [
        ("name", zipped(SKILL, Part(local={"name": b"b.txt"})), "a.txt"),
        ("flags", zipped(SKILL, Part(local={"flags": 0x800})), "a.txt"),
        ("method", zipped(SKILL, Part(local={"method": 0})), "a.txt"),
        ("checksum", zipped(SKILL, Part(local={"crc": 1})), "a.txt"),
        ("packed size", zipped(SKILL, Part(local={"packed": 1})), "a.txt"),
        ("size", zipped(SKILL, Part(local={"size": 8})), "a.txt"),
        ("size of zero without a descriptor", zipped(SKILL, Part(local={"size": 0})), "a.txt"),
        ("ZIP64 size", zipped(SKILL, Part(local={**WIDE, "extra": extra(1, bytes(16))})), "a.txt"),
        ("Unicode path", zipped(SKILL, both(Part("b.txt"), extra=UNICODE_PATH)), "b.txt"),
        ("two sizes of a stored file", zipped(SKILL, both(Part(method=0), size=8)), "a.txt"),
        ("no header there", zipped(SKILL, Part(local={"mark": b"PK\x03\x05"})), "a.txt"),
        ("a header out of bounds", zipped(SKILL, Part(central={"offset": 10**6})), "a.txt"),
        ("a header in the comment", header_in_the_comment(), "a.txt"),
        ("descriptor: checksum", zipped(SKILL, described(Part(), "<3L", b"PK\x07\x08", crc=1)), "a.txt"),
        ("descriptor: packed size", zipped(SKILL, described(Part(), "<3L", packed=1)), "a.txt"),
        ("descriptor: size", zipped(SKILL, described(Part(), "<L2Q", size=1)), "a.txt"),
        ("descriptor: mark", zipped(SKILL, described(Part(), "<3L", b"PK\x07\x09")), "a.txt"),
        (
            "end records",
            zip64(SKILL, count=1).replace(b"\xff\xff\xff\xff" * 2, b"\x01\0\0\0" + b"\xff" * 4),
            "",
        ),
    ],
    "zip_overlap": [
        ("quoted headers", overlapping(), "a"),
        ("one file twice", twice_the_same_bytes(), "SKILL.md"),
        ("the directory", zipped(SKILL, both(Part(), packed=40)), "a.txt"),
    ],
    "zip_bad_data": [
        ("not deflate", zipped(SKILL, Part(packed=b"\xff" * 9)), "a.txt"),
        ("not all of it", zipped(SKILL, Part(packed=deflated(b"content")[:-1])), "a.txt"),
        ("nothing", zipped(SKILL, Part(packed=b"")), "a.txt"),
        ("more than that", zipped(SKILL, Part(packed=deflated(b"content") + b"hidden")), "a.txt"),
        ("far more than that", zipped(SKILL, Part(packed=deflated(b"content") + bytes(100_000))), "a.txt"),
        (
            "more behind the first step",
            zipped(SKILL, Part("a", bytes(65_531), packed=ending_with_a_step() + b"?")),
            "a",
        ),
        ("in what is not listed", zipped(SKILL, Part("__MACOSX/a", packed=b"\xff" * 9)), "__MACOSX/a"),
    ],
    "zip_wrong_size": [
        ("larger", zipped(SKILL, both(Part(), size=6)), "a.txt"),
        ("smaller", zipped(SKILL, both(Part(), size=8)), "a.txt"),
        ("of a folder", zipped(SKILL, both(Part("sub/", b"x", mode=0o040755), size=0)), "sub/"),
    ],
    "zip_wrong_checksum": [
        ("deflated", zipped(SKILL, both(Part(), crc=7)), "a.txt"),
        ("stored", zipped(SKILL, both(Part(method=0), crc=7)), "a.txt"),
    ],
    "zip_ratio": [
        ("zeros", zipped(SKILL, Part(content=RATIO_TOO_HIGH)), "a.txt"),
        ("as it says", zipped(SKILL, both(Part(), size=MIB + 1)), "a.txt"),
    ],
    "unpacked_too_large": [
        ("one", zipped(SKILL, both(Part(), size=MAX_UNPACKED)), ""),
        ("together", zipped(SKILL, *(both(Part(f"f{n}"), size=MIB) for n in range(64))), ""),
        ("ZIP64", zipped(SKILL, both(Part(), size=NARROW, extra=extra(1, struct.pack("<Q", 2**63)))), ""),
    ],
    "too_many_files": [
        ("files", zipped(SKILL, *(Part(f"f{n}", b"", method=0) for n in range(MAX_FILES))), ""),
        ("as it says", zip64(SKILL, count=2**40), ""),
    ],
}
PATHS: dict[str, list[str | bytes]] = {
    "path_absolute": ["/etc/passwd", "//a"],
    "path_dots": ["../a", "a/../../b", "a/..", "./a", "a/./b", "..", "../"],
    "path_backslash": ["..\\a", "a\\b"],
    "path_drive": ["C:/a", "c:a"],
    "path_control_character": [
        "a\0.txt",
        "a\n",
        "a\x1b[2J",
        "a\x7f",
        "a\u202egnp.exe",
        "a\u200b",
        "\ufeffa",
        "a\u2028b",
    ],
    "path_empty_name": ["a//b", "a//", "", "/"],
    "path_trailing_character": ["a.", "a ", "a./b", "a /b", "a\u00a0", "..."],
    "path_too_long": ["a" * 256, "é" * 128, "b/" + "a" * 256, "/".join(["a" * 200] * 6)],
    "path_too_deep": ["/".join("a" * 17), "a/" * 17],
    "path_not_utf8": [b"\xff.txt", b"\xc3\xa9\xc3", b"\xed\xa0\x80", b"\xc0\xae\xc0\xae"],
    "path_alike": ["Skill.md", "SKILL.MD", "ſkill.md"],
}
PAIRS: list[tuple[str, str, str]] = [
    ("path_twice", "a", "a"),
    ("path_twice", "a/", "a/"),
    ("path_alike", "lib/a", "Lib/b"),
    ("path_alike", "é", "e\u0301"),
    ("path_alike", "straße", "STRASSE"),
    ("path_alike", "a/b", "A"),
    ("path_file_and_folder", "a", "a/b"),
    ("path_file_and_folder", "a/b", "a"),
    ("path_file_and_folder", "a", "a/"),
    ("path_file_and_folder", "a/b/c/d", "a/b"),
]
KINDS: list[tuple[str, Part]] = [
    ("symlink", Part("a", b"/etc/passwd", mode=stat.S_IFLNK | 0o777)),
    ("symlink", Part("a/", b"", mode=stat.S_IFLNK | 0o777)),
    ("special_file", Part("a", mode=stat.S_IFIFO | 0o644)),
    ("special_file", Part("a", mode=stat.S_IFCHR | 0o644)),
    ("special_file", Part("a", mode=stat.S_IFBLK | 0o644)),
    ("special_file", Part("a", mode=stat.S_IFSOCK | 0o644)),
    ("special_file", Part("a", mode=0xF000)),
    ("special_file", Part("a", mode=0, dos=0x08)),
    ("setuid", Part("a", mode=0o104755)),
    ("setuid", Part("a", mode=0o102755)),
    ("setuid", Part("a/", b"", mode=0o041777)),
    ("setuid", Part("a", mode=0o4755)),
    ("path_file_and_folder", Part("a", mode=0o040755)),
    ("path_file_and_folder", Part("a/", b"", mode=0o100644)),
    ("path_file_and_folder", Part("a", dos=0x10)),
    ("path_file_and_folder", Part("a/", b"content", mode=0o040755)),
]


def utf8(name: str | bytes) -> Part:
    return Part(name, b"") if isinstance(name, bytes) else Part(name, b"", mode=0)


@pytest.mark.parametrize(
    ("code", "raw", "where"),
    [
        pytest.param(code, raw, where, id=f"{code}: {what}")
        for code, cases in ARCHIVES.items()
        for what, raw, where in cases
    ],
)
def test_an_archive_that_is_not_what_it_says_is_refused(code: str, raw: bytes, where: str) -> None:
    found, path, message, _ = flaw_of(raw)
    assert (found, path) == (code, where), message
    assert where in message
    assert message.endswith(".")


@pytest.mark.parametrize(
    ("code", "name"),
    [pytest.param(code, name, id=f"{code} {name!r:.60}") for code, names in PATHS.items() for name in names],
)
def test_a_path_that_could_do_harm_is_refused(code: str, name: str | bytes) -> None:
    found, path, message, _ = flaw_of(zipped(SKILL, utf8(name)))
    assert found == code, message
    assert path in message
    assert path.isprintable()
    assert len(path) <= 301


def test_a_name_in_another_encoding_is_refused() -> None:
    part = Part("é", b"")
    assert flaw_of(zipped(SKILL, both(part, flags=0)))[0] == "path_not_utf8"


@pytest.mark.parametrize(("code", "first", "second"), PAIRS)
def test_two_paths_that_could_be_the_same_place_are_refused(code: str, first: str, second: str) -> None:
    parts = [Part(name, b"", mode=0) for name in (first, second)]
    found, path, message, _ = flaw_of(zipped(SKILL, *parts))
    assert (found, path) == (code, second), message
    for part in parts:
        inspect(zipped(SKILL, part))


@pytest.mark.parametrize(("code", "part"), KINDS)
def test_only_regular_files_and_folders_are_accepted(code: str, part: Part) -> None:
    assert flaw_of(zipped(SKILL, part))[:2] == (code, part.name)
    usual = replace(part, mode=0, dos=0, content=b"" if part.raw_name.endswith(b"/") else part.content)
    inspect(zipped(SKILL, usual))


def test_a_package_that_is_too_large_is_refused_unread() -> None:
    assert flaw_of(bytes(MAX_PACKAGE + 1))[0] == "package_too_large"
    assert flaw_of(bytes(MAX_PACKAGE))[0] == "not_a_zip"


def test_the_limits_themselves_are_allowed() -> None:
    names = [f"f{n}" for n in range(MAX_FILES - 1)]
    assert len(inspect(zipped(SKILL, *(Part(n, b"", method=0) for n in names))).files) == MAX_FILES
    content = bytes(MIB) + hashlib.shake_256(b"").digest(MIB // MAX_RATIO + 100)
    assert inspect(zipped(SKILL, Part(content=content))).unpacked == len(content) + len(MD)
    packed = next(
        size for size in range(5300, 5900) if not (size - len(deflated(bytes(MAX_RATIO * size)))) % 5
    )
    zeros = bytes(MAX_RATIO * packed)
    blocks = EMPTY_BLOCK * ((packed - len(deflated(zeros))) // 5)
    part = Part(content=zeros, packed=blocks + deflated(zeros))
    assert inspect(zipped(SKILL, part)).unpacked == MAX_RATIO * len(part.bytes) + len(MD)
    md = MD + bytes(MAX_SKILL_MD - len(MD))
    assert inspect(zipped(Part("SKILL.md", md))).unpacked == MAX_SKILL_MD
    full = [Part(f"f{n}", bytes(MIB)) for n in range(63)] + [Part("rest", bytes(MIB - len(MD)))]
    assert inspect(zipped(SKILL, *full)).unpacked == MAX_UNPACKED
    assert flaw_of(zipped(SKILL, *full, Part("one", b"1")))[0] == "unpacked_too_large"


@pytest.mark.parametrize(
    ("names", "root"),
    [
        (["SKILL.md"], ""),
        (["SKILL.md", "sub/SKILL.md"], ""),
        (["sub/SKILL.md", "SKILL.md", "other/a"], ""),
        (["sub/SKILL.md", "sub/a/b"], "sub/"),
        (["sub/SKILL.md", "sub/sub/SKILL.md"], "sub/"),
        (["sub/SKILL.md", "__MACOSX/sub/._SKILL.md", ".DS_Store", "sub/.DS_Store"], "sub/"),
        (["SKILL.md/SKILL.md"], "SKILL.md/"),
        (["sub/a/SKILL.md"], None),
        (["sub/SKILL.md", "other/a"], None),
        (["sub/SKILL.md", "a"], None),
        (["skill.md"], None),
        (["sub/Skill.md"], None),
        (["SKILL.md/"], None),
        (["__MACOSX/SKILL.md"], None),
        (["README.md"], None),
        ([], None),
    ],
)
def test_the_skill_lies_at_the_top_or_in_the_single_folder(names: list[str], root: str | None) -> None:
    raw = zipped(*(Part(name, b"" if name.endswith("/") else MD, mode=0) for name in names))
    if root is None:
        assert flaw_of(raw)[:2] == ("no_skill_md", "SKILL.md")
        return
    package = inspect(raw)
    assert package.root == root
    litter = {name for name in names if "__MACOSX" in name or ".DS_Store" in name}
    assert [file.path for file in package.files] == sorted(set(names) - litter)
    assert all(file.path.startswith(root) for file in package.files)


OK = "description: x\n"
DEEP = OK + "a: " + "[" * 16 + "]" * 16
FRONT_MATTER: list[tuple[str, bytes, int | None]] = [
    ("skill_md_too_large", zipped(Part("SKILL.md", MD + bytes(MAX_SKILL_MD))), None),
    ("skill_md_not_utf8", zipped(Part("SKILL.md", MD + b"\xff")), None),
    ("skill_md_not_utf8", zipped(Part("SKILL.md", MD.decode().encode("utf-16"))), None),
    ("no_front_matter", zipped(Part("SKILL.md", b"")), 1),
    ("no_front_matter", zipped(Part("SKILL.md", b"# Greeter\n")), 1),
    ("no_front_matter", zipped(Part("SKILL.md", b"---\ndescription: x\n")), 1),
    ("no_front_matter", zipped(Part("SKILL.md", b"\n" + MD)), 1),
    ("no_front_matter", zipped(Part("SKILL.md", b"\xef\xbb\xbf" + MD)), 1),
    ("no_front_matter", zipped(Part("SKILL.md", b"----\ndescription: x\n----\n")), 1),
    ("no_front_matter", zipped(Part("SKILL.md", b" ---\ndescription: x\n ---\n")), 1),
    ("front_matter_not_mapping", skill_md(""), 2),
    ("front_matter_not_mapping", skill_md("# only a comment"), 2),
    ("front_matter_not_mapping", skill_md("- description"), 2),
    ("front_matter_not_mapping", skill_md("description"), 2),
    ("front_matter_bad_yaml", skill_md(OK + "a: [1"), 4),
    ("front_matter_bad_yaml", skill_md(OK + "a: b: c"), 3),
    ("front_matter_bad_yaml", skill_md(OK + "\ta: 1"), 3),
    ("front_matter_bad_yaml", skill_md(OK + "a: \x07"), None),
    ("front_matter_bad_yaml", skill_md(OK + 'a: "\\ud800"'), 3),
    ("front_matter_bad_yaml", skill_md(OK + "...\na: 1"), 4),
    ("front_matter_bad_yaml", skill_md(OK + "--- {a: 1}"), 3),
    ("front_matter_bad_yaml", skill_md(OK + "\r---\ra: 1"), 4),
    ("front_matter_alias", skill_md(OK + "a: &a [1]\nb: *a"), 3),
    ("front_matter_alias", skill_md("&a description: x"), 2),
    ("front_matter_alias", skill_md(OK + "a: *nowhere"), 3),
    ("front_matter_bad_key", skill_md(OK + "<<: {a: 1}"), 3),
    ("front_matter_bad_key", skill_md(OK + "? [a]\n: 1"), 3),
    ("front_matter_bad_key", skill_md(OK + "a: {{b: 1}: 2}"), 3),
    ("front_matter_duplicate_key", skill_md(OK + "description: y"), 3),
    ("front_matter_duplicate_key", skill_md(OK + "a:\n  b: 1\n  'b': 2"), 5),
    ("front_matter_tag", skill_md(OK + "a: !!python/object/apply:os.system [id]"), 3),
    ("front_matter_tag", skill_md(OK + "a: !!binary aGk="), 3),
    ("front_matter_tag", skill_md(OK + "a: !!set {b}"), 3),
    ("front_matter_tag", skill_md(OK + "a: ! b"), 3),
    ("front_matter_bad_value", skill_md(OK + "a: .nan"), 3),
    ("front_matter_bad_value", skill_md(OK + "a: -.inf"), 3),
    ("front_matter_bad_value", skill_md(OK + "a: 1.0e+999"), 3),
    ("front_matter_bad_value", skill_md(OK + "a: 9223372036854775808"), 3),
    ("front_matter_bad_value", skill_md(OK + "a: " + "9" * 5000), 3),
    ("front_matter_bad_value", skill_md(OK + "a: 0x" + "f" * 5000), 3),
    ("front_matter_bad_value", skill_md(OK + "a: 0x_"), 3),
    ("front_matter_bad_value", skill_md(OK + 'a: "\\0"'), 3),
    ("front_matter_bad_value", skill_md(OK + '"\\0": a'), 3),
    ("front_matter_too_deep", skill_md(DEEP), 3),
    ("front_matter_too_deep", skill_md(OK + "a: " + "[" * 60_000), 3),
    ("front_matter_too_deep", skill_md(OK + "a:\n  " + "- " * 30_000), 4),
    ("front_matter_too_large", skill_md(OK + "#" * (MAX_FRONT_MATTER - len(OK) + 1)), 1),
    ("front_matter_too_large", skill_md(OK + "a: [" + "1," * 3993 + "]"), 4),
    ("front_matter_no_description", skill_md("name: x"), 1),
    ("front_matter_no_description", skill_md("{}"), 1),
    ("front_matter_bad_description", skill_md("description:"), None),
    ("front_matter_bad_description", skill_md("description: ' '"), None),
    ("front_matter_bad_description", skill_md("description: [x]"), None),
    ("front_matter_bad_description", skill_md("description: 1"), None),
    ("front_matter_bad_name", skill_md(OK + "name: ''"), None),
    ("front_matter_bad_name", skill_md(OK + "name: yes"), None),
    ("front_matter_bad_name", skill_md(OK + "name: ~"), None),
]


@pytest.mark.parametrize(
    ("code", "raw", "line"),
    [pytest.param(*case, id=f"{case[0]}-{number}") for number, case in enumerate(FRONT_MATTER)],
)
def test_a_skill_md_that_nobody_could_use_is_refused(code: str, raw: bytes, line: int | None) -> None:
    found, path, message, where = flaw_of(raw)
    assert (found, path, where) == (code, "SKILL.md", line), message
    assert message.endswith(".")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a: 2024-01-01", "2024-01-01"),
        ("a: 2024-01-01T10:00:00Z", "2024-01-01T10:00:00Z"),
        ("a: 1.5", 1.5),
        ("a: -9223372036854775807", -9223372036854775807),
        ("a: [yes, no, ~, '1', =]", [True, False, None, "1", "="]),
        ("a: {on: 1, 2: x, ~: y}", {"on": 1, "2": "x", "~": "y"}),
        ("a: |\n  one\n  two\n", "one\ntwo\n"),
        ("a: " + "[" * 15 + "]" * 15, json.loads("[" * 15 + "]" * 15)),
        ("a: [" + "1," * 3992 + "]", [1] * 3992),
        ("a: 1\n" + "#" * (MAX_FRONT_MATTER - len(OK) - 5), 1),
        ('a: "\\ud83d"'.replace("\\ud83d", "\\U0001F600"), "😀"),
    ],
)
def test_front_matter_is_what_json_can_say(text: str, value: Any) -> None:
    assert inspect(skill_md(f"{OK}{text}")).front_matter["a"] == value


def test_what_is_wrong_with_the_yaml_is_said() -> None:
    assert "not good YAML: mapping values are not allowed" in flaw_of(skill_md(OK + "a: b: c"))[2]
    assert "a character that YAML does not allow" in flaw_of(skill_md(OK + "a: \x07"))[2]


def test_a_comment_is_no_zip64_locator() -> None:
    locator = struct.pack("<4sLQL", b"PK\x06\x07", 1, 0, 1)
    assert flaw_of(zipped(comment=locator))[0] == "no_skill_md"


def test_front_matter_may_have_the_line_ends_of_windows_and_text_around_it_that_is_cut() -> None:
    package = inspect(
        zipped(Part("SKILL.md", b"--- \r\ndescription: |\r\n  Greets.\r\n\r\n---\t\r\nbody\n---\n"))
    )
    assert (package.name, package.description) == (None, "Greets.")
    assert package.front_matter == {"description": "Greets.\n"}


def bomb_that_lies() -> bytes:
    """Says that it is small, and has sixty MiB in it."""
    return zipped(SKILL, replace(both(Part(), size=1000), packed=deflated(bytes(60 * MIB))))


def directory_without_end() -> bytes:
    """A central directory of nine MiB that says that it is short."""
    entry = central_of(Part("", b""), 0)
    directory = entry * (9 * MIB // len(entry))
    return directory + END.pack(b"PK\x05\x06", 0, 0, MAX_FILES, MAX_FILES, len(directory), 0, 0)


def longest_paths() -> bytes:
    stem = "/".join(["ΐ" * 30] * 15)
    return zipped(SKILL, *(Part(f"{n:04}{stem}", b"", mode=0) for n in range(MAX_FILES - 1)))


@pytest.mark.parametrize(
    ("build", "code", "most"),
    [
        (bomb_that_lies, "zip_wrong_size", 6 * CHUNK),
        (directory_without_end, "zip_headers_disagree", CHUNK),
        (lambda: zipped(SKILL, *(Part(f"f{n}", bytes(MIB)) for n in range(63))), None, 8 * CHUNK),
        (longest_paths, None, 12 * MIB),  # the names alone are three MiB
        (lambda: skill_md(OK + "a: [" + "[]," * 20_000 + "]"), "front_matter_too_large", 8 * MIB),
    ],
)
def test_a_bomb_takes_little_memory_and_time(build: Callable[[], bytes], code: str | None, most: int) -> None:
    raw = build()
    tracemalloc.start()
    started = time.process_time()
    try:
        before, _ = tracemalloc.get_traced_memory()
        if code is None:
            inspect(raw)
        else:
            assert flaw_of(raw)[0] == code
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak - before < most
    assert time.process_time() - started < 10  # far more than it takes, far less than a bomb wants


CHARACTERS = st.characters(categories=("L", "M", "N", "P", "S"), exclude_characters="/\\:")
NAMES = st.text(CHARACTERS | st.just(" "), min_size=1, max_size=12).filter(
    lambda name: name.strip(" ") == name and not name.endswith(".") and name not in {".DS_Store", "__MACOSX"}
)
PATHS_OF_FILES = st.lists(NAMES, min_size=1, max_size=5).map("/".join)
CONTENTS = st.binary(max_size=200) | st.binary(min_size=1, max_size=4).map(lambda seed: seed * 100_000)


def folded(path: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", path).casefold())


def fitting(files: Mapping[str, bytes]) -> dict[str, bytes]:
    """Those that can lie beside each other everywhere."""
    spelled: dict[str, str] = {}
    chosen: dict[str, bytes] = {}
    for path, content in files.items():
        prefixes = [path[:at] + "/" for at, c in enumerate(path) if c == "/"]
        as_folder, as_file = folded(path) + "/", folded(path)
        clash = as_folder in spelled or as_file in spelled
        for prefix in prefixes:
            clash |= spelled.get(folded(prefix), prefix) != prefix or folded(prefix[:-1]) in spelled
        if not clash:
            spelled |= {folded(prefix): prefix for prefix in prefixes} | {as_file: path}
            chosen[path] = content
    return chosen


@given(
    st.dictionaries(PATHS_OF_FILES, st.tuples(CONTENTS, st.booleans()), max_size=8),
    st.just("") | NAMES.map(lambda name: f"{name}/"),
    st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED]),
    st.booleans(),
)
@settings(suppress_health_check=[HealthCheck.too_slow])
def test_every_well_formed_skill_is_listed_as_it_is(
    given_files: dict[str, tuple[bytes, bool]], root: str, method: int, streamed: bool
) -> None:
    executable = {f"{root}{path}": flag for path, (_, flag) in given_files.items()}
    wanted = {f"{root}{path}": content for path, (content, _) in given_files.items()}
    wanted.pop(f"{root}SKILL.md", None)
    files = fitting({f"{root}SKILL.md": MD} | wanted)
    buffer = Pipe() if streamed else io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for path, content in files.items():
            info = zipfile.ZipInfo(path)
            info.external_attr = (0o100755 if executable.get(path) else 0o100644) << 16
            archive.writestr(info, content, method)
    package = inspect(buffer.getvalue())
    assert package.root == root
    assert package.unpacked == sum(map(len, files.values()))
    assert [(f.path, f.size, f.executable, f.sha256) for f in package.files] == [
        (path, len(files[path]), bool(executable.get(path)), hashlib.sha256(files[path]).hexdigest())
        for path in sorted(files)
    ]


class Pipe(io.BytesIO):
    """Somewhere to write to without going back, so that data descriptors are needed."""

    def seekable(self) -> bool:
        return False

    def tell(self) -> int:
        raise io.UnsupportedOperation

    def seek(self, offset: int, whence: int = 0, /) -> int:
        raise io.UnsupportedOperation


def outcome(raw: bytes) -> Package | str:
    """The package, or the code of its flaw."""
    try:
        return inspect(raw)
    except BadInput as refused:
        return refused.flaws[0].code


def agrees(raw: bytes) -> None:
    """Refused with a flaw, or accepted and seen by `zipfile` just the same."""
    package = outcome(raw)
    if isinstance(package, str):
        return
    with zipfile.ZipFile(io.BytesIO(raw)) as archive:
        found = {i.filename: archive.read(i) for i in archive.infolist() if not i.is_dir()}
    assert {file.path: file.sha256 for file in package.files} == {
        path: hashlib.sha256(content).hexdigest() for path, content in found.items()
    }


GOOD = [
    zipped(SKILL, Part("a/b.sh", b"echo " * 9, mode=0o100755), both(Part(), extra=UNIX_TIME + UNICODE_PATH)),
    zip64(described(Part(), "<3L", b"PK\x07\x08"), Part("é/", b"", mode=0o040755), SKILL),
    zipped(both(Part(), **WIDE), replace(SKILL, method=0), comment=b"comment"),
]


@given(st.binary(max_size=500), st.sampled_from([b"", b"PK\x03\x04", b"PK\x05\x06"]))
@settings(max_examples=300)
def test_random_bytes_are_only_ever_refused(noise: bytes, mark: bytes) -> None:
    for raw in (mark + noise, noise + mark + noise[:18]):
        with pytest.raises(BadInput):
            inspect(raw)


@pytest.mark.parametrize("good", GOOD)
def test_every_single_byte_that_is_changed_or_missing_is_noticed_or_does_not_matter(good: bytes) -> None:
    inspect(good)
    for at in range(len(good)):
        for changed in (0x00, 0x01, 0x80, 0xFF):
            agrees(good[:at] + bytes([good[at] ^ changed or changed]) + good[at + 1 :])
        agrees(good[:at] + good[at + 1 :])
        with pytest.raises(BadInput):
            inspect(good[:at])


@given(
    st.sampled_from(GOOD),
    st.lists(
        st.tuples(st.integers(0, 2**16), st.binary(max_size=4), st.integers(0, 4)), min_size=1, max_size=6
    ),
)
@settings(max_examples=500)
@example(GOOD[0], [(0, b"", 0)])
def test_what_was_tampered_with_is_refused_or_read_as_others_read_it(
    good: bytes, changes: list[tuple[int, bytes, int]]
) -> None:
    raw = good
    for at, put, length in changes:
        place = at % len(good)
        raw = raw[:place] + put + raw[place + length :]
    agrees(raw)


class Plain(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


TEXTS = st.text(st.characters(exclude_categories=("Cs", "Cc"), include_characters="\n\t"), max_size=30)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63) + 1, 2**63 - 1) | st.floats(-1e18, 1e18) | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=15,
)


@given(st.dictionaries(TEXTS.filter(lambda key: key not in {"name", "description"}), VALUES, max_size=5))
@settings(max_examples=200)
def test_front_matter_comes_back_as_it_was_written(values: dict[str, Any]) -> None:
    values = {"description": "x", **values}
    text = yaml.dump(values, Dumper=Plain, allow_unicode=True, sort_keys=False)
    assert inspect(skill_md(text)).front_matter == values


@given(st.text(max_size=200) | st.text("-:[]{}&*!|>'\"%@`#,? \n\tab1.<=~", max_size=60))
@settings(max_examples=500)
def test_any_text_is_front_matter_or_flawed(text: str) -> None:
    package = outcome(skill_md(f"{OK}{text}".encode("utf-8", "replace")))
    if isinstance(package, str):
        assert package.startswith("front_matter_")
    else:
        assert json.loads(json.dumps(package.front_matter, allow_nan=False)) == package.front_matter
