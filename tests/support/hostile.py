"""Repositories as somebody hostile makes them: objects, packs and answers that no git would write."""

import gzip
import hashlib
import struct
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.support.bundles import pack_of

FILE, PROGRAM, LINK, FOLDER, MODULE = "100644", "100755", "120000", "40000", "160000"
PERSON = b"Mallory <mallory@evil.example> 1700000000 +0000"
_ZERO = "0" * 40
_LARGEST_BAND = 65_000
_CAPABILITIES = "side-band-64k ofs-delta allow-tip-sha1-in-want no-progress object-format=sha1 agent=hostile"
Entry = tuple[str, bytes, str]
"""Mode, name and id."""


@dataclass
class Objects:
    """By their ids; nobody has looked whether git would take them."""

    found: dict[str, tuple[str, bytes]] = field(default_factory=dict)

    def put(self, kind: str, content: bytes) -> str:
        name = hashlib.sha1(f"{kind} {len(content)}\0".encode() + content, usedforsecurity=False).hexdigest()
        self.found[name] = (kind, content)
        return name

    def blob(self, content: bytes) -> str:
        return self.put("blob", content)

    def tree(self, entries: Iterable[Entry]) -> str:
        """In the order in which they are given."""
        lines = (f"{mode} ".encode() + name + b"\0" + bytes.fromhex(own) for mode, name, own in entries)
        return self.put("tree", b"".join(lines))

    def files(self, files: Mapping[bytes, bytes | Entry]) -> str:
        """A tree in git's own order; an entry where it is no ordinary file."""
        entries = [
            each if isinstance(each, tuple) else (FILE, name, self.blob(each)) for name, each in files.items()
        ]
        return self.tree(sorted(entries, key=lambda each: each[1] + (b"/" if each[0] == FOLDER else b"")))

    def link(self, name: bytes, target: bytes) -> Entry:
        return (LINK, name, self.blob(target))

    def folder(self, name: bytes, files: Mapping[bytes, bytes | Entry]) -> Entry:
        return (FOLDER, name, self.files(files))

    def commit(
        self, tree: str, *parents: str, message: bytes = b"A commit\n", head: bytes | None = None
    ) -> str:
        """`head` stands in place of author and committer."""
        lines = [f"tree {tree}".encode(), *(f"parent {each}".encode() for each in parents)]
        lines.append(b"author %b\ncommitter %b" % (PERSON, PERSON) if head is None else head)
        return self.put("commit", b"\n".join(lines) + b"\n\n" + message)

    def loose(self, name: str) -> bytes | None:
        """As a file, where there is such an object."""
        if name not in self.found:
            return None
        kind, content = self.found[name]
        return zlib.compress(f"{kind} {len(content)}\0".encode() + content)

    def pack(self, *, without: Iterable[str] = ()) -> bytes:
        left = {*without}
        return pack_of([each for name, each in self.found.items() if name not in left])


def packet(line: bytes) -> bytes:
    return b"%04x" % (len(line) + 4) + line


@dataclass
class ScriptedRepository:
    """What a server answers that checks nothing: version 0 of the protocol, over HTTP."""

    name: str
    refs: Sequence[tuple[bytes, str]]
    """As they are advertised: a name, and where it leads."""
    pack: bytes
    capabilities: str = f"symref=HEAD:refs/heads/main {_CAPABILITIES}"
    says: bytes = b""
    """Told as progress, before the pack."""

    def __call__(self, handler: Any) -> bool:
        if self.name not in handler.path:
            return False
        if handler.command == "GET":
            body = packet(b"# service=git-upload-pack\n") + b"0000" + self._advertisement()
            handler.answer(200, body, Content_Type="application/x-git-upload-pack-advertisement")
        else:
            asked = handler.body
            if handler.headers.get("Content-Encoding") == "gzip":
                asked = gzip.decompress(asked)
            is_done = b"done\n" in asked
            answer = packet(b"NAK\n") + (self._bands() if is_done else b"")
            handler.answer(200, answer, Content_Type="application/x-git-upload-pack-result")
        return True

    def _advertisement(self) -> bytes:
        refs = list(self.refs) or [(b"capabilities^{}", _ZERO)]
        lines = [f"{own} ".encode() + name for name, own in refs]
        lines[0] += b"\0" + self.capabilities.encode()
        return b"".join(packet(line + b"\n") for line in lines) + b"0000"

    def _bands(self) -> bytes:
        found = packet(b"\2" + self.says) if self.says else b""
        for begin in range(0, len(self.pack), _LARGEST_BAND):
            found += packet(b"\1" + self.pack[begin : begin + _LARGEST_BAND])
        return found + b"0000"


def zeros_pack(size: int, others: Sequence[tuple[str, bytes]] = ()) -> tuple[str, bytes]:
    """The id of a blob of so many zeros, and a pack with it: a thousandth of its size."""
    piece = bytes(1 << 20)
    digest = hashlib.sha1(f"blob {size}\0".encode(), usedforsecurity=False)
    packer = zlib.compressobj(9)
    packed = bytearray()
    for begin in range(0, size, len(piece)):
        part = piece[: min(len(piece), size - begin)]
        digest.update(part)
        packed += packer.compress(part)
    packed += packer.flush()
    head, left = bytearray(), size >> 4
    first = (3 << 4) | (size & 15)
    while left:
        head.append(first | 0x80)
        first, left = left & 0x7F, left >> 7
    head.append(first)
    rest = pack_of(others)[12:-20]
    whole = b"PACK" + struct.pack(">II", 2, 1 + len(others)) + bytes(head) + bytes(packed) + rest
    return digest.hexdigest(), whole + hashlib.sha1(whole, usedforsecurity=False).digest()
