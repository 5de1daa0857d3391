"""Work in processes that are killed and stopped: each effect once, and projects side by side."""

import asyncio
import random
import signal
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import pytest

from signalbox_common.db import Database
from signalbox_common.inbox import Inbox
from signalbox_common.testing import eventually
from signalbox_common.work import Worker
from tests.support.installation import Installation
from tests.support.lab import LabSettings
from tests.support.processes import Running
from tests.support.services import process, restarting
from tests.support.works import BUILD, World

pytestmark = pytest.mark.fresh  # whole tables are counted

PROJECTS = {"one": UUID(int=1), "other": UUID(int=2)}
TOLD = "evt._.tasks.lab.taken"
AFTER_KILL = 0.15
"""Seconds between two kills, at most twice as many."""


@dataclass(frozen=True)
class Scale:
    """How many of each."""

    workers: int
    rows: int
    kills: int
    lease: float
    within: float


@dataclass(frozen=True)
class Stop:
    """How long a worker is stopped, and how long its lease is."""

    seconds: float
    lease: float


SMALL = Scale(workers=3, rows=400, kills=6, lease=1.0, within=60)
LARGE = pytest.param(
    Scale(workers=10, rows=10_000, kills=200, lease=5.0, within=900), marks=pytest.mark.proof
)
SHORT = Stop(seconds=0.0, lease=1.0)
LONG = pytest.param(Stop(seconds=60.0, lease=15.0), marks=pytest.mark.proof)


async def put(installation: Installation, names: dict[str, UUID]) -> None:
    database = Database(installation.settings(LabSettings, "tasks"))
    worker = Worker(database, Inbox(database).pending, "putting")
    async with database.transaction() as transaction:
        for name, project in names.items():
            await worker.put(transaction, BUILD, name, project=project, payload={"name": name})
    await database.close()


def worker(installation: Installation, world: World, number: int, lease: float) -> Running:
    log = world.folder.with_name(f"worker-{number}.log")
    argv = ["-m", "tests.support.works", str(world.folder), str(lease), "1000"]
    return process(installation, "tasks", log, argv)


async def kill_at_random(workers: list[Running], kills: int, order: random.Random) -> None:
    for _ in range(kills):
        victim = order.choice([each for each in workers if each.alive])
        victim.signal(signal.SIGKILL)
        await asyncio.sleep(AFTER_KILL * order.uniform(1, 2))


@pytest.mark.timeout(1_500)
@pytest.mark.parametrize("scale", [SMALL, LARGE])
async def test_each_effect_once_whoever_is_killed(
    installation: Installation, tmp_path: Path, scale: Scale
) -> None:
    seed = random.randrange(2**32)
    order = random.Random(seed)
    world = World(tmp_path / "world")
    names = {f"{project}-{number}": project for number in range(scale.rows // 2) for project in PROJECTS}
    workers = [worker(installation, world, number, scale.lease) for number in range(scale.workers)]
    for each in workers:
        await each.start()
    await put(installation, {name: PROJECTS[project] for name, project in names.items()})
    supervising = [asyncio.create_task(restarting(each)) for each in workers]
    try:
        await kill_at_random(workers, scale.kills, order)

        async def all_done() -> bool:
            assert await installation.count("tasks.work", "state = 'failed'") == 0
            return await installation.count("tasks.work") == 0

        await eventually(all_done, within=scale.within, what=f"all is done (seed {seed})")

        async def all_told() -> bool:
            return await installation.count("tasks.outbox") == 0

        await eventually(all_told)
        made = world.made
        assert sorted(made) == sorted(names)
        assert world.doubled == []
        async with installation.nats() as client:
            told = (await client.jetstream().stream_info("EVENTS", subjects_filter=TOLD)).state
        assert (told.subjects or {})[TOLD] == scale.rows
        print(
            f"\n{scale.rows} rows, {scale.workers} workers, {scale.kills} SIGKILLs: each done and told once"
        )
        print(f"largest lead of one project: {largest_lead(made):.1%} of what was done")
        assert largest_lead(made) <= 0.1
    finally:
        for task in supervising:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        for each in workers:
            await each.stop()


def largest_lead(made: list[str]) -> float:
    """How far one project was ever before the other, in parts of all that was done until then.

    At the beginning that is one row more or less, so it is looked at from a tenth on; at the end, what
    was in the hands of the killed comes late.
    """
    lead, largest = 0, 0.0
    for place, name in enumerate(made[: len(made) * 9 // 10], start=1):
        lead += 1 if name.startswith("one") else -1
        if place > len(made) // 10:
            largest = max(largest, abs(lead) / place)
    return largest


@pytest.mark.timeout(200)
@pytest.mark.parametrize("stop", [SHORT, LONG])
async def test_a_worker_that_was_stopped_writes_nothing(
    installation: Installation, tmp_path: Path, stop: Stop
) -> None:
    world = World(tmp_path / "world")
    world.holds.touch()
    first, second = (worker(installation, world, number, stop.lease) for number in range(2))
    await first.start()
    try:
        await put(installation, {"house": PROJECTS["one"]})

        async def begun() -> bool:
            return await installation.count("tasks.work", "state = 'running'") == 1

        await eventually(begun)
        first.signal(signal.SIGSTOP)
        stopped_at = asyncio.get_running_loop().time()
        world.holds.unlink()
        await second.start()

        async def done() -> bool:
            return await installation.count("tasks.work") == 0

        await eventually(done, within=stop.lease + 30, what="the other has done it")

        async def long_enough() -> bool:
            return asyncio.get_running_loop().time() - stopped_at >= stop.seconds

        await eventually(long_enough, within=stop.seconds + 5)
        first.signal(signal.SIGCONT)

        async def overtaken() -> bool:
            return "overtaken" in first.log.read_text()

        await eventually(overtaken, what="the first knows")
        assert (world.made, world.doubled) == (["house"], [])

        async def told() -> int:
            return len(await installation.messages("EVENTS", TOLD))

        assert await eventually(told) == 1
    finally:
        await first.stop()
        await second.stop()
