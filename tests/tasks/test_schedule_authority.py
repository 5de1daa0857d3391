"""For whom schedules act, and what they do when they cannot."""

import json
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from signalbox_common.runtime import Service
from signalbox_common.testing import eventually
from tests.support.clocks import Clock, clock_of
from tests.support.installation import Installation
from tests.support.schedules import SCHEDULES, due, history, look, ready, remove_all, schedule
from tests.support.tasks import TaskScene, task_scene

pytestmark = pytest.mark.usefixtures("patient")

BUSY = {"title": "Busy", "exec": {"script": "echo in; sleep 600"}}
MONTH = timedelta(days=31)


@dataclass
class Place:
    there: TaskScene
    service: Service


@pytest.fixture(scope="module")
async def place(
    shared_installation: Installation, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Place]:
    async with (
        task_scene(shared_installation, tmp_path_factory.mktemp("tasks")) as scene,
        shared_installation.running_catalog(),
        scene.service() as service,
    ):
        yield Place(scene, service)


@pytest.fixture
def there(place: Place) -> TaskScene:
    return place.there


@pytest.fixture
async def clock(there: TaskScene) -> AsyncIterator[Clock]:
    async with clock_of(there.installation, "tasks") as clock:
        yield clock
        await remove_all(there)


async def leave(there: TaskScene, person: dict[str, str]) -> None:
    who = (await there.http.me(person))["id"]
    path = f"/api/v1/projects/{there.project}/members/{who}"
    assert (await there.http.delete(path, headers=there.headers)).status_code == 204


async def paused(there: TaskScene, found: Any) -> Any:
    async def so() -> Any:
        seen = await look(there, found)
        return seen if seen["paused"] else None

    return await eventually(so, what="it is paused")


async def delegations(there: TaskScene, authority: uuid.UUID) -> list[Any]:
    async with there.installation.sql() as sql:
        rows = await sql.fetch(
            "select expires_at, revoked_at from auth.delegations where run = $1", str(authority)
        )
    return list(rows)


async def authority_of(there: TaskScene, found: Any) -> uuid.UUID:
    async with there.installation.sql() as sql:
        authority: uuid.UUID = await sql.fetchval(
            "select authority from tasks.schedules where id = $1", uuid.UUID(found["id"])
        )
    return authority


async def test_who_left_starts_nothing_more(there: TaskScene, clock: Clock) -> None:
    """What it started fails, and it is paused and says why; until somebody resumes it, for themselves."""
    person = await there.http.join(there.headers, there.project, "developer")
    theirs = await schedule(there, every=60, task=BUSY, headers=person)
    ours = await schedule(there, every=60)
    assert theirs["actsFor"] == (await there.http.me(person))["id"] != ours["actsFor"]
    await ready(there, theirs, ours)
    await clock.set(max(due(theirs), due(ours)) + timedelta(seconds=1))
    (fired,) = await history(there, theirs, 1)
    task = await there.task(fired["taskId"])
    await there.said(task, "in")
    await leave(there, person)
    ended = await there.ended(task, "failed")
    assert ended["error"]["code"] == "authority_ended"
    left = (await there.run(task["runId"]))["sandboxId"]  # for somebody to look at
    await there.ask("DELETE", f"/api/v1/sandboxes/{left}")
    stopped = await paused(there, theirs)
    assert (stopped["nextRuns"], stopped["reason"]) == ([], ended["error"]["detail"])
    assert not (await look(there, ours))["paused"]
    resumed = await there.ask("POST", f"{SCHEDULES}/{theirs['id']}/resume")
    assert (resumed["paused"], resumed["actsFor"]) == (False, ours["actsFor"])
    await ready(there, theirs)
    await clock.set(due(resumed) + timedelta(seconds=1))
    again = await there.task((await history(there, theirs, 2))[1]["taskId"])
    await there.said(again, "in")
    assert again["createdBy"] == ours["actsFor"]
    await there.cancel(again["id"])


