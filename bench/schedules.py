"""`python -m bench.schedules`: very many schedules whose time comes together, and who waits for them."""

import argparse
import asyncio
import json
import statistics
import time
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import asyncpg
import httpx
import uvloop

from bench.report import Figure, Report, at_most, console
from bench.servers import ROOT
from signalbox_common.contracts.tasks import NewTask, NoopShell, TaskSpec
from tests.support.stack import Stack, new_home

RESULTS = ROOT / "bench/results/schedules.json"
GROUP = "schedules"
SCHEDULES, ROUNDS, QUIET = 5_000, 3, 5.0
PAUSE = 0.1
"""Seconds between the tasks of somebody else."""
TARGETS = {
    "5,000 due at once, all are started": at_most(5),
    "the worst delay of somebody else's task": at_most(500),
}
_ADD = """
    insert into tasks.schedules
        (id, project_id, name, at, timezone, since, task, misfire, misfire_limit, late_after, overlap, paused,
         next_at, authority, proof_at, delegated, acts_for, acts_for_name, created_by, created_at, updated_at,
         version)
    select gen_random_uuid(), ($1::uuid[])[1 + number % cardinality($1::uuid[])], 'schedule ' || number, $2,
        'UTC', now(), $3, 'once', 1, 3600, 'skip', false, $2, gen_random_uuid(), now(), true, $4, 'bench',
        $4, now(), now(), 1
    from generate_series(1, $5) as number
"""
_STARTED = """
    select count(*) as times, extract(epoch from max(fired_at) - $1) as took
    from tasks.firings where due_at = $1 and outcome = 'started'
"""
_LEFT = "select count(*) from tasks.tasks where completed_at is null"


@dataclass
class Wait:
    """Of somebody else's task: from its request until its run has begun."""

    at: float
    task: str
    milliseconds: float = 0.0


class Bench:
    def __init__(self, http: httpx.AsyncClient, sql: asyncpg.Connection, project: str) -> None:
        self._http = http
        self._sql = sql
        self._project = project

    async def round(self, projects: int) -> dict[str, float]:
        """Seconds until all are started and done, and milliseconds that others wait."""
        at = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=2 * QUIET)
        task = NewTask(title="Do nothing", spec=TaskSpec(noop=NoopShell())).model_dump_json(by_alias=True)
        names = [uuid.uuid4() for _ in range(projects)]
        await self._sql.execute(_ADD, names, at, task, uuid.uuid4(), SCHEDULES)
        await self._sql.execute("analyze tasks.schedules")
        others = asyncio.create_task(self._create_on())
        took = await self._started(at)
        await self._all_ended()
        done = time.time() - at.timestamp()
        others.cancel()
        waits = await self._waits(await others)
        quiet = [wait.milliseconds for wait in waits if wait.at < at.timestamp() - 0.5]
        busy = [wait.milliseconds for wait in waits if at.timestamp() <= wait.at <= at.timestamp() + done]
        usual = statistics.median(quiet)
        return {
            "5,000 due at once, all are started": took,
            "all have ended": done,
            "somebody else's task begins, before": usual,
            "somebody else's task begins, meanwhile, p50": statistics.median(busy),
            "the worst delay of somebody else's task": max(busy) - usual,
        }

    async def _create_on(self) -> list[Wait]:
        """Until cancelled."""
        made: list[Wait] = []
        body = {"title": "Beside", "noop": {}, "projectId": self._project}

        async def one() -> None:
            at = time.time()
            answer = await self._http.post("/api/v1/tasks", json=body)
            if answer.status_code == 201:
                made.append(Wait(at, answer.json()["id"]))

        running: set[asyncio.Task[None]] = set()
        try:
            while True:
                running.add(asyncio.create_task(one()))
                await asyncio.sleep(PAUSE)
        except asyncio.CancelledError:
            await asyncio.gather(*running)
        return made

    async def _started(self, at: datetime) -> float:
        while True:
            (row,) = await self._sql.fetch(_STARTED, at)
            if row["times"] == SCHEDULES:
                return float(row["took"])
            await asyncio.sleep(0.05)

    async def _all_ended(self) -> None:
        while await self._sql.fetchval(_LEFT) > 5:
            await asyncio.sleep(0.1)

    async def _waits(self, made: list[Wait]) -> list[Wait]:
        ids = [uuid.UUID(wait.task) for wait in made]
        rows = await self._sql.fetch(
            "select task_id, extract(epoch from started_at) as at from tasks.runs "
            "where task_id = any($1) and started_at is not null",
            ids,
        )
        begun = {str(row["task_id"]): float(row["at"]) for row in rows}
        for wait in made:
            wait.milliseconds = (begun[wait.task] - wait.at) * 1000
        return made


async def measure(stack: Stack, projects: int) -> dict[str, float]:
    headers = {"Authorization": f"Bearer {stack.env['SIGNALBOX_TOKEN']}"}
    admin = (stack.home.credentials / "operator" / "database-url").read_text().strip()
    sql = await asyncpg.connect(admin)
    try:
        async with httpx.AsyncClient(base_url=stack.url, headers=headers, timeout=60) as http:
            made = await http.post("/api/v1/projects", json={"name": "Beside"})
            found = await Bench(http, sql, made.json()["id"]).round(projects)
        console.print(json.dumps(found), style="dim")
        return found
    finally:
        await sql.close()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.schedules", description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--projects", type=int, default=50, help="among which they are shared out")
    options = parser.parse_args()
    report, rounds = Report(), dict[str, list[float]]()
    stack = Stack(new_home())
    try:
        stack.up()
        report.look_around(GROUP)
        uvloop.run(stack.become_admin())
        for _ in range(options.rounds):
            for name, value in uvloop.run(measure(stack, options.projects)).items():
                rounds.setdefault(name, []).append(value)
    finally:
        stack.down()
        stack.remove()
    report.figures = [
        Figure(GROUP, name, "ms" if "somebody" in name else "s", values, TARGETS.get(name))
        for name, values in rounds.items()
    ]
    report.show()
    report.write(RESULTS)


if __name__ == "__main__":
    main()
