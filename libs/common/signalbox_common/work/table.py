"""The statements on the table of work of one service."""

import json
import time
import uuid
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Row, TextClause, text

from signalbox_common.db import Database, Transaction
from signalbox_common.pending import PendingOperations

LEASE = 15.0
"""Seconds that a claim, or a heartbeat, holds a row for."""
NO_PROJECT = uuid.UUID(int=0)

_PUT = """
    insert into {schema}.work
        (kind, key, project, due_at, target, command_id, actor, operation, payload, created_at)
    values (:kind, :key, :project, {schema}.clock() + :due_in * interval '1 second', :target, :command_id,
            :actor, :operation, cast(:payload as jsonb), {schema}.clock())
    on conflict (kind, key) do update
    set state = 'waiting', due_at = excluded.due_at, target = excluded.target, attempts = 0, error = null,
        command_id = excluded.command_id, actor = excluded.actor, operation = excluded.operation,
        payload = excluded.payload
    where work.state = 'failed'
    returning id
"""
_HURRY = """
    update {schema}.work set due_at = least(due_at, {schema}.clock())
    where kind = :kind and key = :key and state = 'waiting'
"""
_RELEASE = """
    update {schema}.work set target = null, due_at = least(due_at, {schema}.clock())
    where kind = :kind and key = :key and state <> 'failed'
"""
_CLAIM = """
    select * from {schema}.claim_work(
        cast(:kinds as text[]), cast(:most as integer[]), cast(:most_in_project as integer[]),
        :batch, :node, :worker, :lease * interval '1 second'
    )
"""
_HOLD = """
    select id from {schema}.work where id = :id and epoch = :epoch and state = 'running' for update
"""
_HELD = """
    unnest(cast(:ids as bigint[]), cast(:epochs as bigint[])) as held (id, epoch)
    where work.id = held.id and work.epoch = held.epoch and work.state = 'running'
"""
_RENEW = """
    update {schema}.work set lease_until = {schema}.clock() + :lease * interval '1 second'
    from {held} returning work.id
"""
_GIVE_BACK = """
    update {schema}.work
    set state = 'waiting', attempts = attempts - 1, lease_owner = null, lease_until = null,
        due_at = {schema}.clock() + :after * interval '1 second'
    from {held} returning work.id
"""
_LEAVE = """
    update {schema}.work
    set state = 'waiting', attempts = attempts - 1, lease_owner = null, lease_until = null,
        due_at = {schema}.clock()
    where lease_owner = :worker and state = 'running'
"""
_FINISH = "delete from {schema}.work using {held} returning work.id"
_WAITED_FOR = "select * from {schema}.work where command_id = :command_id for update"
_CALLED = "select * from {schema}.work where kind = :kind and key = :key for update"
_REMOVE = "delete from {schema}.work where id = :id"
_PUT_BACK = """
    update {schema}.work
    set state = 'waiting', attempts = :attempts, lease_owner = null, lease_until = null, error = :error,
        payload = coalesce(cast(:payload as jsonb), payload),
        target = coalesce(cast(:target as text), target),
        due_at = {schema}.clock() + :after * interval '1 second'
    where id = :id
"""
_FAIL = """
    update {schema}.work set state = 'failed', lease_owner = null, lease_until = null, error = :error
    where id = :id
"""
_LEFT = """
    select exists (
               select from {schema}.work
               where state = 'waiting' and due_at <= {schema}.clock() and kind = any(cast(:kinds as text[]))
                   and (target is null or target = :node)
           ) as held_back,
           extract(epoch from least(
               (select min(due_at) from {schema}.work where state = 'waiting' and due_at > {schema}.clock()),
               (select min(lease_until) from {schema}.work
                where state = 'running' and lease_until > {schema}.clock())
           ) - {schema}.clock()) as next_in
"""
_COUNTS = """
    select kind, state, count(*) as jobs,
           coalesce(extract(epoch from {schema}.clock() - min(created_at)), 0) as oldest
    from {schema}.work group by kind, state
"""


