"""Live events while Redis, NATS and the fan-outs die and clients are cut off: nothing lost, nothing twice."""

import asyncio
import json
import random
import shutil
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx
from nats.errors import Error as NatsError
from nats.js.errors import Error as JetStreamError
from redis.exceptions import RedisError

from signalbox_cli.stack.program import free_port
from signalbox_common import background, cloudevents
from signalbox_common.bus import Bus
from signalbox_common.keys import uuid7
from signalbox_common.testing import eventually, running
from signalbox_gateway.live.hub import MAX_RECOVERY
from tests.chaos.live_clients import Client, SocketClient, SseClient
from tests.chaos.live_lines import Line, number, pages
from tests.chaos.plan import SEED
from tests.support.hub import patient_redis
from tests.support.installation import Http, Installation
from tests.support.lab import NoteTaken
from tests.support.processes import Running
from tests.support.services import process, restarting

SETTLE_WITHIN = 60.0
DUMP = "dump.rdb"
FLOOD_RATE = 600.0
FLOOD = MAX_RECOVERY + 500


@dataclass(frozen=True)
class LivePlan:
    """How much; who dies when follows from the seed."""

    seed: int
    seconds: float
    rate: float
    clients: int
    cuts: int
    fanouts: int
    """How often one of the two is killed."""
    empty: int
    """How often Redis comes back empty; once more it comes back as it was long before."""
    owners: int = 3
    projects: int = 3
    sleepers: int = 0
    """Clients that are away while more is told in their project than they can be told later."""


@dataclass
class Course:
    """What happened."""

    cuts: int = 0
    events: int = 0
    faults: "Counter[str]" = field(default_factory=Counter)


@dataclass
class World:
    plan: LivePlan
    installation: Installation
    address: str
    http: httpx.AsyncClient
    fanouts: list[Running]
    rng: random.Random
    course: Course = field(default_factory=Course)
    clients: list[Client] = field(default_factory=list)
    owners: list[tuple[dict[str, str], list[str], list[str]]] = field(default_factory=list)
    """Headers, all projects, and those in which something is told."""

    @property
    def sleepers(self) -> list[Client]:
        return self.clients[self.plan.clients :]

    @property
    def redis(self) -> Running:
        return self.installation.servers.processes["redis"]

    @property
    def dump(self) -> Path:
        return Path(str(self.redis.program.cwd)) / DUMP


async def live_storm(installation: Installation, plan: LivePlan) -> None:
    """What the tests call."""
    print(f"\n{SEED}={plan.seed}")
    async with _world(installation, plan) as world:
        await _people(world)
        async with _following(world):
            load = asyncio.create_task(_load(world))
            try:
                await asyncio.gather(_cut(world), _faults(world), _flood(world))
                await load
            finally:
                load.cancel()
            truth: dict[str, dict[int, str]] = {}
            for headers, everything, _ in world.owners:
                for project in everything:
                    found = await pages(world.http, headers, project, None)
                    truth[project] = {number(each["position"]): each["id"] for each in found}
            lines = [line for client in world.clients for line in client.lines]

            async def complete() -> bool:
                wrong = [offence for line in lines for offence in line.missing(truth)]
                assert not wrong, wrong[:10]
                return True

            try:
                await eventually(complete, within=SETTLE_WITHIN, what="every client has everything")
            finally:
                print(_table(world, lines))
        offences = [f"{line.name}: {offence}" for line in lines for offence in line.offences]
        assert not offences, "\n".join(offences[:40])
        told = sum(len(truth[project]) for _, _, ours in world.owners for project in ours)
        assert told >= world.course.events
        assert world.course.cuts == plan.cuts
        assert all(line.owes_nothing for line in lines)
        for sleeper in world.sleepers:
            (line,) = sleeper.lines
            assert line.resyncs["expired"] > 0, f"{line.name} was not told that it is too far behind"
            assert line.in_pages >= FLOOD


