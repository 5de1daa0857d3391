"""Change sets as tests want them, and commits that are made of them in a mirror."""

import hashlib
import io
import json
import tarfile
from base64 import b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from signalbox_git.commits import changes as reading
from signalbox_git.commits.quarantine import Authorship, Person, Quarantine
from tests.support.checkouts import git

FILES: dict[bytes, tuple[str, bytes]] = {
    b"README.md": ("100644", b"hello\r\n"),
    b"run.sh": ("100755", b"#!/bin/sh\n"),
    b"link": ("120000", b"README.md"),
    b"src/main.py": ("100644", b"print(1)\n"),
    b"src/deep/er": ("100644", b"deep\n"),
    b"becomes-folder": ("100644", b"x"),
    b"becomes-file/a": ("100644", b"a"),
    b".gitattributes": ("100644", b"* text eol=lf filter=evil\n"),
}
BY = Authorship(
    Person("A. Person", "person@example.com"),
    Person("Signalbox", "bot@example.com"),
    datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
    "Subject\n\nBody\n",
)

Tree = Mapping[bytes, tuple[str, bytes]]
Asked = dict[bytes, tuple[str, bytes] | None]
"""What is to be there, or None for what goes."""


def tree_of(folder: Path, files: Tree) -> str:
    """As plain git makes it."""
    index = {"GIT_INDEX_FILE": str(folder / "expected")}
    (folder / "expected").unlink(missing_ok=True)
    lines = b""
    for path, (mode, content) in files.items():
        blob = git(folder, "hash-object", "-w", "--stdin", given=content).strip()
        lines += f"{mode} {blob}\t".encode() + path + b"\0"
    git(folder, "update-index", "-z", "--index-info", given=lines, env=index)
    return git(folder, "write-tree", env=index).strip()


@dataclass
class CommitLab:
    """A mirror, and where commits for it are made."""

    mirror: Path
    folder: Path
    base: str

    async def commit(self, changes: bytes, by: Authorship = BY) -> str | None:
        async with Quarantine.beside(self.mirror, self.folder) as quarantine:
            made = await quarantine.commit(self.base, reading.read(io.BytesIO(changes)), by)
            if made is not None:
                await quarantine.accept(made, self.base)
            return made

    @staticmethod
    def make(folder: Path) -> "CommitLab":
        mirror, making = folder / "mirror", folder / "making"
        making.mkdir()
        mirror.mkdir()
        git(mirror, "init", "-q", "--bare")
        base = git(mirror, "commit-tree", tree_of(mirror, FILES), "-m", "first").strip()
        git(mirror, "update-ref", "refs/heads/main", base)
        return CommitLab(mirror, making, base)

    def git(self, *arguments: str) -> str:
        return git(self.mirror, *arguments).strip()

    def files(self) -> set[str]:
        return {str(path.relative_to(self.mirror)) for path in self.mirror.rglob("*") if path.is_file()}


def packed(
    base: str | None, asked: Asked, *, spoil: Callable[[list[dict[str, Any]]], Any] | None = None
) -> bytes:
    entries: list[dict[str, Any]] = []
    contents: list[bytes] = []
    for path in sorted(asked):
        wanted = asked[path]
        try:
            entry: dict[str, Any] = {"path": path.decode()}
        except UnicodeDecodeError:
            entry = {"pathBase64": b64encode(path).decode()}
        if wanted is None:
            entries.append(entry | {"kind": "deleted"})
            continue
        mode, content = wanted
        entry |= {"kind": "link" if mode == "120000" else "file", "mode": mode, "size": len(content)}
        entry |= {"sha256": hashlib.sha256(content).hexdigest(), "member": str(len(contents))}
        entries.append(entry)
        contents.append(content)
    if spoil is not None:
        spoil(entries)
    manifest = json.dumps({"version": 1, "base": base, "entries": entries, "left": []}).encode()
    return tar({"manifest.json": manifest} | {str(n): content for n, content in enumerate(contents)})


def tar(members: Mapping[str, bytes]) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for name, content in members.items():
            found = tarfile.TarInfo(name)
            found.size = len(content)
            archive.addfile(found, io.BytesIO(content))
    return file.getvalue()


def after(asked: Asked) -> dict[bytes, tuple[str, bytes]]:
    found = dict(FILES)
    for path, wanted in asked.items():
        if wanted is None:
            found.pop(path, None)
        else:
            found[path] = wanted
    return found


KINDS: Asked = {
    b"README.md": ("100644", b"changed\r\n"),
    b"run.sh": ("100644", b"#!/bin/sh\n"),
    b"link": ("120000", b"../../etc/passwd"),
    b"src/deep/er": None,
    b"becomes-folder": None,
    b"becomes-folder/b": ("100755", b"b"),
    b"becomes-file/a": None,
    b"becomes-file": ("100644", b""),
    b"new/\xff\xfe": ("100644", b"\0\1\2" * 50_000),
    b"-rf": ("100644", b"an option"),
    b"line\nfeed": ("100644", b"x"),
    "bücher/日本".encode(): ("100644", b"y"),
}
