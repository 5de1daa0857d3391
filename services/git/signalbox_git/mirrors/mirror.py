"""One mirror on the disk, and what is known of it beside what git keeps."""

import asyncio
import hashlib
import json
import os
import re
import shutil
import time
import uuid
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from signalbox_git import folders
from signalbox_git.command import GitDirectory, GitFailed, own_words
from signalbox_git.domain import HEADS as HEADS_OF
from signalbox_git.domain import TAGS as TAGS_OF
from signalbox_git.mirrors import locks

HEADS = f"+{HEADS_OF}*:{HEADS_OF}*"
TAGS = f"+{TAGS_OF}*:{TAGS_OF}*"
OWN = "refs/signalbox/"
"""Below it are refs of ours, which no fetch touches."""
_BLOCK = 512
_OF_MODULES = 5
"""The version of ids that are made of an address."""
_ABANDONED, _SKEW = 3600.0, 60.0
_GONE = ".gone-"
QUARANTINE = ".quarantine-"
"""Of folders that are there while a commit is made, or since somebody was killed."""
_CORRUPT = re.compile(
    r"bad object|corrupt|loose object|not a git repository|unable to read|could not read [0-9a-f]{40}"
    r"|packfile .* (cannot|does not|is)|inflate|missing (blob|tree|commit|object)|bad (signature|tree|ref)"
    r"|unresolved deltas|invalid sha1 pointer|is not a valid object|unable to find",
    re.IGNORECASE,
)

_CHECKED_EVERY = 600.0
"""Seconds in which a remote that breaks its own fetches has the mirror looked through once."""


class MirrorBroken(Exception):
    """What should be on our own disk is not."""


def looks_corrupt(error: GitFailed) -> bool:
    """Whether what git complains of may be on our own disk; words of a remote say nothing of that."""
    return any(map(_CORRUPT.search, own_words(error.complaint)))


def kept_ref(commit: str) -> str:
    """Which keeps a commit that something was made of, whatever the remote does."""
    return f"{OWN}commits/{commit}"


def module_id(project: uuid.UUID, url: str) -> uuid.UUID:
    """Stands for the repository in the name of a submodule's mirror, which no record is about."""
    return uuid.uuid5(project, url)


def _digest(url: str) -> str:
    return hashlib.sha256(url.encode()).hexdigest()[:12]