class WorkTable:
    """`work` of one service."""

    def __init__(
        self, database: Database, pending: PendingOperations, worker: str, node: str, lease: float = LEASE
    ) -> None:
        self.database = database
        self.pending = pending
        self.lease = lease
        self._worker = worker
        self._node = node

        def prepared(statement: str) -> TextClause:
            return text(statement.format(schema=database.schema, held=_HELD))

        self._put = prepared(_PUT)
        self._hurry = prepared(_HURRY)
        self._release = prepared(_RELEASE)
        self._claim = prepared(_CLAIM)
        self._hold = prepared(_HOLD)
        self._renew = prepared(_RENEW)
        self._give_back = prepared(_GIVE_BACK)
        self._leave = prepared(_LEAVE)
        self._finish = prepared(_FINISH)
        self._waited_for = prepared(_WAITED_FOR)
        self._called = prepared(_CALLED)
        self._remove = prepared(_REMOVE)
        self._put_back = prepared(_PUT_BACK)
        self._fail = prepared(_FAIL)
        self._left = prepared(_LEFT)
        self._counts = prepared(_COUNTS)

    async def put(self, transaction: Transaction, values: dict[str, Any]) -> bool:
        """False where work of that kind and key waits, or is done at the moment; failed, it begins anew."""
        return (await transaction.connection.execute(self._put, values)).first() is not None

    async def hurry(self, transaction: Transaction, kind: str, key: str) -> None:
        """It is due now, if it waits."""
        await transaction.connection.execute(self._hurry, {"kind": kind, "key": key})

    async def release(self, transaction: Transaction, kind: str, key: str) -> None:
        """Any node may do it."""
        await transaction.connection.execute(self._release, {"kind": kind, "key": key})

    async def claim(
        self, kinds: Sequence[str], most: Sequence[int], most_in_project: Sequence[int], batch: int
    ) -> tuple[Sequence[Row[Any]], float]:
        """The rows, and until when their lease lasts by our own clock."""
        asked_at = time.monotonic()
        parameters = {
            "kinds": list(kinds),
            "most": list(most),
            "most_in_project": list(most_in_project),
            "batch": batch,
            "node": self._node,
            "worker": self._worker,
            "lease": self.lease,
        }
        async with self.database.reading() as connection:
            return (await connection.execute(self._claim, parameters)).all(), asked_at + self.lease

    async def hold(self, transaction: Transaction, job: int, epoch: int) -> bool:
        """Locks the row to the end of the transaction, where it is still ours."""
        held = await transaction.connection.execute(self._hold, {"id": job, "epoch": epoch})
        return held.first() is not None

    async def renew(self, jobs: Sequence[tuple[int, int]]) -> set[int]:
        """Those that are still ours."""
        return await self._for_all(self._renew, jobs, lease=self.lease)

    async def give_back(self, jobs: Sequence[tuple[int, int]], after: float = 0.0) -> set[int]:
        """As if they had not been tried."""
        return await self._for_all(self._give_back, jobs, after=after)

    async def leave(self) -> None:
        """Gives back all that this worker holds, also what it was about to claim when it was stopped."""
        async with self.database.reading() as connection:
            await connection.execute(self._leave, {"worker": self._worker})

    async def finish(self, jobs: Sequence[tuple[int, int]]) -> set[int]:
        """Those whose end was ours to write."""
        return await self._for_all(self._finish, jobs)

    async def waited_for(self, transaction: Transaction, command_id: uuid.UUID) -> Row[Any] | None:
        """The row that an operation ends with, locked to the end of the transaction."""
        found = await transaction.connection.execute(self._waited_for, {"command_id": command_id})
        return found.first()

    async def called(self, transaction: Transaction, kind: str, key: str) -> Row[Any] | None:
        """The row of that kind and key, locked to the end of the transaction."""
        found = await transaction.connection.execute(self._called, {"kind": kind, "key": key})
        return found.first()

    async def remove(self, transaction: Transaction, job: int) -> None:
        await transaction.connection.execute(self._remove, {"id": job})

    async def put_back(
        self,
        transaction: Transaction,
        job: int,
        after: float,
        payload: dict[str, Any] | None = None,
        *,
        attempts: int = 0,
        error: str | None = None,
        target: str | None = None,
    ) -> None:
        await transaction.connection.execute(
            self._put_back,
            {
                "id": job,
                "after": after,
                "payload": json.dumps(payload) if payload is not None else None,
                "attempts": attempts,
                "error": error,
                "target": target,
            },
        )

    async def fail(self, transaction: Transaction, job: int, error: str) -> None:
        await transaction.connection.execute(self._fail, {"id": job, "error": error})

    async def left(self, kinds: Sequence[str]) -> tuple[bool, float | None]:
        """Whether something is due that nobody may claim yet, and in how many seconds the next may be."""
        async with self.database.reading() as connection:
            row = (await connection.execute(self._left, {"kinds": list(kinds), "node": self._node})).one()
        return row.held_back, float(row.next_in) if row.next_in is not None else None

    async def counts(self) -> Sequence[Row[Any]]:
        async with self.database.reading() as connection:
            return (await connection.execute(self._counts)).all()

    async def _for_all(self, statement: Any, jobs: Sequence[tuple[int, int]], **more: Any) -> set[int]:
        parameters = {"ids": [job for job, _ in jobs], "epochs": [epoch for _, epoch in jobs]} | more
        async with self.database.reading() as connection:
            return set((await connection.execute(statement, parameters)).scalars())
