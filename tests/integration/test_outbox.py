"""The relay by itself, with a publisher that fails when it is told to."""

import asyncio
import time
from dataclasses import dataclass, field

import pytest
from prometheus_client import registry
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from signalbox_common import outbox
from signalbox_common.cloudevents import MESSAGE_ID
from signalbox_common.db import Database
from signalbox_common.outbox import Relay
from signalbox_common.testing import eventually
from tests.support.installation import Installation
from tests.support.lab import LabSettings, NoteTaken

pytestmark = pytest.mark.fresh  # whole streams and tables are counted


async def test_a_relay_that_failed_goes_on_with_another_connection(installation: Installation) -> None:
    """The lease is the relay's, not the session's: whatever the pool hands out next will do."""
    database = Database(installation.settings(LabSettings, "tasks", db_pool_size=2))
    published: list[str] = []
    failed = asyncio.Event()

    async def publish(subject: str, _body: bytes, _headers: dict[str, str]) -> bool:
        if not failed.is_set():
            failed.set()
            raise ConnectionError("the broker went away")
        published.append(subject)
        return False

    async with database.transaction() as transaction:
        outbox.emit(transaction, "tasks", NoteTaken(text="x"), project=None)
    relay = Relay(database, publish, "relay-one")
    relay.start()
    try:
        await failed.wait()

        async def given_back() -> bool:
            return database.engine.pool.status().endswith("Current Checked out connections: 0")

        await eventually(given_back)
        async with database.reading():  # whatever the pool hands out first is not for the relay now

            async def gone_out() -> bool:
                return published == ["evt._.tasks.lab.taken"]

            await eventually(gone_out)
    finally:
        await relay.stop()
        await database.close()


async def test_a_failure_starts_again_from_the_oldest(installation: Installation) -> None:
    database = Database(installation.settings(LabSettings, "tasks"))
    tried: list[str] = []

    async def publish(_subject: str, body: bytes, _headers: dict[str, str]) -> bool:
        text = NoteTaken.model_validate_json(body).text
        tried.append(text)
        if tried == ["0", "1"]:
            raise TimeoutError
        return False

    for number in range(3):
        async with database.transaction() as transaction:
            outbox.emit(transaction, "tasks", NoteTaken(text=str(number)), project=None)
    relay = Relay(database, publish, "relay-one")
    relay.start()
    try:

        async def empty() -> bool:
            return await relay.backlog() == 0

        await eventually(empty)
        assert tried == ["0", "1", "1", "2"], "what was confirmed is not sent again, and nothing overtakes"
    finally:
        await relay.stop()
        await database.close()


@dataclass
class Rival:
    """A relay of the same service in another instance, and what it has published."""

    relay: Relay
    published: list[str] = field(default_factory=list)
    hangs: asyncio.Event = field(default_factory=asyncio.Event)
    goes_on: asyncio.Event = field(default_factory=asyncio.Event)


def rival(database: Database, instance: str, *, held: bool = False) -> Rival:
    """With `held`, it hangs in its first publish until it may go on: as if it had been stopped there."""

    async def publish(_subject: str, body: bytes, _headers: dict[str, str]) -> bool:
        if held:
            found.hangs.set()
            await found.goes_on.wait()
        found.published.append(NoteTaken.model_validate_json(body).text)
        return False

    found = Rival(Relay(database, publish, instance))
    return found


async def emit(database: Database, *texts: str) -> None:
    async with database.transaction() as transaction:
        for each in texts:
            outbox.emit(transaction, "tasks", NoteTaken(text=each), project=None)


async def test_a_leader_that_hangs_is_replaced_within_two_seconds(installation: Installation) -> None:
    database = Database(installation.settings(LabSettings, "tasks"))
    hanging, other = rival(database, "hanging", held=True), rival(database, "other")
    await emit(database, "0", "1")
    hanging.relay.start()
    try:
        await hanging.hangs.wait()
        started = time.monotonic()
        other.relay.start()

        async def gone_out() -> bool:
            return other.published == ["0", "1"]

        await eventually(gone_out)
        # The lease, one look of those that stand by, and what the machine takes.
        assert time.monotonic() - started < outbox.LEASE + outbox.STANDBY_LOOK + 1.0
        # Continued, it ends what it was in the middle of, which the stream knows, and nothing else of then.
        hanging.goes_on.set()
        await emit(database, "2")
        other.relay.wake()

        async def goes_on() -> bool:
            return hanging.published[:1] == ["0"] and "2" in hanging.published + other.published

        await eventually(goes_on)
        assert "1" not in hanging.published
    finally:
        await hanging.relay.stop()
        await other.relay.stop()
        await database.close()


