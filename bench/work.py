"""`python -m bench.work`: work that does nothing, here and in other systems, on the same servers in one run.

The others are installed from `bench/others/requirements.txt` into a folder of their own, given with --others.
"""

import argparse
import asyncio
import os
import statistics
import subprocess
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import uvloop

from bench.report import Figure, Report, at_least, at_most, console
from bench.servers import ROOT, Stack, stack
from signalbox_cli.provision.credentials import Credentials, service_environment
from signalbox_common.db import Database
from signalbox_common.inbox import Inbox
from signalbox_common.settings import OwnerSettings
from signalbox_common.work import Job, Worker

RESULTS = ROOT / "bench/results/work.json"
ROUNDS = 3
ROWS = {"ours": 10_000, "procrastinate": 2_000, "taskiq": 10_000, "dbos": 1_000}
SINGLE = 2_000
LOOKS = 200
QUIET = 0.05
"""Seconds until a worker that has ended a job is idle again."""
GROUP = "work"
_OTHERS = ROOT / "bench/others"


@asynccontextmanager
async def worker_on(stack_: Stack, *, settle_each: bool) -> AsyncIterator[tuple[Worker, "Tally"]]:
    os.environ |= service_environment(stack_.home.credentials, "tasks")
    settings = OwnerSettings(service="tasks")
    database = Database(settings)
    tally = Tally()
    worker = Worker(database, Inbox(database).pending, "bench")

    @worker.on("bench", most=100_000, most_in_project=100_000)
    async def nothing(job: Job) -> None:
        tally.starts[job.key] = time.perf_counter()
        tally.begun.set()
        if settle_each:
            async with job.transaction() as transaction:
                await job.done(transaction)

    yield worker, tally
    await worker.stop(5.0)
    await database.close()


class Tally:
    """When each job was begun."""

    def __init__(self) -> None:
        self.starts: dict[str, float] = {}
        self.begun = asyncio.Event()


async def put(worker: Worker, count: int) -> None:
    async with worker.table.database.transaction() as transaction:
        for number in range(count):
            await worker.put(transaction, "bench", f"bench-{number}-{uuid.uuid4().hex}")


async def empty(worker: Worker) -> None:
    while await worker.table.counts():
        await asyncio.sleep(0.02)


async def rate(stack_: Stack, count: int, *, settle_each: bool) -> float:
    """Jobs a second of one process, from the moment when it begins to look until all rows are gone."""
    async with worker_on(stack_, settle_each=settle_each) as (worker, _):
        await put(worker, count)
        began = time.perf_counter()
        worker.start()
        await empty(worker)
        return count / (time.perf_counter() - began)


async def latencies(stack_: Stack) -> tuple[list[float], list[float]]:
    """Milliseconds from the commit of one row until its handler begins, with nothing else to do.

    And what the simplest question to PostgreSQL takes after the same pause.
    """
    found, controls = [], []
    async with worker_on(stack_, settle_each=False) as (worker, tally):
        worker.start()
        for number in range(LOOKS):
            key = f"latency-{number}-{uuid.uuid4().hex}"
            async with worker.table.database.transaction() as transaction:
                await worker.put(transaction, "bench", key)
            committed = time.perf_counter()
            await tally.begun.wait()
            tally.begun.clear()
            found.append((tally.starts[key] - committed) * 1000)
            await empty(worker)
            await asyncio.sleep(QUIET)
            began = time.perf_counter()
            await worker.table.database.check()
            controls.append((time.perf_counter() - began) * 1000)
            await asyncio.sleep(QUIET)
    return found, controls


def other(python: Path, name: str, url: str, count: int) -> float:
    script = _OTHERS / f"on_{name}.py"
    done = subprocess.run(
        [str(python), str(script), url, str(count)], capture_output=True, text=True, check=False, timeout=300
    )
    if done.returncode:
        raise RuntimeError(f"{name}: {done.stderr[-1500:]}")
    return count / float(done.stdout.split()[-1])


async def fresh_database(url: str, name: str) -> str:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(f"drop database if exists {name} with (force)")
        await connection.execute(f"create database {name}")
    finally:
        await connection.close()
    return f"{url.rpartition('/')[0]}/{name}"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.work", description=__doc__)
    parser.add_argument("--others", type=Path, metavar="DIR", help="a virtual environment that has them")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    options = parser.parse_args()
    report, rounds = Report(), dict[str, list[float]]()
    with stack() as running:
        running.up()
        report.look_around("work")
        credentials = Credentials.read(running.home.credentials / "secrets.json")
        admin = (running.home.credentials / "operator" / "database-url").read_text().strip()
        nats = (running.home.credentials / "operator" / "nats-url").read_text().strip()
        nats = nats.replace("operator:", "admin:").replace(
            credentials.passwords["nats"]["operator"], credentials.passwords["nats"]["admin"]
        )

        def note(name: str, value: float) -> None:
            console.print(f"{name}: {value:.2f}", style="dim")
            rounds.setdefault(name, []).append(value)

        for _ in range(options.rounds):
            note("ours, in batches", uvloop.run(rate(running, ROWS["ours"], settle_each=False)))
            if options.others is not None:
                python = options.others / "bin/python"
                for name in ("procrastinate", "dbos"):
                    url = uvloop.run(fresh_database(admin, f"bench_{name}"))
                    note(name, other(python, name, url, ROWS[name]))
                note("taskiq on NATS", other(python, "taskiq", nats, ROWS["taskiq"]))
            note("ours, each in a transaction", uvloop.run(rate(running, SINGLE, settle_each=True)))
            found, controls = uvloop.run(latencies(running))
            note("committed until begun, p50", statistics.median(found))
            note("`select 1` after the same pause, p50", statistics.median(controls))
        running.down()
    targets = {"ours, each in a transaction": at_least(300), "committed until begun, p50": at_most(3)}
    report.figures = [
        Figure(GROUP, name, "ms" if "p50" in name else "/s", values, targets.get(name))
        for name, values in rounds.items()
    ]
    report.show()
    report.write(RESULTS)


if __name__ == "__main__":
    main()
