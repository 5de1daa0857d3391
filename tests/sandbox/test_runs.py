"""Sandboxes as a run uses them: asked for by the service tasks, under its delegation."""

import asyncio
import uuid
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, suppress
from dataclasses import dataclass

import httpx
import pytest
from pydantic import SecretStr

from signalbox_common.bus import Bus, Envelope
from signalbox_common.contracts import auth
from signalbox_common.contracts import sandbox as contract
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
