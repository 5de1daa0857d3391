"""The inbox: a request that comes twice takes effect once, and is answered the same both times."""

import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, TypeVar

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    DateTime,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    bindparam,
    delete,
    func,
    select,
    text,
    update,
)
from sqlalchemy.dialects.postgresql import UUID, insert

from signalbox_common.contracts.base import Failure, OperationReport, OperationStatus, Reply
from signalbox_common.db import Database, Transaction
from signalbox_common.errors import AlreadyDone, IdempotencyKeyReused, SignalboxError
from signalbox_common.outbox import ROW, insertion, table

R = TypeVar("R", bound=Reply)
Work = Callable[[Transaction], Awaitable[R]]
Audit = Callable[[Transaction, SignalboxError | None, str | None], dict[str, Any]]
"""The outbox row that tells of a change: whether it was refused, and what it was about."""
Checkpoint = Callable[[str], Awaitable[None]]
"""Called at the named steps of a request's way; fault tests stop the process there."""

KEPT_DAYS = 45


async def no_checkpoint(_step: str) -> None:
    """Nothing happens between the steps."""


@dataclass(frozen=True)
class Outcome(Generic[R]):
    """The encoded answer of a request, as it was stored or as it goes out."""

    body: bytes
    failed: bool = False
    replayed: bool = False

    @staticmethod
    def of(reply: R) -> "Outcome[R]":
        return Outcome(reply.encode())

    @staticmethod
    def failure(error: SignalboxError, *, replayed: bool = False) -> "Outcome[Any]":
        return Outcome(error.failure().encode(), failed=True, replayed=replayed)


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
    silent: frozenset[str] = frozenset()
    """Codes of refusals that leave no entry; only of what is not remembered."""

    def silent_about(self, refused: SignalboxError | None) -> bool:
        return refused is not None and refused.code in self.silent


@dataclass(frozen=True)
class Delivered:
    """One message of a stream, however often it is handed over."""

    consumer: str
    sequence: int
    stored_at: datetime
    command_id: uuid.UUID | None


