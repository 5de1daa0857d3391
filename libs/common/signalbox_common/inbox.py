"""The inbox: a request that comes twice takes effect once, and is answered the same both times."""

import uuid
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from sqlalchemy import (
    Column,
    DateTime,
    LargeBinary,
    MetaData,
    Table,
    Text,
    bindparam,
    delete,
    select,
    text,
)
from sqlalchemy.dialects.postgresql import UUID, insert

from signalbox_common import outbox
from signalbox_common.contracts.base import Failure, Reply
from signalbox_common.contracts.events import AuditRecorded
from signalbox_common.contracts.operations import OperationReport, OperationStatus
from signalbox_common.db import Database, Transaction
from signalbox_common.deliveries import Deliveries
from signalbox_common.errors import AlreadyDone, IdempotencyKeyReused, SignalboxError
from signalbox_common.outcomes import Checkpoint, Deferred, Outcome, R, no_checkpoint
from signalbox_common.pending import PendingOperations

Work = Callable[[Transaction], Awaitable[R | Deferred]]


class Audit(Protocol):
    """What the audit log is told of one request."""

    def note(self, transaction: Transaction, refused: SignalboxError | None, resource: str | None) -> None:
        """Puts it into the outbox: whether it was refused, and what it was about."""

    def entry(self, transaction: Transaction, resource: str | None) -> AuditRecorded | None:
        """What can be said before it is known how it ends."""


KEPT_DAYS = 45
# In the order of the ids: two transactions that see the same facts then wait for each other only one way.
_SEE = """
    insert into {schema}.seen_facts (handler, event_id, seen_at)
    select :handler, event_id, now() from unnest(cast(:event_ids as uuid[])) as fact (event_id)
    order by event_id
    on conflict do nothing
    returning event_id
"""
_ANSWER = """
    with answering as (
        update {schema}.inbox
        set status = :status, reply = :reply, resource = :resource, finished_at = now()
        where command_id = :command_id
    )
"""


@dataclass(frozen=True)
class RequestKey:
    """What makes two requests the same one."""

    command_id: uuid.UUID
    subject: str
    digest: str
    user_id: uuid.UUID | None
    project_id: uuid.UUID | None
    keep_reply: bool = True
    """False where the reply may hold secrets: only the outcome is kept then."""
    remembered: bool = True
    """False where a repeat is a request of its own: signing in."""
    reply_to: str | None = None
    """Where an answer that comes later goes; None where nobody waits for one."""
    silent: frozenset[str] = frozenset()
    """Codes of refusals that leave no entry; only of what is not remembered."""

    def silent_about(self, refused: SignalboxError | None) -> bool:
        return refused is not None and refused.code in self.silent


