"""The transactional outbox: facts leave through the transaction that made them true.

Rows are ordered by an identity column that is assigned while the entity is locked, so the events of one
entity keep their order. One relay per service publishes at a time, oldest first, and starts again from
the oldest after any error; the stream drops what it has seen already.

The relay leads by a lease in a row of the service's own schema: nobody else can hold it, and a process that
is stopped keeps it for a second. It is taken with the first rows, renewed with each look at the next ones,
and given back with the last; while nothing waits, nothing is written.
"""

import asyncio
import json
import time
import uuid
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
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

REMEMBERED = 10_000
"""Rows of which a relay knows that it has published them itself."""
BATCH = 200
"""Rows that are read, and published, at a time."""
_AUDIT = AuditRecorded.subject.removeprefix("evt.*.*")
LEASE = 1.0
"""Seconds that one look leads for."""
TAKEOVER_LOOK = 0.1
"""Seconds between two looks while something waits for another relay, which may have died."""
STANDBY_LOOK = 1.0
"""The same where nothing waits and another relay led last: nobody wakes us for what it leaves."""
IDLE_LOOK = 5.0
"""The same where we led last: a commit wakes us, unless it was of a process that died over it."""
STREAM_SILENT = "the stream does not take them"
HINDERED_LONG = 5.0
"""Seconds after which facts that wait make the service degraded."""
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


# One commit for all of it, and one that need not reach the disk: after a crash of the database the rows are
# there again, and the stream drops what it knows. What was taken back (`rvk.`) overtakes: nothing that waits
# before it may make it late. A lease that ends later than it can was taken before the clock was put back.
_LOOK = """
    with setting as (select set_config('synchronous_commit', 'off', true)),
    gone as (delete from {schema}.outbox where id = any(:published)),
    waiting as (
        select exists (select from {schema}.outbox where id <> all(:published)) as waits,
               cardinality(cast(:published as bigint[])) > 0 as worked
        from setting
    ),
    lease as (
        update {schema}.relay
        set owner = :instance,
            epoch = epoch + case when owner = :instance then 0 else 1 end,
            until = {schema}.clock() + case when waits then :lease else 0 end * interval '1 second'
        from waiting
        where (waits or (worked and owner = :instance))
          and (owner = :instance or owner is null
               or until not between {schema}.clock() and {schema}.clock() + :lease * interval '1 second')
        returning epoch
    )
    select relay.owner, waiting.waits, lease.epoch,
           (select coalesce(max(id), 0) from {schema}.outbox) as newest,
           fact.id, fact.event_id, fact.subject, fact.headers, fact.body
    from waiting
    cross join {schema}.relay
    left join lease on true
    left join lateral (
        select * from {schema}.outbox
        where lease.epoch is not null and id <> all(:published)
        order by starts_with(subject, 'rvk.') desc, id
        limit :batch
    ) fact on true
"""
_LOOK_COLUMNS: tuple[Column[Any], ...] = (
    Column("owner", Text),
    Column("waits", Boolean),
    Column("epoch", BigInteger),
    Column("newest", BigInteger),
    Column("id", BigInteger),
    Column("event_id", UUID(as_uuid=True)),
    Column("subject", Text),
    Column("headers", JSONB),
    Column("body", LargeBinary),
)


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


@dataclass(frozen=True)
class _Round:
    """What one look into the outbox has found."""

    rows: Sequence[Row[Any]]
    leads: bool
    owner: str | None
    """Who led before this look."""
    waits: bool


