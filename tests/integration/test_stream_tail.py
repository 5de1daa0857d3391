"""The tail of a stream against a real server: in order and without a gap, whatever becomes of the copies."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg

from signalbox_cli.provision.permissions import ADMIN
from signalbox_cli.provision.streams import _ensure_stream
from signalbox_common import background
from signalbox_common.bus import tail
from signalbox_common.bus.connection import Connection
from signalbox_common.bus.pull import ConsumerLost
from signalbox_common.bus.stored import StoredMessage, StreamReader
from signalbox_common.bus.tail import StreamTail
from signalbox_common.contracts.streams import EVENTS, MIB, Stream
from signalbox_common.testing import eventually
from tests.support.installation import Installation
from tests.support.lab import LabSettings


@pytest.fixture
async def client(installation: Installation) -> AsyncIterator[Client]:
    async with installation.nats() as client:
        yield client


@pytest.fixture
async def stream(client: Client) -> AsyncIterator[Stream]:
    """One that nobody else reads."""
    token = f"copied-{uuid.uuid4().hex[:8]}"
    made = replace(
        EVENTS, name=token, subjects=(f"{token}.>",), copies=f"live.{token}", allow_delete=True, max_bytes=MIB
    )
    await _ensure_stream(client.jetstream(), made)
    yield made
    await client.jetstream().delete_stream(made.name)


@pytest.fixture
async def connection(installation: Installation) -> AsyncIterator[Connection]:
    """With the administrator's rights: the streams of these tests are nobody's."""
    url = installation.servers.credentials.nats_url(installation.servers.endpoints, ADMIN)
    connection = Connection(installation.settings(LabSettings, "gateway", nats_url=url))
    await connection.connect()
    yield connection
    connection.stopping = True
    await connection.broker.stop()


class Taker:
    """Takes what a tail gives, as long as it may."""

    def __init__(self, connection: Connection, stream: Stream, after: int = 0) -> None:
        self.taken: list[StoredMessage] = []
        self.lost = False
        self.may = asyncio.Event()
        self.may.set()
        self._task = asyncio.create_task(self._take(connection, stream, after))

    @property
    def numbers(self) -> list[int]:
        return [message.sequence for message in self.taken]

    async def until(self, last: int) -> None:
        async def there() -> bool:
            return bool(self.taken) and self.taken[-1].sequence >= last

        await eventually(there, what=f"number {last} has come")

    async def stop(self) -> None:
        await background.end(self._task)  # to cancel it once may not be enough while it asks the stream

    async def _take(self, connection: Connection, stream: Stream, after: int) -> None:
        try:
            state = await StreamReader(connection, stream).state()
            async with StreamTail(connection, stream).read(after, state) as batches:
                async for batch in batches:
                    await self.may.wait()
                    self.taken += batch
        except ConsumerLost:
            self.lost = True


async def store(client: Client, stream: Stream, count: int, size: int = 1) -> None:
    for _ in range(count):
        await client.publish(f"{stream.name}.x", b"x" * size)
    await client.flush()


async def test_past_and_present_come_in_order(client: Client, stream: Stream, connection: Connection) -> None:
    await store(client, stream, 700)
    early, late = Taker(connection, stream), Taker(connection, stream, after=650)
    await store(client, stream, 700)
    await early.until(1400)
    await late.until(1400)
    assert early.numbers == list(range(1, 1401))
    assert late.numbers == list(range(651, 1401)), "each from a position of its own"
    await early.stop()
    await late.stop()


async def test_a_copy_that_was_lost_is_read_from_the_stream(
    client: Client, stream: Stream, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One in the middle, which the next one shows; and the last one, which nothing shows but a look."""
    take = tail._Copies.take
    lost = {3, 7}

    async def forgetful(copies: tail._Copies, message: Msg) -> None:
        stored = StoredMessage.of(message)
        if stored is None or stored.sequence not in lost:
            await take(copies, message)

    monkeypatch.setattr(tail._Copies, "take", forgetful)
    taker = Taker(connection, stream)
    await store(client, stream, 1)
    await taker.until(1)
    await store(client, stream, 6)
    await taker.until(7)
    assert taker.numbers == list(range(1, 8))
    await taker.stop()


async def test_a_slow_reader_keeps_only_so_many_and_misses_none(
    client: Client, stream: Stream, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tail, "ROOM", 20)
    kept = []
    take = tail._Copies.take

    async def counted(copies: tail._Copies, message: Msg) -> None:
        await take(copies, message)
        kept.append(len(copies._arrived))

    monkeypatch.setattr(tail._Copies, "take", counted)
    taker = Taker(connection, stream)
    await store(client, stream, 1)
    await taker.until(1)
    taker.may.clear()
    await store(client, stream, 500)

    async def all_copies_came() -> bool:
        return len(kept) >= 500

    await eventually(all_copies_came)
    assert max(kept) <= 20
    taker.may.set()
    await taker.until(501)
    assert taker.numbers == list(range(1, 502))
    await taker.stop()


async def test_headers_of_a_sender_do_not_pass_for_the_servers(
    client: Client, stream: Stream, connection: Connection
) -> None:
    forged = {
        "Nats-Sequence": "1000000",
        "Nats-Subject": "evt.forged",
        "Nats-Time-Stamp": "1999-01-01T00:00:00Z",
        "Status": "404",
    }
    await client.publish(f"{stream.name}.a", b"past", headers=forged)
    taker = Taker(connection, stream)
    await taker.until(1)
    await client.publish(f"{stream.name}.b", b"present", headers=forged)
    await store(client, stream, 1)
    await taker.until(3)
    assert [(m.sequence, m.subject) for m in taker.taken] == [
        (1, f"{stream.name}.a"),
        (2, f"{stream.name}.b"),
        (3, f"{stream.name}.x"),
    ]
    assert all(m.stored_at.year > 1999 for m in taker.taken)
    await taker.stop()


async def test_what_was_deleted_at_the_end_keeps_nobody_waiting(
    client: Client, stream: Stream, connection: Connection
) -> None:
    await store(client, stream, 3)
    await client.jetstream().delete_msg(stream.name, 3)
    taker = Taker(connection, stream)
    await taker.until(2)
    await store(client, stream, 1)
    await taker.until(4)
    assert taker.numbers == [1, 2, 4]
    await taker.stop()


async def test_a_stream_that_was_made_anew_is_noticed(
    client: Client, stream: Stream, connection: Connection
) -> None:
    await store(client, stream, 3)
    taker = Taker(connection, stream)
    await taker.until(3)
    await client.jetstream().delete_stream(stream.name)
    await _ensure_stream(client.jetstream(), stream)
    await store(client, stream, 1)

    async def noticed() -> bool:
        return taker.lost

    await eventually(noticed, what="that it is another stream")
    assert taker.numbers == [1, 2, 3]
