"""Work by itself: leases, fencing, retries, and what stops in the middle."""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator

import pytest

from signalbox_common.errors import WorkUnderWay
from signalbox_common.testing import eventually
from signalbox_common.work import Job, Overtaken, Retry
from signalbox_common.work.worker import ABANDONED
from tests.support.crew import KIND, ONE, Crew, crew_of, succeed
from tests.support.installation import Installation
from tests.support.lab import Conflicting

pytestmark = pytest.mark.fresh  # whole tables are counted


@pytest.fixture
async def crew(installation: Installation) -> AsyncIterator[Crew]:
    async with crew_of(installation) as found:
        yield found


async def test_a_key_is_worked_on_once(crew: Crew) -> None:
    crew.hire()
    await crew.put("a", "b", "a")
    async with crew.at_work():
        await crew.put("b", "c")
        await crew.all_done()
    assert sorted(crew.done) == ["a", "b", "c"]


async def test_no_operation_waits_for_work_that_is_anothers(crew: Crew) -> None:
    """It would be pending for ever: the work ends the operation that it was put there with."""
    crew.hire()
    await crew.put("a", command_id=uuid.uuid4())
    with pytest.raises(WorkUnderWay):
        await crew.put("a", command_id=uuid.uuid4())
    await crew.put("a")  # who waits for nothing is content that it is there
    assert len(await crew.rows()) == 1


async def test_what_has_failed_begins_anew_for_whoever_asks_again(crew: Crew) -> None:
    async def refuse(_job: Job) -> None:
        raise Conflicting

    crew.act = refuse
    crew.hire()
    await crew.put("a", payload={"try": 1}, command_id=uuid.uuid4())
    async with crew.at_work():

        async def given_up() -> bool:
            return bool(await crew.rows("state = 'failed'"))

        await eventually(given_up)
        seen: list[tuple[int, int, object]] = []

        async def do(job: Job) -> None:
            seen.append((job.epoch, job.attempts, job.payload))

        crew.act = do
        await crew.put("a", payload={"try": 2})
        await crew.all_done()
        assert await crew.rows() == []
    assert seen == [(2, 1, {"try": 2})], "the epoch goes on growing"


async def test_what_was_rolled_back_is_not_worked_on(crew: Crew) -> None:
    crew.hire()
    async with crew.at_work():
        async with crew.database.trial() as transaction:
            assert await crew.workers[0].put(transaction, KIND, "never", project=ONE)
        await crew.put("after")
        await crew.all_done()
    assert crew.done == ["after"]


@pytest.mark.parametrize("when", ["while the other is at work", "after it has ended"])
async def test_whoever_was_overtaken_writes_nothing(crew: Crew, when: str) -> None:
    """The first holds its row without a heartbeat, as if it had been stopped, and then goes on."""
    goes_on, ends, tried = asyncio.Event(), asyncio.Event(), list[int | str]()

    async def act(job: Job) -> None:
        tried.append(job.epoch)
        if job.epoch > 1:
            await ends.wait()
            return
        await goes_on.wait()
        with pytest.raises(Overtaken):
            await job.keep()
        with pytest.raises(Overtaken):
            async with job.transaction():
                raise AssertionError("it may not write")
        mine = [(job.id, job.epoch)]
        for write in (job.table.renew, job.table.give_back, job.table.finish):
            assert await write(mine) == set()
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
        crew.hire().start()

        async def taken_over() -> bool:
            return tried == [1, 2]

        await eventually(taken_over)
        if when == "after it has ended":
            ends.set()
            await crew.all_done()
        goes_on.set()

        async def ended() -> bool:
            return "overtaken" in tried

        await eventually(ended)
        ends.set()
        await crew.all_done()
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