@dataclass(frozen=True)
class Mirror:
    """`<repository>-<what its address says>`: another address is another mirror."""

    folder: Path

    @staticmethod
    def of(root: Path, project: uuid.UUID, repository: uuid.UUID, url: str) -> "Mirror":
        return Mirror(root / str(project) / f"{repository}-{_digest(url)}")

    def is_at(self, url: str) -> bool:
        return self.folder.name.endswith(f"-{_digest(url)}")

    @property
    def git(self) -> GitDirectory:
        return GitDirectory(self.folder / "git")

    @property
    def upkeep(self) -> GitDirectory:
        """For what fetches, packs and checks it: that has to know whether files may be missing.

        All else is not told, so that it does not try to fetch them.
        """
        return GitDirectory(self.folder / "git", partial=self.is_partial)

    @property
    def project(self) -> uuid.UUID:
        return uuid.UUID(self.folder.parent.name)

    @property
    def repository(self) -> uuid.UUID:
        return uuid.UUID(self.folder.name[:36])

    @property
    def is_of_module(self) -> bool:
        """Of a submodule: ids of records are of another version."""
        return self.repository.version == _OF_MODULES

    @property
    def in_use(self) -> Path:
        """Shared by whoever reads it, alone for whoever removes it."""
        return self._beside("use")

    @property
    def fetching(self) -> Path:
        return self._beside("fetch")

    @property
    def making(self) -> Path:
        """Where commits for it are made, on the same disk."""
        return self.folder / "making"

    def _beside(self, what: str) -> Path:
        """Locks outlive what they are about: a new one would be another lock."""
        return self.folder.parent / f".{self.folder.name}.{what}"

    @property
    def _note(self) -> Path:
        return self.folder / "note.json"

    @property
    def _checked(self) -> Path:
        return self.folder / "checked"

    async def has(self, commit: str) -> bool:
        """Raises MirrorBroken where it was kept and is not there any more."""
        asked = f"{commit}^{{commit}}\n".encode("ascii")
        said = await self.git.run("cat-file", "--batch-check=%(objectname)", given=asked)
        if said.decode("ascii", "replace").strip() == commit:
            return True
        if await self.git.run("for-each-ref", kept_ref(commit)):
            raise MirrorBroken(f"{commit} is lost")
        return False

    async def check(self) -> None:
        """Raises GitFailed where something of it is lost, or not what it was."""
        await self.upkeep.run("fsck", "--connectivity-only", "--no-dangling", "--no-progress", within=600.0)
        self._checked.touch()

    @property
    def was_checked(self) -> bool:
        """Whether all was there, a short while ago."""
        with suppress(OSError):
            return 0 <= time.time() - self._checked.stat().st_mtime < _CHECKED_EVERY
        return False

    async def refs(self) -> dict[str, str]:
        """Its branches and tags; ours are not among them."""
        said = await self.git.run("for-each-ref", "--format=%(objectname) %(refname)", HEADS_OF, TAGS_OF)
        lines = said.decode("utf-8", "surrogateescape").rstrip("\n").split("\n") if said else []
        return {name: value for value, _, name in (line.partition(" ") for line in lines)}

    # -- what is known of it -----------------------------------------------------------------------------

    @property
    def is_there(self) -> bool:
        return "begun" in self.note()

    @property
    def is_partial(self) -> bool:
        """Whether it has only those files that were needed; said before the first of it is fetched."""
        return bool(self.note().get("partial"))

    def note(self) -> dict[str, Any]:
        """When it was fetched last, and what was learned then; nothing where that never was."""
        with suppress(OSError, ValueError):
            found: dict[str, Any] = json.loads(self._note.read_text(encoding="utf-8"))
            return found
        return {}

    def begin_partial(self) -> None:
        """Before there is anything of it: who is killed in the middle goes on with a partial one."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.write_note(partial=True)
        self._beside("partial").touch()

    def end_partial(self) -> None:
        """It is discarded, and another one is not to begin so."""
        self._beside("partial").unlink(missing_ok=True)

    @property
    def was_partial(self) -> bool:
        """Though it is gone: another one would be too large, too."""
        return self._beside("partial").exists()

    def write_note(self, **values: Any) -> None:
        draft = self._note.with_suffix(f".{uuid.uuid4().hex}")
        draft.write_text(json.dumps(values), encoding="utf-8")
        draft.rename(self._note)

    @property
    def fetched_at(self) -> float:
        """By the clock of whoever has fetched it: when that began."""
        return float(self.note().get("begun", 0.0))

    def is_fresh(self, since: float) -> bool:
        """Whether it is there, and was fetched after that; what is said of the future counts for nothing."""
        return self.is_there and since <= self.fetched_at <= time.time() + _SKEW

    @property
    def cleaned_at(self) -> float:
        """When it was packed together last, by whoever did that."""
        return float(self.note().get("cleaned", 0.0))

    def clutter(self) -> tuple[int, int]:
        """How many packs there are, and how many objects beside them."""
        git = self.folder / "git" / "objects"
        return sum(1 for _ in git.glob("pack/*.pack")), sum(1 for _ in git.glob("??/*"))

    def touch(self) -> None:
        """Somebody uses it."""
        with suppress(OSError):
            os.utime(self.in_use)

    @property
    def used_at(self) -> float:
        with suppress(OSError):
            return self.in_use.stat().st_mtime
        return 0.0

    def remove_cut_off(self) -> None:
        """What a fetch has left; whoever makes a pack at the same moment makes it again."""
        for path in (self.folder / "git").glob("objects/pack/tmp_*"):
            path.unlink(missing_ok=True)

    def remove_leftovers(self) -> None:
        """Of whoever was killed while changing it; by whoever alone may change its refs now."""
        git = self.folder / "git"
        for path in (*git.glob("*.lock"), *folders.files_below(git / "refs")):
            if path.suffix == ".lock":
                path.unlink(missing_ok=True)
        for path in (*git.glob("objects/pack/tmp_*"), *git.glob("objects/pack/.tmp-*")):
            with suppress(OSError):
                if time.time() - path.stat().st_mtime > _ABANDONED:  # others make packs, too
                    path.unlink()
        for path in self.making.glob(f"{QUARANTINE}*"):
            with suppress(OSError):
                if time.time() - path.stat().st_mtime > _ABANDONED:
                    shutil.rmtree(path, ignore_errors=True)

    # -- its end -------------------------------------------------------------------------------------------

    async def remove(self) -> bool:
        """False where somebody uses it."""
        try:
            async with locks.locked(self.in_use, alone=True, wait=False):
                await self.discard()
        except locks.Held:
            return False
        return True

    async def discard(self) -> None:
        """Whoever reads it meets errors, and asks again."""
        gone = self.folder.with_name(f"{_GONE}{uuid.uuid4().hex}")
        with suppress(FileNotFoundError):
            self.folder.rename(gone)
        await asyncio.to_thread(folders.remove, gone)

    def size(self) -> int:
        """On the disk, as it counts."""
        total = 0
        waiting = [str(self.folder)]
        while waiting:
            with suppress(OSError), os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    with suppress(OSError):
                        total += entry.stat(follow_symlinks=False).st_blocks * _BLOCK
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
        return total


def mirrors_below(root: Path) -> list[Mirror]:
    return [Mirror(path) for path in root.glob("*/*") if path.is_dir() and not path.name.startswith(".")]


def remove_leftovers(root: Path, older_than: float) -> None:
    """Of whoever was killed while removing something."""
    for path in root.glob(f"*/{_GONE}*"):
        with suppress(OSError):
            if time.time() - path.stat().st_mtime > older_than:
                folders.remove(path)