async def test_the_right_to_act_is_renewed(there: TaskScene, clock: Clock) -> None:
    person = await there.http.join(there.headers, there.project, "developer")
    made = await schedule(there, cron="@yearly", headers=person)
    await ready(there, made)
    authority = await authority_of(there, made)
    ((before, _),) = await delegations(there, authority)
    await clock.set(datetime.now(UTC) + MONTH * 2 / 3 - timedelta(hours=1))

    async def renewed() -> bool:
        ((now, _),) = await delegations(there, authority)
        return bool(now > before)

    assert not await renewed()
    await clock.set(datetime.now(UTC) + MONTH * 2 / 3 + timedelta(hours=1))
    await eventually(renewed, what="it is renewed at two thirds of its life")
    await leave(there, person)
    await clock.set(datetime.now(UTC) + MONTH * 4 / 3 + timedelta(hours=2))
    stopped = await paused(there, made)
    assert stopped["reason"]
    listed = await there.ask("GET", SCHEDULES, params={"projectId": there.project, "limit": 200})
    assert [each["reason"] for each in listed["items"] if each["id"] == made["id"]] == [stopped["reason"]]


async def test_it_acts_for_whoever_changed_it(there: TaskScene, clock: Clock) -> None:
    """What runs meanwhile goes on under the right of before, which ends with it."""
    person = await there.http.join(there.headers, there.project, "developer")
    made = await schedule(there, every=60, overlap="queue", task=BUSY, headers=person)
    await ready(there, made)
    before = await authority_of(there, made)
    await clock.set(due(made) + timedelta(seconds=1))
    task = await there.task((await history(there, made, 1))[0]["taskId"])
    await there.said(task, "in")
    script = {"title": "Quick", "exec": {"script": "echo quick"}}
    changed = await there.ask("PATCH", f"{SCHEDULES}/{made['id']}", json={"task": script, "every": "2m"})
    assert (changed["actsFor"], changed["every"]) != (made["actsFor"], made["every"])
    assert (changed["task"]["title"], changed["overlap"], changed["name"]) == ("Quick", "queue", made["name"])
    after = await authority_of(there, made)
    await ready(there, made)
    assert before != after
    path = f"/api/v1/sandboxes/{(await there.run(task['runId']))['sandboxId']}/files"
    await there.ask("PUT", path, status=204, params={"path": "/tmp/x"}, content=b"")
    assert (await there.until(task, "running"))["createdBy"] == made["actsFor"]
    await there.cancel(task["id"])
    await clock.set(due(changed) + timedelta(seconds=1))  # by then it is looked who still needs it

    async def ended() -> bool:
        return all(row["revoked_at"] is not None for row in await delegations(there, before))

    await eventually(ended, what="the right of before has ended")
    again = await there.task((await history(there, made, 2))[1]["taskId"])
    assert (await there.ended(again))["createdBy"] == changed["actsFor"]
    assert await there.log(again["runId"]) == "quick\n"


async def test_what_it_started_outlives_it(there: TaskScene, clock: Clock) -> None:
    made = await schedule(there, every=60, task=BUSY)
    await ready(there, made)
    authority = await authority_of(there, made)
    await clock.set(due(made) + timedelta(seconds=1))
    task = await there.task((await history(there, made, 1))[0]["taskId"])
    await there.said(task, "in")
    await there.ask("DELETE", f"{SCHEDULES}/{made['id']}", status=204)
    assert (await there.ask("GET", f"{SCHEDULES}/{made['id']}", status=404))["code"] == "schedule_not_found"
    run = await there.run(task["runId"])
    path = f"/api/v1/sandboxes/{run['sandboxId']}/files"
    await there.ask("PUT", path, status=204, params={"path": "/tmp/x"}, content=b"")
    assert (await delegations(there, authority))[0]["revoked_at"] is None
    ended = await there.cancel(task["id"])
    assert ended["status"] == "cancelled"
    await clock.set(due(made) + timedelta(minutes=2))
    await there.nothing_is_left()
    assert (await delegations(there, authority))[0]["revoked_at"] is not None


