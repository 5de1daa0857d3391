"""Trees on the disk: made once for each commit and its options, and never changed."""

import asyncio
import fcntl
import os
import shutil
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager, suppress
from pathlib import Path

from signalbox_git.domain import CheckoutOptions
from signalbox_git.mirrors import locks
from signalbox_git.mirrors.mirror import Mirror
from signalbox_git.mirrors.modules import FetchedModule
from signalbox_git.trees.lfs import LfsFetch, LfsLayer
from signalbox_git.trees.maker import Made, TreeMaker
from signalbox_git.trees.modules import ModuleLayer

_DRAFT, _GONE = ".draft-", ".gone-"
_CHECKOUTS = "checkouts"
_ABANDONED = 3600.0
_AGAIN = 0.02
ModulesFetched = Callable[[], AbstractAsyncContextManager[tuple[FetchedModule, ...]]]
"""Fetches submodules, and holds their mirrors: asked only where a tree is made."""

FilesBrought = Callable[[], Awaitable[None]]
"""Brings what the mirror does not have of the commit: asked only where a tree is made."""


class Trees:
    """`<project>/<commit>-<options>` has `tree` and `git`; `<project>/checkouts/<id>` leads there."""

    def __init__(self, root: Path, maker: TreeMaker) -> None:
        self._root = root
        self._maker = maker
        self._layer = ModuleLayer(maker)
        self._lfs_layer = LfsLayer(maker)
        self._turns: dict[Path, asyncio.Lock] = {}

    @staticmethod
    def name_of(commit: str, options: CheckoutOptions) -> str:
        return f"{commit}-{options.digest}"

    @asynccontextmanager
    async def made(
        self,
        mirror: Mirror,
        project: uuid.UUID,
        commit: str,
        options: CheckoutOptions,
        modules: ModulesFetched | None = None,
        lfs: LfsFetch | None = None,
        complete: FilesBrought | None = None,
    ) -> AsyncIterator[str]:
        """Its name; found done where it is. It stays while somebody is in here.

        The mirror is held meanwhile, and has a ref to the commit.
        """
        name = self.name_of(commit, options)
        while True:
            with _held(self._root / str(project) / name) as there:
                if there is not None:
                    yield name
                    return
            if not await self._make(mirror, project, commit, options, modules, lfs, complete):
                await asyncio.sleep(_AGAIN)  # somebody looks whether it may go

    async def _make(
        self,
        mirror: Mirror,
        project: uuid.UUID,
        commit: str,
        options: CheckoutOptions,
        modules: ModulesFetched | None,
        lfs: LfsFetch | None,
        complete: FilesBrought | None,
    ) -> bool:
        """False where it is there."""
        name, folder = self.name_of(commit, options), self._root / str(project)
        self._open(folder)
        turn = self._turns.setdefault(folder / name, asyncio.Lock())
        async with turn, locks.locked(folder / f".{name}.making", alone=True):
            if (folder / name).is_dir():
                return False
            if complete is not None:
                await complete()
            draft = folder / f"{_DRAFT}{uuid.uuid4().hex}"
            newest = folder / f".newest-{mirror.repository}-{options.shape}"
            try:
                draft.mkdir(mode=0o755)
                with _newest(newest) as like:
                    await self._maker.make(draft, mirror, commit, options, like)
                if lfs is not None:
                    await self._lfs_layer.add(draft, lfs)
                if modules is not None:
                    await self._add(draft, mirror, commit, options, modules)
                draft.rename(folder / name)
                self._maker.own(folder / name)
                _point(newest, name)
            finally:
                self._turns.pop(folder / name, None)
                await asyncio.to_thread(shutil.rmtree, draft, ignore_errors=True)
            return True

    async def _add(
        self, draft: Path, mirror: Mirror, commit: str, options: CheckoutOptions, modules: ModulesFetched
    ) -> None:
        async with modules() as fetched:
            await self._layer.check_size(mirror, commit, fetched)
            await self._layer.add(draft, fetched, options)

    def _open(self, folder: Path) -> None:
        """Sandboxes are another user's, whatever our umask says."""
        for each in (self._root, folder, folder / _CHECKOUTS):
            each.mkdir(parents=True, exist_ok=True)
            each.chmod(0o755)

    def link(self, project: uuid.UUID, checkout: uuid.UUID, name: str) -> None:
        """From then on the checkout is found."""
        folder = self._root / str(project) / _CHECKOUTS
        draft = folder / f"{_DRAFT}{uuid.uuid4().hex}"
        draft.symlink_to(f"../{name}")
        draft.rename(folder / str(checkout))

    def unlink(self, project: uuid.UUID, checkout: uuid.UUID) -> None:
        (self._root / str(project) / _CHECKOUTS / str(checkout)).unlink(missing_ok=True)

    @contextmanager
    def held(self, project: uuid.UUID, checkout: uuid.UUID) -> Iterator[Path | None]:
        """The folder of its tree, which stays as long as somebody is in here; None where it is gone."""
        link = self._root / str(project) / _CHECKOUTS / str(checkout)
        try:
            folder = link.parent / link.readlink()
        except OSError:
            yield None
            return
        with _held(folder) as there:
            yield there

    # -- what nobody has any more ------------------------------------------------------------------------

    def all(self) -> list[tuple[uuid.UUID, str]]:
        found = []
        for path in self._root.glob("*/*-*"):
            with suppress(ValueError):
                if not path.name.startswith("."):
                    found.append((uuid.UUID(path.parent.name), path.name))
        return found

    async def remove(self, project: uuid.UUID, name: str, is_free: Callable[[], Awaitable[bool]]) -> bool:
        """False where a sandbox has it, or a checkout: that is asked when nobody can take it any more."""
        path = self._root / str(project) / name
        if not await is_free():  # most are not, and nobody is held up by asking
            return False
        try:
            folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            return True
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not await is_free():
                return False
            gone = path.with_name(f"{_GONE}{uuid.uuid4().hex}")
            path.rename(gone)
        except BlockingIOError:
            return False
        finally:
            os.close(folder)
        with suppress(OSError):
            path.with_name(f".{name}.making").unlink()
        await asyncio.to_thread(shutil.rmtree, gone, ignore_errors=True)
        return True

    def remove_leftovers(self) -> None:
        for path in self._root.glob(f"*/{_CHECKOUTS}/*"):
            if not path.exists():  # what it led to is gone
                path.unlink(missing_ok=True)
        for path in (*self._root.glob(f"*/{_DRAFT}*"), *self._root.glob(f"*/{_GONE}*")):
            with suppress(OSError):
                if time.time() - path.lstat().st_mtime <= _ABANDONED:
                    continue
                if path.is_symlink():
                    path.unlink()
                else:
                    shutil.rmtree(path, ignore_errors=True)


@contextmanager
def _held(folder: Path) -> Iterator[Path | None]:
    """None where it is not there, or on its way out."""
    descriptor = None
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        # Its name may have become another one's since it was opened.
        there = folder if os.path.samestat(os.fstat(descriptor), folder.stat()) else None
    except OSError:
        there = None
    try:
        yield there
    finally:
        if descriptor is not None:
            os.close(descriptor)


@contextmanager
def _newest(pointer: Path) -> Iterator[Made | None]:
    """The tree of the same repository that was made last, if there is one; nobody removes it meanwhile."""
    try:
        folder = pointer.parent / pointer.readlink()
    except OSError:
        yield None
        return
    with _held(folder) as there:
        yield Made(there, there.name.partition("-")[0]) if there is not None else None


def _point(newest: Path, name: str) -> None:
    draft = newest.with_name(f"{_DRAFT}{uuid.uuid4().hex}")
    draft.symlink_to(name)
    draft.rename(newest)
