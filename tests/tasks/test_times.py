"""Each time of a schedule as its policy says, once, whoever dies and whatever the clock does."""

import asyncio
import random
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import groupby, takewhile
from pathlib import Path
from typing import Any

import pytest

from signalbox_common import background
from signalbox_common.contracts.auth import QuotaLimits
from signalbox_common.errors import DiskFull
from signalbox_common.quotas import ProjectQuotas
from signalbox_common.space import DiskSpace
from signalbox_common.testing import eventually
from signalbox_tasks.schedules import Times
from signalbox_tasks.service.turns import Turns
from signalbox_tasks.store import runs, schedules, tasks
from signalbox_tasks.work.scheduler import Scheduler
from tests.support.clocks import Clock, clock_of
from tests.support.installation import Installation
from tests.support.processes import Running
from tests.support.schedules import due, ready, remove_all, schedule
from tests.support.services import restarting
from tests.support.tasks import TaskScene, gathered, task_scene

pytestmark = pytest.mark.usefixtures("patient")

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
SPRING = datetime(2027, 3, 27, 23, 0, tzinfo=UTC)
"""In Berlin, two hours before an hour is left out."""
AUTUMN = datetime(2027, 10, 30, 22, 0, tzinfo=UTC)
"""And two hours before one comes twice."""
LATE = 90


@dataclass
class Watched:
    """A schedule, and from when on its times count."""

    id: str
    times: Times
    misfire: str
    since: datetime


@dataclass
class Clockwork:
    """Instances of the service, a clock, and schedules."""

    there: TaskScene
    clock: Clock
    services: list[Running]
    chance: random.Random
    now: datetime
    schedules: list[Watched] = field(default_factory=list)
    killed: int = 0

    async def create(self, **when: Any) -> None:
        body: dict[str, Any] = {
            "name": f"t {uuid.uuid4().hex[:8]}",
            "projectId": self.there.project,
            "overlap": "queue",
        }
        body |= {"task": {"title": "Tick", "noop": {}}, "lateAfter": LATE, "misfireLimit": 5} | when
        made = await self.there.ask("POST", "/api/v1/schedules", status=201, json=body)
        first = datetime.fromisoformat(made["nextRuns"][0])
        since = first - timedelta(seconds=made["every"] or 1)
        times = Times(cron=made["cron"], every=made["every"], timezone=made["timezone"], since=since)
        self.schedules.append(Watched(made["id"], times, made["misfire"], since))

    async def all_may_act(self) -> None:
        async with self.there.installation.sql() as sql:
            waiting = await sql.fetchval(
                "select count(*) from tasks.schedules where not delegated and id = any($1)", self.ids
            )
        assert waiting == 0

    async def go_to(self, moment: datetime) -> None:
        """And wait until all that was due then is done."""
        self.now = moment
        await self.clock.set(moment)

        async def done() -> bool:
            async with self.there.installation.sql() as sql:
                due = await sql.fetchval(
                    "select count(*) from tasks.schedules where next_at <= $1 and id = any($2)",
                    moment,
                    self.ids,
                )
            return bool(due == 0)

        await eventually(done, within=120, what=f"all that is due at {moment} is done")

    async def kill_one(self) -> None:
        """At some moment of what goes on."""
        await asyncio.sleep(self.chance.uniform(0.0, 0.3))
        victim = self.chance.choice(self.services)
        if victim.alive:
            victim.kill()
            self.killed += 1

    @property
    def ids(self) -> list[uuid.UUID]:
        return [uuid.UUID(each.id) for each in self.schedules]

    async def check(self) -> Counter[str]:
        """What was written down is what each policy says, time by time; and each task ran once."""
        counts: Counter[str] = Counter()
        async with self.there.installation.sql() as sql:
            rows = await sql.fetch(
                "select * from tasks.firings where schedule_id = any($1) order by id", self.ids
            )
            started = await sql.fetch(
                "select schedule, status, attempts from tasks.tasks where schedule = any($1)", self.ids
            )
        assert {(row["status"], row["attempts"]) for row in started} == {("succeeded", 1)}
        tasks = Counter(str(row["schedule"]) for row in started)
        for each in self.schedules:
            ours = [row for row in rows if str(row["schedule_id"]) == each.id]
            assert tasks[each.id] == sum(row["outcome"] == "started" for row in ours)
            counts += self._judged(each, ours)
        return counts

    def _judged(self, watched: Watched, rows: list[Any]) -> Counter[str]:
        until = max([self.now, *(row["until"] for row in rows)])  # the clock goes on while it is waited
        expected = list(takewhile(lambda at: at <= until, watched.times.after(watched.since)))
        seen: list[datetime] = []
        for fired_at, together in groupby(rows, key=lambda row: row["fired_at"]):
            found: dict[datetime, str] = {}
            for row in together:
                within = [at for at in expected if row["due_at"] <= at <= row["until"]]
                assert row["times"] == len(within)
                found |= dict.fromkeys(within, row["outcome"])
            late = [at for at in found if (fired_at - at).total_seconds() > LATE]
            made_up = {"skip": 0, "once": 1, "all": 5}[watched.misfire]
            skipped = late[: max(0, len(late) - made_up)]
            assert found == {at: "skipped" if at in skipped else "started" for at in found}, watched
            seen += found
        assert seen == expected, watched
        return Counter(str(row["outcome"]) for row in rows for _ in range(row["times"]))


