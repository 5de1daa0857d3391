"""All mirrors: one fetch at a time for each, however many want it, in as many instances as there are."""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

from signalbox_common import background, remote_urls, telemetry
from signalbox_common.errors import DiskFull
from signalbox_common.space import DiskSpace
from signalbox_git.command import GitDirectory, GitFailed
from signalbox_git.lfs.client import LfsClient
from signalbox_git.mirrors import locks, partial
from signalbox_git.mirrors.mirror import (
    HEADS,
    TAGS,
    Mirror,
    MirrorBroken,
    kept_ref,
    looks_corrupt,
    mirrors_below,
)
from signalbox_git.remotes.access import Reach, RemoteRefused
from signalbox_git.remotes.credentials import Credential
from signalbox_git.remotes.remote import Remote, remote

log = telemetry.get_logger()
LARGEST = 10 * 1024 * 1024 * 1024
_WATCH = 2.0
MOST_OF_PROJECT = 8
"""Fetches at a time, in one instance."""
DISK_FULL = DiskFull.code
MOST_FILES, _FILES_AT_ONCE = 1_000_000, 20_000
"""Of a partial mirror that are brought for one purpose, and that a remote is asked for at a time."""
Hear = Callable[[bytes], None]
"""Is told what git says while it fetches."""


@dataclass(frozen=True)
class Source:
    """A repository as it is fetched."""

    project: uuid.UUID
    repository: uuid.UUID
    url: str
    credential: Credential | None = None
    host_keys: str | None = None
    api_url: str | None = None
    """Of the forge, where that is known with the credential of its host."""


@dataclass(frozen=True)
class Fetched:
    """What was learned of the remote."""

    head: str | None
    size: int
    host_keys: str | None = None
    is_new: bool = True
    """False where somebody else had fetched it already."""

    @staticmethod
    def before(note: Mapping[str, Any]) -> "Fetched":
        return Fetched(note.get("head"), int(note.get("size", 0)), is_new=False)


class _TooLarge(RemoteRefused):
    """Beyond what it may become."""

    def __init__(self) -> None:
        super().__init__(partial.TOO_LARGE, "The repository is larger than what is kept of one.")


