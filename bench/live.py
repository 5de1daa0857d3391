"""`python -m bench.live`: what it costs to tell many clients what happens, on a stack of its own."""

import argparse
import asyncio
import json
import math
import secrets
import signal
import statistics
import sys
import time
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import nats
import psutil
import uvloop
from nats.aio.client import Client as Nats

from bench.crowd import Clients, Crowd, Kind, State, Task, crowds, data_of, limit, state
from bench.nchan import Nchan, missing, nchan
from bench.report import Figure, Report, at_least, at_most, console
from bench.servers import ROOT, Person, Stack, stack
from signalbox_cli.provision.credentials import service_environment

RESULTS = ROOT / "bench/results/live.json"
KINDS: tuple[Kind, ...] = ("sse", "ws")
PARTS = ("idle", "broadcast", "projects", "many")

SIZE = 200
"""Bytes of an event's data."""
BROADCAST_CLIENTS = 5_000
PROJECTS, CLIENTS_EACH, PER_SECOND = 500, 10, 100
MANY = 50_000
PER_CLIENT = 96 * 1024
"""Bytes of memory that one connection takes at both ends, with what the kernel keeps for it; generously."""
OPEN_WITHIN, TOLD_WITHIN, BACK_WITHIN = 280.0, 30.0, 240.0
_SOURCES = 8
"""Addresses of each process of clients: the fuller one is, the longer the kernel looks for a free port."""


def main() -> None:
    options = _options()
    signal.signal(signal.SIGTERM, _leave)
    report = Report()
    try:
        _measure(report, options)
    finally:
        if report.figures:  # also where a later part broke
            report.show()
            report.write(RESULTS)
            console.print(f"  written to {RESULTS.relative_to(ROOT)}", style="dim")


def _measure(report: Report, options: argparse.Namespace) -> None:
    parts = options.only or list(PARTS)
    with stack() as measured:
        console.print(f"a stack of its own in {measured.home.path}", style="dim")
        if set(parts) - {"many"}:
            measured.up()
            uvloop.run(_one_worker(measured, report, parts, options.clients, quick=options.quick))
            measured.down()
        if "many" in parts:
            count = _affordable(options.connections, report)
            workers = options.workers or math.ceil(count / (0.8 * limit()))
            measured.up(SIGNALBOX_GATEWAY_WORKERS=str(workers))
            uvloop.run(_many(measured, report, count, workers))
            measured.down()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.live", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer rounds")
    parser.add_argument("--only", choices=PARTS, action="append", help="measure this part (may be repeated)")
    parser.add_argument(
        "--clients",
        type=int,
        default=BROADCAST_CLIENTS,
        help=f"of each kind that one worker tells something (by default {BROADCAST_CLIENTS:,})",
    )
    parser.add_argument(
        "--connections", type=int, default=MANY, help=f"of the last part (by default {MANY:,}, if they fit)"
    )
    parser.add_argument("--workers", type=int, help="of the gateway in the last part (by default: enough)")
    return parser.parse_args()


def _leave(*_: Any) -> None:
    """As Ctrl-C does: through every `finally`, so that nothing is left running."""
    sys.exit(143)


def _affordable(wanted: int, report: Report) -> int:
    """As many as the machine has memory for; a note where that is less."""
    fits = int(psutil.virtual_memory().available * 0.8 / PER_CLIENT) // 2 * 2
    if fits < wanted:
        report.notes.append(f"{wanted:,} connections do not fit into the memory here: {fits:,} instead")
    return min(wanted, fits)


# -- telling -----------------------------------------------------------------------------------------------


@dataclass
class Teller:
    """Publishes events as the tasks service does."""

    client: Nats
    numbers: dict[str, int] = field(default_factory=dict)

    async def tell(self, project: str, at: int | None = None) -> int:
        """Answers the moment from which its way counts: the given one, or now."""
        number = self.numbers[project] = self.numbers.get(project, -1) + 1
        headers = _headers()
        at = time.perf_counter_ns() if at is None else at
        await self.client.publish(
            f"evt.{project}.tasks.bench.told", data_of(number, at, SIZE), headers=headers
        )
        return at


