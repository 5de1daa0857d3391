"""Work by itself: leases, fencing, fairness, limits, retries, and what stops in the middle."""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from sqlalchemy import text

from signalbox_common.db import Database, Transaction
from signalbox_common.errors import SignalboxError
from signalbox_common.inbox import Inbox
from signalbox_common.testing import eventually
from signalbox_common.work import Job, Overtaken, Retry, Worker
from signalbox_common.work.worker import ABANDONED
from tests.support.installation import Installation
from tests.support.lab import Conflicting, LabSettings

pytestmark = pytest.mark.fresh  # whole tables are counted

ONE, OTHER = uuid.UUID(int=1), uuid.UUID(int=2)
KIND = "lab"
LEASE = 0.6


async def succeed(_job: Job) -> None:
    """The least that there is to do."""


@dataclass
class Crew:
    """Workers of one service on one database, and what they have done."""

    database: Database
    act: Callable[[Job], Awaitable[None]] = succeed
    done: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    workers: list[Worker] = field(default_factory=list)

    def hire(
        self, *, lease: float = LEASE, room: int = 100, node: str | None = None, **limits: Any
    ) -> Worker:
        name = f"worker-{len(self.workers)}"
        worker = Worker(self.database, Inbox(self.database), name, node=node, room=room)
        worker.table.lease, worker.heartbeat = lease, lease / 3

        async def failed(_transaction: Transaction, job: Job, error: SignalboxError) -> None:
            self.failed.append(f"{job.key}: {error.code}")

        @worker.on(KIND, failed=failed, **limits)
        async def do(job: Job) -> None:
            await self.act(job)
            self.done.append(job.key)

        self.workers.append(worker)
        return worker

    async def put(self, *keys: str, project: uuid.UUID | None = ONE, **more: Any) -> None:
        async with self.database.transaction() as transaction:
            for key in keys:
                await self.workers[0].put(transaction, KIND, key, project=project, **more)

    async def rows(self, where: str = "true") -> list[Any]:
        async with self.database.reading() as connection:
            found = await connection.execute(text(f"select * from tasks.work where {where} order by id"))
            return list(found.all())

    async def all_done(self) -> None:
        async def empty() -> bool:
            return not await self.rows("state <> 'failed'")

        await eventually(empty, within=60, what="all work is done")

    @asynccontextmanager
    async def at_work(self) -> AsyncIterator[None]:
        for worker in self.workers:
            worker.start()
        try:
            yield
        finally:
            for worker in self.workers:
                await worker.stop(5.0)


@pytest.fixture
async def crew(installation: Installation) -> AsyncIterator[Crew]:
    found = Crew(Database(installation.settings(LabSettings, "tasks")))
    yield found
    await found.database.close()


async def test_a_key_is_worked_on_once(crew: Crew) -> None:
    crew.hire()
    await crew.put("a", "b", "a")
    async with crew.at_work():
        await crew.put("b", "c")
        await crew.all_done()
    assert sorted(crew.done) == ["a", "b", "c"]


async def test_what_was_rolled_back_is_not_worked_on(crew: Crew) -> None:
    crew.hire()
    async with crew.at_work():
        async with crew.database.trial() as transaction:
            assert await crew.workers[0].put(transaction, KIND, "never", project=ONE)
        await crew.put("after")
        await crew.all_done()
    assert crew.done == ["after"]


async def test_whoever_was_overtaken_writes_nothing(crew: Crew) -> None:
    """The first holds its row without a heartbeat, as if it had been stopped, and then goes on."""
    goes_on, tried = asyncio.Event(), list[int | str]()

    async def act(job: Job) -> None:
        tried.append(job.epoch)
        if job.epoch > 1:
            return
        await goes_on.wait()
        with pytest.raises(Overtaken):
            await job.keep()
        with pytest.raises(Overtaken):
            async with job.transaction():
                raise AssertionError("it may not write")
        tried.append("overtaken")
        raise Overtaken

    crew.act = act
    stopped = crew.hire()
    stopped.heartbeat = 3600.0
    await crew.put("one")
    async with crew.at_work():

        async def begun() -> bool:
            return tried == [1]

        await eventually(begun)
        other = crew.hire()
        other.start()
        await crew.all_done()
        goes_on.set()

        async def ended() -> bool:
            return "overtaken" in tried

        await eventually(ended)
    assert tried == [1, 2, "overtaken"]
    assert crew.done == ["one"]


