"""Whose turn it is: projects side by side, limits, nodes, and a clock that jumps."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence

import pytest
from sqlalchemy import text

from signalbox_common.testing import eventually
from signalbox_common.work import Job
from tests.support.crew import ONE, OTHER, Crew, crew_of
from tests.support.installation import Installation

pytestmark = pytest.mark.fresh  # whole tables are counted


@pytest.fixture
async def crew(installation: Installation) -> AsyncIterator[Crew]:
    async with crew_of(installation) as found:
        yield found


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
