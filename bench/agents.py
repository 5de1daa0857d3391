"""`python -m bench.agents`: a list of many agents with very many runs, as the service answers it."""

import argparse
import asyncio
import os
import statistics
import time
import uuid
from typing import Any

import asyncpg
import uvloop

from bench.report import Figure, Report, at_most, console
from bench.servers import ROOT, Stack, stack
from signalbox_cli.provision.credentials import service_environment
from signalbox_common.contracts import tasks as contract
from signalbox_common.contracts.auth import QuotaLimits
from signalbox_common.db import Database
from signalbox_common.inbox import Inbox
from signalbox_common.quotas import ProjectQuotas
from signalbox_common.settings import OwnerSettings
from signalbox_common.work import Worker
from signalbox_tasks.service.agents import Agents
from signalbox_tasks.service.turns import Turns
from signalbox_tasks.store import agents

RESULTS = ROOT / "bench/results/agents.json"
GROUP = "agents"
AGENTS, RUNS, LEFT = 1_000, 1_000_000, 500
"""In all; and those of the runs that have not ended."""
ROUNDS, LOOKS = 3, 100
_AGENTS = """
    insert into tasks.agents
        (id, project_id, name, role, bot, runs, succeeded, created_by, created_at, updated_at)
    select gen_random_uuid(), $1, 'agent ' || number, 'works', 'bot', $3 / $2, $3 / $2, $1, now(), now()
    from generate_series(1, $2) as number
"""
_TASKS = """
    insert into tasks.tasks
        (id, project_id, title, description, priority, labels, spec, status, run, attempts,
         created_by, created_at, updated_at, agent)
    select gen_random_uuid(), $1, 'task', '', 1, '{}', '{}', 'succeeded', gen_random_uuid(), 1,
        $1, now(), now(), id
    from tasks.agents where project_id = $1
"""
_RUNS = """
    insert into tasks.runs
        (id, project_id, task_id, attempt, state, plan, admitted, rank, facts, wish, authority,
         created_by, created_by_name, queued_at, started_at, finished_at, version, agent)
    select gen_random_uuid(), $1, task.id, number, case when left_over then 'running' else 'succeeded' end,
        array['shell'], true, 1, '{}', '{}', task.id, $1, 'somebody', at, at,
        case when left_over then null else at + interval '20 seconds' end, 1, task.agent
    from (select id, agent, row_number() over () as place from tasks.tasks where project_id = $1) as task
    cross join lateral (
        select number, number = 1 and task.place <= $3 as left_over,
            now() - number * interval '40 minutes' as at
        from generate_series(1, $2) as number
    ) as made
"""
_DAYS = """
    insert into tasks.agent_days (agent, day, runs, succeeded, failed, cancelled, timed_out)
    select agent, finished_at::date, count(*), count(*), 0, 0, 0 from tasks.runs
    where project_id = $1 and finished_at is not null group by 1, 2
"""
_DURATIONS = """
    insert into tasks.agent_durations (agent, day, bucket, runs)
    select agent, day, 252, agent_days.runs from tasks.agent_days
    join tasks.agents on agents.id = agent where project_id = $1
"""


async def fill(url: str, project: uuid.UUID) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(_AGENTS, project, AGENTS, RUNS)
        await connection.execute(_TASKS, project)
        await connection.execute(_RUNS, project, RUNS // AGENTS, LEFT)
        await connection.execute(_DAYS, project)
        await connection.execute(_DURATIONS, project)
        await connection.execute("vacuum analyze tasks.runs")
        await connection.execute("analyze tasks.agents")
    finally:
        await connection.close()


class Caller:
    """Whoever asks, as use cases see them."""

    def __init__(self, project: uuid.UUID) -> None:
        self.principal = self
        self._project = project

    def project(self) -> uuid.UUID:
        return self._project


async def looks(stack_: Stack, project: uuid.UUID, rounds: int) -> dict[str, list[float]]:
    """Milliseconds from the question to the bytes of the answer."""
    os.environ |= service_environment(stack_.home.credentials, "tasks")
    database = Database(OwnerSettings(service="tasks"))
    found: dict[str, list[float]] = {}
    caller: Any = Caller(project)
    worker = Worker(database, Inbox(database).pending, "bench")
    service = Agents(database, Turns(worker, ProjectQuotas("tasks", QuotaLimits())))
    everyone, hundred = contract.ListAgents(limit=AGENTS), contract.ListAgents()
    first = (await service.page(caller, hundred)).items[0].id
    year = contract.GetAgentMetrics(agent=first)

    async def timed(name: str, ask: Any) -> None:
        took = []
        for _ in range(LOOKS):
            began = time.perf_counter()
            (await ask()).encode()
            took.append((time.perf_counter() - began) * 1000)
        found.setdefault(f"{name}, p50", []).append(statistics.median(took))
        found.setdefault(f"{name}, p95", []).append(sorted(took)[int(len(took) * 0.95)])

    for _ in range(rounds):
        await timed("all 1,000 agents", lambda: service.page(caller, everyone))
        await timed("a page of 100", lambda: service.page(caller, hundred))
        await timed("metrics of one, 30 days", lambda: service.metrics(caller, year))
    await plan(database, project)
    await database.close()
    return found


async def plan(database: Database, project: uuid.UUID) -> None:
    """Which index is used for what they are at."""
    async with database.reading() as connection:
        page = await agents.page(connection, project, words=None, cursor=None, limit=AGENTS)
        statement = f"explain (analyze, costs off, timing off) {agents.WORKLOADS.text}"
        rows = await connection.exec_driver_sql(
            statement.replace("cast(:agents as uuid[])", "$1::uuid[]"), ([each.id for each in page],)
        )
        for row in rows:
            console.print(row[0][:100], style="dim", markup=False)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.agents", description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    options = parser.parse_args()
    report, project = Report(), uuid.uuid4()
    with stack() as running:
        running.up()
        report.look_around(GROUP)
        admin = (running.home.credentials / "operator" / "database-url").read_text().strip()
        began = time.monotonic()
        asyncio.run(fill(admin, project))
        console.print(f"{RUNS:,} runs of {AGENTS:,} agents in {time.monotonic() - began:.0f} s", style="dim")
        found = uvloop.run(looks(running, project, options.rounds))
        running.down()
    targets = {"all 1,000 agents, p50": at_most(20)}
    report.figures = [Figure(GROUP, name, "ms", values, targets.get(name)) for name, values in found.items()]
    report.show()
    report.write(RESULTS)


if __name__ == "__main__":
    main()
