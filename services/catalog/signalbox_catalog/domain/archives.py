"""ZIP archives from strangers, read in the one way that no other reader can read differently.

Every byte belongs to exactly one thing: the entries lie one after another from the first byte to the
central directory, which ends where the end records begin, which end where the file ends. What the format
says twice is the same twice. `zipfile` is not asked, because it looks for what it can still make use of.
"""

import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from signalbox_catalog.errors import BadInput
from signalbox_manifests import Flaw

LONGEST_COMMENT = 1024
STORED, DEFLATED = 0, 8
CHUNK = 256 * 1024
"""How much of a file is unpacked at a time."""
_STEP = 64 * 1024

_END = struct.Struct("<4s4H2LH")
_LOCATOR = struct.Struct("<4sLQL")
_END_64 = struct.Struct("<4sQ2H2L4Q")
_CENTRAL = struct.Struct("<4s6H3L5H2L")
_LOCAL = struct.Struct("<4s5H3L2H")
_END_MARK, _LOCATOR_MARK, _END_64_MARK = b"PK\x05\x06", b"PK\x06\x07", b"PK\x06\x06"
_CENTRAL_MARK, _LOCAL_MARK, _DESCRIPTOR_MARK = b"PK\x01\x02", b"PK\x03\x04", b"PK\x07\x08"
_DESCRIPTORS = {12: "<3L", 16: "<4x3L", 20: "<L2Q", 24: "<4xL2Q"}
"""Nothing says which of four forms a data descriptor has; here its length does. Two begin with a mark."""

_IN_32, _IN_16 = 0xFFFF_FFFF, 0xFFFF
"""Stand where the true value is in a field of ZIP64."""
_ENCRYPTED, _DESCRIBED, _UTF8 = 0x2041, 0x0008, 0x0800
_ALLOWED = _DESCRIBED | _UTF8 | 0x0006  # the last two only say how hard the compressor tried
_NEWEST = 63

_ZIP64, _UNICODE_PATH = 0x0001, 0x7075
# Those that ordinary tools write. Others can hold the target of a link, another mode or a key.
_EXTRAS = frozenset(
    {
        _ZIP64,
        0x000A,  # times, as NTFS has them
        0x5455,  # times, as Unix has them
        0x5855,  # times and owner
        0x6375,  # the comment in UTF-8
        _UNICODE_PATH,
        0x7855,  # owner
        0x7875,  # owner
        0xCAFE,  # says that it is a JAR
    }
)


@dataclass(frozen=True, slots=True)
class Entry:
    """A file or directory, as the central directory and its own header have it."""

    name: str
    method: int
    crc: int
    packed: int
    size: int
    attributes: int
    offset: int
    data: int
    """Where its packed bytes begin."""
    described: bool


@dataclass(frozen=True, slots=True)
class _End:
    """What the end records say of the central directory."""

    start: int
    stop: int
    count: int


def flawed(code: str, message: str, field: str = "", line: int | None = None) -> BadInput:
    return BadInput(Flaw(message, code, field=field, line=line))


def about(name: str | bytes, code: str, what: str) -> BadInput:
    path = shown(name)
    return flawed(code, f"The file {path} {what}", path)


def shown(name: str | bytes) -> str:
    """A name that anybody can be shown: what cannot be seen is escaped, what has no end is cut."""
    text = name if isinstance(name, str) else name.decode("utf-8", "backslashreplace")
    visible = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text[:300])
    return visible if len(text) <= 300 else f"{visible}…"


def entries(raw: bytes, most: int) -> list[Entry]:
    """All entries, in the order of the central directory."""
    end = _end_of(raw)
    if end.count > most:
        raise flawed("too_many_files", f"The package has more than {most} files and directories.")
    found, at = [], end.start
    for _ in range(end.count):
        entry, at = _entry(raw, at, end)
        found.append(entry)
    if at != end.stop:
        raise _bad("The central directory has more in it than it says.")
    _check_layout(raw, found, end.start)
    return found


def chunks(raw: bytes, entry: Entry) -> Iterator[bytes]:
    """What is in a file, a little at a time; at the end, all that its header says of it has been true."""
    packed = memoryview(raw)[entry.data : entry.data + entry.packed]
    size = crc = 0
    for chunk in _inflated(packed, entry) if entry.method == DEFLATED else _pieces(packed):
        size += len(chunk)
        if size > entry.size:
            break
        crc = zlib.crc32(chunk, crc)
        yield chunk
    if size != entry.size:
        raise about(entry.name, "zip_wrong_size", "does not have the size that the ZIP says.")
    if crc != entry.crc:
        raise about(entry.name, "zip_wrong_checksum", "does not have the checksum that the ZIP says.")


def _pieces(packed: memoryview) -> Iterator[bytes]:
    for at in range(0, len(packed), CHUNK):
        yield bytes(packed[at : at + CHUNK])


