"""Asking a remote now, for whoever wants to know whether it works."""

import uuid
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from signalbox_common.bus import Call
from signalbox_common.contracts import git as contract
from signalbox_common.db import Database
from signalbox_git import errors
from signalbox_git.command import GitDirectory
from signalbox_git.domain import HEADS
from signalbox_git.mirrors.mirrors import Mirrors
from signalbox_git.remotes.access import RemoteRefused
from signalbox_git.service.sources import Sources
from signalbox_git.store import repositories


class Prober:
    def __init__(self, database: Database, mirrors: Mirrors, sources: Sources) -> None:
        self._database = database
        self._mirrors = mirrors
        self._sources = sources

    async def test(self, call: Call, ask: contract.TestRepository) -> contract.RepositoryTest:
        project = call.principal.project()
        async with self._database.reading() as connection:
            found = await repositories.get(connection, project, ask.repository)
        if found is None:
            raise errors.RepositoryNotFound
        try:
            with TemporaryDirectory(prefix="signalbox-git-") as folder:
                scratch = GitDirectory.make(Path(folder))
                async with self._mirrors.at(await self._sources.of(found)) as there:
                    refs = await there.refs(scratch)
                    host_keys = there.access.host_keys()
        except RemoteRefused as refusal:
            return contract.RepositoryTest(ok=False, reason=refusal.reason, detail=refusal.detail)
        if host_keys is not None and found.host_keys is None:
            await self._pin(call, project, found.id, host_keys)
        branches = sum(name.startswith(HEADS) for name in refs.refs)
        return contract.RepositoryTest(ok=True, default_branch=refs.head, branches=branches)

    @staticmethod
    async def _pin(call: Call, project: uuid.UUID, repository: uuid.UUID, host_keys: str) -> None:
        """The first key that is shown counts from then on."""
        locked = await repositories.lock(call.transaction, project, repository)
        if locked is not None and locked.host_keys is None:
            await repositories.save(call.transaction, replace(locked, host_keys=host_keys))
