"""Handlers that raise, hang or kill; messages that make no sense; and what operators do about them."""

import asyncio
import json
import time
import uuid
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import pytest
from pydantic import SecretStr

from signalbox_cli import deadletters
from signalbox_common.bus import Bus, Envelope
from signalbox_common.bus import headers as h
from signalbox_common.contracts.operations import GetOperation, OperationStatus, RedriveResult
from signalbox_common.errors import SignalboxError
from signalbox_common.keys import uuid7
from signalbox_common.testing import eventually, running
from tests.support.installation import Installation
from tests.support.lab import Lab, Note, Whisper
from tests.support.pace import pace, soon

pytestmark = pytest.mark.fresh  # whole streams and tables are counted


class Broken(Exception):
    pass


async def explode(text: str) -> None:
    if text.startswith("bad"):
        raise Broken(f"cannot bear {text}")


async def letters(installation: Installation) -> list[Any]:
    return await installation.messages("DEAD_LETTERS")


LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)


async def report(bus: Bus, command_id: uuid.UUID, sent_before: datetime | None = None) -> OperationStatus:
    question = GetOperation(
        command_id=command_id, command=Note.subject, accepted_before=sent_before or datetime.now(UTC)
    )
    return (await bus.query(question, service="tasks")).value().status


async def test_raising_is_retried_with_growing_delays_then_buried(installation: Installation) -> None:
    times: list[float] = []

    async def raising(_text: str) -> None:
        times.append(time.monotonic())
        raise Broken("always")

    lab = Lab(act=raising)
    settings = installation.lab(command_attempts=4, retry_base=0.2)
    async with running(lab.service(settings)), installation.bus() as bus:
        command_id = uuid7()
        assert await bus.send(Note(text="bad"), Envelope(command_id, "d"), patience=0.05) is None
        assert await report(bus, command_id) is OperationStatus.PENDING
        found = await eventually(lambda: letters(installation), what="a dead letter")
        assert await report(bus, command_id) is OperationStatus.FAILED
    pauses = [later - earlier for earlier, later in pairwise(times)]
    assert len(times) == 4
    assert pauses[0] >= 0.2
    assert pauses[1] >= 0.4
    assert pauses[2] >= 0.8
    headers = found[0].headers
    assert found[0].subject == f"dlq.{Note.subject}"
    assert headers[h.REASON] == "attempts_exhausted"
    assert headers[h.ATTEMPTS] == "4"
    assert "Broken: always" in headers[h.ERROR]
    assert "Traceback" in headers[h.ERROR]
    assert headers["Nats-Msg-Id"].startswith("tasks-v1-lab-note:")
    assert json.loads(found[0].data) == {"text": "bad"}
    assert await installation.messages("COMMANDS") == []


async def test_nothing_blocks_what_comes_behind(installation: Installation) -> None:
    lab = Lab(act=explode)
    settings = installation.lab(command_attempts=4, retry_base=1.0, command_workers=1)
    async with running(lab.service(settings)), installation.bus() as bus:

        async def good() -> None:
            assert await bus.send(Note(text="good"), Envelope(uuid7(), "d"), patience=60) is not None

        control = await pace(good)
        for number in range(20):
            await bus.send(Note(text=f"bad {number}"), Envelope(uuid7(), "d"), patience=0.0)
        assert await pace(good, times=1) < soon(control), "it waits for no pause of the others"


async def test_what_makes_no_sense_goes_straight_to_the_dead_letters(installation: Installation) -> None:
    lab = Lab()
    async with running(lab.service(installation.lab())), installation.nats() as client:
        jetstream = client.jetstream()
        good = {h.COMMAND_ID: str(uuid7())}
        await jetstream.publish(Note.subject, b"{not json", headers=good)
        await jetstream.publish(Note.subject, b'{"text": 7}', headers={h.COMMAND_ID: str(uuid7())})
        await jetstream.publish(Note.subject, b"\xff\xfe\x00", headers={h.COMMAND_ID: str(uuid7())})
        await jetstream.publish(Note.subject, b'{"text": "no id"}')
        await jetstream.publish(Note.subject, b'{"text": "odd id"}', headers={h.COMMAND_ID: "*.>"})
        await jetstream.publish(Note.subject, b"{", headers={"Nats-Expected-Last-Msg-Id": ""} | good)

        async def all_six() -> bool:
            return len(await letters(installation)) == 6

        await eventually(all_six)
        assert {letter.headers[h.REASON] for letter in await letters(installation)} == {"malformed"}
        assert {letter.headers[h.ATTEMPTS] for letter in await letters(installation)} == {"1"}
        assert lab.started == {}

        async def gone() -> bool:
            return await installation.messages("COMMANDS") == []

        await eventually(gone)


