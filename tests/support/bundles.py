"""Commits as an agent makes them in its sandbox, and bundles of them: made by git, or by hand."""

import hashlib
import itertools
import struct
import subprocess
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.support.checkouts import git

_KINDS = {"commit": 1, "tree": 2, "blob": 3, "tag": 4}
_REF_DELTA = 7
Files = Mapping[str, bytes | None]
"""What is to be there, or None for what goes."""


class Workshop:
    """A clone beside the remote, in which commits are made without a work tree."""

    def __init__(self, remote: Path, folder: Path) -> None:
        self.folder = folder
        git(remote, "clone", "-q", "--bare", str(remote), str(folder))
        self._branches = itertools.count()

    def git(self, *arguments: str, given: bytes = b"", env: Mapping[str, str] | None = None) -> str:
        return git(self.folder, *arguments, given=given, env=env or {}).strip()

    def object(self, kind: str, content: bytes) -> str:
        """As it is, whether git would take it or not."""
        return self.git("hash-object", "-t", kind, "-w", "--literally", "--stdin", given=content)

    def tree(self, base: str | None, files: Files, *, mode: str = "100644") -> str:
        index = {"GIT_INDEX_FILE": str(self.folder / "index-of-test")}
        (self.folder / "index-of-test").unlink(missing_ok=True)
        if base is not None:
            self.git("read-tree", base, env=index)
        lines = b""
        for path, content in files.items():
            name = path.encode() + b"\0"
            if content is None:
                lines += b"0 " + b"0" * 40 + b"\t" + name
            else:
                lines += f"{mode} {self.object('blob', content)}\t".encode() + name
        if lines:
            self.git("update-index", "-z", "--index-info", given=lines, env=index)
        return self.git("write-tree", env=index)

    def commit(
        self, base: str, files: Files, message: str = "A step", *others: str, mode: str = "100644"
    ) -> str:
        """On top of a commit; the others are parents as well."""
        return self.commit_tree(self.tree(base, files, mode=mode), message, base, *others)

    def commit_tree(self, tree: str, message: str, *parents: str) -> str:
        author = {
            "GIT_AUTHOR_NAME": "Agent Smith",
            "GIT_AUTHOR_EMAIL": "smith@agents.example",
            "GIT_AUTHOR_DATE": "1700000000 +0200",
        }
        named = [word for parent in parents for word in ("-p", parent)]
        return self.git("commit-tree", tree, *named, "-m", message, env=author)

    def chain(self, base: str, count: int) -> str:
        """As many commits, one on the other."""
        tip = base
        for number in range(count):
            tip = self.commit(tip, {"steps.txt": f"{number}\n".encode()}, f"Step {number}")
        return tip

    def bundle(self, base: str, *tips: str, version: int = 2) -> bytes:
        names = []
        for tip in tips:
            name = f"refs/heads/work-{next(self._branches)}"
            self.git("update-ref", name, tip)
            names.append(name)
        target = self.folder / "made.bundle"
        self.git("bundle", "create", "-q", f"--version={version}", str(target), *names, f"^{base}")
        for name in names:
            self.git("update-ref", "-d", name)
        return target.read_bytes()

    def content(self, kind: str, name: str) -> tuple[str, bytes]:
        """For a pack that is made by hand."""
        said = git_bytes(self.folder, "cat-file", kind, name)
        return kind, said


def git_bytes(folder: Path, *arguments: str) -> bytes:
    return subprocess.run(["git", *arguments], cwd=folder, capture_output=True, check=True).stdout


def bundle_of(
    tips: Mapping[str, str],
    pack: bytes,
    *,
    prerequisites: Sequence[str] = (),
    signature: bytes = b"# v2 git bundle\n",
    capabilities: Sequence[str] = (),
) -> bytes:
    """By hand: a name for each ref, and where it leads."""
    lines = [f"@{each}" for each in capabilities]
    lines += [f"-{each} before" for each in prerequisites]
    lines += [f"{tip} {name}" for name, tip in tips.items()]
    return signature + "".join(f"{line}\n" for line in lines).encode() + b"\n" + pack


def pack_of(objects: Sequence[tuple[str, bytes]], *, count: int | None = None) -> bytes:
    """Whole objects, as they are."""
    body = b"".join(_head(_KINDS[kind], len(content)) + zlib.compress(content) for kind, content in objects)
    return sealed(body, len(objects) if count is None else count)


def delta_pack_of(base: str, result_size: int, delta: bytes) -> bytes:
    """One object that is made of another, which is not in the pack."""
    body = _head(_REF_DELTA, len(delta)) + bytes.fromhex(base) + zlib.compress(delta)
    assert result_size > 0
    return sealed(body, 1)


def sealed(body: bytes, count: int) -> bytes:
    whole = b"PACK" + struct.pack(">II", 2, count) + body
    return whole + hashlib.sha1(whole, usedforsecurity=False).digest()


def _head(kind: int, size: int) -> bytes:
    first, size = (kind << 4) | (size & 15), size >> 4
    found = bytearray()
    while size:
        found.append(first | 0x80)
        first, size = size & 0x7F, size >> 7
    found.append(first)
    return bytes(found)
