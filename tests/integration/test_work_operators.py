"""What operators see of work, and what they do about it."""

import asyncio
import uuid
from pathlib import Path
from typing import Any

import pytest

from signalbox_common.bus import Envelope
from signalbox_common.contracts.base import Ask, Query
from signalbox_common.contracts.work import DropWork, GetWork, ListWork, RetryWork, WorkState
from signalbox_common.errors import SignalboxError
from signalbox_common.testing import eventually, running
from signalbox_common.work import Job
from tests.support.installation import Installation
from tests.support.lab import Build, Conflicting
from tests.support.works import Workshop, World

pytestmark = pytest.mark.fresh  # whole tables are listed


async def test_failed_work_is_seen_and_tried_again(installation: Installation, tmp_path: Path) -> None:
    broken = True

    async def at(step: str, _job: Job) -> None:
        if broken and step == "looked":
            raise Conflicting

    workshop = Workshop(World(tmp_path / "world"), at)
    async with installation.bus() as bus, running(workshop.service(installation.lab())):
        with pytest.raises(SignalboxError, match="cannot be built"):
            await bus.send(Build(name="house"), Envelope(uuid.uuid4(), "digest"))
        (row,) = (await installation.operator(ListWork(state=WorkState.FAILED), "tasks")).items
        assert (row.kind, row.key, row.attempts, row.payload) == ("build", "house", 1, {"name": "house"})
        assert row.error is not None
        assert "Conflicting" in row.error
        assert (await installation.operator(GetWork(id=row.id), "tasks")) == row
        broken = False
        tried = await installation.operator(RetryWork(id=row.id), "tasks")
        assert (tried.state, tried.attempts, tried.error) == (WorkState.WAITING, 0, None)

        async def done() -> bool:
            return not (await installation.operator(ListWork(), "tasks")).items

        await eventually(done)
        assert workshop.world.made == ["house"]


async def test_work_that_is_dropped_is_fenced_off_and_answered(
    installation: Installation, tmp_path: Path
) -> None:
    goes_on = asyncio.Event()

    async def at(step: str, _job: Job) -> None:
        if step == "built":
            await goes_on.wait()

    workshop = Workshop(World(tmp_path / "world"), at)
    async with installation.bus() as bus, running(workshop.service(installation.lab())):
        waiting = asyncio.create_task(bus.send(Build(name="house"), Envelope(uuid.uuid4(), "digest")))
        await workshop.begun.wait()
        (row,) = (await installation.operator(ListWork(state=WorkState.RUNNING), "tasks")).items
        with pytest.raises(SignalboxError) as running_now:
            await installation.operator(RetryWork(id=row.id), "tasks")
        assert running_now.value.code == "work_running"
        await installation.operator(DropWork(id=row.id), "tasks")
        with pytest.raises(SignalboxError) as dropped:
            await waiting
        assert dropped.value.code == "work_dropped"
        goes_on.set()
    assert await installation.count("tasks.outbox", "subject like '%lab.taken'") == 0
    assert await installation.messages("EVENTS", "evt._.tasks.lab.taken") == [], "it was overtaken"


@pytest.mark.parametrize("ask", [GetWork(id=4711), RetryWork(id=4711), DropWork(id=4711)])
async def test_what_is_not_there_is_said(
    installation: Installation, tmp_path: Path, ask: Ask[Any] | Query[Any]
) -> None:
    async with running(Workshop(World(tmp_path / "world")).service(installation.lab())):
        with pytest.raises(SignalboxError) as unknown:
            await installation.operator(ask, "tasks")
        assert unknown.value.code == "not_found"
