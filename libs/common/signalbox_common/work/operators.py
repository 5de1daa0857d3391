"""What operators ask about work, and what they do about it."""

from typing import Any

from sqlalchemy import Row, text

from signalbox_common.bus import Call, ServiceBus
from signalbox_common.contracts import work as contract
from signalbox_common.contracts.base import Empty
from signalbox_common.db import Database
from signalbox_common.errors import Conflict, NotFound, SignalboxError
from signalbox_common.outcomes import Outcome
from signalbox_common.work.table import NO_PROJECT
from signalbox_common.work.worker import Worker

_COLUMNS = tuple(contract.WorkEntry.model_fields)


class WorkRunning(Conflict):
    code = "work_running"
    detail = "Somebody is at work on it; it can only be dropped."


class WorkDropped(SignalboxError):
    code = "work_dropped"
    detail = "An operator has dropped the work that this was waiting for."
    final = True


class WorkDesk:
    """Answers operators for one service."""

    def __init__(self, database: Database, worker: Worker) -> None:
        self._database = database
        self._worker = worker
        table = f"{database.schema}.work"
        columns = ", ".join(_COLUMNS)
        self._page = text(
            f"select {columns} from {table} where id > :after "  # noqa: S608 - our own names, as below
            "and (cast(:state as text) is null or state = :state) order by id limit :limit"
        )
        self._one = text(f"select {columns} from {table} where id = :id")  # noqa: S608
        self._retry = text(
            f"update {table} set state = 'waiting', attempts = 0, error = null, "  # noqa: S608
            f"due_at = {database.schema}.clock() where id = :id and state <> 'running' returning {columns}"
        )
        self._drop = text(f"delete from {table} where id = :id returning command_id, lease_owner")  # noqa: S608

    def register(self, bus: ServiceBus) -> None:
        bus.on_query(contract.ListWork)(self.page)
        bus.on_query(contract.GetWork)(self.one)
        bus.on_ask(contract.RetryWork)(self.retry)
        bus.on_ask(contract.DropWork)(self.drop)

    async def page(self, _call: Call, query: contract.ListWork) -> contract.WorkPage:
        asked = {"after": query.after, "state": query.state, "limit": query.limit}
        async with self._database.reading() as connection:
            rows = (await connection.execute(self._page, asked)).all()
        return contract.WorkPage(items=tuple(map(_entry, rows)))

    async def one(self, _call: Call, query: contract.GetWork) -> contract.WorkEntry:
        async with self._database.reading() as connection:
            row = (await connection.execute(self._one, {"id": query.id})).first()
        if row is None:
            raise _unknown(query.id)
        return _entry(row)

    async def retry(self, call: Call, ask: contract.RetryWork) -> contract.WorkEntry:
        connection = call.transaction.connection
        row = (await connection.execute(self._retry, {"id": ask.id})).first()
        if row is None:
            known = (await connection.execute(self._one, {"id": ask.id})).first()
            raise _unknown(ask.id) if known is None else WorkRunning()
        self._worker.wake_after(call.transaction, row.target)
        return _entry(row)

    async def drop(self, call: Call, ask: contract.DropWork) -> Empty:
        row = (await call.transaction.connection.execute(self._drop, {"id": ask.id})).first()
        if row is None:
            raise _unknown(ask.id)
        self._worker.stop_after(call.transaction, row.lease_owner)
        if row.command_id is not None:
            await self._worker.table.pending.settle(
                call.transaction, row.command_id, Outcome.failure(WorkDropped())
            )
        return Empty()


def _unknown(number: int) -> NotFound:
    return NotFound(f"This service has no work {number}.")


def _entry(row: Row[Any]) -> contract.WorkEntry:
    values = {name: getattr(row, name) for name in _COLUMNS}
    return contract.WorkEntry(**values | {"project": row.project if row.project != NO_PROJECT else None})
