"""Deliveries: change sets and bundles stored, deliveries asked for and looked at."""

import asyncio
import uuid

from signalbox_common.bus import Call
from signalbox_common.changesets import ChangesRefused
from signalbox_common.contracts import git as contract
from signalbox_common.contracts.base import FieldError
from signalbox_common.contracts.git import DeliveryState
from signalbox_common.contracts.roles import ProjectRole
from signalbox_common.db import Database, Transaction
from signalbox_common.errors import Invalid
from signalbox_common.keys import uuid7
from signalbox_common.paging import cut, id_cursor, read_id_cursor
from signalbox_common.space import DiskSpace
from signalbox_common.work import Worker
from signalbox_git import errors
from signalbox_git.changes import ChangeFiles, Draft
from signalbox_git.commits import bundles
from signalbox_git.commits import changes as reading
from signalbox_git.domain import Delivery
from signalbox_git.replies import delivery_reply, tell_of_delivery
from signalbox_git.service.intents import admitted
from signalbox_git.store import changes, deliveries, repositories

DELIVER = "deliver"
"""The work of one delivery; its key is the id."""
_CAME_TO_NOTHING = frozenset({DeliveryState.REFUSED, DeliveryState.STOPPED, DeliveryState.FAILED})


class Deliveries:
    def __init__(self, database: Database, worker: Worker, files: ChangeFiles, space: DiskSpace) -> None:
        self._database = database
        self._worker = worker
        self._files = files
        self._space = space

    async def store(self, project: uuid.UUID, sha256: str, draft: Draft, *, bundled: bool = False) -> None:
        """Under its name, once it is known to be a change set, or to begin as a bundle; raises BadChanges."""
        try:
            await asyncio.to_thread(_check_bundle if bundled else _check, draft)
        except ChangesRefused as error:
            draft.path.unlink(missing_ok=True)
            raise bad_changes(error) from error
        async with self._database.transaction() as transaction:
            await changes.lock(transaction, project, sha256)
            self._files.keep(draft, project, sha256)
            await changes.add(transaction, project, sha256, draft.size, bundled=bundled)

    async def stored(self, project: uuid.UUID, sha256: str, *, bundled: bool = False) -> int | None:
        """Its size, where it is there: as if it had come now."""
        async with self._database.transaction() as transaction:
            await changes.lock(transaction, project, sha256)
            there = await changes.find(transaction.connection, project, sha256)
            if there is None or there.bundled != bundled:
                return None
            if not self._files.path(project, sha256).exists():
                return None
            await changes.add(transaction, project, sha256, there.size)
            return there.size

    async def deliver(self, call: Call, command: contract.Deliver) -> contract.ChangeDelivery:
        """Answered at the intent."""
        project, transaction = call.principal.project(), call.transaction
        now = await admitted(call, self._space, command.repository, command.run)
        role = call.principal.project_role
        if command.findings == "allow" and (role is None or not role.includes(ProjectRole.MAINTAINER)):
            raise errors.MaintainerNeeded
        digest, bundled = command.bundle or str(command.changes), command.bundle is not None
        if not await changes.hold(transaction, project, digest, bundled=bundled):
            raise errors.ChangesNotFound
        expected = await self._expected(transaction, project, command)
        known = {"run", "ordinal", "repository", "base", "changes", "bundle"}
        wanted = command.model_dump(mode="json", exclude=known) | {"expected": expected}
        found = Delivery(
            id=uuid7(),
            project_id=project,
            repository_id=command.repository,
            run=command.run,
            ordinal=command.ordinal,
            wanted=wanted | await _as_it_is_now(transaction, project, command.repository),
            changes=digest,
            bundled=bundled,
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

    async def place(self, _call: Call, query: contract.FindDelivery) -> contract.DeliveryPlace:
        async with self._database.reading() as connection:
            project = await deliveries.place(connection, query.delivery)
        if project is None:
            raise errors.DeliveryNotFound
        return contract.DeliveryPlace(project=project)

    async def retry(self, call: Call, command: contract.RetryDelivery) -> contract.ChangeDelivery:
        """By somebody's hand: it belongs to no run any more."""
        before = await deliveries.lock(call.transaction, call.principal.project(), command.delivery)
        if before is None:
            raise errors.DeliveryNotFound
        if not before.final:
            raise errors.DeliveryUnderWay
        if before.state not in _CAME_TO_NOTHING:
            raise errors.AlreadyDelivered
        rules = {name: getattr(command, name) for name in ("workflow_files", "findings")}
        asked = {name: value for name, value in rules.items() if value is not None}
        again = contract.Deliver.model_validate(
            {**before.wanted, **asked}
            | {"repository": before.repository_id, "base": before.base}
            | {"bundle" if before.bundled else "changes": before.changes}
        )
        return await self.deliver(call, again)

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


async def _as_it_is_now(
    transaction: Transaction, project: uuid.UUID, repository: uuid.UUID
) -> dict[str, object]:
    """What counts for this delivery from then on, however the repository is changed."""
    found = await repositories.get(transaction.connection, project, repository)
    if found is None:
        raise errors.RepositoryNotFound
    key = str(found.signing_key) if found.signing_key is not None else None
    return {"policy": found.policy.model_dump(mode="json"), "signing_key": key}


def _check_bundle(draft: Draft) -> None:
    with draft.path.open("rb") as file:
        bundles.read_head(file)


def _check(draft: Draft) -> None:
    with draft.path.open("rb") as file:
        reading.read(file).check_contents()


def bad_changes(error: ChangesRefused) -> Invalid:
    fields = tuple(
        FieldError(field=path.decode("utf-8", "replace"), message=str(error), code=error.code)
        for path in error.paths
    )
    kinds: dict[str, type[Invalid]] = {
        errors.ChangesTooLarge.code: errors.ChangesTooLarge,
        errors.BadBundle.code: errors.BadBundle,
    }
    kind = kinds.get(error.code, errors.BadChanges)
    return kind(str(error), errors=fields)
