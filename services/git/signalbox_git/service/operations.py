"""Operations: asked for, looked at, cancelled."""

import uuid
from dataclasses import replace

from signalbox_common.bus import Call
from signalbox_common.contracts import git as contract
from signalbox_common.contracts.git import CommitPerson, GitAction
from signalbox_common.contracts.roles import ProjectRole
from signalbox_common.db import Database
from signalbox_common.errors import AlreadyEnded, Cancelled, RoleTooLow
from signalbox_common.keys import uuid7
from signalbox_common.paging import cut, id_cursor, read_id_cursor
from signalbox_common.principal import Principal
from signalbox_common.space import DiskSpace
from signalbox_common.work import Worker
from signalbox_git import errors
from signalbox_git.operations.changes import write
from signalbox_git.operations.record import Operation
from signalbox_git.operations.replies import operation_reply, tell_of_operation
from signalbox_git.service.intents import admitted
from signalbox_git.store import operations, projects

OPERATE = "operate"
"""The work of one operation; its key is the id."""
_NOBODYS_HOST = "users.signalbox.invalid"


class Operations:
    def __init__(self, database: Database, worker: Worker, space: DiskSpace) -> None:
        self._database = database
        self._worker = worker
        self._space = space

    async def operate(self, call: Call, command: contract.Operate) -> contract.GitOperation:
        """Answered at the intent."""
        await admitted(call, self._space, command.repository, None)
        allows = getattr(command.action, "protected", "refuse") == "allow"
        if allows and not _is_maintainer(call.principal):
            raise RoleTooLow(ProjectRole.MAINTAINER)
        return operation_reply(await begin(call, self._worker, command.repository, command.action))

    async def get(self, call: Call, query: contract.GetGitOperation) -> contract.GitOperation:
        project = call.principal.project()
        async with self._database.reading() as connection:
            found = await operations.get(connection, project, query.operation, query.repository)
        if found is None:
            raise errors.GitOperationNotFound
        return operation_reply(found)

    async def page(self, call: Call, query: contract.ListGitOperations) -> contract.GitOperationPage:
        async with self._database.reading() as connection:
            found = await operations.page(
                connection,
                call.principal.project(),
                limit=query.limit + 1,
                repository=query.repository,
                of_type=query.type,
                status=query.status,
                before=read_id_cursor(query.cursor),
            )
        replies = [operation_reply(each) for each in found]
        items, cursor = cut(replies, query.limit, lambda each: id_cursor(each.id))
        return contract.GitOperationPage(items=items, next_cursor=cursor)

    async def cancel(self, call: Call, ask: contract.CancelGitOperation) -> contract.GitOperation:
        """Before its push it ends now, whoever works on it; a push that was begun is finished first."""
        project, transaction = call.principal.project(), call.transaction
        # As workers do: the row of work first.
        row = await self._worker.table.called(transaction, OPERATE, str(ask.operation))
        found = await operations.lock(transaction, project, ask.operation)
        if found is None or ask.repository not in (None, found.repository_id):
            raise errors.GitOperationNotFound
        if found.created_by != call.principal.user_id and not _is_maintainer(call.principal):
            raise RoleTooLow(ProjectRole.MAINTAINER)
        if found.final:
            raise AlreadyEnded
        if found.push_begun and row is not None:
            return operation_reply(await write(transaction, found, replace(found, cancelling=True)))
        now, _ = await projects.moment(transaction, project)
        ended = await write(transaction, found, found.cancelled(now))
        if row is not None:
            await self._worker.withdraw(transaction, row, Cancelled())
        return operation_reply(ended)


async def begin(
    call: Call,
    worker: Worker,
    repository: uuid.UUID,
    action: GitAction,
    *,
    command_id: uuid.UUID | None = None,
) -> Operation:
    """Done when the transaction has committed; `command_id` is of a command that is answered with its end."""
    project, transaction, who = call.principal.project(), call.transaction, call.principal
    now, _ = await projects.moment(transaction, project)
    author: CommitPerson | None = getattr(action, "author", None)
    author = author or CommitPerson(name=who.username, email=f"{who.username}@{_NOBODYS_HOST}")
    found = Operation(
        id=uuid7(),
        project_id=project,
        repository_id=repository,
        type=action.type,
        action=action.model_dump(mode="json"),
        author=author.model_dump(mode="json"),
        created_by=who.user_id,
        created_at=now,
    )
    await operations.add(transaction, found)
    tell_of_operation(transaction, found)
    await worker.put(transaction, OPERATE, str(found.id), project=project, command_id=command_id)
    return found


def _is_maintainer(who: Principal) -> bool:
    return who.project_role is not None and who.project_role.includes(ProjectRole.MAINTAINER)