async def test_nothing_starts_in_a_deleted_project(there: TaskScene, clock: Clock) -> None:
    project = await there.http.project(there.headers)
    made = await schedule(there, every=60, projectId=project)
    beside = await schedule(there, every=60)
    await ready(there, made, beside)
    assert (await there.http.delete(f"/api/v1/projects/{project}", headers=there.headers)).status_code == 204

    async def gone() -> bool:
        async with there.installation.sql() as sql:
            found = await sql.fetchval(
                "select deleted_at from tasks.projects where project_id = $1", uuid.UUID(project)
            )
        return found is not None

    await eventually(gone, what="tasks has heard of it")
    await clock.set(max(due(made), due(beside)) + timedelta(seconds=1))
    await history(there, beside, 1)
    async with there.installation.sql() as sql:
        fired = await sql.fetchval(
            "select count(*) from tasks.firings where schedule_id = $1", uuid.UUID(made["id"])
        )
    assert fired == 0


async def test_one_that_cannot_be_started_holds_up_nobody(there: TaskScene, clock: Clock) -> None:
    broken, well = await schedule(there, every=60), await schedule(there, every=60)
    await ready(there, broken, well)
    async with there.installation.sql() as sql:
        await sql.execute(
            "update tasks.schedules set task = $2 where id = $1", uuid.UUID(broken["id"]), json.dumps({})
        )
        await clock.set(max(due(broken), due(well)) + timedelta(seconds=1))
        assert (await history(there, well, 1))[0]["outcome"] == "started"

        async def stopped() -> bool:
            row = await sql.fetchrow(
                "select paused, reason from tasks.schedules where id = $1", uuid.UUID(broken["id"])
            )
            return bool(row["paused"] and "could not be started" in row["reason"])

        await eventually(stopped, what="the broken one is paused")
        task = json.dumps(broken["task"])
        await sql.execute("update tasks.schedules set task = $2 where id = $1", uuid.UUID(broken["id"]), task)


async def test_what_it_names_stays_as_long_as_it_does(place: Place, clock: Clock) -> None:
    """Variables and files: those that nothing names are cleared away after a day."""
    there = place.there
    given = await there.ask(
        "POST",
        "/api/v1/attachments",
        status=201,
        params={"name": "notes.txt", "projectId": there.project},
        content=b"read me",
        headers=there.headers | {"Content-Type": "text/plain"},
    )
    script = 'echo "$WORD"; cat "$SIGNALBOX_ATTACHMENTS/notes.txt"'
    task = {
        "title": "Read",
        "exec": {"script": script, "env": {"WORD": "hidden"}},
        "attachments": [given["id"]],
    }
    made = await schedule(there, cron="@yearly", task=task)
    assert "hidden" not in json.dumps(made)
    await ready(there, made)
    await clock.set(datetime.now(UTC) + timedelta(days=3))
    await tidy(place.service)
    run = await there.ask("POST", f"{SCHEDULES}/{made['id']}/run", status=201)
    assert await there.log((await there.ended(run))["runId"]) == "hidden\nread me"
    await there.ask("DELETE", f"{SCHEDULES}/{made['id']}", status=204)
    await there.ask("DELETE", f"/api/v1/tasks/{run['id']}", status=204)
    await clock.set(datetime.now(UTC) + timedelta(days=6))
    await tidy(place.service)
    assert (await there.ask("GET", f"/api/v1/attachments/{given['id']}", status=404))["code"]
    async with there.installation.sql() as sql:
        left = await sql.fetchval(
            "select count(*) from tasks.environments where id = $1",
            uuid.UUID(made["task"]["spec"]["exec"]["environment"]),
        )
    assert left == 0


async def tidy(service: Service) -> None:
    async with service.database.transaction() as transaction:
        await service.tidy(transaction)
