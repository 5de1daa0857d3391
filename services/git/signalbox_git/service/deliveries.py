"""Deliveries: change sets stored, deliveries asked for and looked at."""

import asyncio
import uuid

from signalbox_common.bus import Call
from signalbox_common.changesets import ChangesRefused
from signalbox_common.contracts import git as contract
from signalbox_common.contracts.base import FieldError
from signalbox_common.contracts.roles import ProjectRole
from signalbox_common.db import Database, Transaction
from signalbox_common.errors import Invalid
from signalbox_common.keys import uuid7
from signalbox_common.paging import cut, id_cursor, read_id_cursor
from signalbox_common.space import DiskSpace
from signalbox_common.work import Worker
from signalbox_git import errors
from signalbox_git.changes import ChangeFiles, Draft
from signalbox_git.commits import changes as reading
from signalbox_git.domain import Delivery
from signalbox_git.replies import delivery_reply, tell_of_delivery
from signalbox_git.service.intents import admitted
from signalbox_git.store import changes, deliveries

DELIVER = "deliver"
"""The work of one delivery; its key is the id."""


class Deliveries:
    def __init__(self, database: Database, worker: Worker, files: ChangeFiles, space: DiskSpace) -> None:
        self._database = database
        self._worker = worker
        self._files = files
        self._space = space

    async def store(self, project: uuid.UUID, sha256: str, draft: Draft) -> None:
        """Under its name, once it is known to be a change set; raises BadChanges."""
        try:
            await asyncio.to_thread(_check, draft)
        except ChangesRefused as error:
            draft.path.unlink(missing_ok=True)
            raise bad_changes(error) from error
        async with self._database.transaction() as transaction:
            await changes.lock(transaction, project, sha256)
            self._files.keep(draft, project, sha256)
            await changes.add(transaction, project, sha256, draft.size)

    async def stored(self, project: uuid.UUID, sha256: str) -> int | None:
        """Its size, where it is there: as if it had come now."""
        async with self._database.transaction() as transaction:
            await changes.lock(transaction, project, sha256)
            size = await changes.size(transaction.connection, project, sha256)
            if size is None or not self._files.path(project, sha256).exists():
                return None
            await changes.add(transaction, project, sha256, size)
            return size

    async def deliver(self, call: Call, command: contract.Deliver) -> contract.ChangeDelivery:
        """Answered at the intent."""
        project, transaction = call.principal.project(), call.transaction
        now = await admitted(call, self._space, command.repository, command.run)
        role = call.principal.project_role
        if command.findings == "allow" and (role is None or not role.includes(ProjectRole.MAINTAINER)):
            raise errors.MaintainerNeeded
        if not await changes.hold(transaction, project, command.changes):
            raise errors.ChangesNotFound
        expected = await self._expected(transaction, project, command)
        known = {"run", "ordinal", "repository", "base", "changes"}
        found = Delivery(
            id=uuid7(),
            project_id=project,
            repository_id=command.repository,
            run=command.run,
            ordinal=command.ordinal,
            wanted=command.model_dump(mode="json", exclude=known) | {"expected": expected},
            changes=command.changes,
            base=command.base,
            branch=command.branch,
            expected=expected,
            created_by=call.principal.user_id,
            created_at=now,
        )
        await deliveries.add(transaction, found)
        tell_of_delivery(transaction, found)
        await self._worker.put(transaction, DELIVER, str(found.id), project=project)
        return delivery_reply(found)

    @staticmethod
    async def _expected(
        transaction: Transaction, project: uuid.UUID, command: contract.Deliver
    ) -> str | None:
        """What may be there: what ours goes on from, or was delivered there. Nothing else is written over."""
        if command.expected is None or command.expected == command.base:
            return command.expected
        was_ours = await deliveries.was_pushed(
            transaction.connection, project, command.repository, command.branch, command.expected
        )
        return command.expected if was_ours else None

    async def get(self, call: Call, query: contract.GetDelivery) -> contract.ChangeDelivery:
        project = call.principal.project()
        async with self._database.reading() as connection:
            if query.delivery is not None:
                found = await deliveries.get(connection, project, query.delivery)
            elif query.run is not None:
                found = await deliveries.of_run(connection, project, query.run, query.ordinal)
            else:
                found = None
        if found is None:
            raise errors.DeliveryNotFound
        return delivery_reply(found)

    async def page(self, call: Call, query: contract.ListDeliveries) -> contract.DeliveryPage:
        async with self._database.reading() as connection:
            found = await deliveries.page(
                connection,
                call.principal.project(),
                limit=query.limit + 1,
                repository=query.repository,
                before=read_id_cursor(query.cursor),
            )
        replies = [delivery_reply(each) for each in found]
        items, cursor = cut(replies, query.limit, lambda each: id_cursor(each.delivery))
        return contract.DeliveryPage(items=items, next_cursor=cursor)


def _check(draft: Draft) -> None:
    with draft.path.open("rb") as file:
        reading.read(file).check_contents()


def bad_changes(error: ChangesRefused) -> Invalid:
    fields = tuple(
        FieldError(field=path.decode("utf-8", "replace"), message=str(error), code=error.code)
        for path in error.paths
    )
    kind = errors.ChangesTooLarge if error.code == errors.ChangesTooLarge.code else errors.BadChanges
    return kind(str(error), errors=fields)