@asynccontextmanager
async def _world(installation: Installation, plan: LivePlan) -> AsyncIterator[World]:
    """The gateway and the fan-outs as processes of their own, started again whenever they die."""
    folder, port = installation.folder, free_port()
    gateway = process(installation, "gateway", folder / "gateway.log")
    gateway.program.env["SIGNALBOX_PORT"] = str(port)
    copying = ["-m", "signalbox_common.start", "signalbox_gateway.fanout.app"]
    fanouts = [process(installation, "fanout", folder / f"fanout-{n}.log", copying) for n in (1, 2)]
    async with running(installation.auth()):
        started = [gateway, *fanouts]
        restarts: list[asyncio.Task[None]] = []
        try:
            await asyncio.gather(*(each.start() for each in started))
            restarts += [asyncio.create_task(restarting(each)) for each in fanouts]
            limits = httpx.Limits(max_connections=None, max_keepalive_connections=20)
            async with httpx.AsyncClient(
                base_url=f"http://127.0.0.1:{port}", timeout=30, limits=limits
            ) as http:
                rng = random.Random(plan.seed)
                yield World(plan, installation, f"127.0.0.1:{port}", http, fanouts, rng)
        finally:
            await background.end(*restarts)
            for each in started:
                if each.alive:
                    await each.stop()


async def _people(world: World) -> None:
    calls = Http(world.http, None)  # type: ignore[arg-type]  # the gateway is another process
    for _ in range(world.plan.owners):
        headers = await calls.sign_up()
        ours = [await calls.project(headers) for _ in range(world.plan.projects)]
        listed = (await world.http.get("/api/v1/projects", headers=headers)).json()
        world.owners.append((headers, [each["id"] for each in listed["items"]], ours))


@asynccontextmanager
async def _following(world: World) -> AsyncIterator[None]:
    """Half of them over each protocol; some follow one project, some several."""
    for count in range(world.plan.clients):
        headers, everything, ours = world.owners[count % len(world.owners)]
        mine = world.rng.sample(ours, 1 + count % 3 % len(ours))
        if count % 2 == 0:
            line = Line(f"sse {count}", tuple(everything) if count % 3 == 0 else (mine[0],))
            world.clients.append(SseClient(world.address, world.http, headers, [line]))
        else:
            lines = [Line(f"ws {count} {project[:8]}", (project,)) for project in mine]
            world.clients.append(SocketClient(world.address, world.http, headers, lines))
    headers, _, (flooded, *_) = world.owners[0]
    for count in range(world.plan.sleepers):
        lines = [Line(f"sleeper {count}", (flooded,))]
        kind = SseClient if count % 2 == 0 else SocketClient
        world.clients.append(kind(world.address, world.http, headers, lines))
    tasks = [asyncio.create_task(client.run(world.rng)) for client in world.clients]

    async def all_live() -> bool:
        assert not [task.result() for task in tasks if task.done()]
        return all(client.live for client in world.clients)

    try:
        await eventually(all_live, within=30, what="every client is connected")
        yield
        failed = [task.exception() for task in tasks if task.done()]
        assert not failed, failed
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


# -- what is told ------------------------------------------------------------------------------------------


async def _load(world: World) -> None:
    """Each project at its share of the rate; what was not confirmed is stored again under its id."""
    plan = world.plan
    projects = [project for _, _, ours in world.owners for project in ours]
    share = plan.rate / len(projects)
    async with world.installation.bus("tasks") as bus:
        await asyncio.gather(
            *(_tell(world, bus, project, share, int(plan.seconds * share)) for project in projects)
        )