class Relay:
    """Publishes the outbox of one service; any number may run, whoever has the lease works."""

    def __init__(self, database: Database, publish: Publish, instance: str) -> None:
        self._database = database
        self._table = table(database.schema)
        self._look = text(_LOOK.format(schema=database.schema)).columns(*_LOOK_COLUMNS)
        self._publish = publish
        self._instance = instance
        self._wake = asyncio.Event()
        self._lease_ends = 0.0
        self._epoch: int | None = None
        self._newest = 0
        """The last row that somebody else may have published already."""
        self._ours: dict[int, None] = {}
        """Rows that were published here, the newest of them, in order."""
        self._hindrance = ""
        self._hindered_since: float | None = None
        self._task: asyncio.Task[None] | None = None

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

    def wake(self) -> None:
        """There may be something in the outbox."""
        self._wake.set()

    async def backlog(self) -> int:
        async with self._database.reading() as connection:
            return int((await connection.execute(select(func.count()).select_from(self._table))).scalar_one())

    def degraded(self) -> str | None:
        """Why facts wait that should be under way; None where they do not."""
        since = self._hindered_since
        if since is None or time.monotonic() - since < HINDERED_LONG:
            return None
        return self._hindrance

    async def _run(self) -> None:
        pause = _FIRST_PAUSE
        while True:
            try:
                async with self._database.reading() as connection:
                    found = await self._work_off(connection)
            except Exception as error:  # noqa: BLE001 - whatever broke, the relay starts again from the oldest
                log.warning("outbox relay starts again", reason=repr(error)[:300], pause=pause)
                self._hinder(f"facts cannot be published: {type(error).__name__}")
                self._epoch = None  # what was published and not deleted yet is published again
                await asyncio.sleep(pause)
                pause = min(pause * 2, _LONGEST_PAUSE)
                continue
            pause = _FIRST_PAUSE
            if found.waits:
                await asyncio.sleep(TAKEOVER_LOOK)
                continue
            alone = found.owner in (None, self._instance)
            with suppress(TimeoutError):
                async with asyncio.timeout(IDLE_LOOK if alone else STANDBY_LOOK):
                    await self._wake.wait()

    async def _work_off(self, connection: AsyncConnection) -> _Round:
        """Publishes as long as there is something and the lease is ours; the last look tells why it ends."""
        published: list[int] = []
        while True:
            self._wake.clear()
            found = await self._take(connection, published)
            if not found.leads:
                return found
            published = []
            self._hinder(STREAM_SILENT)
            try:
                await self._publish_in_order(found.rows, published)
            except Exception:
                # What was confirmed goes first: it need not be published again.
                await connection.execute(delete(self._table).where(self._table.c.id.in_(published)))
                raise
            self._hindered_since = None
            telemetry.PUBLISHED.inc(len(published))

    async def _take(self, connection: AsyncConnection, published: list[int]) -> _Round:
        """Deletes what is published, and takes or renews the lease and the next rows, in one statement."""
        asked_at = time.monotonic()
        self._hinder("the database does not answer")
        found = (
            await connection.execute(
                self._look,
                {"published": published, "instance": self._instance, "lease": LEASE, "batch": BATCH},
            )
        ).all()
        first = found[0]
        leads = first.id is not None
        if leads:
            self._lease_ends = asked_at + LEASE
            if first.epoch != self._epoch:
                self._epoch, self._newest = first.epoch, first.newest
        if not first.waits:
            self._hindered_since = None
        elif not leads:
            self._hinder(f"{first.owner} leads, and facts wait")
        return _Round(found if leads else (), leads, first.owner, first.waits and not leads)

    def _hinder(self, reason: str) -> None:
        self._hindrance = reason
        self._hindered_since = self._hindered_since or time.monotonic()

    async def _publish_in_order(self, rows: Sequence[Row[Any]], published: list[int]) -> None:
        """Many at a time, but the facts of one entity each after the one before; raises what went wrong.

        Ends early where the lease does: the next look renews it, or finds another relay at work.
        """
        waiting: dict[str, list[Row[Any]]] = {}
        for row in rows:
            waiting.setdefault(_entity_of(row), []).append(row)

        async def one_after_the_other(facts: list[Row[Any]]) -> None:
            for row in facts:
                if time.monotonic() >= self._lease_ends:
                    return
                duplicate = await self._publish(row.subject, row.body, row.headers)
                if duplicate and row.id > self._newest and row.id not in self._ours:
                    # Nobody can have published this row before.
                    telemetry.SURPRISING_DUPLICATES.inc()
                    log.error("the stream called a new event a duplicate", event_id=str(row.event_id))
                published.append(row.id)
                self._remember(row.id)

        ended = await asyncio.gather(*map(one_after_the_other, waiting.values()), return_exceptions=True)
        for error in ended:
            if isinstance(error, BaseException):
                raise error

    def _remember(self, row_id: int) -> None:
        """What a crash of the database brings back is no surprise, also where it went by unseen."""
        self._ours[row_id] = None
        if len(self._ours) > REMEMBERED:
            del self._ours[next(iter(self._ours))]


def _entity_of(row: Row[Any]) -> str:
    """What a fact is about, as far as its subject tells; every line for the audit log stands for itself."""
    if row.subject.endswith(_AUDIT):
        return str(row.event_id)
    entity: str = row.subject.rpartition(".")[0]
    return entity