def _inflated(packed: memoryview, entry: Entry) -> Iterator[bytes]:
    inflater, at, piece = zlib.decompressobj(-zlib.MAX_WBITS), 0, b""
    while not inflater.eof:
        if not piece:
            piece = bytes(packed[at : at + _STEP])
            at += len(piece)
        try:
            chunk = inflater.decompress(piece, CHUNK)
        except zlib.error:
            raise about(entry.name, "zip_bad_data", "cannot be unpacked.") from None
        if not (piece or inflater.eof):
            raise about(entry.name, "zip_bad_data", "ends too early.")
        piece = inflater.unconsumed_tail
        yield chunk
    if inflater.unused_data or at < len(packed):
        raise about(entry.name, "zip_bad_data", "has something behind its end.")


def _bad(message: str) -> BadInput:
    return flawed("bad_zip", message)


def _foreign(where: str) -> BadInput:
    return flawed("zip_foreign_bytes", f"The ZIP has bytes {where} that do not belong to it.")


def _end_of(raw: bytes) -> _End:
    at = raw.rfind(_END_MARK)
    if at < 0 and raw.startswith(_LOCAL_MARK):
        raise flawed("zip_truncated", "The ZIP is not complete: its end is missing.")
    if at < 0:
        raise flawed("not_a_zip", "This is not a ZIP.")
    if at + _END.size > len(raw):
        raise flawed("zip_truncated", "The ZIP is not complete: it stops in its last record.")
    _, *fields, comment = _END.unpack_from(raw, at)
    if comment > LONGEST_COMMENT:
        raise flawed(
            "zip_comment_too_long", f"The comment of the ZIP is longer than {LONGEST_COMMENT} bytes."
        )
    if at + _END.size + comment > len(raw):
        raise flawed("zip_truncated", "The ZIP is not complete: it stops in its comment.")
    if at + _END.size + comment < len(raw):
        raise _foreign("behind its end")
    stop = at
    if at >= _LOCATOR.size and raw.startswith(_LOCATOR_MARK, at - _LOCATOR.size):
        stop, fields = _end_64(raw, at - _LOCATOR.size, fields)
    disk, first_disk, here, count, size, start = fields
    if disk or first_disk or here != count:
        raise flawed("zip_multi_disk", "The ZIP is one part of several.")
    if start + size < stop:
        raise _foreign("before its beginning or before its end")
    if start + size > stop:
        raise _bad("The central directory is not where the ZIP says.")
    return _End(start, stop, count)


def _end_64(raw: bytes, at: int, narrow: list[int]) -> tuple[int, list[int]]:
    """Where the ZIP64 record begins, and what it says of the fields of the end record."""
    _, disk, stop, disks = _LOCATOR.unpack_from(raw, at)
    if disk or disks != 1:
        raise flawed("zip_multi_disk", "The ZIP is one part of several.")
    if stop + _END_64.size != at or not raw.startswith(_END_64_MARK, stop):
        raise _bad("The ZIP64 end record is not where the ZIP says.")
    _, length, _, _, *wide = _END_64.unpack_from(raw, stop)
    if length != _END_64.size - 12:
        raise _bad("The ZIP64 end record does not have the length that it has to have.")
    limits = (_IN_16, _IN_16, _IN_16, _IN_16, _IN_32, _IN_32)
    if any(one not in (two, limit) for one, two, limit in zip(narrow, wide, limits, strict=True)):
        raise flawed("zip_headers_disagree", "The two end records of the ZIP do not say the same.")
    return stop, wide


def _entry(raw: bytes, at: int, end: _End) -> tuple[Entry, int]:
    """The entry that the central directory has here, and where the next one is."""
    if at + _CENTRAL.size > end.stop or not raw.startswith(_CENTRAL_MARK, at):
        raise _bad("The central directory has less in it than the ZIP says.")
    _, _, newest, flags, method, _, _, crc, packed, size, *lengths, disk, _, attributes, offset = (
        _CENTRAL.unpack_from(raw, at)
    )
    name, extra, _, following = _variable(raw, at + _CENTRAL.size, lengths, end.stop)
    _check_features(name, newest, flags, method)
    if disk:
        raise about(name, "zip_multi_disk", "is said to be on another disk.")
    if lengths[2] > LONGEST_COMMENT:
        raise about(name, "zip_comment_too_long", f"has a comment of more than {LONGEST_COMMENT} bytes.")
    size, packed, offset = _wide((size, packed, offset), extra, name)
    data = _check_local(raw, end.start, offset, (name, flags, method, crc, packed, size))
    if method == STORED and packed != size:
        raise about(name, "zip_headers_disagree", "is not compressed and yet has two sizes.")
    described = bool(flags & _DESCRIBED)
    return Entry(
        _text(name, flags), method, crc, packed, size, attributes, offset, data, described
    ), following