async def _flood(world: World) -> None:
    """While some are away, more than what is told at once to those who come again."""
    if not world.sleepers:
        return
    project = world.owners[0][2][0]
    for sleeper in world.sleepers:
        await sleeper.sleep()
    async with world.installation.bus("tasks") as bus:
        await asyncio.gather(*(_tell(world, bus, project, FLOOD_RATE / 8, FLOOD // 8 + 1) for _ in range(8)))
    for sleeper in world.sleepers:
        sleeper.wake()


async def _tell(world: World, bus: Bus, project: str, rate: float, events: int) -> None:
    began = time.monotonic()
    for count in range(events):
        await asyncio.sleep(max(0.0, began + count / rate - time.monotonic()))
        note = NoteTaken(text=f"{project} {count}")
        headers = cloudevents.headers_of(note, uuid7(), "tasks")
        while True:
            try:
                await bus.store_event(note.subject_in(uuid.UUID(project), "tasks"), note.encode(), headers)
                break
            except (NatsError, JetStreamError, TimeoutError, OSError):
                await asyncio.sleep(0.1)
        world.course.events += 1


# -- what goes wrong ---------------------------------------------------------------------------------------


async def _cut(world: World) -> None:
    """At random moments, whoever is connected then; until all cuts are done, however long that takes."""
    began, plan = time.monotonic(), world.plan
    while world.course.cuts < plan.cuts:
        due = began + plan.seconds * (world.course.cuts + world.rng.random()) / plan.cuts
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        live = [client for client in world.clients if client.live]
        if not live:
            await asyncio.sleep(0.05)
            continue
        await world.rng.choice(live).cut()
        world.course.cuts += 1


async def _faults(world: World) -> None:
    """In random order, each in a slot of its own; a copy of Redis is taken first and comes back later."""
    plan, rng = world.plan, world.rng
    faults: list[Callable[[World], Awaitable[None]]] = [_kill_fanout] * plan.fanouts
    faults += [_empty_redis] * plan.empty + [_kill_nats]
    rng.shuffle(faults)
    middle = len(faults) // 2
    faults = [_keep_redis, *faults[:middle], _old_redis, *faults[middle:]]
    began, slot = time.monotonic(), plan.seconds * 0.9 / len(faults)
    for count, fault in enumerate(faults):
        await asyncio.sleep(max(0.0, began + (count + rng.random() * 0.5) * slot - time.monotonic()))
        await fault(world)
        world.course.faults[fault.__name__.strip("_").replace("_", " ")] += 1


async def _kill_fanout(world: World) -> None:
    async def one() -> Running | None:
        return next((each for each in world.rng.sample(world.fanouts, 2) if each.alive), None)

    victim = await eventually(one, what="a fan-out to kill")
    assert victim is not None
    victim.kill()


async def _keep_redis(world: World) -> None:
    redis = patient_redis(world.installation.servers)
    try:
        with suppress(RedisError):
            await redis.save()
    finally:
        await redis.aclose()
    shutil.copyfile(world.dump, world.dump.with_name("kept.rdb"))
    world.dump.unlink()


async def _empty_redis(world: World) -> None:
    world.redis.kill()
    assert not world.dump.exists()
    await world.redis.start()


async def _old_redis(world: World) -> None:
    world.redis.kill()
    shutil.copyfile(world.dump.with_name("kept.rdb"), world.dump)
    await world.redis.start()
    world.dump.unlink()


async def _kill_nats(world: World) -> None:
    nats = world.installation.servers.processes["nats"]
    nats.kill()
    await nats.start()


# -- what was seen -----------------------------------------------------------------------------------------


def _table(world: World, lines: list[Line]) -> str:
    refusals: Counter[str] = Counter()
    for client in world.clients:
        refusals.update(client.refusals)
    resyncs: Counter[str] = Counter()
    for line in lines:
        resyncs.update(line.resyncs)
    repairs = _repairs(world.installation.folder / "gateway.log")
    rows: list[tuple[str, object]] = [
        ("seed", world.plan.seed),
        ("clients", f"{len(world.clients)} with {len(lines)} subscriptions"),
        ("events stored", world.course.events),
        ("events told", sum(line.told for line in lines)),
        ("events in pages", sum(line.in_pages for line in lines)),
        ("cuts", world.course.cuts),
        ("connections", sum(client.connections for client in world.clients)),
        ("refusals", ", ".join(f"{name}: {n}" for name, n in sorted(refusals.items())) or "none"),
        ("resyncs", ", ".join(f"{name}: {n}" for name, n in sorted(resyncs.items())) or "none"),
        ("repairs", f"{len(repairs)} of {sum(repairs)} events"),
        ("faults", ", ".join(f"{name}: {n}" for name, n in sorted(world.course.faults.items()))),
    ]
    return "\n" + "\n".join(f"  {name:<20}{value}" for name, value in rows)


def _repairs(log: Path) -> list[int]:
    """How many events the gateway had missed, each time that it had."""
    found = []
    for line in log.read_text(encoding="utf-8").splitlines():
        with suppress(ValueError):
            said = json.loads(line)
            if said.get("event") == "missed events were recovered":
                found.append(int(said["count"]))
    return found
