"""Mirrors of submodules: one for each address of a project, whichever repositories name it."""

import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from signalbox_common import remote_urls
from signalbox_common.remote_urls import RemoteUrl
from signalbox_git.mirrors.gitmodules import MOST, Module, ModuleRefused, modules_of
from signalbox_git.mirrors.mirror import Mirror, module_id
from signalbox_git.mirrors.mirrors import Mirrors, Source
from signalbox_git.mirrors.partial import files_of
from signalbox_git.remotes.access import RemoteRefused

DEEPEST = 5


@dataclass(frozen=True)
class FetchedModule:
    module: Module
    mirror: Mirror
    """Has the commit, with a ref to it."""
    modules: tuple["FetchedModule", ...]

    @property
    def all(self) -> tuple["FetchedModule", ...]:
        return (self, *(inner for each in self.modules for inner in each.all))


class Modules:
    def __init__(self, mirrors: Mirrors, *, clock: Callable[[], float] = time.time) -> None:
        self._mirrors = mirrors
        self._clock = clock

    @asynccontextmanager
    async def fetched(
        self, source: Source, mirror: Mirror, commit: str, depth: int = 1
    ) -> AsyncIterator[tuple[FetchedModule, ...]]:
        """With those within them; their mirrors stay while somebody is in here, and have all files.

        Raises ModuleRefused and RemoteRefused.
        """
        async with AsyncExitStack() as held:
            turn = _Gathering(self._mirrors, source, held, self._clock(), depth)
            yield await turn.of(mirror, commit, remote_urls.parse(source.url), 1)


@dataclass
class _Gathering:
    """Of one checkout."""

    mirrors: Mirrors
    source: Source
    held: AsyncExitStack
    asked_at: float
    history: int
    """How deep it is."""
    count: int = 0

    async def of(self, mirror: Mirror, commit: str, own: RemoteUrl, depth: int) -> tuple[FetchedModule, ...]:
        """Cycles of addresses end where these bounds are: each round is another commit."""
        listed = await modules_of(mirror.git, commit, own)
        self.count += len(listed)
        if self.count > MOST:
            raise ModuleRefused(f"There are more than {MOST} submodules.")
        if listed and depth > DEEPEST:
            raise ModuleRefused(f"Submodules lie more than {DEEPEST} deep within each other.")
        found = []
        for module in listed:
            there = await self._brought(module)
            found.append(
                FetchedModule(module, there, await self.of(there, module.commit, module.url, depth + 1))
            )
        return tuple(found)

    async def _brought(self, module: Module) -> Mirror:
        source = self._source(module.url)
        try:
            mirror = await self._with_commit(source, module)
            await self.mirrors.keep(source, module.commit)
            await self.mirrors.complete(source, files_of(module.commit, depth=self.history))
        except RemoteRefused as refusal:
            detail = f"The submodule at {module.path}: {refusal.detail}"
            raise RemoteRefused(refusal.reason, detail, passes=refusal.passes) from refusal
        return mirror

    async def _with_commit(self, source: Source, module: Module) -> Mirror:
        for since in (0.0, self.asked_at):
            mirror = await self.held.enter_async_context(self.mirrors.fresh(source, since))
            if await mirror.has(module.commit):
                return mirror
        await self.mirrors.bring(source, module.commit)
        if not await mirror.has(module.commit):
            raise ModuleRefused(f"The remote of the submodule at {module.path} does not have its commit.")
        return mirror

    def _source(self, url: RemoteUrl) -> Source:
        """The credential is the repository's own: nobody but its host is shown it."""
        of = self.source
        is_ours = _place(remote_urls.parse(of.url)) == _place(url)
        return Source(
            of.project,
            module_id(of.project, str(url)),
            str(url),
            of.credential if is_ours else None,
            of.host_keys if is_ours else None,
        )


def _place(url: RemoteUrl) -> tuple[str, str, int, str | None]:
    return url.scheme, url.host, url.port, url.user
