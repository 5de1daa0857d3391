"""Commands whose answer comes when their work is done: one effect, one answer."""

import asyncio
import uuid
from contextlib import suppress
from pathlib import Path

import pytest

from signalbox_common.bus import Answer, Bus, Envelope
from signalbox_common.contracts.operations import GetOperation, OperationReport, OperationStatus
from signalbox_common.errors import SignalboxError
from signalbox_common.testing import eventually, running
from signalbox_common.work import Job
from tests.support.installation import Installation
from tests.support.lab import Build, Conflicting, Noted
from tests.support.services import process, restarting
from tests.support.works import Workshop, World

pytestmark = pytest.mark.fresh  # whole streams and tables are counted

LEASE = 1.0
DIGEST = "digest"


async def report(bus: Bus, command_id: uuid.UUID) -> OperationReport:
    asked = GetOperation(command_id=command_id, command=Build.subject, accepted_before="2026-01-01T00:00:00Z")
    return (await bus.query(asked, service="tasks")).value()


async def build(bus: Bus, name: str, command_id: uuid.UUID, patience: float = 20.0) -> Answer[Noted] | None:
    return await bus.send(Build(name=name), Envelope(command_id, DIGEST), patience=patience)


async def test_the_answer_goes_to_all_that_wait_and_to_those_who_come_late(
    installation: Installation, tmp_path: Path
) -> None:
    goes_on = asyncio.Event()

    async def wait(step: str, _job: Job) -> None:
        if step == "begun":
            await goes_on.wait()

    workshop = Workshop(World(tmp_path / "world"), wait)
    command_id = uuid.uuid4()
    async with installation.bus() as bus, running(workshop.service(installation.lab())):
        first = asyncio.create_task(build(bus, "house", command_id))
        await workshop.begun.wait()
        assert (await report(bus, command_id)).status is OperationStatus.PENDING
        repeat = asyncio.create_task(build(bus, "house", command_id))
        with pytest.raises(SignalboxError) as other:
            await bus.send(Build(name="other"), Envelope(command_id, "another digest"))
        assert other.value.code == "idempotency_key_reused"

        async def both_wait() -> bool:
            return await installation.count("tasks.inbox", "cardinality(reply_to) = 2") == 1

        await eventually(both_wait)
        goes_on.set()
        late = None
        answers = [await first, await repeat]
        late = await build(bus, "house", command_id)
        for answer in (*answers, late):
            assert answer is not None
            assert answer.value() == Noted(id="house", handled=1)
        found = await report(bus, command_id)
        assert (found.status, found.resource) == (OperationStatus.SUCCEEDED, "house")
        assert workshop.world.made == ["house"]
        assert await installation.count("tasks.work") == 0

        async def audited() -> bool:
            lines = await installation.messages("EVENTS", "evt._.tasks.audit.recorded")
            return [b"succeeded" in line.data for line in lines] == [True]

        await eventually(audited)


async def test_nobody_waits_for_work_that_failed_for_good(installation: Installation, tmp_path: Path) -> None:
    async def fail(step: str, _job: Job) -> None:
        if step == "looked":
            raise Conflicting

    command_id = uuid.uuid4()
    async with (
        installation.bus() as bus,
        running(Workshop(World(tmp_path / "world"), fail).service(installation.lab())),
    ):
        for _ in range(2):
            with pytest.raises(SignalboxError) as failed:
                await build(bus, "house", command_id)
            assert failed.value.code == "lab_conflicting"
        assert (await report(bus, command_id)).status is OperationStatus.FAILED
        assert await installation.count("tasks.work", "state = 'failed'") == 1

        async def audited() -> bool:
            lines = await installation.messages("EVENTS", "evt._.tasks.audit.recorded")
            return [b"lab_conflicting" in line.data for line in lines] == [True]

        await eventually(audited)


async def test_an_operation_is_answered_once(installation: Installation, tmp_path: Path) -> None:
    """What is said first counts, whatever the end of the work says."""

    async def answer_early(step: str, job: Job) -> None:
        if step == "built":
            async with job.transaction() as transaction:
                await job.settle(transaction, Noted(id="early", handled=0))

    command_id = uuid.uuid4()
    workshop = Workshop(World(tmp_path / "world"), answer_early)
    async with installation.bus() as bus, running(workshop.service(installation.lab())):
        for _ in range(2):
            answer = await build(bus, "house", command_id)
            assert answer is not None
            assert answer.value() == Noted(id="early", handled=0)

        async def all_done() -> bool:
            return await installation.count("tasks.work") == 0

        await eventually(all_done)
        again = await build(bus, "house", command_id)
        assert again is not None
        assert again.value() == Noted(id="early", handled=0)

        await installation.all_told("tasks")
        assert len(await installation.messages("EVENTS", "evt._.tasks.audit.recorded")) == 1


@pytest.mark.parametrize(
    "step",
    ["received", "in_transaction", "committed", "begun", "looked", "built", "ending", "settled"],
)
async def test_sigkill_at_any_step_is_one_effect_and_one_answer(
    installation: Installation, tmp_path: Path, step: str
) -> None:
    world = World(tmp_path / "world")
    world.dies.write_text(step)
    argv = ["-m", "tests.support.works", str(world.folder), str(LEASE), "16"]
    tasks = process(installation, "tasks", tmp_path / "tasks.log", argv)
    await tasks.start()
    supervising = asyncio.create_task(restarting(tasks))
    command_id = uuid.uuid4()
    try:
        async with installation.bus() as bus:
            # Its process died: after a while nobody is waited for any more, and the answer is asked for.
            await build(bus, "house", command_id, patience=1.0)
            assert not world.dies.exists(), "the service did not die"

            async def ended() -> bool:
                with suppress(SignalboxError):
                    return (await report(bus, command_id)).status is OperationStatus.SUCCEEDED
                return False

            await eventually(ended, what="the operation has ended")
            again = await build(bus, "house", command_id)
            assert again is not None
            assert again.value().id == "house"
            assert (world.made, world.doubled) == (["house"], [])

            async def published() -> bool:
                told = await installation.messages("EVENTS", "evt._.tasks.lab.taken")
                lines = await installation.messages("EVENTS", "evt._.tasks.audit.recorded")
                return len(told) == len(lines) == 1 and await installation.count("tasks.outbox") == 0

            await eventually(published, what="one event, one line, and an empty outbox")
            assert await installation.count("tasks.work") == 0
            assert await installation.messages("DEAD_LETTERS") == []
    finally:
        supervising.cancel()
        with suppress(asyncio.CancelledError):
            await supervising
        await tasks.stop()
