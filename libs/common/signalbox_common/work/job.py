"""A row of work in the hands of the worker that has claimed it."""

import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Row

from signalbox_common.contracts.base import Reply
from signalbox_common.db import Transaction
from signalbox_common.errors import SignalboxError
from signalbox_common.outcomes import Outcome
from signalbox_common.work.table import NO_PROJECT, WorkTable


class Overtaken(Exception):
    """Another worker has this row: whatever is left to do here is not done."""


@dataclass
class Job:
    """What is to be done, and the lease under which it is."""

    id: int
    kind: str
    key: str
    project: uuid.UUID | None
    payload: dict[str, Any]
    attempts: int
    """This try included."""
    epoch: int
    command_id: uuid.UUID | None
    """The command whose operation ends with this job, if there is one."""
    actor: uuid.UUID | None
    operation: str | None
    table: WorkTable = field(repr=False)
    lease_ends: float = field(repr=False)
    """By the monotonic clock of this process, counted from before the claim was sent."""
    ended: bool = False
    """Whether the handler has said what becomes of the row."""
    settled: bool = False
    comes_again: bool = False
    """Whether the row waits for another turn, which may come soon."""

    @staticmethod
    def of(row: Row[Any], table: WorkTable, lease_ends: float) -> "Job":
        return Job(
            id=row.id,
            kind=row.kind,
            key=row.key,
            project=row.project if row.project != NO_PROJECT else None,
            payload=row.payload,
            attempts=row.attempts,
            epoch=row.epoch,
            command_id=row.command_id,
            actor=row.actor,
            operation=row.operation,
            table=table,
            lease_ends=lease_ends,
        )

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        """Commits only what this worker may still write; raises Overtaken where another one has the row."""
        async with self.table.database.transaction(actor=self.actor, operation=self.operation) as transaction:
            if not await self.table.hold(transaction, self.id, self.epoch):
                raise Overtaken(f"{self.kind} {self.key}")
            yield transaction

    async def keep(self) -> None:
        """Before each effect outside the database: returns while the lease lasts, or when it is renewed."""
        if time.monotonic() < self.lease_ends:
            return
        asked_at = time.monotonic()
        if not await self.table.renew([(self.id, self.epoch)]):
            raise Overtaken(f"{self.kind} {self.key}")
        self.lease_ends = asked_at + self.table.lease

    async def done(self, transaction: Transaction, answer: Reply | SignalboxError | None = None) -> None:
        """The end, within `transaction()`; the answer is that of the operation which waits for it."""
        await self.table.remove(transaction, self.id)
        await self.settle(transaction, answer)
        self.ended = True

    async def again(
        self,
        transaction: Transaction,
        after: float,
        payload: dict[str, Any] | None = None,
        *,
        target: str | None = None,
    ) -> None:
        """Not the end: the row waits for its next turn, and its tries are counted anew.

        With a target, from now on for that node alone.
        """
        payload = self.payload if payload is None else payload
        await self.table.put_back(transaction, self.id, after, payload, target=target)
        self.ended = self.settled = self.comes_again = True

    def check_answered(self) -> None:
        """An operation that nobody answers would be pending for ever."""
        if self.command_id is not None and not self.settled:
            raise TypeError(f"{self.kind} ended without an answer for its operation")

    async def settle(self, transaction: Transaction, answer: Reply | SignalboxError | None) -> None:
        """Answers the operation that waits, while the work goes on; once: what comes later is not heard."""
        if self.command_id is None or answer is None:
            return
        self.settled = True
        outcome: Outcome[Any] = (
            Outcome.failure(answer) if isinstance(answer, SignalboxError) else Outcome.of(answer)
        )
        resource = answer.resource if isinstance(answer, SignalboxError) else None
        await self.table.pending.settle(transaction, self.command_id, outcome, resource=resource)
