"""A repository whose files were large once, at a remote that lets them be left out."""

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.support.checkouts import git
from tests.support.remotes import HttpRemote

MIB = 1024 * 1024
LARGE = "data/large.bin"
_PERSON = b"a <a@example.com>"
_BEGUN = 1_000_000_000


@dataclass(frozen=True)
class LargeHistory:
    """Of each commit but the last one a large file, which the next one replaces."""

    folder: Path
    large: Sequence[bytes]
    lines: int

    @staticmethod
    def make(remote: HttpRemote, name: str, *, commits: int = 20, size: int = 2 * MIB) -> "LargeHistory":
        folder = remote.folder / name
        folder.mkdir(parents=True)
        git(folder, "init", "-q", "--bare", "-b", "main")
        git(folder, "config", "uploadpack.allowFilter", "true")
        git(folder, "config", "http.receivepack", "true")
        large = [os.urandom(size) for _ in range(commits)]
        stream = b""
        for number, content in enumerate((*large, b"small\n")):
            files = {LARGE: content, "notes.txt": notes(number + 1), f"src/{number}.txt": b"%d\n" % number}
            stream += _commit("main", number, files)
        git(folder, "-c", "core.compression=0", "fast-import", "--quiet", given=stream)
        return LargeHistory(folder, large, commits + 1)

    def copy(self, name: str) -> "LargeHistory":
        """Another one that begins as this one is."""
        folder = self.folder.parent / name
        shutil.copytree(self.folder, folder)
        return LargeHistory(folder, self.large, self.lines)

    def add(self, files: Mapping[str, bytes], *, branch: str = "main", onto: str | None = None) -> str:
        """One more commit, on top of the branch or of something else."""
        stream = _commit(branch, 1_000, files, onto or f"refs/heads/{branch}^0")
        git(self.folder, "fast-import", "--quiet", "--force", given=stream)
        return self.commit(branch)

    def commit(self, revision: str) -> str:
        return git(self.folder, "rev-parse", f"{revision}^{{commit}}").strip()


def notes(count: int) -> bytes:
    return b"".join(b"line %d\n" % number for number in range(count))


def _commit(branch: str, number: int, files: Mapping[str, bytes], onto: str | None = None) -> bytes:
    head = b"commit refs/heads/%b\ncommitter %b %d +0000\n" % (branch.encode(), _PERSON, _BEGUN + number)
    message = b"commit %d\n" % number
    text = head + b"data %d\n%b" % (len(message), message)
    if onto is not None:
        text += b"from %b\n" % onto.encode()
    for path, content in files.items():
        text += b"M 100644 inline %b\ndata %d\n%b\n" % (path.encode(), len(content), content)
    return text + b"\n"