async def test_one_relay_at_a_time(installation: Installation) -> None:
    """Three of them, all woken by each commit: every fact is in the stream once, in order."""
    database = Database(installation.settings(LabSettings, "tasks"))
    order: list[int] = []
    stored: set[str] = set()

    async def publish(_subject: str, body: bytes, headers: dict[str, str]) -> bool:
        """As the stream does: a machine that stalls for a second makes two of them publish the same."""
        await asyncio.sleep(0)
        if headers[MESSAGE_ID] in stored:
            return True
        stored.add(headers[MESSAGE_ID])
        order.append(int(NoteTaken.model_validate_json(body).text))
        return False

    relays = [Relay(database, publish, f"relay-{number}") for number in range(3)]

    def wake_all() -> None:
        for relay in relays:
            relay.wake()

    database.after_emit = wake_all
    for relay in relays:
        relay.start()
    try:
        for number in range(200):
            await emit(database, str(number))

        async def empty() -> bool:
            return await relays[0].backlog() == 0

        await eventually(empty)
        assert order == list(range(200))
    finally:
        for relay in relays:
            await relay.stop()
        await database.close()


async def test_nothing_is_written_while_nothing_waits(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "IDLE_LOOK", 0.01)
    database = Database(installation.settings(LabSettings, "tasks"))
    relay = rival(database, "idle").relay
    looks = 0
    look = relay._take

    async def counted(connection: AsyncConnection, published: list[int]) -> object:
        nonlocal looks
        looks += 1
        return await look(connection, published)

    monkeypatch.setattr(relay, "_take", counted)
    await emit(database, "0")
    relay.start()
    try:

        async def looked() -> bool:
            return looks > 20

        await eventually(looked)
        versions = set()
        seen = looks
        while looks < seen + 20:
            async with database.reading() as connection:
                versions.add((await connection.execute(text("select xmin::text from tasks.relay"))).scalar())
        assert len(versions) == 1
    finally:
        await relay.stop()
        await database.close()


async def test_a_clock_that_is_put_back_keeps_nobody_from_leading(installation: Installation) -> None:
    """The lease of another one would end in an hour: it can only be of before."""
    database = Database(installation.settings(LabSettings, "tasks"))
    async with database.transaction() as transaction:
        await transaction.connection.execute(
            text("update tasks.relay set owner = 'dead', until = tasks.clock() + interval '1 hour'")
        )
    await emit(database, "0")
    after = rival(database, "after")
    after.relay.start()
    try:

        async def gone_out() -> bool:
            return after.published == ["0"]

        await eventually(gone_out)
    finally:
        await after.relay.stop()
        await database.close()


async def test_a_relay_that_cannot_lead_says_so(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "HINDERED_LONG", 0.2)
    database = Database(installation.settings(LabSettings, "tasks"))
    kept_out = rival(database, "kept-out")
    await emit(database, "0")
    async with database.transaction() as transaction:
        await transaction.connection.execute(text("select from tasks.relay for update"))
        kept_out.relay.start()

        async def degraded() -> bool:
            return kept_out.relay.degraded() is not None

        await eventually(degraded)
    try:

        async def well() -> bool:
            return kept_out.relay.degraded() is None and kept_out.published == ["0"]

        await eventually(well)
    finally:
        await kept_out.relay.stop()
        await database.close()


async def test_a_stream_that_takes_nothing_is_degraded_health(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though the lease is had anew each time."""
    monkeypatch.setattr(outbox, "HINDERED_LONG", 0.5)
    database = Database(installation.settings(LabSettings, "tasks"))
    full = True

    async def publish(_subject: str, _body: bytes, _headers: dict[str, str]) -> bool:
        if full:
            raise ConnectionError("the stream is full")
        return False

    relay = Relay(database, publish, "relay-one")
    await emit(database, "0")
    relay.start()
    try:

        async def degraded() -> bool:
            return "ConnectionError" in (relay.degraded() or "")

        await eventually(degraded)
        full = False

        async def well() -> bool:
            return relay.degraded() is None and await relay.backlog() == 0

        await eventually(well)
    finally:
        await relay.stop()
        await database.close()


async def test_only_what_nobody_has_published_is_a_surprise(installation: Installation) -> None:
    """A crash of the database between two looks brings rows back, and need not be noticed."""
    database = Database(installation.settings(LabSettings, "tasks"))
    published: list[str] = []

    async def publish(_subject: str, body: bytes, _headers: dict[str, str]) -> bool:
        what = NoteTaken.model_validate_json(body).text
        known = what in published or what == "called known"
        published.append(what)
        if what == "comes back" and not known:
            async with installation.sql() as connection:
                await connection.execute("create table tasks.kept as select * from tasks.outbox")
        return known

    def surprises() -> float:
        return registry.REGISTRY.get_sample_value("signalbox_outbox_surprising_duplicates_total") or 0.0

    before = surprises()
    relay = Relay(database, publish, "relay-one")
    relay.start()

    async def empty() -> bool:
        return await relay.backlog() == 0

    try:
        for text_ in ("first", "comes back"):
            await emit(database, text_)
            relay.wake()
            await eventually(empty)
        async with installation.sql() as connection:
            await connection.execute(
                "insert into tasks.outbox overriding system value select * from tasks.kept"
            )
        relay.wake()
        await eventually(empty)
        assert published == ["first", "comes back", "comes back"]
        assert surprises() == before
        await emit(database, "called known")
        relay.wake()
        await eventually(empty)
        assert surprises() == before + 1
    finally:
        await relay.stop()
        await database.close()
