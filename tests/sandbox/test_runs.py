"""Sandboxes as a run uses them: asked for by the service tasks, under its delegation."""

import asyncio
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable
from contextlib import aclosing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime

import httpx
import pytest
from pydantic import SecretStr

from signalbox_common.bus import Bus, Envelope
from signalbox_common.contracts import auth
from signalbox_common.contracts import sandbox as contract
from signalbox_common.contracts.tasks import RunEnded, RunState, RunStopRequested, StopReason
from signalbox_common.dataplane import DataClient
from signalbox_common.dataplane.frames import Frame, FrameKind, FrameReader
from signalbox_common.errors import SignalboxError
from signalbox_common.keys import uuid7
from signalbox_common.testing import eventually
from tests.support.installation import Installation
from tests.support.sandboxes import SandboxScene, sandboxes_of

pytestmark = pytest.mark.usefixtures("patient")

VERBS = ("sandbox.create", "sandbox.get", "sandbox.locate", "sandbox.execute", "sandbox.destroy")


@dataclass
class RunLab:
    """The service tasks with a delegation of somebody."""

    scene: SandboxScene
    gateway: Bus
    tasks: Bus
    delegation: str

    async def grant(self) -> str:
        asked = auth.DelegatedGrant(delegation=SecretStr(self.delegation), audience="sandbox")
        return (await self.tasks.query(asked)).value().grant

    async def person(self, audience: str = "sandbox") -> str:
        token = SecretStr(self.scene.headers["Authorization"].removeprefix("Bearer "))
        where = uuid.UUID(self.scene.project)
        return (
            (await self.gateway.query(auth.GetGrant(token=token, audience=audience, project=where)))
            .value()
            .grant
        )

    async def create(
        self, run: uuid.UUID, name: str = "main", command: uuid.UUID | None = None
    ) -> contract.Sandbox:
        ask = contract.CreateSandbox(owner=contract.SandboxOwner(run=run, name=name))
        sending = Envelope(command or uuid7(), "the same", await self.grant())
        return (await self.tasks.ask(ask, sending)).value()

    async def client(self, sandbox: uuid.UUID, fence: int) -> DataClient:
        question = contract.LocateSandbox(sandbox=sandbox)
        found = (await self.tasks.query(question, grant=await self.grant())).value()
        assert found.state is contract.SandboxStatus.RUNNING
        return DataClient(found.url, self.grant, fence=fence)


@pytest.fixture(scope="module")
async def lab(shared_installation: Installation) -> AsyncIterator[RunLab]:
    async with (
        sandboxes_of(shared_installation) as scene,
        scene.service(),
        shared_installation.bus() as gateway,
        shared_installation.bus("tasks") as tasks,
    ):
        found = RunLab(scene, gateway, tasks, "")
        ask = auth.Delegate(
            service="tasks", proof=SecretStr(await found.person("tasks")), run="a run", verbs=VERBS
        )
        found.delegation = (await tasks.ask(ask, Envelope(uuid7(), "digest"))).value().delegation
        yield found


async def start(client: DataClient, sandbox: uuid.UUID, key: str, script: str, **more: bool) -> None:
    program = contract.Program(argv=("sh", "-c", script), **more)

    async def body() -> AsyncIterator[bytes]:
        yield program.encode()

    await client.write(contract.START_PROCESS, body, sandbox=str(sandbox), key=key)


async def frames(
    client: DataClient, sandbox: uuid.UUID, key: str, offset: int
) -> AsyncGenerator[Frame, None]:
    reader = FrameReader()
    async with client.body(contract.READ_OUTPUT, offset, sandbox=str(sandbox), key=key) as body:
        async for chunk in body.once():
            for frame in reader.feed(chunk):
                yield frame


async def test_a_run_has_one_sandbox_of_each_name(lab: RunLab) -> None:
    """However often it is asked for: under one command id, or another."""
    run, command = uuid.uuid4(), uuid7()
    made = await asyncio.gather(*(lab.create(run, command=command) for _ in range(3)), lab.create(run))
    assert len({each.id for each in made}) == 1
    assert made[0].owner == contract.SandboxOwner(run=run)
    assert (await lab.create(run, "main-2")).id != made[0].id
    owner = contract.SandboxOwner(run=run, name="main")
    question = contract.GetSandbox(owner=owner)
    found = (await lab.tasks.query(question, grant=await lab.grant())).value()
    assert (found.id, found.status) == (made[0].id, contract.SandboxStatus.RUNNING)
    told = [each for each in await lab.scene.facts(str(found.id)) if each["state"] == "running"]
    assert told[0]["owner"] == {"run": str(run), "name": "main"}


