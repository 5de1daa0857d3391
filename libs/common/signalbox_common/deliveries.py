"""How often each message was handed over: counted in the service's own database before its handler runs."""

import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    DateTime,
    Integer,
    MetaData,
    Row,
    Table,
    Text,
    delete,
    func,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import UUID, insert
from sqlalchemy.ext.asyncio import AsyncConnection

from signalbox_common.db import Database


@dataclass(frozen=True)
class StreamMessage:
    """One message of a stream, however often it is handed over."""

    consumer: str
    sequence: int
    stored_at: datetime
    command_id: uuid.UUID | None


class Deliveries:
    """The table `deliveries` of one service."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.table = Table(
            "deliveries",
            MetaData(schema=database.schema),
            Column("consumer", Text, primary_key=True),
            Column("sequence", BigInteger, primary_key=True),
            Column("stored_at", DateTime(timezone=True), primary_key=True),
            Column("command_id", UUID(as_uuid=True)),
            Column("attempts", Integer),
            Column("error", Text),
            Column("dead", Boolean),
            Column("updated_at", DateTime(timezone=True)),
        )

    async def count(self, message: StreamMessage, delivered: int) -> tuple[int, str | None]:
        """Counts a repeated delivery before its handler runs; answers the count and the last error."""
        async with self._database.transaction() as transaction:
            row = (
                await transaction.connection.execute(
                    insert(self.table)
                    .values(**self._identity(message), attempts=2, dead=False, updated_at=func.now())
                    .on_conflict_do_update(
                        index_elements=["consumer", "sequence", "stored_at"],
                        set_={
                            "attempts": func.least(self.table.c.attempts + 1, delivered),
                            "updated_at": func.now(),
                        },
                    )
                    .returning(self.table.c.attempts, self.table.c.error)
                )
            ).one()
        return int(row.attempts), row.error

    async def uncount(self, message: StreamMessage) -> None:
        """Takes a counted delivery back: it was no attempt, something else was in its way."""
        async with self._database.transaction() as transaction:
            await transaction.connection.execute(
                update(self.table)
                .where(*self._is(message))
                .values(attempts=func.greatest(self.table.c.attempts - 1, 1))
            )

    async def note_failure(self, message: StreamMessage, error: str) -> None:
        """Keeps why the handler raised, for the dead letter that may come of it."""
        async with self._database.transaction() as transaction:
            await transaction.connection.execute(
                insert(self.table)
                .values(**self._identity(message), attempts=1, error=error, dead=False, updated_at=func.now())
                .on_conflict_do_update(
                    index_elements=["consumer", "sequence", "stored_at"],
                    set_={"error": error, "updated_at": func.now()},
                )
            )

    async def bury(self, message: StreamMessage, error: str) -> None:
        await self._set_dead(message, error=error, dead=True)

    async def unearth(self, message: StreamMessage) -> None:
        """A dead letter is being handled again: its operation is pending."""
        await self._set_dead(message, error=None, dead=False)

    async def _set_dead(self, message: StreamMessage, *, error: str | None, dead: bool) -> None:
        values = {"dead": dead, "updated_at": func.now()} | ({"error": error} if error is not None else {})
        async with self._database.transaction() as transaction:
            await transaction.connection.execute(
                insert(self.table)
                .values(**self._identity(message), attempts=1, **values)
                .on_conflict_do_update(index_elements=["consumer", "sequence", "stored_at"], set_=values)
            )

    async def forget(self, message: StreamMessage) -> None:
        async with self._database.transaction() as transaction:
            await transaction.connection.execute(delete(self.table).where(*self._is(message)))

    async def of_command(self, connection: AsyncConnection, command_id: uuid.UUID) -> Row[Any] | None:
        """One that is still alive, if there is any."""
        return (
            await connection.execute(
                select(self.table)
                .where(self.table.c.command_id == command_id)
                .order_by(self.table.c.dead)
                .limit(1)
            )
        ).first()

    def _is(self, message: StreamMessage) -> list[ColumnElement[bool]]:
        return [
            self.table.c.consumer == message.consumer,
            self.table.c.sequence == message.sequence,
            self.table.c.stored_at == message.stored_at,
        ]

    @staticmethod
    def _identity(message: StreamMessage) -> dict[str, Any]:
        return {
            "consumer": message.consumer,
            "sequence": message.sequence,
            "stored_at": message.stored_at,
            "command_id": message.command_id,
        }