def _headers() -> dict[str, str]:
    event = str(uuid.uuid4())
    return {
        "Nats-Msg-Id": f"tasks:{event}",
        "ce-specversion": "1.0",
        "ce-id": event,
        "ce-type": "dev.signalbox.tasks.bench.told",
        "ce-source": "/signalbox/tasks",
        "ce-time": datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z"),
        "content-type": "application/json",
    }


def _as_told(project: str, number: int, at: int) -> bytes:
    """The text that clients of the gateway are sent, for nchan to send the same."""
    head = _headers()
    about = {
        "id": head["ce-id"],
        "type": "tasks.bench.told",
        "source": head["ce-source"],
        "time": head["ce-time"],
        "subject": None,
        "project": project,
        "operation": None,
    }
    return json.dumps(about, separators=(",", ":"))[:-1].encode() + b',"data":%b}' % data_of(number, at, SIZE)


@asynccontextmanager
async def _telling(stack: Stack) -> AsyncIterator[Teller]:
    files = service_environment(stack.home.credentials, "tasks")
    url = Path(files["NATS_URL_FILE"]).read_text("utf-8").strip()
    client = await nats.connect(url, inbox_prefix=b"_INBOX.tasks")
    try:
        yield Teller(client)
    finally:
        await client.close()


# -- clients -----------------------------------------------------------------------------------------------


def _of_project(kind: Kind, stack: Stack, token: str, project: str, count: int) -> Clients:
    path = f"/api/v1/sse?project={project}" if kind == "sse" else "/api/v1/ws"
    return Clients(kind, stack.port, path, count, token, project)


def _task(clients: list[Clients], number: int = 0) -> Task:
    first = 2 + number * _SOURCES
    return Task(clients, [f"127.0.0.{first + each}" for each in range(_SOURCES)])


async def _all_open(of: Sequence[Crowd], within: float, what: str) -> State:
    """As many as could be opened within that time."""
    wanted = sum(crowd.size for crowd in of)
    ends = time.monotonic() + within
    with console.status("") as line:
        while (now := await state(of)).open < wanted and time.monotonic() < ends:
            line.update(f"{what}: {now.open:,} of {wanted:,} connections are open")
            await asyncio.sleep(0.5)
    return now


def _say_failures(report: Report, what: str, now: State, wanted: int) -> None:
    if now.open < wanted:
        report.notes.append(f"{what}: {wanted - now.open:,} of {wanted:,} connections could not be opened")
    if now.failures:
        why = ", ".join(f"{reason} ({count:,})" for reason, count in now.failures.items())
        report.notes.append(f"{what}: handshakes that failed and were tried again: {why}")


async def _warm(stack: Stack, token: str, project: str, count: int) -> None:
    """So that what is counted next is connections, and not what a program loads for its first ones."""
    tasks = [_task([_of_project(kind, stack, token, project, count)]) for kind in KINDS]
    async with crowds(tasks) as crowd:
        await _all_open(crowd, OPEN_WITHIN, "warming up")
    await asyncio.sleep(1.0)


async def _arm(of: Sequence[Crowd], events: int = 1) -> int:
    """How many deliveries are expected: one of each event for whoever is there."""
    there = [int((await crowd.ask("state"))["open"]) for crowd in of]
    for crowd, count in zip(of, there, strict=True):
        await crowd.ask("arm", count=count * events)
    return sum(there) * events


@dataclass(frozen=True)
class Heard:
    seconds: float
    """From the telling until the last client had it."""
    late: list[float]
    """Milliseconds, sorted."""


async def _heard(of: Sequence[Crowd], since: int, expected: int, what: str) -> Heard:
    said = await asyncio.gather(*(crowd.ask("wait", patience=TOLD_WITHIN) for crowd in of))
    got = sum(each["got"] for each in said)
    if got < expected:
        raise RuntimeError(f"{what}: {got:,} of {expected:,} deliveries came within {TOLD_WITHIN:.0f} s")
    late = sorted(each / 1e6 for part in said for each in part["late"])
    return Heard((max(each["last"] for each in said) - since) / 1e9, late)


def _at(values: Sequence[float], share: float) -> float:
    return values[min(int(len(values) * share), len(values) - 1)]


def _gateways(stack: Stack) -> list[psutil.Process]:
    return [psutil.Process(pid) for pid in stack.pids("gateway")]