async def test_nobody_else_makes_sandboxes_for_runs(lab: RunLab) -> None:
    ask = contract.CreateSandbox(owner=contract.SandboxOwner(run=uuid.uuid4()))
    with pytest.raises(SignalboxError) as refused:
        await lab.gateway.ask(ask, Envelope(uuid7(), "digest", await lab.person()))
    assert refused.value.code == "owner_reserved"


async def test_what_the_delegation_does_not_cover_is_refused(lab: RunLab) -> None:
    made = await lab.create(uuid.uuid4())
    async with await lab.client(made.id, 1) as client:
        with pytest.raises(SignalboxError) as refused:
            await client.write(contract.FREEZE, nothing, sandbox=str(made.id))
    assert refused.value.code == "not_delegated"


async def nothing() -> AsyncIterator[bytes]:
    for _ in ():
        yield b""


async def test_a_worker_that_was_away_starts_no_second_program(lab: RunLab) -> None:
    """The next one has a later epoch: it finds the program by its key, and goes on from where it had read."""
    made = await lab.create(uuid.uuid4())
    async with await lab.client(made.id, 1) as old, await lab.client(made.id, 2) as new:
        script = "echo started >> starts; seq 1 100000; wc -l < starts"
        await start(old, made.id, "coder.1", script, hold=True)
        said, at = b"", 0
        async with aclosing(frames(old, made.id, "coder.1", 0)) as reading:
            async for frame in reading:
                said, at = said + frame.content, frame.following
                if at > 100_000:
                    break
        await start(new, made.id, "coder.1", script, hold=True)
        for step in (
            start(old, made.id, "coder.2", "echo second"),
            start(old, made.id, "coder.1", script, hold=True),
        ):
            with pytest.raises(SignalboxError) as refused:
                await step
            assert refused.value.code == "fenced"
        async for frame in frames(new, made.id, "coder.1", at):
            assert frame.kind is not FrameKind.GAP
            if frame.kind is FrameKind.STDOUT:
                said += frame.content
    assert said.decode().splitlines() == [*map(str, range(1, 100_001)), "1"]


async def test_when_the_delegation_ends_it_reaches_nothing(lab: RunLab) -> None:
    made = await lab.create(uuid.uuid4())
    proof = SecretStr(await lab.person("tasks"))
    ask = auth.Delegate(service="tasks", proof=proof, run="another run", verbs=VERBS)
    own = (await lab.tasks.ask(ask, Envelope(uuid7(), "digest"))).value().delegation
    short = RunLab(lab.scene, lab.gateway, lab.tasks, own)
    async with await short.client(made.id, 3) as client:
        await start(client, made.id, "waits", "echo here; sleep 600")
        cut = asyncio.create_task(_read_all(client, made.id))
        over = auth.EndDelegation(delegation=SecretStr(own))
        await lab.tasks.ask(over, Envelope(uuid7(), "digest"))
        async with asyncio.timeout(5):
            with pytest.raises(SignalboxError):
                await cut

    async def still_there() -> bool:
        return bool((await lab.scene.get(str(made.id)))["status"] == "running")

    await eventually(still_there)


async def _read_all(client: DataClient, sandbox: uuid.UUID) -> None:
    """Again and again, as a worker does that was cut."""
    while True:
        with suppress(httpx.TransportError):
            async for _ in frames(client, sandbox, "waits", 0):
                pass


# -- what becomes of a run -----------------------------------------------------------------------------------


async def stop(lab: RunLab, run: uuid.UUID, grace: float = 1.0) -> None:
    event = RunStopRequested(run=run, reason=StopReason.CANCELLED, grace=grace)
    await lab.tasks.publish(event, project=uuid.UUID(lab.scene.project))


