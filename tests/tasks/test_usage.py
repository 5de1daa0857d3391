"""What was counted of a project's runs is what a recount of them gives, for any sequence of runs."""

import csv
import importlib
import io
import json
import uuid
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from itertools import combinations
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from signalbox_common.contracts.tasks import RunState, StepName, UsageGroup
from signalbox_common.runtime import Service
from signalbox_common.testing import running
from signalbox_tasks.domain import Consumption, Run
from signalbox_tasks.store import usage
from tests.support.installation import Installation
from tests.support.tasks import TaskScene, task_scene

pytestmark = pytest.mark.usefixtures("patient")

FIRST = datetime(2026, 3, 31, 23, 0, tzinfo=UTC)
AGENTS, PERSONS = ([uuid.uuid4() for _ in range(2)] for _ in range(2))
ENDS = (RunState.SUCCEEDED, RunState.FAILED, RunState.CANCELLED, RunState.TIMED_OUT)
GROUPS = [by for count in range(5) for by in combinations(UsageGroup, count)]
CONSUMPTION = st.builds(
    Consumption,
    requests=st.integers(1, 3),
    input_tokens=st.integers(0, 10**9),
    output_tokens=st.integers(0, 10**9),
    cost=st.decimals(0, 1000, places=6),
)


@dataclass(frozen=True)
class RunThatEnded:
    state: RunState
    seconds: float | None
    """Since it had begun, if it had."""
    minutes: int
    """After the first."""
    agent: uuid.UUID | None
    person: uuid.UUID
    used: dict[str, Consumption]

    @property
    def at(self) -> datetime:
        return FIRST + timedelta(minutes=self.minutes)

    @property
    def main(self) -> str:
        order = {name: (each.tokens, each.requests, name) for name, each in self.used.items()}
        return max(order, key=lambda name: order[name], default="")

    def key(self, model: str) -> dict[UsageGroup, Any]:
        return {
            UsageGroup.DAY: self.at.date(),
            UsageGroup.AGENT: self.agent or usage.NOBODY,
            UsageGroup.MODEL: model,
            UsageGroup.PERSON: self.person,
        }


ENDED = st.builds(
    RunThatEnded,
    state=st.sampled_from(ENDS),
    seconds=st.one_of(st.none(), st.floats(0.0, 3_000_000.0)),
    minutes=st.integers(0, 3 * 24 * 60),
    agent=st.sampled_from([None, *AGENTS]),
    person=st.sampled_from(PERSONS),
    used=st.dictionaries(st.sampled_from(["cheap", "dear"]), CONSUMPTION),
)


def run_of(ended: RunThatEnded, project: uuid.UUID) -> Run:
    identifier = uuid.uuid4()
    since = timedelta(seconds=ended.seconds) if ended.seconds is not None else None
    run = Run(
        id=identifier,
        project_id=project,
        task_id=uuid.uuid4(),
        attempt=1,
        plan=(StepName.SHELL,),
        rank=1,
        created_by=ended.person,
        created_by_name="somebody",
        queued_at=ended.at,
        authority=identifier,
        agent=ended.agent,
        state=ended.state,
        started_at=ended.at - since if since is not None else None,
    )
    for model, consumption in ended.used.items():
        run = run.using(model, consumption)
    return run


def recount(runs: Sequence[RunThatEnded], by: Sequence[UsageGroup]) -> dict[tuple[Any, ...], Counter[str]]:
    found: dict[tuple[Any, ...], Counter[str]] = defaultdict(Counter)
    if not by:
        found[()].update({"runs": 0})
    for run in runs:
        key = tuple(run.key(run.main)[group] for group in by)
        lasted = timedelta(seconds=run.seconds) // timedelta(milliseconds=1) if run.seconds is not None else 0
        found[key].update({"runs": 1, run.state.value: 1, "run_ms": lasted})
        for model, each in run.used.items():
            found[tuple(run.key(model)[group] for group in by)].update(vars(each))
    return found


@pytest.fixture(scope="module")
async def service(shared_installation: Installation) -> AsyncIterator[Service]:
    async with running(Service(shared_installation.lab())) as found:
        yield found


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sequence=st.lists(ENDED, max_size=20))
async def test_usage_is_a_recount(service: Service, sequence: Sequence[RunThatEnded]) -> None:
    """By whatever it is asked, and in pages of two rows."""
    project = uuid.uuid4()
    async with service.database.transaction() as transaction:
        for ended in sequence:
            await usage.count(transaction, run_of(ended, project), ended.at)
    async with service.database.reading() as connection:
        for by in GROUPS:
            rows: list[Any] = []
            while True:
                last = {group: rows[-1][group] for group in by} if rows else None
                page = await usage.page(
                    connection,
                    project,
                    by=by,
                    since=FIRST.date(),
                    until=date(2026, 4, 30),
                    person=None,
                    after=last,
                    limit=2,
                )
                rows += page
                if len(page) < 2:
                    break
            wanted = recount(sequence, by)
            assert [tuple(row[group] for group in by) for row in rows] == sorted(wanted)
            for row in rows:
                counted = wanted[tuple(row[group] for group in by)]
                assert {name: row[name] for name in usage.FIGURES} == {
                    name: counted[name] for name in usage.FIGURES
                }
    async with service.database.reading() as connection:
        kept = await connection.exec_driver_sql(
            f"select month, tokens, cost from tasks.usage_months where project_id = '{project}'"
        )
    months: dict[date, Consumption] = defaultdict(Consumption)
    for ended in sequence:
        for each in ended.used.values():
            months[ended.at.date().replace(day=1)] += each
    assert {row.month: (row.tokens, row.cost) for row in kept} == {
        month: (each.tokens, each.cost) for month, each in months.items() if each.tokens or each.cost
    }