async def test_a_heartbeat_keeps_the_row(crew: Crew) -> None:
    started: list[int] = []
    goes_on = asyncio.Event()

    async def act(job: Job) -> None:
        started.append(job.epoch)
        await goes_on.wait()

    crew.act = act
    crew.hire()
    crew.hire()
    await crew.put("long")
    async with crew.at_work():

        async def renewed() -> bool:
            return bool(await crew.rows("lease_until > created_at + 3 * interval '0.6 second'"))

        await eventually(renewed)
        goes_on.set()
        await crew.all_done()
    assert started == [1]


async def test_a_worker_that_stops_gives_back_what_it_has_not_ended(crew: Crew) -> None:
    async def hang(_job: Job) -> None:
        await asyncio.Event().wait()

    crew.act = hang
    worker = crew.hire(lease=60.0)
    await crew.put("one")
    worker.start()

    async def begun() -> bool:
        return bool(await crew.rows("state = 'running'"))

    await eventually(begun)
    await worker.stop(0.0)
    (row,) = await crew.rows()
    assert (row.state, row.attempts, row.epoch) == ("waiting", 0, 1)
    crew.act = succeed
    crew.hire()
    async with crew.at_work():
        await crew.all_done()
    assert crew.done == ["one"]


async def test_what_fails_is_tried_again_and_then_kept_for_an_operator(crew: Crew) -> None:
    tries: list[int] = []

    async def fail(job: Job) -> None:
        tries.append(job.attempts)
        raise ValueError("no luck")

    crew.act = fail
    crew.hire(retry=Retry((0.01, 0.01)))
    await crew.put("one")
    async with crew.at_work():

        async def given_up() -> bool:
            return bool(await crew.rows("state = 'failed'"))

        await eventually(given_up)
    assert tries == [1, 2, 3]
    assert crew.failed == ["one: work_failed"]
    assert "no luck" in (await crew.rows())[0].error


async def test_a_final_error_is_not_tried_again(crew: Crew) -> None:
    async def refuse(_job: Job) -> None:
        raise Conflicting

    crew.act = refuse
    crew.hire()
    await crew.put("one")
    async with crew.at_work():

        async def given_up() -> bool:
            return bool(await crew.rows("state = 'failed' and attempts = 1"))

        await eventually(given_up)
    assert crew.failed == ["one: lab_conflicting"]


