"""Servers that die in the middle of traffic and come back."""

import asyncio
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from signalbox_cli.stack.program import free_port
from signalbox_common import outbox
from signalbox_common.bus import Bus, Envelope
from signalbox_common.bus.client import REQUEST_TIMEOUT
from signalbox_common.contracts.auth import GetMe
from signalbox_common.errors import SignalboxError, Unavailable
from signalbox_common.keys import uuid7
from signalbox_common.testing import eventually, running
from tests.support.installation import Installation
from tests.support.lab import Lab, Note, NoteTaken, Recall
from tests.support.pace import pace
from tests.support.processes import Running
from tests.support.services import process

pytestmark = pytest.mark.fresh  # services come and go

RECOVERY = 5.0


async def started(server: Running) -> float:
    """Seconds within which all has recovered from its death: more where its own start takes long."""
    return max(RECOVERY, 5 * await pace(server.start, times=1))


@dataclass
class Traffic:
    """Commands at a steady pace; each is repeated under its id until it is answered."""

    bus: Bus
    answered: set[str] = field(default_factory=set)
    last_answer: float = 0.0
    _tasks: list["asyncio.Task[None]"] = field(default_factory=list)

    async def run(self, count: int, rate: float) -> None:
        for number in range(count):
            self._tasks.append(asyncio.create_task(self._until_answered(f"note {number}")))
            await asyncio.sleep(1 / rate)

    async def finish(self) -> None:
        await asyncio.wait_for(asyncio.gather(*self._tasks), 30)

    async def _until_answered(self, text: str) -> None:
        sending = Envelope(uuid7(), text)
        while True:
            try:
                if await self.bus.send(Note(text=text), sending, patience=2.0) is not None:
                    break
            except SignalboxError as error:
                if error.final:
                    raise
                await asyncio.sleep(0.05)
        self.answered.add(text)
        self.last_answer = time.monotonic()

    async def answered_after(self, moment: float, within: float) -> None:
        async def one() -> bool:
            return self.last_answer > moment

        await eventually(one, within=within, what="an answer after the restart")


@pytest.mark.parametrize("server", ["nats", "postgres", "redis"])
async def test_sigkill_of_a_server_in_the_middle_of_traffic(
    own_installation: Installation, server: str
) -> None:
    installation = own_installation
    writer, reader = Lab(), Lab()
    victim = installation.servers.processes[server]
    async with (
        running(writer.service(installation.lab())),
        running(reader.reader(installation.lab("catalog"))),
        installation.bus() as bus,
    ):
        traffic = Traffic(bus)
        running_traffic = asyncio.create_task(traffic.run(count=160, rate=40))

        async def under_way() -> bool:
            return len(traffic.answered) >= 40

        await eventually(under_way)
        victim.kill()
        within = await started(victim)
        await traffic.answered_after(time.monotonic(), within)
        await running_traffic
        await traffic.finish()

        async def all_published() -> bool:
            return await installation.count("tasks.outbox") == 0 and len(set(reader.facts)) == 160

        await eventually(all_published, within=within, what="every event read by its consumer")
        seen = await installation.count("catalog.seen_facts", "handler = 'catalog-on-lab-note-taken'")
        assert seen == 160, "downstream of the inbox, each event is taken once"
        assert await installation.count("tasks.inbox", "status = 'succeeded'") == 160
        assert await installation.messages("DEAD_LETTERS") == []
        assert (await bus.query(Recall())).value().handled >= 160


async def test_the_gateway_recovers_from_each_server(own_installation: Installation) -> None:
    installation = own_installation
    async with installation.running_auth(), installation.gateway() as http:
        me = await http.sign_up()
        for name in ("postgres", "nats", "redis"):
            victim = installation.servers.processes[name]
            victim.kill()
            within = await started(victim)

            async def answers() -> bool:
                return (await http.get("/api/v1/auth/me", headers=me)).status_code == 200

            async def ready() -> bool:
                return (await http.get("/api/v1/health/ready")).status_code == 200

            await eventually(answers, within=within, what=f"/auth/me after {name}")
            await eventually(ready, within=within, what=f"readiness after {name}")


async def test_an_outage_of_the_database_is_no_attempt(own_installation: Installation) -> None:
    installation = own_installation
    lab = Lab()
    database = installation.servers.processes["postgres"]
    async with running(lab.service(installation.lab(command_attempts=2))), installation.bus() as bus:
        database.kill()
        sending = Envelope(uuid7(), "d")
        assert await bus.send(Note(text="patient"), sending, patience=0.1) is None

        async def handed_over_often() -> bool:
            async with installation.nats() as client:
                info = await client.jetstream().consumer_info("COMMANDS", "tasks-v1-lab-note")
                return (info.delivered.consumer_seq if info.delivered else 0) > 4

        await eventually(handed_over_often, what="more deliveries than attempts are allowed")
        await database.start()
        answer = await bus.send(Note(text="patient"), sending)
        assert answer is not None
        assert await installation.messages("DEAD_LETTERS") == []


async def test_events_of_a_time_without_broker_leave_in_order(own_installation: Installation) -> None:
    installation = own_installation
    lab = Lab()
    broker = installation.servers.processes["nats"]
    service = lab.service(installation.lab())
    async with running(service):
        broker.kill()
        for number in range(50):
            async with service.database.transaction() as transaction:
                outbox.emit(transaction, "tasks", NoteTaken(text=str(number)), project=None)
        assert await installation.count("tasks.outbox") == 50
        within = await started(broker)

        async def all_there() -> bool:
            return len(await installation.messages("EVENTS", "evt._.tasks.>")) == 50

        await eventually(all_there, within=within)
        events = await installation.messages("EVENTS", "evt._.tasks.>")
        texts = [NoteTaken.model_validate_json(event.data).text for event in events]
        assert texts == [str(number) for number in range(50)]
        assert await eventually(lambda: _empty(installation))


