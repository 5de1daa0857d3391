"""The transactional outbox: facts leave through the transaction that made them true.

Rows are ordered by an identity column that is assigned while the entity is locked, so the events of one
entity keep their order. One relay per service publishes at a time, oldest first, and starts again from
the oldest after any error; the stream drops what it has seen already.
"""

import asyncio
import json
import uuid
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import lru_cache, partial
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Identity,
    LargeBinary,
    MetaData,
    Row,
    Table,
    Text,
    TextClause,
    delete,
    func,
    select,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB, UUID
from sqlalchemy.ext.asyncio import AsyncConnection

from signalbox_common import background, cloudevents, telemetry
from signalbox_common.contracts.base import MAX_BODY
from signalbox_common.contracts.events import AuditRecorded, Event
from signalbox_common.db import Database, Transaction
from signalbox_common.errors import EventTooLarge
from signalbox_common.keys import uuid7

log = telemetry.get_logger()

BATCH = 200
"""Rows that are read, and published, at a time."""
_AUDIT = AuditRecorded.subject.removeprefix("evt.*.*")
POLL = 1.0
"""Seconds between two tries to lead."""
IDLE_LOOK = 5.0
"""Seconds after which whoever leads looks by itself: a wake-up comes with each commit, but may be lost."""
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 1.0

Publish = Callable[[str, bytes, dict[str, str]], Awaitable[bool]]
"""Stores one event in the stream; tells whether the stream had it already."""


@lru_cache
def table(schema: str) -> Table:
    return Table(
        "outbox",
        MetaData(schema=schema),
        Column("id", BigInteger, Identity(always=True), primary_key=True),
        Column("event_id", UUID(as_uuid=True)),
        Column("subject", Text),
        Column("headers", JSONB),
        Column("body", LargeBinary),
    )


_WRITE = """
    insert into {schema}.outbox (event_id, subject, headers, body)
    select event_id, subject, headers::jsonb, body
    from unnest(cast(:event_ids as uuid[]), cast(:subjects as text[]), cast(:headers as text[]),
                cast(:bodies as bytea[])) with ordinality as fact (event_id, subject, headers, body, place)
    order by place
"""


@lru_cache
def writing(schema: str, with_table: str = "") -> TextClause:
    """Any number of facts in one statement and in their order; `with_table` goes before it."""
    return text(with_table + _WRITE.format(schema=schema))


def written(transaction: Transaction) -> dict[str, Any]:
    """The parameters of `writing` for all facts of a transaction, which then has none left to write."""
    facts, transaction.facts = transaction.facts, []
    return {
        "event_ids": [fact["event_id"] for fact in facts],
        "subjects": [fact["subject"] for fact in facts],
        "headers": [json.dumps(fact["headers"]) for fact in facts],
        "bodies": [fact["body"] for fact in facts],
    }


async def write(transaction: Transaction, schema: str) -> None:
    if transaction.facts:
        await transaction.connection.execute(writing(schema), written(transaction))


def emit(transaction: Transaction, schema: str, event: Event, *, project: uuid.UUID | None) -> uuid.UUID:
    """Puts a fact into the outbox with the commit; what it is about must be locked by this transaction."""
    body = event.encode()
    if len(body) > MAX_BODY:
        raise EventTooLarge(event.type(), MAX_BODY)
    event_id = uuid7()
    headers = cloudevents.headers_of(
        event, event_id, schema, actor=transaction.actor, operation=transaction.operation
    )
    subject = event.subject_in(project, schema)
    transaction.facts.append({"event_id": event_id, "subject": subject, "headers": headers, "body": body})
    transaction.before_commit = partial(write, transaction, schema)
    transaction.emitted = True
    return event_id