async def end(lab: RunLab, run: uuid.UUID, *, keep: bool = False) -> None:
    event = RunEnded(run=run, task=uuid.uuid4(), state=RunState.FAILED, keep_sandbox=keep)
    await lab.tasks.publish(event, project=uuid.UUID(lab.scene.project))


async def refused(asked: Awaitable[object]) -> str:
    with pytest.raises(SignalboxError) as error:
        await asked
    return error.value.code


async def test_when_a_run_is_to_stop_its_programs_end_and_none_begins(lab: RunLab) -> None:
    run = uuid.uuid4()
    first, second = (await lab.create(run)).id, (await lab.create(run, "second")).id
    other = (await lab.create(uuid.uuid4())).id
    for name in ("polite", "stubborn"):
        trap = "trap 'echo bye; exit 0' TERM" if name == "polite" else "trap '' TERM"
        async with await lab.client(first, 1) as client:
            await start(client, first, name, f"{trap}; while :; do sleep 0.05; done")
    for sandbox in (second, other):
        async with await lab.client(sandbox, 1) as client:
            await start(client, sandbox, "sleeper", "sleep 600")
    began = asyncio.get_running_loop().time()
    await stop(lab, run)

    async def ended(sandbox: uuid.UUID) -> bool:
        return await running(lab, sandbox) == 0

    await eventually(lambda: ended(first), what="its programs have ended")
    await eventually(lambda: ended(second), what="those of the other one, too")
    assert asyncio.get_running_loop().time() - began < 2.5
    async with await lab.client(first, 1) as client:
        said = b"".join([frame.content async for frame in frames(client, first, "polite", 0)])
        assert b"bye" in said, "it had the time to end by itself"
        assert await refused(start(client, first, "late", "true")) == "run_ended"
    assert await running(lab, other) == 1, "another run goes on"
    assert await refused(lab.create(run, "third")) == "run_ended"
    assert (await lab.scene.get(str(first)))["status"] == "running", "what it has made can be collected"
    await end(lab, run)
    for sandbox in (first, second):
        assert (await lab.scene.until(str(sandbox), "destroyed"))["reason"] == "destroyed"
        await lab.scene.nothing_is_left(str(sandbox))
    await stop(lab, run)  # late, and twice
    await end(lab, run)
    assert (await lab.scene.get(str(other)))["status"] == "running"


async def running(lab: RunLab, sandbox: uuid.UUID) -> int:
    status = await lab.scene.node.keepers.of(str(sandbox)).ask("status")
    return int(status["running"])


async def test_what_comes_for_a_run_that_has_ended_is_too_late(lab: RunLab) -> None:
    """The fact may come before the request that it is about."""
    run = uuid.uuid4()
    await end(lab, run)

    async def too_late() -> bool:
        try:
            await lab.create(run)
        except SignalboxError as error:
            return error.code == "run_ended"
        return False

    await eventually(too_late, what="the run is known to have ended")


async def test_a_sandbox_stays_for_somebody_to_look_at(lab: RunLab) -> None:
    kept, asked = uuid.uuid4(), uuid.uuid4()
    one = (await lab.create(kept)).id
    ask = contract.CreateSandbox(owner=contract.SandboxOwner(run=asked), keep_for=900)
    other = (await lab.tasks.ask(ask, Envelope(uuid7(), "stays", await lab.grant()))).value().id
    async with await lab.client(one, 1) as client:
        await start(client, one, "before", "true")
        await end(lab, kept, keep=True)
        await end(lab, asked)

        async def over() -> bool:
            with suppress(SignalboxError):
                await start(client, one, "before", "true")
                return False
            return True

        await eventually(over, what="the run sees nothing of it any more")
        assert await refused(start(client, one, "before", "true")) == "run_ended"

    async def stays(sandbox: uuid.UUID, seconds: int) -> bool:
        found = await lab.scene.get(str(sandbox))
        left = datetime.fromisoformat(found["deadline"]) - datetime.now(UTC)
        assert seconds - 60 < left.total_seconds() <= seconds, found
        return bool(found["status"] == "running")

    await eventually(lambda: stays(one, 3600), what="it stays for an hour")
    await eventually(lambda: stays(other, 900), what="it stays as long as was asked for")
    assert await lab.scene.said(str(one), "echo looked at") == "looked at\n"