def _variable(raw: bytes, at: int, lengths: Sequence[int], stop: int) -> tuple[bytes, bytes, bytes, int]:
    """The name, the extra fields and the comment behind a header, and where they end."""
    name_end = at + lengths[0]
    extra_end = name_end + lengths[1]
    following = extra_end + sum(lengths[2:])
    if following > stop:
        raise _bad("A header of the ZIP is longer than the place that it has.")
    return raw[at:name_end], raw[name_end:extra_end], raw[extra_end:following], following


def _check_features(name: bytes, newest: int, flags: int, method: int) -> None:
    if flags & _ENCRYPTED:
        raise about(name, "zip_encrypted", "is encrypted.")
    if method not in (STORED, DEFLATED):
        raise about(name, "zip_method", "is compressed by another method than deflate.")
    if flags & ~_ALLOWED or newest & 0xFF > _NEWEST:
        raise about(name, "zip_feature", "needs a feature of ZIP that is not supported.")


def _text(name: bytes, flags: int) -> str:
    try:
        return name.decode("utf-8" if flags & _UTF8 else "ascii")
    except UnicodeDecodeError:
        raise about(name, "path_not_utf8", "has a name that is neither ASCII nor marked as UTF-8.") from None


def _extras(data: bytes, name: bytes) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    at = 0
    while at < len(data):
        kind, length = struct.unpack_from("<2H", data, at) if at + 4 <= len(data) else (0, _IN_16)
        at += 4 + length
        if at > len(data) or kind in found:
            raise about(name, "zip_extra_field", "has extra fields that make no sense.")
        if kind not in _EXTRAS:
            raise about(name, "zip_extra_field", f"has an extra field that is not allowed: {kind:#06x}.")
        found[kind] = data[at - length : at]
    if found.get(_UNICODE_PATH, b"\0" * 5 + name)[5:] != name:
        raise about(name, "zip_headers_disagree", "has another name in an extra field.")
    return found


def _wide(narrow: tuple[int, ...], extra: bytes, name: bytes) -> list[int]:
    """The fields, with the value of ZIP64 for each whose own place is too narrow."""
    held = _extras(extra, name).get(_ZIP64)
    if held is None:
        return list(narrow)
    count = narrow.count(_IN_32)
    if len(held) != 8 * count:
        raise about(name, "zip_extra_field", "has extra fields that make no sense.")
    wide = iter(struct.unpack(f"<{count}Q", held))
    return [next(wide) if value == _IN_32 else value for value in narrow]


def _check_local(raw: bytes, stop: int, offset: int, central: tuple[bytes, int, int, int, int, int]) -> int:
    """Where the packed bytes begin, if the local header says what the central directory says."""
    name, flags, method, crc, packed, size = central
    if offset + _LOCAL.size > stop or not raw.startswith(_LOCAL_MARK, offset):
        raise about(name, "zip_headers_disagree", "is not where the ZIP says.")
    _, _, own_flags, own_method, _, _, own_crc, own_packed, own_size, *lengths = _LOCAL.unpack_from(
        raw, offset
    )
    own_name, extra, _, data = _variable(raw, offset + _LOCAL.size, lengths, stop)
    own_size, own_packed = _wide((own_size, own_packed), extra, name)
    same = (own_name, own_flags, own_method) == (name, flags, method)
    numbers = ((own_crc, crc), (own_packed, packed), (own_size, size))
    unknown = (0,) if flags & _DESCRIBED else ()
    if not same or any(own not in (value, *unknown) for own, value in numbers):
        raise about(name, "zip_headers_disagree", "has two headers that do not say the same.")
    return data


def _check_layout(raw: bytes, found: list[Entry], stop: int) -> None:
    ordered = sorted(found, key=lambda entry: entry.offset)
    begins = [entry.offset for entry in ordered] + [stop]
    if begins[0]:
        raise _foreign("before its beginning")
    for entry, begin in zip(ordered, begins[1:], strict=True):
        rest = begin - entry.data - entry.packed
        if rest < 0:
            raise about(entry.name, "zip_overlap", "lies over another part of the ZIP.")
        if entry.described:
            _check_descriptor(raw, entry, rest)
        elif rest:
            raise _foreign(f"behind {shown(entry.name)}")


def _check_descriptor(raw: bytes, entry: Entry, length: int) -> None:
    if length not in _DESCRIPTORS:
        raise _foreign(f"behind {shown(entry.name)}")
    at = entry.data + entry.packed
    said = struct.unpack_from(_DESCRIPTORS[length], raw, at)
    marked = raw.startswith(_DESCRIPTOR_MARK, at)
    if marked != (length in (16, 24)) or said != (entry.crc, entry.packed, entry.size):
        raise about(entry.name, "zip_headers_disagree", "has a data descriptor that says something else.")
