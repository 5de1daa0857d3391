"""Looking into repositories: as they were fetched last, and fetched again where that was a while ago."""

import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from signalbox_common.bus import Call
from signalbox_common.contracts import git as contract
from signalbox_common.contracts.git import RepositoryStatus
from signalbox_common.db import Database
from signalbox_common.paging import number_cursor, read_number_cursor, read_words_cursor, words_cursor
from signalbox_common.work import Worker
from signalbox_git import errors
from signalbox_git.command import GitDirectory
from signalbox_git.domain import HEADS, TAGS, Repository
from signalbox_git.mirrors import partial, reading
from signalbox_git.mirrors.mirror import Mirror, MirrorBroken
from signalbox_git.mirrors.mirrors import Mirrors, Source
from signalbox_git.service.missing_files import MissingFiles
from signalbox_git.service.repositories import FETCH
from signalbox_git.store import repositories


@dataclass(frozen=True)
class OpenRepository:
    """One that is being read."""

    found: Repository
    mirror: Mirror
    missing: MissingFiles

    @property
    def git(self) -> GitDirectory:
        return self.mirror.git

    async def commit(self, revision: str | None) -> str:
        return await reading.resolve(self.git, revision, self.found.main_branch)

    async def bring(self, needed: partial.Listing) -> None:
        """What is about to be read, where the mirror does not have it."""
        await self.missing.bring(self.found, self.mirror, needed)


class Contents:
    def __init__(
        self,
        database: Database,
        worker: Worker,
        mirrors: Mirrors,
        missing: MissingFiles,
        *,
        url: str,
        freshness: float,
    ) -> None:
        """`freshness` is in seconds: what was fetched before then is fetched again by and by."""
        self._database = database
        self._worker = worker
        self._mirrors = mirrors
        self._missing = missing
        self._url = url
        self._freshness = freshness

    async def branches(self, call: Call, query: contract.ListBranches) -> contract.BranchPage:
        async with self.opened(call.principal.project(), query.repository) as there:
            found, cursor = await self._refs(there, HEADS, query.cursor, query.limit)
            default = there.found.main_branch
        items = (
            contract.Branch(
                name=each.name,
                commit=each.commit,
                subject=each.subject,
                committed_at=each.at,
                is_default=each.name == default,
            )
            for each in found
        )
        return contract.BranchPage(items=tuple(items), next_cursor=cursor)

    async def tags(self, call: Call, query: contract.ListTags) -> contract.TagPage:
        async with self.opened(call.principal.project(), query.repository) as there:
            found, cursor = await self._refs(there, TAGS, query.cursor, query.limit)
        items = (
            contract.Tag(name=each.name, commit=each.commit, subject=each.subject, tagged_at=each.at)
            for each in found
        )
        return contract.TagPage(items=tuple(items), next_cursor=cursor)

    @staticmethod
    async def _refs(
        there: OpenRepository, prefix: str, cursor: str | None, limit: int
    ) -> tuple[list[reading.NamedRef], str | None]:
        words = read_words_cursor(cursor, 1)
        found = await reading.refs(there.git, prefix, words[0] if words else "", limit + 1)
        more = words_cursor(found[limit - 1].name) if len(found) > limit else None
        return found[:limit], more

    async def commits(self, call: Call, query: contract.ListCommits) -> contract.CommitPage:
        skip = read_number_cursor(query.cursor) or 0
        async with self.opened(call.principal.project(), query.repository) as there:
            commit = await there.commit(query.ref)
            found = await reading.log(there.git, commit, query.path, query.limit + 1, skip)
        more = number_cursor(skip + query.limit) if len(found) > query.limit else None
        return contract.CommitPage(items=tuple(found[: query.limit]), next_cursor=more)

    async def show(self, call: Call, query: contract.ShowCommit) -> contract.ShownCommit:
        async with self.opened(call.principal.project(), query.repository) as there:
            commit = await there.commit(query.ref)
            await there.bring(partial.files_changed_by(commit))
            return await reading.show(there.git, commit)

    async def tree(self, call: Call, query: contract.ListTree) -> contract.TreeListing:
        async with self.opened(call.principal.project(), query.repository) as there:
            return await reading.tree(there.git, await there.commit(query.ref), query.path)

    async def blame(self, call: Call, query: contract.GetBlame) -> contract.Blame:
        async with self.opened(call.principal.project(), query.repository) as there:
            commit = await there.commit(query.ref)
            await there.bring(partial.history_of(commit, query.path))
            found = await reading.blame(there.git, commit, query.path, follow=not there.mirror.is_partial)
            return contract.Blame(commit=commit, items=tuple(found))

    async def locate(self, _call: Call, _query: contract.LocateGit) -> contract.GitPlace:
        return contract.GitPlace(url=self._url)

    # -- bytes ---------------------------------------------------------------------------------------------

    async def file(self, project: uuid.UUID, repository: uuid.UUID, ref: str | None, path: str) -> bytes:
        async with self.opened(project, repository) as there:
            commit = await there.commit(ref)
            await there.bring(partial.file_at(commit, path))
            return await reading.blob(there.git, commit, path)

    async def diff(
        self, project: uuid.UUID, repository: uuid.UUID, base: str | None, head: str | None, path: str | None
    ) -> bytes:
        """Of what the head has beyond where it has left the base, as a pull request would show it."""
        async with self.opened(project, repository) as there:
            commit = await there.commit(head)
            begin = await there.commit(base) if base is not None else None
            if begin is not None:
                begin = await reading.merge_base(there.git, begin, commit) or begin
            needed = partial.files_between(begin, commit, path) if begin is not None else None
            await there.bring(needed or partial.files_changed_by(commit, path))
            return await reading.diff(there.git, begin, commit, path)

    # -- where it is ---------------------------------------------------------------------------------------

    @asynccontextmanager
    async def opened(self, project: uuid.UUID, repository: uuid.UUID) -> AsyncIterator[OpenRepository]:
        """Raises where it is not there, or not yet; another project's is not there, either."""
        async with self._database.reading() as connection:
            found = await repositories.get(connection, project, repository)
        if found is None:
            raise errors.RepositoryNotFound
        source = Source(found.project_id, found.id, found.url)
        try:
            async with self._mirrors.held(source) as mirror:
                if time.time() - mirror.fetched_at > self._freshness:
                    await self._fetch_soon(found)
                if mirror.is_there:
                    yield OpenRepository(found, mirror, self._missing)
                elif found.status is RepositoryStatus.FAILED:
                    raise errors.FetchFailed(found.detail)
                else:
                    raise errors.NotFetchedYet
        except MirrorBroken as error:
            await self._fetch_soon(found)
            raise errors.NotFetchedYet from error

    async def _fetch_soon(self, found: Repository) -> None:
        async with self._database.transaction() as transaction:
            await self._worker.put(transaction, FETCH, str(found.id), project=found.project_id)
