"""Commands from service to service: stored without waiting, once, and by whom the contracts name alone."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from signalbox_common.bus import Bus, Envelope, StoredCommand
from signalbox_common.errors import SignalboxError
from signalbox_common.keys import StepIds
from signalbox_common.settings import ServiceSettings
from signalbox_common.testing import eventually, running
from tests.support.installation import Installation
from tests.support.lab import Build
from tests.support.works import Workshop, World

pytestmark = pytest.mark.fresh  # whole streams are counted

STEPS = StepIds("secret of the caller")
COMMAND = StoredCommand.of(Build(name="house"), STEPS.for_step("run-1", "build", "1"))


@asynccontextmanager
async def bus_of(installation: Installation, service: str) -> AsyncIterator[Bus]:
    bus = Bus(installation.settings(ServiceSettings, service))
    await bus.start()
    try:
        yield bus
    finally:
        await bus.stop()


async def test_what_is_submitted_again_takes_effect_once(installation: Installation, tmp_path: Path) -> None:
    """The first time nobody is there to take it, and each time somebody else sends it."""
    async with bus_of(installation, "catalog") as bus:
        await bus.submit(COMMAND, operation="run-1")
    workshop = Workshop(World(tmp_path / "world"))
    async with bus_of(installation, "catalog") as bus, running(workshop.service(installation.lab())):
        same = StoredCommand.of(Build(name="house"), STEPS.for_step("run-1", "build", "1"))
        assert same == COMMAND
        await bus.submit(same, operation="run-1")

        async def handled() -> bool:
            async with installation.nats() as client:
                info = await client.jetstream().consumer_info("COMMANDS", Build.consumer())
            return not (info.num_pending or info.num_ack_pending)

        await eventually(handled)

        async def done() -> list[str]:
            return workshop.world.made

        assert await eventually(done) == ["house"]
        assert workshop.started == ["house"]

        async def told() -> list[str]:
            messages = await installation.messages("EVENTS", "evt._.tasks.lab.taken")
            return [message.headers["ce-operation"] for message in messages]

        assert await eventually(told) == ["run-1"]


async def test_another_body_under_the_same_id_changes_nothing(
    installation: Installation, tmp_path: Path
) -> None:
    workshop = Workshop(World(tmp_path / "world"))
    other = StoredCommand.of(Build(name="castle"), COMMAND.command_id)
    async with bus_of(installation, "catalog") as bus, running(workshop.service(installation.lab())):
        await bus.submit(COMMAND)

        async def done() -> list[str]:
            return workshop.world.made

        await eventually(done)
        await bus.submit(other)
        async with installation.bus() as gateway:
            with pytest.raises(SignalboxError) as reused:
                await gateway.send(Build(name="castle"), Envelope(COMMAND.command_id, other.digest))
        assert reused.value.code == "idempotency_key_reused"
    assert workshop.world.made == ["house"]


async def test_who_may_not_send_it_stores_nothing(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("signalbox_common.bus.client.STORE_PATIENCE", 0.5)
    async with bus_of(installation, "git") as bus:
        with pytest.raises(SignalboxError):
            await bus.submit(COMMAND)
    assert await installation.messages("COMMANDS", "cmd.tasks.>") == []


def test_ids_of_steps_differ_by_every_part_and_by_the_secret() -> None:
    ids = {
        STEPS.for_step("run-1", "build", "1"),
        STEPS.for_step("run-1", "build", "2"),
        STEPS.for_step("run-2", "build", "1"),
        STEPS.for_step("run-1", "build1", ""),
        StepIds("another").for_step("run-1", "build", "1"),
    }
    assert len(ids) == 5
    assert {each.version for each in ids} == {8}
