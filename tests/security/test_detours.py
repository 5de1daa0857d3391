"""What the server itself sends, an answer or an acknowledgement, goes nowhere that its asker may not publish.

Each program's credential asks everything that it may ask, and has it answered on subjects of others. The
subjects follow from the contracts, so a program or a stream that is added is tried as well.
"""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import NoRespondersError
from nats.js.errors import NotFoundError

from signalbox_cli.provision.permissions import ADMIN, of_user
from signalbox_common.bus import Envelope
from signalbox_common.bus import headers as h
from signalbox_common.contracts.streams import STREAMS, Topology
from signalbox_common.programs import OWNERS, PROGRAMS
from signalbox_common.testing import eventually
from tests.support import lab
from tests.support.installation import Installation

PROJECT = "0192f1a0-0000-7000-8000-000000000000"
ASKED = json.dumps({"seq": 1, "batch": 1, "expires": 1_000_000_000}).encode()


def canaries() -> dict[str, str]:
    """A subject of each stream that nothing was ever stored on, by stream."""
    last = uuid.uuid4().hex
    return {
        stream.name: stream.subjects[-1].replace(">", f"{PROJECT}.nobody.canary.{last}") for stream in STREAMS
    }


def askable(program: str) -> list[str]:
    """All that a program may publish to, with a word in the place of each wildcard."""
    return [
        subject.replace("*", "word").replace(">", "auth.v1.word")
        for subject in of_user(program, Topology()).publish or ()
    ]


@asynccontextmanager
async def listening(installation: Installation, but: str, heard: list[str]) -> AsyncIterator[list[str]]:
    """The inboxes and the asks of all others; gives the subjects."""
    subjects: list[str] = []

    async def hear(message: Msg) -> None:
        heard.append(message.subject)

    async with AsyncExitStack() as stack:
        for program in PROGRAMS:
            if program == but:
                continue
            client = await stack.enter_async_context(installation.nats(program))
            mine = [f"_INBOX.{program}.canary"]
            if program in OWNERS:
                mine += [f"ask.{program}.v1.canary", f"qry.{program}.v1.canary"]
            for subject in mine:
                await client.subscribe(subject, cb=hear)
            await client.flush()
            subjects += mine
        yield subjects


async def stored(admin: Client, stream: str, subject: str) -> bool:
    try:
        await admin.jetstream().get_last_msg(stream, subject)
    except NotFoundError:
        return False
    return True


@pytest.mark.parametrize("program", PROGRAMS)
async def test_no_answer_goes_where_its_asker_may_not(installation: Installation, program: str) -> None:
    targets, heard = canaries(), list[str]()
    async with (
        installation.nats() as admin,
        installation.nats(program) as client,
        listening(installation, program, heard) as inboxes,
    ):
        await admin.jetstream().publish(f"evt.{PROJECT}.auth.user.registered", b'{"x": "as a key"}')
        for subject in askable(program):
            for target in (*targets.values(), *inboxes):
                await client.publish(subject, ASKED, reply=target)
        await client.flush()
        # The same by who may: it comes through, and whatever came before it would have come, too.
        by_admin = canaries()
        for target in by_admin.values():
            await admin.publish("$JS.API.DIRECT.GET.EVENTS", b'{"last_by_subj": "evt.>"}', reply=target)

        async def all_stored() -> bool:
            return all([await stored(admin, stream, target) for stream, target in by_admin.items()])

        await eventually(all_stored, what="what the administrator had sent there")
        for stream, target in targets.items():
            assert not await stored(admin, stream, target), f"{program} has written to {target}"
        assert not heard


@pytest.mark.parametrize("program", PROGRAMS)
async def test_nobody_makes_consumers_or_streams(installation: Installation, program: str) -> None:
    """Whoever made one would choose where it sends."""
    async with installation.nats(program) as client, installation.nats(ADMIN) as admin:
        jetstream = admin.jetstream()
        before = {s.name: (await jetstream.stream_info(s.name)).state.consumer_count for s in STREAMS}
        for stream in STREAMS:
            config = {"name": "canary", "deliver_subject": "$KV.grant-keys.canary", "ack_policy": "none"}
            for api in ("$JS.API", "streams"):
                for what in (
                    f"CONSUMER.CREATE.{stream.name}",
                    f"CONSUMER.CREATE.{stream.name}.canary",
                    f"CONSUMER.CREATE.{stream.name}.canary.{stream.subjects[0]}",
                    f"CONSUMER.DURABLE.CREATE.{stream.name}.canary",
                ):
                    body = json.dumps({"stream_name": stream.name, "config": config}).encode()
                    await client.publish(f"{api}.{what}", body)
        await client.flush()
        with pytest.raises((NoRespondersError, TimeoutError)):
            await client.request("streams.STREAM.CREATE.CANARY", b'{"name": "CANARY"}', timeout=0.5)
        after = {s.name: (await jetstream.stream_info(s.name)).state.consumer_count for s in STREAMS}
        assert after == before


async def test_only_who_was_asked_answers_a_command(installation: Installation) -> None:
    """Another service that knows where the answer goes is not heard there."""
    async with (
        installation.bus() as bus,
        installation.nats() as admin,
        installation.nats("git") as stranger,
        installation.nats("tasks") as owner,
    ):
        envelope = Envelope(command_id=uuid.uuid4(), digest="canary")
        answering = asyncio.create_task(bus.send(lab.Note(text="canary"), envelope, patience=30))

        async def waits() -> str:
            try:
                stored = await admin.jetstream().get_last_msg("COMMANDS", lab.Note.subject)
            except NotFoundError:
                return ""
            return str((stored.headers or {})[h.REPLY_TO])

        reply_to = await eventually(waits, what="the command is stored")
        for client, said in ((stranger, "forged"), (owner, "true")):
            body = lab.Noted(id=said, handled=1).encode()
            await client.publish(reply_to, body, headers={h.STATUS: h.OK})
            await client.flush()
            await admin.flush()
        answer = await answering
        assert answer is not None
        assert answer.value().id == "true"
