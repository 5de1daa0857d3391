"""Events from outside keep the order in which they were published, whoever dies on the way."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from nats.aio.client import Client
from nats.js import JetStreamContext

from signalbox_common.testing import eventually
from tests.support.installation import Installation

pytestmark = pytest.mark.fresh  # whole streams are counted

PROJECTS = [f"00000000-0000-7000-8000-00000000000{letter}" for letter in "ab"]
SOURCES = ("/ci", "/deploy", "/sensor")


class Fleet:
    """Fan-outs that are killed, and started anew."""

    def __init__(self, installation: Installation) -> None:
        self._installation = installation
        self._processes: list[asyncio.subprocess.Process] = []

    async def start(self) -> None:
        environment = os.environ | self._installation.environment("fanout")
        self._processes.append(
            await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "signalbox_common.start",
                "signalbox_gateway.fanout.app",
                env=environment,
            )
        )

    async def kill(self) -> None:
        process = self._processes.pop(0)
        process.send_signal(signal.SIGKILL)
        await process.wait()

    async def end(self) -> None:
        while self._processes:
            await self.kill()


@asynccontextmanager
async def fleet(installation: Installation, size: int) -> AsyncIterator[Fleet]:
    fleet = Fleet(installation)
    try:
        for _ in range(size):
            await fleet.start()
        yield fleet
    finally:
        await fleet.end()


async def publish(client: Client, numbers: range) -> None:
    """Of each source in each project, in their order; as fast as it goes."""
    for number in numbers:
        for project in PROJECTS:
            for source in SOURCES:
                headers = {
                    "ce-specversion": "1.0",
                    "ce-id": f"{number}",
                    "ce-source": source,
                    "ce-type": "ext.ci.done",
                    "content-type": "application/json",
                }
                await client.publish(f"ext.{project}.ci.done", str(number).encode(), headers=headers)
    await client.flush()


async def told(installation: Installation) -> dict[tuple[str, str], list[int]]:
    found: dict[tuple[str, str], list[int]] = {}
    for message in await installation.messages("EVENTS", "evt.*.ext.>"):
        lane = (str(message.subject).split(".")[1], message.headers["ce-claimedsource"])
        found.setdefault(lane, []).append(json.loads(message.data))
    return found


async def number_told(jetstream: JetStreamContext) -> int:
    return int((await jetstream.stream_info("EVENTS")).state.messages)


async def test_what_follows_waits_for_what_somebody_has_in_hand(installation: Installation) -> None:
    async with installation.nats() as client, fleet(installation, 1):
        jetstream = client.jetstream()

        async def info() -> Any:
            return await jetstream.consumer_info("EXTERNAL", "fanout-ingest")

        hand = await jetstream.pull_subscribe_bind("fanout-ingest", "EXTERNAL")
        await publish(client, range(3))
        held = await hand.fetch(18, timeout=5)
        assert len(held) == 18
        await publish(client, range(3, 6))

        async def others_are_taken() -> bool:
            for message in held:
                await message.in_progress()
            return bool((await info()).delivered.stream_seq >= 36)

        await eventually(others_are_taken, within=60)
        for _ in range(3):
            await others_are_taken()
            assert await number_told(jetstream) == 0, "the others are not told before them"
            await asyncio.sleep(0.2)

        async def all_told() -> bool:
            return await number_told(jetstream) == 36

        await eventually(all_told, within=30)
        assert set(map(tuple, (await told(installation)).values())) == {tuple(range(6))}


@pytest.mark.parametrize(
    ("fanouts", "kills"), [(1, 1), (2, 2), *(pytest.param(n, 40, marks=pytest.mark.proof) for n in (1, 2, 3))]
)
async def test_order_survives_kills(installation: Installation, fanouts: int, kills: int) -> None:
    """Killed with messages in its hands: what follows them waits until they have come again."""
    each = 60
    async with installation.nats() as client, fleet(installation, fanouts) as running:
        jetstream = client.jetstream()
        in_hand = 0
        for round_ in range(kills):
            before = await number_told(jetstream)
            publishing = asyncio.create_task(publish(client, range(round_ * each, (round_ + 1) * each)))

            async def begun(before: int = before) -> bool:
                return await number_told(jetstream) > before + 50

            await eventually(begun, within=30)
            await running.kill()
            info = await jetstream.consumer_info("EXTERNAL", "fanout-ingest")
            in_hand += info.num_ack_pending or 0
            await running.start()
            await publishing
        await publish(client, range(kills * each, (kills + 1) * each))
        lanes = len(PROJECTS) * len(SOURCES)

        async def all_told() -> bool:
            return await number_told(jetstream) >= (kills + 1) * each * lanes

        await eventually(all_told, within=60)

        async def settled() -> bool:
            info: Any = await jetstream.consumer_info("EXTERNAL", "fanout-ingest")
            return (info.num_pending, info.num_ack_pending) == (0, 0)

        await eventually(settled, within=30)
        assert in_hand > 0, "some were in the hands of one that died"
        found = await told(installation)
        assert len(found) == lanes
        expected = list(range((kills + 1) * each))
        for lane, numbers in found.items():
            assert sorted(numbers) == expected, f"{lane}: nothing is lost or doubled"
            assert numbers == expected, f"{lane}: in the order in which they were published"