class Relay:
    """Publishes the outbox of one service; any number may run, one at a time works."""

    def __init__(
        self, database: Database, publish: Publish, poke_others: Callable[[], Awaitable[None]]
    ) -> None:
        self._database = database
        self._table = table(database.schema)
        # What was taken back overtakes: nothing that waits before it may make it late.
        urgent = self._table.c.subject.startswith("rvk.")
        self._next = select(self._table).order_by(urgent.desc(), self._table.c.id).limit(BATCH)
        self._publish = publish
        self._poke_others = poke_others
        self._wake = asyncio.Event()
        self._leading = False
        self._task: asyncio.Task[None] | None = None
        self._pokes: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="outbox relay")

    async def stop(self) -> None:
        await background.end(self._task)

    async def flush(self, patience: float = 2.0) -> None:
        """Waits until the outbox is empty, so that a stopping service leaves nothing for the next one."""
        with suppress(Exception):  # what is left is published by the next relay
            async with asyncio.timeout(patience):
                while await self.backlog():
                    self._wake.set()
                    await asyncio.sleep(0.02)

    def poked(self) -> None:
        """Another process, or this one, has put something into the outbox."""
        self._wake.set()

    def after_emit(self) -> None:
        if self._leading:
            self._wake.set()
            return
        poke = asyncio.create_task(self._poke())
        self._pokes.add(poke)
        poke.add_done_callback(self._pokes.discard)

    async def _poke(self) -> None:
        with suppress(Exception):  # whoever leads polls too; a poke only makes it faster
            await self._poke_others()

    async def backlog(self) -> int:
        async with self._database.reading() as connection:
            return int((await connection.execute(select(func.count()).select_from(self._table))).scalar_one())

    async def _run(self) -> None:
        pause = _FIRST_PAUSE
        while True:
            try:
                async with self._database.engine.execution_options(
                    isolation_level="AUTOCOMMIT"
                ).connect() as connection:
                    try:
                        if await self._lead(connection):
                            pause = _FIRST_PAUSE
                            await self._publish_all(connection)
                    except BaseException:
                        # The lock is the session's: back in the pool, it would lock us out ourselves.
                        await connection.invalidate()
                        raise
                    await asyncio.sleep(POLL)
            except Exception as error:  # noqa: BLE001 - whatever broke, the relay starts again from the oldest
                log.warning("outbox relay starts again", reason=repr(error)[:300], pause=pause)
                await asyncio.sleep(pause)
                pause = min(pause * 2, _LONGEST_PAUSE)
            finally:
                self._leading = False

    async def _lead(self, connection: AsyncConnection) -> bool:
        """One relay per service at a time; the lock goes with the connection."""
        lock = text("select pg_try_advisory_lock(hashtext('signalbox outbox'), hashtext(:schema))")
        return bool((await connection.execute(lock, {"schema": self._database.schema})).scalar_one())

    async def _publish_all(self, connection: AsyncConnection) -> None:
        newest = (await connection.execute(select(func.coalesce(func.max(self._table.c.id), 0)))).scalar_one()
        self._leading = True
        while True:
            self._wake.clear()
            rows = (await connection.execute(self._next)).all()
            published: list[int] = []
            try:
                await self._publish_in_order(rows, newest, published)
            finally:
                if published:
                    await connection.execute(delete(self._table).where(self._table.c.id.in_(published)))
                    telemetry.PUBLISHED.inc(len(published))
            if len(rows) < BATCH:
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._wake.wait(), IDLE_LOOK)

    async def _publish_in_order(self, rows: Sequence[Row[Any]], newest: int, published: list[int]) -> None:
        """Many at a time, but the facts of one entity each after the one before; raises what went wrong."""
        waiting: dict[str, list[Row[Any]]] = {}
        for row in rows:
            waiting.setdefault(_entity_of(row), []).append(row)

        async def one_after_the_other(facts: list[Row[Any]]) -> None:
            for row in facts:
                duplicate = await self._publish(row.subject, row.body, row.headers)
                if duplicate and row.id > newest:
                    # Nobody can have published this row before us.
                    telemetry.SURPRISING_DUPLICATES.inc()
                    log.error("the stream called a new event a duplicate", event_id=str(row.event_id))
                published.append(row.id)

        ended = await asyncio.gather(*map(one_after_the_other, waiting.values()), return_exceptions=True)
        for error in ended:
            if isinstance(error, BaseException):
                raise error


def _entity_of(row: Row[Any]) -> str:
    """What a fact is about, as far as its subject tells; every line for the audit log stands for itself."""
    if row.subject.endswith(_AUDIT):
        return str(row.event_id)
    entity: str = row.subject.rpartition(".")[0]
    return entity
