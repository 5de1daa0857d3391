"""Instances of one service wake each other: none of these waits for a poll."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from signalbox_common.runtime import Service
from signalbox_common.testing import eventually, running
from signalbox_common.work import Job, worker
from tests.support.crew import ONE
from tests.support.installation import Installation

pytestmark = pytest.mark.fresh  # whole tables are counted

NAMES = ("first000", "second00")
SOON = 10.0
"""Seconds, fewer than those of a lease: nobody looks by itself in that time."""
Act = Callable[[str, Job], Awaitable[None]]


@pytest.fixture(autouse=True)
def _nobody_polls(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("POLL", "HELD_BACK_LOOK"):
        monkeypatch.setattr(worker, name, 3600.0)


@asynccontextmanager
async def instances(
    installation: Installation, act: Act, *, most: int = 64, room: int = 100
) -> AsyncIterator[list[Service]]:
    """Two of them, each with a name by which its work knows it."""
    async with AsyncExitStack() as stack:
        found = []
        for name in NAMES:
            service = Service(installation.lab(instance=name))
            service.work._room = room

            @service.work.on("lab", most=most, most_in_project=most)
            async def do(job: Job, name: str = name) -> None:
                if job.key not in NAMES:
                    await act(name, job)

            found.append(await stack.enter_async_context(running(service)))
        for each in found:  # each by itself: a limit over both would hold one back
            await put(each, each.settings.instance, target=each.settings.instance)
            await all_done(installation)  # it has looked, and sleeps
        yield found


async def put(service: Service, *keys: str, target: str | None = None) -> None:
    async with service.database.transaction() as transaction:
        for key in keys:
            await service.work.put(transaction, "lab", key, project=ONE, target=target)


async def all_done(installation: Installation) -> None:
    async def empty() -> bool:
        return await installation.count("tasks.work") == 0

    await eventually(empty, within=SOON)


async def test_the_one_that_alone_can_do_it_is_woken(installation: Installation) -> None:
    done = []

    async def act(name: str, job: Job) -> None:
        done.append((name, job.key))

    async with instances(installation, act) as (first, _):
        for number in range(10):
            await put(first, f"job-{number}", target="second00")
            await all_done(installation)
    assert done == [("second00", f"job-{number}") for number in range(10)]


async def test_others_take_what_there_is_no_room_for_here(installation: Installation) -> None:
    goes_on, seen = asyncio.Event(), set[str]()

    async def act(name: str, _job: Job) -> None:
        seen.add(name)
        await goes_on.wait()

    async with instances(installation, act, room=2) as (first, _):
        await put(first, "one", "two", "three")

        async def all_begun() -> bool:
            return await installation.count("tasks.work", "state = 'running'") == 3

        await eventually(all_begun, within=SOON)
        goes_on.set()
        await all_done(installation)
    assert seen == {"first000", "second00"}


async def test_whoever_ends_something_makes_room_for_all(installation: Installation) -> None:
    """A limit over both holds the second one back; the first, which ends its own, does it then."""
    goes_on, begun = asyncio.Event(), list[str]()

    async def act(_name: str, job: Job) -> None:
        begun.append(job.key)
        if job.key == "first":
            await goes_on.wait()

    async with instances(installation, act, most=1) as (first, second):
        await put(first, "first")

        async def one_begun() -> bool:
            return begun == ["first"]

        await eventually(one_begun)
        await put(second, "second")

        async def held_back() -> bool:
            return first.work._held_back and second.work._held_back

        await eventually(held_back, within=SOON)
        goes_on.set()
        await all_done(installation)
    assert begun == ["first", "second"]


async def test_what_comes_right_after_a_claim_is_not_taken_for_held_back(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody need wake who finds it: the one that put it there may have heard that all know."""
    done = []

    async def act(name: str, job: Job) -> None:
        done.append((name, job.key))

    async with instances(installation, act) as (_, second):
        table, left = second.work.table, second.work.table.left

        async def left_late(kinds: Sequence[str]) -> tuple[bool, float | None]:
            monkeypatch.setattr(table, "left", left)
            values = {"kind": "lab", "key": "late", "project": ONE, "due_in": 0.0, "target": None}
            empty = {"command_id": None, "actor": None, "operation": None, "payload": "{}"}
            async with second.database.transaction() as transaction:
                await table.put(transaction, values | empty)
            return await left(kinds)

        monkeypatch.setattr(table, "left", left_late)
        second.work.look("second00")

        async def late_done() -> bool:
            return done == [("second00", "late")]

        await eventually(late_done, within=SOON)