class Inbox:
    """The tables `inbox`, `seen_facts` and `deliveries` of one service."""

    def __init__(self, database: Database, checkpoint: Checkpoint = no_checkpoint) -> None:
        self._database = database
        self.checkpoint = checkpoint
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
        self._deliveries = Table(
            "deliveries",
            metadata,
            Column("consumer", Text, primary_key=True),
            Column("sequence", BigInteger, primary_key=True),
            Column("stored_at", DateTime(timezone=True), primary_key=True),
            Column("command_id", UUID(as_uuid=True)),
            Column("attempts", Integer),
            Column("error", Text),
            Column("dead", Boolean),
            Column("updated_at", DateTime(timezone=True)),
        )
        # Built once: putting a statement together takes longer than sending it.
        claimed = ("command_id", "subject", "digest", "user_id", "project_id", "status")
        self._claim = (
            insert(self._inbox)
            .values({name: bindparam(name) for name in claimed})
            .on_conflict_do_nothing()
            .returning(self._inbox.c.command_id)
        )
        self._see = (
            insert(self._facts)
            .values(handler=bindparam("handler"), event_id=bindparam("event_id"), seen_at=func.now())
            .on_conflict_do_nothing()
            .returning(self._facts.c.event_id)
        )
        # One statement for both: the answer, and its entry in the outbox. The names of its parameters are
        # none of columns: SQLAlchemy would set those in both tables.
        answered = ("status", "reply", "resource")
        self._answer = (
            insert(table(database.schema))
            .values({name: bindparam(f"entry_{name}") for name in ROW})
            .inline()
            .add_cte(
                update(self._inbox)
                .where(self._inbox.c.command_id == bindparam("answered"))
                .values({n: bindparam(f"answer_{n}") for n in answered} | {"finished_at": func.now()})
                .cte("answering")
            )
        )

    async def once(
        self, key: RequestKey, work: Work[R], audit: Audit, *, operation: str | None = None
    ) -> Outcome[R]:
        """Runs the work in one transaction with its inbox row, or answers what it answered before.

        A final error undoes the work and is stored as the answer; any other error undoes everything.
        What was answered goes into the outbox for the audit log, in the same transaction.
        """
        async with self._database.transaction(actor=key.user_id, operation=operation) as transaction:
            if key.remembered and not await self._claimed(transaction, key):
                return await self._replay(transaction, key)
            resource: str | None = None
            refused: SignalboxError | None = None
            async with transaction.connection.begin_nested() as savepoint:
                try:
                    reply = await work(transaction)
                except SignalboxError as error:
                    if not error.final:
                        raise
                    refused = error
                    if not error.keeps_changes:
                        transaction.emitted = False
                        await savepoint.rollback()
            if refused is not None:
                outcome: Outcome[R] = Outcome.failure(refused)
            else:
                outcome = Outcome.of(reply)
                resource = _resource(reply)
            entry = audit(transaction, refused, resource)
            if key.remembered:
                answer = {
                    "answered": key.command_id,
                    "answer_status": OperationStatus.FAILED if outcome.failed else OperationStatus.SUCCEEDED,
                    "answer_reply": outcome.body if key.keep_reply or outcome.failed else None,
                    "answer_resource": resource,
                }
                named = {f"entry_{name}": value for name, value in entry.items()}
                await transaction.connection.execute(self._answer, named | answer)
            elif not key.silent_about(refused):
                await transaction.connection.execute(insertion(self._database.schema), entry)
            await self.checkpoint("in_transaction")
        await self.checkpoint("committed")
        return outcome

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
        if row.reply is None:
            return Outcome.failure(AlreadyDone(resource=row.resource), replayed=True)
        return Outcome(bytes(row.reply), failed=row.status == OperationStatus.FAILED, replayed=True)

    async def first_sight(self, transaction: Transaction, handler: str, event_id: uuid.UUID) -> bool:
        """Whether this handler sees this fact for the first time; remembered with the transaction."""
        seen = {"handler": handler, "event_id": event_id}
        return (await transaction.connection.execute(self._see, seen)).first() is not None

    async def count_delivery(self, message: Delivered, delivered: int) -> tuple[int, str | None]:
        """Counts a repeated delivery before its handler runs; answers the count and the last error."""
        async with self._database.transaction() as transaction:
            row = (
                await transaction.connection.execute(
                    insert(self._deliveries)
                    .values(**self._identity(message), attempts=2, dead=False, updated_at=func.now())
                    .on_conflict_do_update(
                        index_elements=["consumer", "sequence", "stored_at"],
                        set_={
                            "attempts": func.least(self._deliveries.c.attempts + 1, delivered),
                            "updated_at": func.now(),
                        },
                    )
                    .returning(self._deliveries.c.attempts, self._deliveries.c.error)
                )
            ).one()
        return int(row.attempts), row.error

    async def uncount(self, message: Delivered) -> None:
        """Takes a counted delivery back: it was no attempt, something else was in its way."""
        async with self._database.transaction() as transaction:
            await transaction.connection.execute(
                update(self._deliveries)
                .where(*self._is(message))
                .values(attempts=func.greatest(self._deliveries.c.attempts - 1, 1))
            )

    async def note_failure(self, message: Delivered, error: str) -> None:
        """Keeps why the handler raised, for the dead letter that may come of it."""
        async with self._database.transaction() as transaction:
            await transaction.connection.execute(
                insert(self._deliveries)
                .values(**self._identity(message), attempts=1, error=error, dead=False, updated_at=func.now())
                .on_conflict_do_update(
                    index_elements=["consumer", "sequence", "stored_at"],
                    set_={"error": error, "updated_at": func.now()},
                )
            )

    async def bury(self, message: Delivered, error: str) -> None:
        await self._set_dead(message, error=error, dead=True)

    async def unearth(self, message: Delivered) -> None:
        """A dead letter is being handled again: its operation is pending."""
        await self._set_dead(message, error=None, dead=False)

    async def _set_dead(self, message: Delivered, *, error: str | None, dead: bool) -> None:
        values = {"dead": dead, "updated_at": func.now()} | ({"error": error} if error is not None else {})
        async with self._database.transaction() as transaction:
            await transaction.connection.execute(
                insert(self._deliveries)
                .values(**self._identity(message), attempts=1, **values)
                .on_conflict_do_update(index_elements=["consumer", "sequence", "stored_at"], set_=values)
            )

    async def forget(self, message: Delivered) -> None:
        async with self._database.transaction() as transaction:
            await transaction.connection.execute(delete(self._deliveries).where(*self._is(message)))

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
            delivery = (
                await connection.execute(
                    select(self._deliveries)
                    .where(self._deliveries.c.command_id == command_id)
                    .order_by(self._deliveries.c.dead)
                    .limit(1)
                )
            ).first()
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
                (self._deliveries, self._deliveries.c.updated_at),
            ):
                await transaction.connection.execute(delete(old).where(column < limit))

    def _is(self, message: Delivered) -> list[ColumnElement[bool]]:
        return [
            self._deliveries.c.consumer == message.consumer,
            self._deliveries.c.sequence == message.sequence,
            self._deliveries.c.stored_at == message.stored_at,
        ]

    @staticmethod
    def _identity(message: Delivered) -> dict[str, Any]:
        return {
            "consumer": message.consumer,
            "sequence": message.sequence,
            "stored_at": message.stored_at,
            "command_id": message.command_id,
        }


def _resource(reply: Reply) -> str | None:
    identifier = getattr(reply, "id", None)
    return str(identifier) if identifier is not None else None