async def test_redrive_runs_the_handler_through_the_inbox(installation: Installation) -> None:
    lab = Lab(act=explode)
    settings = installation.lab(command_attempts=1)
    async with running(lab.service(settings)), installation.bus() as bus:
        command_id = uuid7()
        await bus.send(Note(text="bad"), Envelope(command_id, "d"), patience=0.05)
        await eventually(lambda: letters(installation))

        async with installation.nats("operator") as operator:
            listed = [letter async for letter in deadletters.read_all(operator)]
            assert [letter.about["reason"] for letter in listed] == ["attempts_exhausted"]
            number = listed[0].number
            shown = (await deadletters.read(operator, number)).full()
            assert shown["body"] == {"text": "bad"}
            assert shown["command_id"] == str(command_id)

            still = await deadletters.redrive(operator, number)
            assert isinstance(still, RedriveResult)
            assert still.outcome == "failed"
            assert still.failure is not None
            assert "cannot bear" in still.failure.detail
            assert len(await letters(installation)) == 1
            assert await report(bus, command_id) is OperationStatus.FAILED

            release = asyncio.Event()

            async def wait(_text: str) -> None:
                await release.wait()

            lab.act, lab.entered = wait, asyncio.Event()
            redriving = asyncio.create_task(deadletters.redrive(operator, number))
            await lab.entered.wait()
            assert await report(bus, command_id, sent_before=LONG_AGO) is OperationStatus.PENDING
            release.set()
            done = await redriving
            assert isinstance(done, RedriveResult)
            assert done.outcome == "handled"
            assert await letters(installation) == []
            assert await report(bus, command_id) is OperationStatus.SUCCEEDED

        answer = await bus.send(Note(text="bad"), Envelope(command_id, "d"))
        assert answer is not None
        assert lab.finished == ["bad"], "the repeat was answered from the inbox"
        assert await installation.count("tasks.inbox", "subject like 'cmd.%'") == 1


async def _fine(_text: str) -> None:
    return None


async def test_drop_and_unknown_numbers(installation: Installation) -> None:
    lab = Lab(act=explode)
    async with running(lab.service(installation.lab(command_attempts=1))), installation.bus() as bus:
        await bus.send(Note(text="bad"), Envelope(uuid7(), "d"), patience=0.0)
        await eventually(lambda: letters(installation))
        async with installation.nats("operator") as operator:
            await deadletters.drop(operator, 1)
            assert await letters(installation) == []
            with pytest.raises(deadletters.NoSuchLetter):
                await deadletters.drop(operator, 1)
            with pytest.raises(deadletters.NoSuchLetter):
                await deadletters.read(operator, 99)


async def test_a_fact_that_cannot_be_read_is_buried_and_redriven(installation: Installation) -> None:
    lab = Lab(act=explode)
    writer, reader = Lab(), lab
    async with (
        running(writer.service(installation.lab())),
        running(reader.reader(installation.lab("catalog", command_attempts=2))),
        installation.bus() as bus,
    ):
        for text in ("good", "bad", "fine"):
            await bus.send(Note(text=text), Envelope(uuid7(), "d"))
        found = await eventually(lambda: letters(installation))
        assert found[0].subject == "dlq.catalog-on-lab-note-taken.evt._.tasks.lab.taken"

        async def others_seen() -> bool:
            return sorted(lab.facts) == ["fine", "good"]

        await eventually(others_seen)
        lab.act = _fine
        async with installation.nats("operator") as operator:
            done = await deadletters.redrive(operator, 1)
            assert isinstance(done, RedriveResult)
            assert done.outcome == "handled"
        assert sorted(lab.facts) == ["bad", "fine", "good"]


async def test_asks_are_done_at_once_or_not_at_all(installation: Installation) -> None:

    lab = Lab(act=explode)
    async with running(lab.service(installation.lab())), installation.bus() as bus:
        command_id = uuid7()
        whisper = Whisper(text="hush", secret=SecretStr("s3cret"))
        answer = await bus.ask(whisper, Envelope(command_id, "d"))
        assert answer.value().handled == 1
        with pytest.raises(SignalboxError) as again:
            await bus.ask(whisper, Envelope(command_id, "d"))
        assert (again.value.status, again.value.code, again.value.resource) == (409, "already_done", "hush")
        with pytest.raises(SignalboxError) as other:
            await bus.ask(whisper, Envelope(command_id, "another digest"))
        assert other.value.code == "idempotency_key_reused"
        with pytest.raises(SignalboxError) as broken:
            await bus.ask(Whisper(text="bad", secret=SecretStr("s3cret")), Envelope(uuid7(), "d"))
        assert (broken.value.status, broken.value.code) == (500, "internal")
        assert "cannot bear" not in broken.value.detail
        assert await installation.messages("COMMANDS") == []
        stored = await installation.count("tasks.inbox", "reply is not null")
        assert stored == 0, "no answer of an ask is kept"


async def test_slow_commands_are_not_handed_to_somebody_else(installation: Installation) -> None:
    release = asyncio.Event()

    async def wait(_text: str) -> None:
        await release.wait()

    lab = Lab(act=wait)
    async with running(lab.service(installation.lab())), installation.bus() as bus:
        sending = asyncio.create_task(bus.send(Note(text="slow"), Envelope(uuid7(), "d"), patience=20))
        await lab.entered.wait()
        async with installation.nats() as client:
            jetstream = client.jetstream()
            began = time.monotonic()

            async def well_past_ack_wait() -> bool:
                info = await jetstream.consumer_info("COMMANDS", "tasks-v1-lab-note")
                assert info.num_redelivered == 0
                return time.monotonic() - began > 6.5

            await eventually(well_past_ack_wait)
        release.set()
        answer = await sending
        assert answer is not None
        assert lab.started["slow"] == 1