def _resident(processes: Sequence[psutil.Process]) -> int:
    return sum(int(process.memory_info().rss) for process in processes)


def _cpu(processes: Sequence[psutil.Process]) -> float:
    times = [process.cpu_times() for process in processes]
    return sum(each.user + each.system for each in times)


# -- one worker --------------------------------------------------------------------------------------------


async def _one_worker(
    stack: Stack, report: Report, parts: Sequence[str], clients: int, *, quick: bool
) -> None:
    person = Person(stack.url)
    async with _telling(stack) as teller:
        if "idle" in parts:
            report.look_around("idle")
            for kind in KINDS:
                await _idle(stack, person, teller, report, kind, count=100 if quick else 400)
        if "broadcast" in parts:
            report.look_around("broadcast")
            await _broadcast(stack, person, teller, report, clients, rounds=3 if quick else 9)
        if "projects" in parts:
            report.look_around("projects")
            await _projects(stack, person, teller, report, seconds=5.0 if quick else 20.0)


async def _idle(
    stack: Stack, person: Person, teller: Teller, report: Report, kind: Kind, *, count: int
) -> None:
    """One client, and nothing else to do."""
    console.print(f"idle: one client, {kind}", style="dim")
    project = person.create_project()
    clients = _of_project(kind, stack, person.token(), project, 1)
    async with crowds([_task([clients])]) as crowd:
        await _all_open(crowd, OPEN_WITHIN, "idle")
        expected = await _arm(crowd, count)
        for _ in range(count):
            await teller.tell(project)
            await asyncio.sleep(0.03 + secrets.randbelow(20) / 1000)
        late = (await _heard(crowd, 0, expected, "idle")).late
    targets = (at_most(4), at_most(12)) if kind == "sse" else (None, None)
    group = "from NATS to a client, idle"
    report.figures += [
        Figure(group, f"{kind.upper()}, p50", "ms", [statistics.median(late)], targets[0]),
        Figure(group, f"{kind.upper()}, p99", "ms", [_at(late, 0.99)], targets[1]),
    ]


