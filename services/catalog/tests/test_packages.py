"""Packages of skills that are hostile, and why each is refused."""

import hashlib
import io
import stat
import struct
import zipfile
from dataclasses import replace

import pytest

from signalbox_catalog.domain.packages import (
    MAX_FILES,
    MAX_PACKAGE,
    MAX_RATIO,
    MAX_SKILL_MD,
    MAX_UNPACKED,
    PackagedFile,
    inspect,
)
from tests.support.archives import (
    END,
    MD,
    MIB,
    NARROW,
    SKILL,
    UNICODE_PATH,
    UNIX_TIME,
    WIDE,
    Part,
    both,
    central_of,
    deflated,
    described,
    extra,
    flaw_of,
    local_of,
    zip64,
    zipped,
)

# -- what is accepted -------------------------------------------------------------------------------------


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


# -- what is refused --------------------------------------------------------------------------------------


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