class Inbox:
    """The tables `inbox` and `seen_facts` of one service."""

    def __init__(self, database: Database, checkpoint: Checkpoint = no_checkpoint) -> None:
        self._database = database
        self.checkpoint = checkpoint
        self.deliveries = Deliveries(database)
        self.pending = PendingOperations(database, checkpoint)
        metadata = MetaData(schema=database.schema)
        self._inbox = Table(
            "inbox",
            metadata,
            Column("command_id", UUID(as_uuid=True), primary_key=True),
            Column("subject", Text),
            Column("digest", Text),
            Column("user_id", UUID(as_uuid=True)),
            Column("project_id", UUID(as_uuid=True)),
            Column("status", Text),
            Column("reply", LargeBinary),
            Column("resource", Text),
            Column("finished_at", DateTime(timezone=True)),
        )
        self._facts = Table(
            "seen_facts",
            metadata,
            Column("handler", Text, primary_key=True),
            Column("event_id", UUID(as_uuid=True), primary_key=True),
            Column("seen_at", DateTime(timezone=True)),
        )
        # Built once: putting a statement together takes longer than sending it.
        claimed = ("command_id", "subject", "digest", "user_id", "project_id", "status")
        self._claim = (
            insert(self._inbox)
            .values({name: bindparam(name) for name in claimed})
            .on_conflict_do_nothing()
            .returning(self._inbox.c.command_id)
        )
        self._see = text(_SEE.format(schema=database.schema))

    async def once(
        self, key: RequestKey, work: Work[R], audit: Audit, *, operation: str | None = None
    ) -> Outcome[R]:
        """Runs the work in one transaction with its inbox row, or answers what it answered before.

        A final error undoes the work, and is stored as the answer in a transaction of its own; any other
        error undoes everything. What the audit log is told goes into the outbox together with the answer.
        """
        try:
            async with self._database.transaction(actor=key.user_id, operation=operation) as transaction:
                if key.remembered and not await self._claimed(transaction, key):
                    return await self._replay(transaction, key)
                try:
                    reply = await work(transaction)
                except SignalboxError as error:
                    if not (error.final and error.keeps_changes):
                        raise
                    outcome: Outcome[R] = Outcome.failure(error)
                    if not key.silent_about(error):
                        audit.note(transaction, error, None)
                    await self._answer_with(transaction, key, outcome)
                else:
                    outcome = await self._took_effect(transaction, key, reply, audit)
                await self.checkpoint("in_transaction")
        except SignalboxError as error:
            if not error.final or error.passing:
                raise
            return await self.refuse(key, error, audit, operation=operation)
        await self.checkpoint("committed")
        return outcome

    async def _took_effect(
        self, transaction: Transaction, key: RequestKey, reply: R | Deferred, audit: Audit
    ) -> Outcome[R]:
        if isinstance(reply, Deferred):
            if not key.remembered:
                raise TypeError(f"{key.subject} is not remembered, and cannot be answered later")
            entry = audit.entry(transaction, reply.resource)
            await self.pending.defer(transaction, key.command_id, reply, reply_to=key.reply_to, entry=entry)
            return Outcome.later()
        outcome = Outcome.of(reply)
        resource = _resource(reply)
        audit.note(transaction, None, resource)
        await self._answer_with(transaction, key, outcome, resource)
        return outcome

    async def refuse(
        self, key: RequestKey, refusal: SignalboxError, audit: Audit, *, operation: str | None = None
    ) -> Outcome[R]:
        """Stores a final error as the answer; where there is an answer meanwhile, that one counts."""
        outcome: Outcome[R] = Outcome.failure(refusal)
        if not key.remembered and key.silent_about(refusal):
            return outcome
        async with self._database.transaction(actor=key.user_id, operation=operation) as transaction:
            if key.remembered and not await self._claimed(transaction, key):
                return await self._replay(transaction, key)
            audit.note(transaction, refusal, None)
            await self._answer_with(transaction, key, outcome)
            await self.checkpoint("in_transaction")
        await self.checkpoint("committed")
        return outcome

    async def _answer_with(
        self,
        transaction: Transaction,
        key: RequestKey,
        outcome: Outcome[Any],
        resource: str | None = None,
    ) -> None:
        """Stores the answer, in one statement with the facts of the work and what the audit log is told."""
        if not key.remembered:
            return  # the facts are written before the commit
        answer = {
            "command_id": key.command_id,
            "status": outcome.status,
            "reply": outcome.body if key.keep_reply or outcome.failed else None,
            "resource": resource,
        }
        statement = outbox.writing(self._database.schema, _ANSWER.format(schema=self._database.schema))
        await transaction.connection.execute(statement, answer | outbox.written(transaction))

    async def replayed(self, key: RequestKey) -> Outcome[Any] | None:
        """What the same request was answered before, if it was."""
        async with self._database.transaction() as transaction:
            found = await transaction.connection.execute(
                select(self._inbox.c.command_id).where(self._inbox.c.command_id == key.command_id)
            )
            return await self._replay(transaction, key) if found.first() is not None else None

    async def _claimed(self, transaction: Transaction, key: RequestKey) -> bool:
        """Whether this request is the first with its id."""
        mine = await transaction.connection.execute(
            self._claim,
            {
                "command_id": key.command_id,
                "subject": key.subject,
                "digest": key.digest,
                "user_id": key.user_id,
                "project_id": key.project_id,
                "status": OperationStatus.PENDING,
            },
        )
        return mine.first() is not None

    async def _replay(self, transaction: Transaction, key: RequestKey) -> Outcome[R]:
        row = (
            await transaction.connection.execute(
                select(self._inbox).where(self._inbox.c.command_id == key.command_id)
            )
        ).one()
        if row.digest != key.digest or row.subject != key.subject:
            return Outcome.failure(IdempotencyKeyReused(), replayed=True)
        if row.status == OperationStatus.PENDING:
            if await self.pending.join(transaction, key.command_id, key.reply_to):
                return Outcome.later()
            return await self._replay(transaction, key)
        if row.reply is None:
            return Outcome.failure(AlreadyDone(resource=row.resource), replayed=True)
        return Outcome(bytes(row.reply), failed=row.status == OperationStatus.FAILED, replayed=True)

    async def first_sights(
        self, transaction: Transaction, handler: str, event_ids: Sequence[uuid.UUID]
    ) -> set[uuid.UUID]:
        """Which of these facts this handler sees for the first time; remembered with the transaction."""
        seen = {"handler": handler, "event_ids": list(event_ids)}
        return set((await transaction.connection.execute(self._see, seen)).scalars())

    async def report(self, command_id: uuid.UUID) -> OperationReport | None:
        """What became of a command; None where nothing is known of it."""
        async with self._database.reading() as connection:
            row = (
                await connection.execute(select(self._inbox).where(self._inbox.c.command_id == command_id))
            ).first()
            if row is not None:
                failed = row.status == OperationStatus.FAILED
                return OperationReport(
                    status=OperationStatus(row.status),
                    command=row.subject,
                    resource=row.resource,
                    error=Failure.model_validate_json(row.reply) if failed else None,
                    finished_at=row.finished_at,
                )
            delivery = await self.deliveries.of_command(connection, command_id)
        if delivery is None:
            return None
        if not delivery.dead:
            return OperationReport(status=OperationStatus.PENDING, command=delivery.consumer)
        return OperationReport(
            status=OperationStatus.FAILED,
            command=delivery.consumer,
            error=Failure(
                code="dead_lettered",
                status=500,
                detail="The command could not be handled; an operator can hand it over again.",
            ),
            finished_at=delivery.updated_at,
        )

    async def tidy(self) -> None:
        """Forgets what is older than any message that could still come again."""
        limit = text(f"now() - interval '{KEPT_DAYS} days'")
        async with self._database.transaction() as transaction:
            for old, column in (
                (self._inbox, self._inbox.c.finished_at),
                (self._facts, self._facts.c.seen_at),
                (self.deliveries.table, self.deliveries.table.c.updated_at),
            ):
                await transaction.connection.execute(delete(old).where(column < limit))


def _resource(reply: Reply) -> str | None:
    identifier = getattr(reply, "id", None)
    return str(identifier) if identifier is not None else None