async def _broadcast(
    stack: Stack, person: Person, teller: Teller, report: Report, wanted: int, *, rounds: int
) -> None:
    """All four crowds are open all the time, and are told something in turns."""
    count = min(wanted, limit() // 2)
    if count < wanted:
        report.notes.append(f"a process may not open enough files here: {count:,} clients each")
    token, gateways = person.token(), _gateways(stack)
    projects = {kind: person.create_project() for kind in KINDS}
    told_in: dict[str, str] = {str(kind): project for kind, project in projects.items()}
    await _warm(stack, token, projects["sse"], 20)
    took: dict[str, list[float]] = {}
    busy: dict[str, list[float]] = {}
    async with _several() as held:
        opened: dict[str, list[Crowd]] = {}
        for number, kind in enumerate(KINDS):
            before = _resident(gateways)
            clients = _of_project(kind, stack, token, projects[kind], count)
            opened[kind] = await held.open(_task([clients], number))
            now = await _all_open(opened[kind], OPEN_WITHIN, f"broadcast, {kind}")
            _say_failures(report, f"broadcast, {kind}", now, count)
            grown = (_resident(gateways) - before) / 1024 / max(now.open, 1)
            report.figures.append(
                Figure("memory of a connection", f"{kind.upper()}, one worker", "KiB", [grown])
            )
        rival = held.nchan(count * 2, report)
        if rival is not None:
            for number, kind in enumerate(KINDS, len(KINDS)):
                plain: Kind = "plain-sse" if kind == "sse" else "plain-ws"
                clients = Clients(plain, rival.port, f"/{kind}?id={kind}", count)
                opened[plain] = await held.open(_task([clients], number))
                await _all_open(opened[plain], OPEN_WITHIN, f"broadcast, nchan {kind}")
        console.print(f"broadcast: {rounds} rounds", style="dim")
        for number in range(-1, rounds):
            for name in opened if number % 2 else reversed(opened):
                crowd = opened[name]
                expected = await _arm(crowd)
                await asyncio.sleep(0.3)
                cpu = (await state(crowd)).cpu
                if name.startswith("plain"):
                    assert rival is not None
                    since = time.perf_counter_ns()
                    body = _as_told(projects["sse"], number + 1, since)
                    rival.tell(name.removeprefix("plain-"), body)
                else:
                    since = await teller.tell(told_in[name])
                heard = await _heard(crowd, since, expected, f"broadcast, {name}")
                if number >= 0:  # the first one is for warming up
                    took.setdefault(name, []).append(expected / heard.seconds)
                    busy.setdefault(name, []).append(((await state(crowd)).cpu - cpu) / heard.seconds)
    for kind in KINDS:
        group = f"one message to {count:,} clients, {kind.upper()}"
        report.figures.append(Figure(group, "one gateway worker", "/s", took[kind]))
        other = took.get(f"plain-{kind}")
        if other is not None:
            ratio = [ours / theirs for ours, theirs in zip(took[kind], other, strict=True)]
            report.figures += [
                Figure(group, "nginx with nchan, one worker", "/s", other),
                Figure(group, "gateway / nchan", "", ratio, at_least(1.2)),
            ]
    shares = ", ".join(f"{name} {statistics.median(each):.2f}" for name, each in busy.items())
    report.notes.append(f"cores that the clients' own process took meanwhile: {shares}")


async def _projects(stack: Stack, person: Person, teller: Teller, report: Report, *, seconds: float) -> None:
    """Events in turns over many projects, each with a few clients of both kinds."""
    token = person.token()
    console.print(f"projects: making {PROJECTS}", style="dim")
    projects = await _many_projects(stack, token)
    half = CLIENTS_EACH // 2
    tasks = [
        _task([_of_project(kind, stack, token, project, half) for project in projects], number)
        for number, kind in enumerate(KINDS)
    ]
    total = PROJECTS * CLIENTS_EACH
    async with crowds(tasks) as crowd:
        now = await _all_open(crowd, OPEN_WITHIN, "projects")
        _say_failures(report, "projects", now, total)
        events = round(PER_SECOND * seconds)
        await asyncio.gather(*(each.ask("arm", count=events * half) for each in crowd))
        gateways = _gateways(stack)
        cpu, began = _cpu(gateways), time.perf_counter_ns()
        for number in range(events):
            planned = began + round(number * 1e9 / PER_SECOND)
            await asyncio.sleep(max(0.0, (planned - time.perf_counter_ns()) / 1e9))
            await teller.tell(projects[number % PROJECTS], planned)
        late = (await _heard(crowd, began, events * CLIENTS_EACH, "projects")).late
        took = (_cpu(gateways) - cpu) / ((time.perf_counter_ns() - began) / 1e9)
        now = await state(crowd)
    if now.gaps or now.repeats or now.resyncs:
        report.notes.append(f"projects: {now.gaps} missed, {now.repeats} told twice, {now.resyncs} resyncs")
    group = f"{PER_SECOND} events/s, {total:,} clients in {PROJECTS} projects"
    report.figures += [
        Figure(group, "publish to client, p50", "ms", [statistics.median(late)]),
        Figure(group, "publish to client, p99", "ms", [_at(late, 0.99)], at_most(50)),
        Figure(group, "publish to client, longest", "ms", [late[-1]]),
        Figure(group, "the gateway's CPU", "cores", [took]),
    ]


async def _many_projects(stack: Stack, token: str) -> list[str]:
    me = {"Authorization": f"Bearer {token}"}
    turns = asyncio.Semaphore(8)
    async with httpx.AsyncClient(base_url=stack.url, headers=me, timeout=30) as client:

        async def make(number: int) -> str:
            async with turns:
                answer = await client.post("/api/v1/projects", json={"name": f"Live {number}"})
                answer.raise_for_status()
                return str(answer.json()["id"])

        return list(await asyncio.gather(*(make(number) for number in range(PROJECTS))))


class _Several:
    """Crowds and nchan, opened one after the other."""

    def __init__(self) -> None:
        self.crowds: list[Any] = []
        self.rest = ExitStack()

    async def open(self, task: Task) -> list[Crowd]:
        opening = crowds([task])
        found = await opening.__aenter__()
        self.crowds.append(opening)
        return found

    def nchan(self, connections: int, report: Report) -> Nchan | None:
        why = missing()
        if why is None:
            return self.rest.enter_context(nchan(connections))
        report.notes.append(f"not measured beside nchan: {why}")
        return None


@asynccontextmanager
async def _several() -> AsyncIterator[_Several]:
    held = _Several()
    try:
        yield held
    finally:
        for opening in held.crowds:
            await opening.__aexit__(None, None, None)
        held.rest.close()


# -- many connections --------------------------------------------------------------------------------------


async def _many(stack: Stack, report: Report, count: int, workers: int) -> None:
    """Half of each kind, over several workers; then everybody is told, and then cut off."""
    report.look_around("many")
    person = Person(stack.url)
    token, project = person.token(), person.create_project()
    processes = math.ceil(count / (limit() * 0.9))
    shares = [count // processes + (number < count % processes) for number in range(processes)]
    tasks = [
        _task(
            [
                _of_project("sse", stack, token, project, share // 2),
                _of_project("ws", stack, token, project, share - share // 2),
            ],
            number,
        )
        for number, share in enumerate(shares)
    ]
    group = f"{count:,} connections, {workers} workers"
    await _warm(stack, token, project, 20 * workers)
    gateways = _gateways(stack)
    empty = _resident(gateways)
    async with _telling(stack) as teller, crowds(tasks) as crowd:
        began = time.monotonic()
        now = await _all_open(crowd, OPEN_WITHIN, "many")
        opened = time.monotonic() - began
        _say_failures(report, "many", now, count)
        each = [process.num_fds() for process in gateways]
        report.notes.append("many: open files of the workers: " + ", ".join(f"{n:,}" for n in sorted(each)))
        report.figures.append(Figure(group, "opened", "/s", [now.open / opened]))
        grown = (_resident(gateways) - empty) / 1024 / max(now.open, 1)
        report.figures.append(Figure(group, "resident memory of each", "KiB", [grown], at_most(20)))
        report.figures.append(
            Figure(group, "CPU while idle", "cores", [await _quiet(gateways)], at_most(0.5))
        )
        took = []
        for _ in range(5):
            expected = await _arm(crowd)
            await asyncio.sleep(0.5)
            since = await teller.tell(project)
            took.append((await _heard(crowd, since, expected, "many")).seconds)
        report.figures.append(Figure(group, "one message to all", "s", took, at_most(1.5)))
        await _restart(stack, teller, crowd, report, group, project)


async def _quiet(gateways: Sequence[psutil.Process]) -> float:
    """Long enough that every client was sent a sign of life of each kind."""
    await asyncio.sleep(3.0)
    cpu, began = _cpu(gateways), time.monotonic()
    await asyncio.sleep(30.0)
    return (_cpu(gateways) - cpu) / (time.monotonic() - began)


async def _restart(
    stack: Stack, teller: Teller, crowd: Sequence[Crowd], report: Report, group: str, project: str
) -> None:
    """All workers at once, while things go on happening."""
    wanted = sum(each.size for each in crowd)
    before = await state(crowd)
    for process in _gateways(stack):
        process.terminate()
    began = time.monotonic()
    told = 0
    with console.status("") as line:
        while time.monotonic() - began < BACK_WITHIN:
            if told < 20:
                await teller.tell(project)
                told += 1
            now = await state(crowd)
            line.update(f"many: {now.open:,} of {wanted:,} connections are open again")
            if now.cut - before.cut >= wanted and now.open == wanted and now.heard == teller.numbers[project]:
                break
            await asyncio.sleep(0.5)
    took = time.monotonic() - began
    if now.open < wanted:
        report.notes.append(f"many: {wanted - now.open:,} were not back after {took:.0f} s")
    _say_failures(report, "many, after the restart", now, wanted)
    missed = now.gaps - before.gaps + (now.heard < teller.numbers[project])
    report.figures += [
        Figure(group, "all back after a restart", "s", [took], at_most(60)),
        Figure(group, "missed", "", [missed], at_most(0)),
        Figure(group, "told twice", "", [now.repeats - before.repeats], at_most(0)),
        Figure(group, "told to ask in pages", "", [now.resyncs - before.resyncs], at_most(0)),
    ]


if __name__ == "__main__":
    main()
