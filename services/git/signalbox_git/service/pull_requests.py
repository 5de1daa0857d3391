"""Pull requests: asked for, changed and looked at by people; their forge is asked by work that goes on."""

import uuid
from datetime import timedelta
from typing import Any

from signalbox_common.bus import Call
from signalbox_common.contracts import git as contract
from signalbox_common.db import Database
from signalbox_common.outcomes import Deferred
from signalbox_common.paging import cut, id_cursor, read_id_cursor
from signalbox_common.work import Worker
from signalbox_git import errors
from signalbox_git.domain import PULL_REQUEST_ENDED, PullRequest
from signalbox_git.replies import pull_request_reply
from signalbox_git.store import projects, pull_requests, repositories

OPEN, CHANGE, LOOK = "open-pull-request", "change-pull-request", "look-at-pull-request"
"""Work: their keys are the command, pull request and command, and the pull request."""
_GOOD_FOR = timedelta(seconds=30)


class PullRequests:
    def __init__(self, database: Database, worker: Worker) -> None:
        self._database = database
        self._worker = worker

    async def open(self, call: Call, command: contract.OpenPullRequest) -> Deferred:
        project = call.principal.project()
        _, is_deleted = await projects.moment(call.transaction, project)
        if is_deleted:
            raise errors.ProjectGone
        repository = await repositories.get(call.transaction.connection, project, command.repository)
        if repository is None:
            raise errors.RepositoryNotFound
        if repository.forge is contract.Forge.GIT:
            raise errors.NoForge
        wanted = command.model_dump(mode="json") | {"person": str(call.principal.user_id)}
        await self._put(call, OPEN, str(call.command_id), wanted)
        return Deferred(resource=str(command.repository))

    async def update(self, call: Call, command: contract.UpdatePullRequest) -> Deferred:
        wanted = command.model_dump(mode="json", exclude={"pull_request"}, exclude_none=True)
        if not wanted:
            raise errors.NothingToChange
        return await self._change(call, command.pull_request, wanted)

    async def close(self, call: Call, command: contract.ClosePullRequest) -> Deferred:
        return await self._change(call, command.pull_request, {"close": True})

    async def refresh(self, call: Call, command: contract.RefreshPullRequest) -> Deferred:
        return await self._change(call, command.pull_request, {})

    async def _change(self, call: Call, pull_request: uuid.UUID, wanted: dict[str, Any]) -> Deferred:
        project = call.principal.project()
        if await pull_requests.get(call.transaction.connection, project, pull_request) is None:
            raise errors.PullRequestNotFound
        await self._put(call, CHANGE, f"{pull_request}/{call.command_id}", wanted)
        return Deferred(resource=str(pull_request))

    async def _put(self, call: Call, kind: str, key: str, wanted: dict[str, Any]) -> None:
        await self._worker.put(
            call.transaction,
            kind,
            key,
            project=call.principal.project(),
            payload=wanted,
            command_id=call.command_id,
        )

    # -- looked at -----------------------------------------------------------------------------------------

    async def get(self, call: Call, query: contract.GetPullRequest) -> contract.PullRequest:
        project = call.principal.project()
        async with self._database.reading() as connection:
            found = await pull_requests.get(connection, project, query.pull_request)
        if found is None:
            raise errors.PullRequestNotFound
        await self._look_again(found)
        return pull_request_reply(found)

    async def _look_again(self, found: PullRequest) -> None:
        """Where what is known of it is not new, its forge is asked by and by."""
        if found.state in PULL_REQUEST_ENDED:
            return
        async with self._database.transaction() as transaction:
            now, is_deleted = await projects.moment(transaction, found.project_id)
            if not is_deleted and now - found.seen_at > _GOOD_FOR:
                await self._worker.put(
                    transaction, LOOK, str(found.id), project=found.project_id, soonest=True
                )

    async def page(self, call: Call, query: contract.ListPullRequests) -> contract.PullRequestPage:
        async with self._database.reading() as connection:
            found = await pull_requests.page(
                connection,
                call.principal.project(),
                limit=query.limit + 1,
                repository=query.repository,
                state=query.state,
                before=read_id_cursor(query.cursor),
            )
        replies = [pull_request_reply(each) for each in found]
        items, cursor = cut(replies, query.limit, lambda each: id_cursor(each.id))
        return contract.PullRequestPage(items=items, next_cursor=cursor)

    async def place(self, _call: Call, query: contract.FindPullRequest) -> contract.PullRequestPlace:
        async with self._database.reading() as connection:
            project = await pull_requests.place(connection, query.pull_request)
        if project is None:
            raise errors.PullRequestNotFound
        return contract.PullRequestPlace(project=project)