class Mirrors:
    def __init__(
        self,
        root: Path,
        reach: Reach,
        *,
        budget: int,
        fetch_within: float,
        largest: int = LARGEST,
        partial_above: int | None = None,
        space: DiskSpace | None = None,
    ) -> None:
        """In bytes: `budget` is of all mirrors together, `largest` of one.

        One that is larger than `partial_above` when it is made has only those files that somebody needs.
        """
        self._space = space
        self._slots: WeakValueDictionary[uuid.UUID, asyncio.Semaphore] = WeakValueDictionary()
        self._largest = largest
        self._partial_above = partial_above
        self._root = root
        self._reach = reach
        self._budget = budget
        self._fetch_within = fetch_within
        self._turns: WeakValueDictionary[Path, asyncio.Lock] = WeakValueDictionary()
        self._room = asyncio.Lock()

    def of(self, source: Source) -> Mirror:
        return Mirror.of(self._root, source.project, source.repository, source.url)

    @asynccontextmanager
    async def held(self, source: Source) -> AsyncIterator[Mirror]:
        """It stays while somebody is in here; it need not be there.

        Raises MirrorBroken where they have met with something that is lost: the next fetch makes it anew.
        """
        mirror = self.of(source)
        try:
            async with locks.locked(mirror.in_use, alone=False):
                mirror.touch()
                yield mirror
        except (GitFailed, MirrorBroken) as error:
            if isinstance(error, GitFailed) and not looks_corrupt(error):
                raise
            await self.broken(source)
            raise MirrorBroken(str(error)) from error

    @asynccontextmanager
    async def fresh(self, source: Source, since: float, hear: Hear | None = None) -> AsyncIterator[Mirror]:
        """Held, and fetched after that moment; raises RemoteRefused."""
        while True:
            await self.fetch(source, since, hear)
            async with self.held(source) as mirror:
                if mirror.is_fresh(since):  # else somebody has removed it in between
                    yield mirror
                    return

    async def fetch(self, source: Source, since: float, hear: Hear | None = None) -> Fetched:
        """Unless that was begun after that moment already; raises RemoteRefused."""
        mirror = self.of(source)
        if mirror.is_fresh(since):
            return Fetched.before(mirror.note())
        async with self.alone(source) as alone:
            if mirror.is_fresh(since):
                return Fetched.before(mirror.note())
            async with self._slot(source.project):
                return await self._fetched(mirror, source, alone, hear)

    async def _fetched(self, mirror: Mirror, source: Source, alone: int, hear: Hear | None) -> Fetched:
        """Raises RemoteRefused."""
        self._require_space()
        try:
            return await self._fetch(mirror, source, alone, hear)
        except GitFailed as error:
            if not looks_corrupt(error):
                raise
            log.warning("a mirror is broken", mirror=mirror.folder.name, reason=str(error)[:300])
        await mirror.discard()
        return await self._fetch(mirror, source, alone, hear)

    @asynccontextmanager
    async def alone(self, source: Source) -> AsyncIterator[int]:
        """Whoever is here may change its refs; the descriptor is for what is started to do that."""
        mirror = self.of(source)
        mirror.touch()  # who tidies it up makes way
        async with self.alone_in(mirror) as descriptor:
            yield descriptor

    @asynccontextmanager
    async def alone_in(self, mirror: Mirror, *, wait: bool = True) -> AsyncIterator[int]:
        """Raises Held where somebody else is, and is not waited for."""
        turn = self._turn(mirror)
        if turn.locked() and not wait:
            raise locks.Held
        async with turn, locks.locked(mirror.fetching, alone=True, wait=wait) as descriptor:
            yield descriptor

    @asynccontextmanager
    async def _slot(self, project: uuid.UUID) -> AsyncIterator[None]:
        """However many remotes of one project hang, others are fetched."""
        slots = self._slots.setdefault(project, asyncio.Semaphore(MOST_OF_PROJECT))
        async with slots:
            yield

    def _require_space(self) -> None:
        """Raises RemoteRefused: there may be more in a while."""
        if self._space is None:
            return
        self._root.mkdir(parents=True, exist_ok=True)
        try:
            self._space.require()
        except DiskFull as error:
            raise RemoteRefused(DISK_FULL, error.detail, passes=True) from error

    async def keep(self, source: Source, commit: str) -> None:
        """Gives a commit that is there a ref of its own; the mirror is held meanwhile."""
        git = self.of(source).git
        if await git.run("for-each-ref", kept_ref(commit)):
            return
        async with self.alone(source) as alone:
            await replace(git, inherits=(alone,)).run("update-ref", kept_ref(commit), commit)

    async def bring(self, source: Source, commit: str) -> None:
        """One that no branch leads to, where the remote gives it away; the mirror is held meanwhile."""
        async with self.alone(source) as alone, self.at(source) as there:
            await there.fetch_object(replace(self.of(source).upkeep, inherits=(alone,)), commit)

    async def complete(
        self,
        source: Source,
        needed: partial.Listing,
        *,
        hear: Hear | None = None,
        most: int = MOST_FILES,
        most_bytes: int = LARGEST,
        within: float | None = None,
    ) -> None:
        """Brings files into a partial mirror, which is held meanwhile: once for all who need them.

        Raises RemoteRefused.
        """
        mirror = self.of(source)
        if not mirror.is_partial or not await partial.missing_in(mirror, needed):
            return
        async with self.alone(source) as alone:
            if not (names := await partial.missing_in(mirror, needed)):
                return
            if len(names) > most:
                raise RemoteRefused(
                    partial.TOO_LARGE, "It takes more files of a large repository than are fetched."
                )
            async with self._slot(source.project), self.at(source) as there:
                self._require_space()
                git = replace(mirror.upkeep, inherits=(alone,))
                bound = min(self._largest, await asyncio.to_thread(mirror.size) + most_bytes)
                for begin in range(0, len(names), _FILES_AT_ONCE):
                    some = names[begin : begin + _FILES_AT_ONCE]
                    fetching = there.fetch_files(git, some, within=within or self._fetch_within, hear=hear)
                    await self._arrives(fetching, mirror, bound)
            size = await asyncio.to_thread(mirror.size)
            mirror.write_note(**mirror.note() | {"size": size})

    async def broken(self, source: Source) -> None:
        """Looks whether it is, where somebody says so; the next fetch makes it anew."""
        await self.broken_in(self.of(source))

    async def broken_in(self, mirror: Mirror) -> None:
        async with self.alone_in(mirror):
            try:
                if mirror.is_there:
                    await mirror.check()
            except GitFailed:
                await mirror.discard()

    def _turn(self, mirror: Mirror) -> asyncio.Lock:
        """Within this process: one of them waits for other processes, and not a thread of each."""
        return self._turns.setdefault(mirror.folder, asyncio.Lock())

    async def _fetch(self, mirror: Mirror, source: Source, alone: int, hear: Hear | None) -> Fetched:
        """Raises RemoteRefused, and GitFailed where our own disk is to blame."""
        begun, known = time.time(), mirror.note()
        async with self.at(source) as there, locks.locked(mirror.in_use, alone=False) as used:
            mirror.touch()
            if not mirror.is_there:
                mirror.remove_cut_off()
                if mirror.was_partial and self._partial_above is not None:
                    mirror.begin_partial()
            repository = _made(mirror, alone, used)
            mirror.remove_leftovers()
            wanted, has = await there.refs(repository), await mirror.refs()
            if has and not wanted.mirrored:  # whatever has answered: a fetch would remove all that is here
                raise RemoteRefused("empty", "The remote says that it has nothing any more.", passes=True)
            if wanted.mirrored != has or (mirror.is_partial and not mirror.is_there):
                await self._bring(there, mirror, repository, hear)
            host_keys = there.access.host_keys()
            size = await asyncio.to_thread(mirror.size)
            head = wanted.head or known.get("head")
            mirror.write_note(**mirror.note() | {"begun": begun, "head": head, "size": size})
        return Fetched(head, size, host_keys)

    async def _bring(
        self, there: Remote, mirror: Mirror, repository: GitDirectory, hear: Hear | None
    ) -> None:
        """What is here in full stays so; raises RemoteRefused."""
        bound = self._largest if self._partial_above is None else min(self._partial_above, self._largest)
        if mirror.is_there or bound == self._largest:
            await self._bring_within(self._largest, there, mirror, repository, hear)
            return
        if not mirror.is_partial:
            try:
                await self._bring_within(bound, there, mirror, repository, hear)
                return
            except _TooLarge:
                await mirror.discard()
                mirror.begin_partial()
                repository = _made(mirror, *repository.inherits)
        await self._bring_within(self._largest, there, mirror, repository, hear)
        if not await partial.can_be_completed(there, mirror, repository, within=self._fetch_within):
            mirror.end_partial()
            await mirror.discard()
            repository = _made(mirror, *repository.inherits)
            await self._bring_within(self._largest, there, mirror, repository, hear)

    async def _bring_within(
        self, bound: int, there: Remote, mirror: Mirror, repository: GitDirectory, hear: Hear | None
    ) -> None:
        fetching = there.fetch(repository, [HEADS, TAGS], within=self._fetch_within, hear=hear)
        await self._arrives(fetching, mirror, bound)
        if bound < self._largest and await asyncio.to_thread(mirror.size) > bound:
            raise _TooLarge
        await repository.run("pack-refs", "--all")

    async def _arrives(self, fetching: Coroutine[Any, Any, None], mirror: Mirror, bound: int) -> None:
        """Nothing of it is left where it does not; raises RemoteRefused, and GitFailed as `_fetch` does."""
        try:
            await self._watched(fetching, mirror, bound)
        except RemoteRefused as error:
            mirror.remove_cut_off()
            cause = error.__cause__
            if isinstance(cause, GitFailed) and looks_corrupt(cause) and not mirror.was_checked:
                await mirror.check()  # raises what it finds where not the remote is to blame
            raise

    async def _watched(self, fetching: Coroutine[Any, Any, None], mirror: Mirror, bound: int) -> None:
        """While it fits; raises RemoteRefused."""
        task = asyncio.create_task(fetching)
        try:
            while not (await asyncio.wait([task], timeout=_WATCH))[0]:
                if await asyncio.to_thread(mirror.size) > bound:
                    raise _TooLarge
            task.result()
        finally:
            await background.end(task)

    @asynccontextmanager
    async def at(self, source: Source) -> AsyncIterator[Remote]:
        """The remote itself; raises RemoteRefused."""
        try:
            url = remote_urls.parse(source.url)
        except remote_urls.BadUrl as error:  # it was taken by an earlier version
            raise RemoteRefused("bad_url", str(error)) from error
        async with remote(url, source.credential, self._reach, source.host_keys) as there:
            yield there

    def lfs_of(self, source: Source) -> LfsClient:
        """What keeps its large files."""
        return LfsClient(source.url, source.credential, self._reach, within=self._fetch_within)

    # -- room ------------------------------------------------------------------------------------------------

    async def make_room(self) -> int:
        """Removes what was not used for longest, until the rest is within the budget; answers how many."""
        removed = 0
        async with self._room, locks.locked(self._root / ".room", alone=True):
            found = await asyncio.to_thread(self._by_use)
            total = sum(size for _, size in found)
            for mirror, size in found:
                if total <= self._budget:
                    break
                if await mirror.remove():
                    total -= size
                    removed += 1
        return removed

    def _by_use(self) -> list[tuple[Mirror, int]]:
        found = [
            (mirror, int(mirror.note().get("size") or mirror.size())) for mirror in mirrors_below(self._root)
        ]
        return sorted(found, key=lambda each: each[0].used_at)


def _made(mirror: Mirror, *inherits: int) -> GitDirectory:
    return replace(GitDirectory.make(mirror.folder / "git", inherits), partial=mirror.is_partial)