@pytest.fixture(scope="module")
async def there(
    shared_installation: Installation, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[TaskScene]:
    async with task_scene(shared_installation, tmp_path_factory.mktemp("tasks")) as scene:
        await scene.with_api_token()
        yield scene


async def clockwork(
    there: TaskScene,
    folder: Path,
    work: Callable[[Clockwork], Awaitable[None]],
    *,
    begin: datetime,
    instances: int = 2,
) -> Counter[str]:
    services = [there.process(folder / f"tasks-{uuid.uuid4().hex[:8]}.log") for _ in range(instances)]
    supervising: list[asyncio.Task[None]] = []
    async with clock_of(there.installation, "tasks") as clock:
        await clock.set(begin)
        try:
            await gathered(*(each.start() for each in services))
            supervising = [asyncio.create_task(restarting(each)) for each in services]
            found = Clockwork(there, clock, services, random.Random(7), begin)
            await work(found)
            await found.go_to(found.now)

            async def all_ended() -> bool:
                async with there.installation.sql() as sql:
                    left = await sql.fetchval(
                        "select count(*) from tasks.tasks where completed_at is null and schedule = any($1)",
                        found.ids,
                    )
                return bool(left == 0)

            await eventually(all_ended, within=300, what="all tasks have ended")
            counts = await found.check() + Counter(killed=found.killed)
            await remove_all(there)
            return counts
        finally:
            for supervisor in supervising:
                await background.end(supervisor)
            await gathered(*(each.stop() for each in services))


async def declare(work: Clockwork, copies: int) -> None:
    """Of each kind, with each policy."""
    whens: tuple[dict[str, Any], ...] = (
        {"every": 60},
        {"cron": "*/5 * * * *", "timezone": "America/New_York"},
        {"cron": "30 2 * * *", "timezone": "Europe/Berlin"},
        {"cron": "15 * * * *", "timezone": "Europe/Berlin"},
    )
    for _ in range(copies):
        for when in whens:
            for policy in ("skip", "once", "all"):
                await work.create(**when, misfire=policy)

    async def ready() -> bool:
        await work.all_may_act()
        return True

    await eventually(ready, what="they may act")


def walk(*, minutes: int, kills: int, copies: int) -> Callable[[Clockwork], Awaitable[None]]:
    """Minute by minute through a night in which Berlin changes its hours; then by leaps."""

    async def work(found: Clockwork) -> None:
        await declare(found, copies)
        begin = found.now
        left = kills
        for number in range(1, minutes + 1):
            killing = None
            if left and found.chance.random() < left / (minutes + 1 - number):
                left -= 1
                killing = asyncio.create_task(found.kill_one())
            await found.go_to(begin + number * MINUTE)
            if killing is not None:
                await killing
        for leap in (timedelta(hours=1), timedelta(hours=-1), timedelta(hours=4), timedelta(days=1)):
            killing = asyncio.create_task(found.kill_one())
            if leap > timedelta(0):
                await found.go_to(found.now + leap)
            else:  # a clock that is put back has nothing fired twice, and goes on from there
                before = found.now
                await found.clock.set(before + leap)
                await found.clock.set(before + MINUTE)
                await found.go_to(before + MINUTE)
            await killing
        await found.go_to(found.now + MINUTE)

    return work


@pytest.mark.parametrize("begin", [SPRING, AUTUMN], ids=["spring", "autumn"])
async def test_each_time_once_whoever_dies(there: TaskScene, tmp_path: Path, begin: datetime) -> None:
    counts = await clockwork(there, tmp_path, walk(minutes=6, kills=3, copies=1), begin=begin)
    assert counts["killed"] > 3
    assert counts["skipped"] > 1000


@asynccontextmanager
async def schedulers(there: TaskScene, count: int) -> AsyncIterator[list[Scheduler]]:
    """Of one process; each looks when it is told to, beside that of the service."""
    async with there.service() as service:
        limits = QuotaLimits(running_tasks=100, queued_tasks=1000)
        turns = Turns(service.work, ProjectQuotas("tasks", limits))
        yield [Scheduler(service.database, service.work, turns, service.space) for _ in range(count)]


async def outcomes(there: TaskScene, found: Any) -> list[tuple[str, str | None]]:
    async with there.installation.sql() as sql:
        rows = await sql.fetch(
            "select outcome, reason from tasks.firings where schedule_id = $1", uuid.UUID(found["id"])
        )
        tasks = await sql.fetchval(
            "select count(*) from tasks.tasks where schedule = $1", uuid.UUID(found["id"])
        )
    assert tasks == sum(row["outcome"] == "started" for row in rows)
    return [(row["outcome"], row["reason"]) for row in rows]


async def test_whoever_looks_at_the_same_moment_starts_it_once(there: TaskScene) -> None:
    async with schedulers(there, 6) as instances, clock_of(there.installation, "tasks") as clock:
        made = await schedule(there, every=60, overlap="queue")
        await ready(there, made)
        for number in range(10):
            await clock.set(due(made) + number * MINUTE)
            await gathered(*(each.fire() for each in instances))
        assert await outcomes(there, made) == [("started", None)] * 10
        await remove_all(there)


async def test_a_full_disk_starts_nothing_and_loses_nothing(
    there: TaskScene, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with schedulers(there, 1) as (instance,), clock_of(there.installation, "tasks") as clock:
        made = await schedule(there, every=60)
        await ready(there, made)
        with monkeypatch.context() as full:
            full.setattr(DiskSpace, "free", 0.0)
            await clock.set(due(made) + timedelta(seconds=1))
            with pytest.raises(DiskFull):
                await instance.fire()
            assert await outcomes(there, made) == []
        await eventually(partial(_fired, instance, there, made, 1), what="it is started")
        assert await outcomes(there, made) == [("started", None)]
        await remove_all(there)


async def test_who_dies_before_the_commit_has_started_nothing(
    there: TaskScene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever that is: in the next moment it is started whole."""
    async with schedulers(there, 1) as (instance,), clock_of(there.installation, "tasks") as clock:
        made = await schedule(there, every=60, overlap="queue")
        await ready(there, made)
        parts = ((tasks, "add"), (runs, "add"), (schedules, "note"), (schedules, "move"))
        for number, (module, name) in enumerate(parts):
            dies = asyncio.Event()

            async def die(*_: Any, dies: asyncio.Event = dies) -> None:
                dies.set()
                raise asyncio.CancelledError

            with monkeypatch.context() as patched:
                patched.setattr(module, name, die)
                await clock.set(due(made) + number * MINUTE)
                with suppress(asyncio.CancelledError):
                    await instance.fire()
                async with asyncio.timeout(10):  # or that of the service has come first
                    await dies.wait()
                assert len(await outcomes(there, made)) == number
            await eventually(partial(_fired, instance, there, made, number + 1), what="it is started")
        assert await outcomes(there, made) == [("started", None)] * len(parts)
        await remove_all(there)


async def _fired(instance: Scheduler, there: TaskScene, found: Any, times: int) -> bool:
    await instance.fire()
    return len(await outcomes(there, found)) == times


@pytest.mark.proof
@pytest.mark.timeout(6000)
@pytest.mark.parametrize("instances", [2, 4])
async def test_each_time_once_however_often(there: TaskScene, tmp_path: Path, instances: int) -> None:
    """Some 10,000 times of which each is to be started or skipped as its policy says."""
    begun = time.monotonic()
    counts: Counter[str] = Counter()
    for begin in (SPRING, AUTUMN):
        work = walk(minutes=300, kills=50, copies=4)
        counts += await clockwork(there, tmp_path, work, begin=begin, instances=instances)
    took = time.monotonic() - begun
    print(f"\nschedules, {instances} instances: {dict(counts)} in {took:.0f} s, each time as it says")