async def test_the_outbox_empties_by_itself_after_an_outage_under_load(
    own_installation: Installation,
) -> None:
    """The relay's lock must go with its session, or the service locks itself out."""
    installation = own_installation
    lab = Lab()
    broker = installation.servers.processes["nats"]
    async with running(lab.service(installation.lab())) as service, installation.bus() as bus:
        loaded = True

        async def write() -> None:
            number = 0
            while loaded:
                number += 1
                async with service.database.transaction() as transaction:
                    outbox.emit(transaction, "tasks", NoteTaken(text=str(number)), project=None)

        writers = [asyncio.create_task(write()) for _ in range(6)]
        for _ in range(3):
            await eventually(lambda: _published_more(installation))
            broker.kill()
            within = await started(broker)
            await eventually(lambda: _answers(bus), within=within)
        loaded = False
        await asyncio.gather(*writers)
        await eventually(lambda: _empty(installation), within=within * 2, what="an empty outbox")


async def _published_more(installation: Installation) -> bool:
    async with installation.nats() as client:
        return bool((await client.jetstream().stream_info("EVENTS")).state.messages)


async def _answers(bus: Bus) -> bool:
    try:
        return await bus.send(Note(text="still here"), Envelope(uuid7(), "d"), patience=2.0) is not None
    except SignalboxError:
        return False


async def test_what_was_in_the_way_is_no_attempt(installation: Installation) -> None:
    hindered = 0

    async def hinder(_text: str) -> None:
        nonlocal hindered
        hindered += 1
        if hindered <= 4:
            raise Unavailable("Something else is away.")

    lab = Lab(act=hinder)
    async with running(lab.service(installation.lab(command_attempts=2))), installation.bus() as bus:
        answer = await bus.send(Note(text="patient"), Envelope(uuid7(), "d"), patience=20)
        assert answer is not None
        assert hindered == 5
        assert await installation.messages("DEAD_LETTERS") == []


async def test_a_service_that_waits_for_its_servers_can_be_stopped(
    installation: Installation, tmp_path: Path
) -> None:
    waiting = process(installation, "catalog", tmp_path / "catalog.log")
    waiting.program.env["NATS_URL"] = "nats://127.0.0.1:1"
    waiting.spawn()

    async def complains() -> bool:
        return "ConnectionRefused" in waiting.log.read_text()

    await eventually(complains)
    waiting.signal(signal.SIGTERM)
    assert await waiting.wait(within=30) == 0


@pytest.mark.parametrize("program", ["gateway", "fanout", "auth", "catalog"])
async def test_whoever_is_told_to_stop_ends_well(
    installation: Installation, tmp_path: Path, program: str
) -> None:
    copying = ["-m", "signalbox_common.start", "signalbox_gateway.fanout.app"]
    running_ = process(installation, program, tmp_path / "log", copying if program == "fanout" else None)
    running_.program.env["SIGNALBOX_PORT"] = str(free_port())
    await running_.start()
    running_.signal(signal.SIGTERM)
    assert await running_.wait(within=30) == 0


async def _empty(installation: Installation) -> bool:
    return await installation.count("tasks.outbox") == 0


async def test_queries_without_their_owner_fail_fast(installation: Installation) -> None:
    async with installation.bus() as bus:
        started = time.monotonic()
        with pytest.raises(SignalboxError) as refused:
            await bus.query(GetMe())
        assert refused.value.status == 503
        assert time.monotonic() - started < REQUEST_TIMEOUT / 2, "nobody waits for whoever is not there"


async def test_two_instances_share_the_work_and_one_relay_publishes(installation: Installation) -> None:
    first, second = Lab(), Lab()
    async with (
        running(first.service(installation.lab())),
        running(second.service(installation.lab())),
        installation.bus() as bus,
    ):
        answers = await asyncio.gather(
            *(bus.send(Note(text=f"note {n}"), Envelope(uuid7(), "d")) for n in range(60))
        )
        assert all(answer is not None for answer in answers)
        assert len(first.finished) + len(second.finished) == 60
        assert first.finished
        assert second.finished

        async def published() -> bool:
            return len(await installation.messages("EVENTS", "evt._.tasks.lab.>")) == 60

        await eventually(published)
        ids = [m.headers["ce-id"] for m in await installation.messages("EVENTS", "evt._.tasks.lab.>")]
        assert len(set(ids)) == 60


async def test_a_first_command_that_met_an_outage_leaves_nobody_deaf(own_installation: Installation) -> None:
    """Whoever could not listen for replies then must listen at the next command."""
    installation = own_installation
    broker = installation.servers.processes["nats"]
    async with installation.running_auth(), installation.gateway() as http:
        me = await http.sign_up()
        assert (await http.get("/api/v1/auth/me", headers=me)).status_code == 200  # the grant is kept now
        broker.kill()

        async def noticed() -> bool:
            return not http.clients.bus.connection.is_up

        await eventually(noticed)
        refused = await http.post("/api/v1/projects", json={"name": "In the dark"}, headers=me)
        assert (refused.status_code, refused.json()["code"]) == (503, "unavailable")
        within = await started(broker)

        async def created() -> bool:
            return (
                await http.post("/api/v1/projects", json={"name": "Light"}, headers=me)
            ).status_code == 201

        await eventually(created, within=within)