async def test_an_outage_is_no_try(crew: Crew, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("signalbox_common.work.worker.OUTAGE_PAUSE", 0.01)
    tries: list[int] = []

    async def act(job: Job) -> None:
        tries.append(job.attempts)
        if len(tries) < 5:
            raise ConnectionResetError("the forge is away")

    crew.act = act
    crew.hire(retry=Retry(()))
    await crew.put("one")
    async with crew.at_work():
        await crew.all_done()
    assert tries == [1] * 5


async def test_what_kills_its_worker_each_time_is_given_up(crew: Crew) -> None:
    """Each claim is a try, though none of them lived to say how it ended."""
    crew.hire(retry=Retry((0.0,)), lease=0.05)
    await crew.put("deadly")
    for _ in range(2 + ABANDONED):
        rows, _ends = await crew.workers[0].table.claim([KIND], [1], [1], 1)
        assert len(rows) == 1

        async def over() -> bool:
            return bool(await crew.rows("lease_until < tasks.clock()"))

        await eventually(over)
    async with crew.at_work():

        async def given_up() -> bool:
            return bool(await crew.rows("state = 'failed'"))

        await eventually(given_up)
    assert crew.done == []


async def test_work_waits_for_its_time_and_goes_back_to_wait(crew: Crew) -> None:
    turns: list[float] = []

    async def act(job: Job) -> None:
        turns.append(time.monotonic())
        if len(turns) < 3:
            async with job.transaction() as transaction:
                await job.again(transaction, 0.3, {"turn": len(turns)})
        else:
            assert job.payload == {"turn": 2}
            assert job.attempts == 1

    crew.act = act
    crew.hire()
    started = time.monotonic()
    await crew.put("patient", due_in=0.3)
    async with crew.at_work():
        await crew.all_done()
    waits = [after - before for before, after in zip([started, *turns], turns, strict=False)]
    assert min(waits) >= 0.29
    assert len(turns) == 3


async def test_projects_take_turns(crew: Crew) -> None:
    """One has three hundred waiting, the other thirty that came after them: it is not behind them."""
    crew.hire(room=4)
    await crew.put(*(f"one-{number}" for number in range(300)), project=ONE)
    await crew.put(*(f"other-{number}" for number in range(30)), project=OTHER)
    async with crew.at_work():
        await crew.all_done()
    last_of_other = max(index for index, key in enumerate(crew.done) if key.startswith("other"))
    assert last_of_other < 2 * 30 * 1.1 + 4


async def test_a_long_queue_delays_nobody_else(crew: Crew) -> None:
    """As against the same with an empty table, measured in the same run."""

    async def first_of_other(key: str) -> float:
        started = time.monotonic()
        await crew.put(key, project=OTHER)

        async def there() -> bool:
            return key in crew.done

        await eventually(there)
        return time.monotonic() - started

    async def act(job: Job) -> None:
        if job.project == ONE:
            await asyncio.sleep(0.01)

    crew.act = act
    crew.hire(room=50, most_in_project=16)
    async with crew.at_work():
        control = min([await first_of_other(f"control-{number}") for number in range(5)])
        await crew.put(*(f"one-{number}" for number in range(5_000)), project=ONE)
        delays = [await first_of_other(f"other-{number}") for number in range(10)]
    assert sorted(delays)[5] <= 0.1 + 10 * control


async def test_limits_hold_over_all_workers(crew: Crew) -> None:
    busy, most, most_in_one = {ONE: 0, OTHER: 0}, 0, 0

    async def act(job: Job) -> None:
        nonlocal most, most_in_one
        assert job.project is not None
        busy[job.project] += 1
        most, most_in_one = max(most, sum(busy.values())), max(most_in_one, busy[ONE])
        await asyncio.sleep(0.002)
        busy[job.project] -= 1

    crew.act = act
    for _ in range(4):
        crew.hire(most=5, most_in_project=3, lease=10.0)
    for project in (ONE, OTHER):
        await crew.put(*(f"{project}-{number}" for number in range(60)), project=project)
    async with crew.at_work():
        await crew.all_done()
    assert (most, most_in_one) == (5, 3)
    assert len(crew.done) == 120


async def test_work_for_one_node_waits_for_that_node(crew: Crew) -> None:
    crew.hire(node="here")
    await crew.put("there", target="there")
    await crew.put("here", target="here")
    async with crew.at_work():

        async def mine_is_done() -> bool:
            return crew.done == ["here"]

        await eventually(mine_is_done)

        async def others_waits() -> bool:
            return [row.key for row in await crew.rows()] == ["there"]

        await eventually(others_waits)
        crew.hire(node="there").start()
        await crew.all_done()


@pytest.mark.parametrize("jump", ["1 hour", "-1 hour"])
async def test_a_clock_that_jumps_ends_nothing(crew: Crew, installation: Installation, jump: str) -> None:
    """Whoever is at work goes on; what another one claims meanwhile is fenced off, and all is done once."""
    ended: list[str] = []

    async def act(job: Job) -> None:
        await asyncio.sleep(0.05)
        async with job.transaction() as transaction:
            await job.done(transaction)
        ended.append(job.key)

    crew.act = act
    for _ in range(2):
        crew.hire(room=5)
    keys = [f"job-{number}" for number in range(40)]
    await crew.put(*keys)
    async with crew.at_work():

        async def under_way() -> bool:
            return len(ended) > 5

        await eventually(under_way)
        async with installation.sql() as connection:
            await connection.execute(
                "create or replace function tasks.clock() returns timestamptz language sql volatile as "
                f"$$select clock_timestamp() + interval '{jump}'$$"
            )
        if jump.startswith("-"):
            await crew.put("after")
            keys.append("after")
            async with crew.database.transaction() as transaction:
                # What was put before is due by a clock that is an hour ahead now.
                await transaction.connection.execute(text("update tasks.work set due_at = tasks.clock()"))
        await crew.all_done()
    assert sorted(ended) == sorted(keys)


async def test_many_ends_are_written_together(crew: Crew) -> None:
    crew.hire(room=200, most=1000, most_in_project=1000)
    finishes = 0
    table = crew.workers[0].table
    finish = table.finish

    async def counted(jobs: Sequence[tuple[int, int]]) -> set[int]:
        nonlocal finishes
        finishes += 1
        return await finish(jobs)

    table.finish = counted  # type: ignore[method-assign]
    await crew.put(*(str(number) for number in range(1_000)))
    async with crew.at_work():
        await crew.all_done()
    assert len(crew.done) == 1_000
    assert finishes < 100