_migration = importlib.import_module("signalbox_tasks.migrations.versions.0012_usage")
RECOUNT = next(each for each in _migration.STATEMENTS if "insert into" in each).partition("usage_days")[2]
"""As runs are counted that were there before there was a rollup."""


@pytest.fixture(scope="module")
async def scene(
    shared_installation: Installation, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[TaskScene]:
    async with task_scene(shared_installation, tmp_path_factory.mktemp("tasks")) as scene, scene.service():
        yield scene


@pytest.fixture(scope="module")
async def developer(scene: TaskScene) -> dict[str, str]:
    return await scene.http.join(scene.headers, scene.project, "developer")


@pytest.fixture(scope="module")
async def there(scene: TaskScene, developer: dict[str, str]) -> TaskScene:
    """With runs of an owner and of a developer that have ended in each way."""
    theirs = replace(scene, headers=developer)
    made = [
        await scene.create(noop={}),
        await scene.create(exec={"script": "exit 1"}, retry={"attempts": 2, "on": ["exec_failed"]}),
        await theirs.create(exec={"script": "sleep 0.2"}),
    ]
    stopped = await theirs.create(exec={"script": "sleep 600"})
    never = await theirs.create(noop={}, dependsOn=[stopped["id"]])
    await scene.until(stopped, "running", step="shell")
    await scene.cancel(stopped["id"])
    for task, state in zip((*made, never), ("succeeded", "failed", "succeeded", "failed"), strict=True):
        await scene.ended(task, state)
    return scene


async def look(there: TaskScene, *, headers: dict[str, str] | None = None, **params: Any) -> Any:
    path = f"/api/v1/projects/{there.project}/usage"
    return await there.ask("GET", path, params=params, headers=headers or there.headers)


async def test_it_is_what_the_runs_say(there: TaskScene) -> None:
    """A run counts once, each attempt is one, and what never began took no time."""
    (all_,) = (await look(there))["items"]
    rows = (await look(there, by="person"))["items"]
    assert (all_["runs"], all_["succeeded"], all_["failed"], all_["cancelled"]) == (6, 2, 3, 1)
    assert [row["runs"] for row in rows] == [3, 3]
    assert 0 < all_["sandboxSeconds"] < all_["runSeconds"]
    (day,) = (await look(there, by="day,model"))["items"]
    assert (day["day"], day["model"], day["cost"]) == (str(datetime.now(UTC).date()), None, 0.0)
    async with there.installation.sql() as sql:
        project = uuid.UUID(there.project)
        counted = await sql.fetch("select * from tasks.usage_days where project_id = $1", project)
        again = [row for row in await sql.fetch(RECOUNT) if row["project_id"] == project]
    assert sorted(map(tuple, again)) == sorted(map(tuple, counted))


async def test_who_sees_whose(there: TaskScene, developer: dict[str, str]) -> None:
    """All see the sums; by person, maintainers see everybody, and others themselves."""
    maintainer = await there.http.join(there.headers, there.project, "maintainer")
    viewer = await there.http.join(there.headers, there.project, "viewer")
    for headers, persons, known in (
        (there.headers, "all", 2),
        (maintainer, "all", 2),
        (developer, "own", 1),
        (viewer, "own", 0),
    ):
        found = await look(there, headers=headers, by="person,day")
        assert (found["persons"], len(found["items"])) == (persons, known)
        (sums,) = (await look(there, headers=headers))["items"]
        assert sums["runs"] == 6
    (own,) = (await look(there, headers=developer, by="person"))["items"]
    assert (own["userId"], own["runs"]) == ((await there.http.me(developer))["id"], 3)
    path = f"/api/v1/projects/{there.project}/usage"
    refused = await there.ask("GET", path, status=404, headers=await there.http.sign_up())
    assert refused["code"] == "project_not_found"


async def test_it_is_taken_away(there: TaskScene) -> None:
    """All of it in one file, however many pages it takes."""
    path = f"/api/v1/projects/{there.project}/usage"
    items = (await look(there, by="person,day"))["items"]
    first = await look(there, by="person,day", limit=1)
    rest = await look(there, by="person,day", limit=1, cursor=first["nextCursor"])
    assert [*first["items"], *rest["items"]] == items
    wanted: Any
    for wanted, headers in (({"format": "csv"}, {}), ({}, {"Accept": "text/csv"})):
        answer = await there.http.get(
            path,
            params={"by": "person,day", "limit": 1} | wanted,
            headers=there.headers | headers,
        )
        assert answer.headers["content-type"].startswith("text/csv")
        assert answer.headers["content-disposition"].startswith("attachment; ")
        rows = list(csv.DictReader(io.StringIO(answer.text)))
        assert list(rows[0])[:3] == ["day", "userId", "runs"]
        assert [{name: str(item[name]) for name in rows[0]} for item in items] == rows
    answer = await there.http.get(
        path, params={"by": "day,person", "format": "jsonl", "limit": 1}, headers=there.headers
    )
    assert [json.loads(line) for line in answer.text.splitlines()] == items


@pytest.mark.parametrize(
    "params",
    [
        {"by": "day,day"},
        {"by": "year"},
        {"from": "2026-01-01", "to": "2025-01-01"},
        {"from": "2024-01-01", "to": "2025-01-01"},
        {"to": "0001-01-02"},
        {"from": "yesterday"},
        {"format": "xml"},
        {"cursor": "nonsense", "by": "day"},
        {"cursor": "AAAA"},
        {"limit": 0},
    ],
)
async def test_what_makes_no_sense_is_refused(there: TaskScene, params: dict[str, Any]) -> None:
    found = await there.ask("GET", f"/api/v1/projects/{there.project}/usage", status=422, params=params)
    assert found["code"] == "validation_failed"
    assert found["errors"]
