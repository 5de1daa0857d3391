"""Standing requests: what the server forgets is asked for again, and nothing is asked for without room."""

import asyncio
import uuid
from collections.abc import AsyncIterator

import pytest
from nats.aio.msg import Msg
from nats.js.api import AckPolicy, ConsumerConfig

from signalbox_common.bus.connection import Connection
from signalbox_common.bus.pull import ConsumerLost, LongPoll
from signalbox_common.testing import eventually, running
from tests.support.installation import Installation
from tests.support.lab import Lab, LabSettings, Note

STREAM = "POLLED"
HANGS = 30.0
"""Seconds after which something never comes."""


@pytest.fixture
async def consumer(installation: Installation) -> AsyncIterator[str]:
    """Of a stream that nobody else reads."""
    name = f"poll-{uuid.uuid4().hex[:8]}"
    async with installation.nats() as client:
        jetstream = client.jetstream()
        await jetstream.add_stream(name=STREAM, subjects=["polled.>"])
        await jetstream.add_consumer(
            STREAM, ConsumerConfig(durable_name=name, ack_policy=AckPolicy.EXPLICIT, ack_wait=60)
        )
        yield name
        await jetstream.delete_stream(STREAM)


async def first(batches: AsyncIterator[list[Msg]]) -> list[Msg]:
    return await anext(batches)


async def publish(installation: Installation, count: int) -> None:
    async with installation.nats() as client:
        for number in range(count):
            await client.jetstream().publish("polled.x", str(number).encode())


async def test_no_more_is_asked_for_than_there_is_room(installation: Installation, consumer: str) -> None:
    in_hand: list[bytes] = []
    async with (
        installation.nats() as client,
        LongPoll(
            client,
            inbox_prefix="_INBOX.admin",
            stream=STREAM,
            consumer=consumer,
            room=4,
            in_hand=lambda: len(in_hand),
        ) as poll,
    ):
        await publish(installation, 10)
        batches = poll.batches()
        while len(in_hand) < 4:
            in_hand += [message.data for message in await anext(batches)]
        following = asyncio.create_task(first(batches))
        info = await client.jetstream().consumer_info(STREAM, consumer)
        assert (info.num_ack_pending, info.num_pending) == (4, 6), "the rest stays in the stream"
        in_hand.clear()
        poll.look()
        assert [message.data for message in await asyncio.wait_for(following, HANGS)][:1] == [b"4"]


async def test_a_request_that_the_server_forgot_is_noticed(installation: Installation, consumer: str) -> None:
    async with (
        installation.nats() as client,
        LongPoll(
            client, inbox_prefix="_INBOX.admin", stream=STREAM, consumer=consumer, room=4, heartbeat=0.2
        ) as poll,
    ):
        following = asyncio.create_task(first(poll.batches()))
        await asyncio.sleep(0)
        await client.jetstream().delete_consumer(STREAM, consumer)
        with pytest.raises(ConsumerLost):
            await asyncio.wait_for(following, HANGS)


async def test_a_request_without_an_answer_is_given_up_after_its_end(
    installation: Installation, consumer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without heartbeats: a server that lost the request says nothing, not even that it has run out."""
    monkeypatch.setattr("signalbox_common.bus.pull._LATE", 0.2)
    async with installation.nats() as client:
        swallowed = LongPoll(
            client, inbox_prefix="_INBOX.admin", stream=STREAM, consumer=consumer, room=4, expires=0.2
        )
        swallowed._subject = "nobody.hears.this"
        async with swallowed as poll, installation.nats() as other:
            await other.subscribe("nobody.hears.this")  # so that there is no word of nobody being there
            await other.flush()
            with pytest.raises(ConsumerLost):
                await asyncio.wait_for(first(poll.batches()), HANGS)


@pytest.mark.fresh
async def test_a_service_asks_anew_where_its_consumer_was_made_anew(installation: Installation) -> None:
    lab = Lab()
    async with running(lab.service(installation.lab())), installation.nats() as client:
        jetstream = client.jetstream()
        name = Note.consumer()
        old = (await jetstream.consumer_info("COMMANDS", name)).config
        await jetstream.delete_consumer("COMMANDS", name)
        await jetstream.add_consumer("COMMANDS", old)
        headers = {"Signalbox-Command-Id": str(uuid.uuid4())}
        await jetstream.publish(Note.subject, b'{"text": "after"}', headers=headers)

        async def handled() -> bool:
            return lab.finished == ["after"]

        await eventually(handled, what="the command is handled")


async def test_idle_consumers_ask_next_to_nothing(installation: Installation) -> None:
    """Every verb has a consumer of its own: what each asks in vain is paid for by all."""
    asked: list[str] = []

    async def note(message: object) -> None:
        asked.append(getattr(message, "subject", ""))

    async with installation.nats() as client:
        await client.subscribe("$JS.API.CONSUMER.MSG.NEXT.>", cb=note)
        await client.flush()
        async with running(Lab().service(installation.settings(LabSettings, "tasks"))):

            async def all_asked() -> bool:
                return len(set(asked)) >= 3  # two verbs, and what redrives

            await eventually(all_asked, what="each consumer has asked once")
            first = len(asked)
            await asyncio.sleep(2.5)  # the time itself is what is looked at: once a second would be seen
            assert len(asked) <= first + 1


async def test_a_connection_that_was_cut_asks_again_at_once(
    installation: Installation, consumer: str
) -> None:
    """The request of before may be forgotten, and would only be given up after half a minute."""
    connection = Connection(installation.settings(LabSettings, "tasks"))
    poll = LongPoll(
        connection,  # type: ignore[arg-type]  # it is never used: this looks at the moment of reconnecting
        inbox_prefix="_INBOX.tasks",
        stream=STREAM,
        consumer=consumer,
        room=1,
        waker=connection,
    )
    connection.on_reconnect.add(poll._lose)
    await connection._on_reconnect()
    poll._asked = 1
    with pytest.raises(ConsumerLost):
        await asyncio.wait_for(poll._wait(), HANGS)
