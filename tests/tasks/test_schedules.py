"""Schedules: tasks that are created when their time has come, each time once, for whoever said so."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest

from signalbox_tasks.work import scheduler
from tests.support.clocks import Clock, clock_of
from tests.support.installation import Installation
from tests.support.schedules import (
    NOTHING,
    SCHEDULES,
    do,
    due,
    history,
    look,
    moments,
    ready,
    remove_all,
    schedule,
)
from tests.support.tasks import TaskScene, gathered, task_scene

pytestmark = pytest.mark.usefixtures("patient")


@pytest.fixture(scope="module")
async def there(
    shared_installation: Installation, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[TaskScene]:
    async with (
        task_scene(shared_installation, tmp_path_factory.mktemp("tasks")) as scene,
        scene.service(),
    ):
        yield scene


@pytest.fixture
async def clock(there: TaskScene) -> AsyncIterator[Clock]:
    async with clock_of(there.installation, "tasks") as clock:
        yield clock
        await remove_all(there)


async def test_its_time_comes(there: TaskScene, clock: Clock) -> None:
    repository, _ = await there.repository({"a.txt": "1\n"})
    task = {
        "title": "Nightly",
        "repository": repository,
        "exec": {"script": "echo night >> a.txt; echo done"},
    }
    made = await schedule(there, name="Nightly", cron="30 2 * * *", timezone="Europe/Berlin", task=task)
    assert len(made["nextRuns"]) == 5
    await ready(there, made)
    first, second = moments(made)[:2]
    await clock.set(first + timedelta(seconds=5))
    (fired,) = await history(there, made, 1)
    assert (fired["outcome"], datetime.fromisoformat(fired["dueAt"]), fired["times"]) == ("started", first, 1)
    ended = await there.ended(await there.task(fired["taskId"]))
    assert (ended["scheduleId"], ended["runId"]) == (made["id"], fired["runId"])
    assert await there.log(ended["runId"]) == "done\n"
    assert ended["gitBranch"] is not None
    found = await look(there, made)
    assert (found["lastTaskId"], datetime.fromisoformat(found["lastRun"])) == (fired["taskId"], first)
    assert moments(found)[0] == second
    listed = await there.ask(
        "GET", "/api/v1/tasks", params={"scheduleId": made["id"], "projectId": there.project}
    )
    assert [each["id"] for each in listed["items"]] == [fired["taskId"]]
    await clock.set(second + timedelta(seconds=5))  # and once more, under the same delegation
    again = (await history(there, made, 2))[1]
    await there.ended(await there.task(again["taskId"]))
    assert await there.ask("DELETE", f"{SCHEDULES}/{made['id']}", status=204) == ""
    await there.nothing_is_left()


async def test_what_was_missed(there: TaskScene, clock: Clock) -> None:
    """A day away: skipped, made up for once, or as often as it says."""
    made = await gathered(
        *(
            schedule(there, every="1h", misfire=policy, misfireLimit=3, overlap="queue")
            for policy in ("skip", "once", "all")
        )
    )
    await ready(there, *made)
    begun = max(moments(each)[0] for each in made) - timedelta(hours=1)
    await clock.set(begun + timedelta(hours=24, minutes=30))
    skip, once, up_to = await gathered(
        history(there, made[0], 1), history(there, made[1], 2), history(there, made[2], 4)
    )
    assert [(each["outcome"], each["reason"], each["times"]) for each in skip] == [("skipped", "missed", 24)]
    assert [(each["outcome"], each["times"]) for each in once] == [("skipped", 23), ("started", 1)]
    assert [(each["outcome"], each["times"]) for each in up_to] == [("skipped", 21)] + [("started", 1)] * 3
    hours = [datetime.fromisoformat(each["dueAt"]) for each in up_to[1:]]
    assert [later - earlier for earlier, later in pairwise(hours)] == [timedelta(hours=1)] * 2
    await clock.set(begun + timedelta(hours=20))  # a clock that is put back fires nothing twice
    await clock.set(begun + timedelta(hours=25, seconds=30))
    entries = await gathered(
        history(there, made[0], 2), history(there, made[1], 3), history(there, made[2], 5)
    )
    assert [(each[-1]["outcome"], each[-1]["times"]) for each in entries] == [("started", 1)] * 3


async def test_what_overlaps(there: TaskScene, clock: Clock) -> None:
    busy = {"title": "Busy", "exec": {"script": "echo in; sleep 600"}}
    made = await gathered(
        *(schedule(there, every=60, overlap=policy, task=busy) for policy in ("skip", "queue", "cancel"))
    )
    await ready(there, *made)
    first = max(moments(each)[0] for each in made)
    await clock.set(first + timedelta(seconds=5))
    begun = [(await history(there, each, 1))[0] for each in made]
    tasks = await gathered(*(there.task(each["taskId"]) for each in begun))
    await gathered(*(there.said(task, "in") for task in tasks))
    await clock.set(first + timedelta(seconds=65))
    skip, queue, cancel = await gathered(*(history(there, each, 2) for each in made))
    assert (skip[1]["outcome"], skip[1]["reason"]) == ("skipped", "overlap")
    assert (await there.run(queue[1]["runId"]))["waitingFor"] == "key"
    await there.ended(tasks[2], "cancelled")
    assert (await there.task(cancel[1]["taskId"]))["status"] in ("pending", "running")
    await there.cancel(tasks[0]["id"])
    await there.cancel(tasks[1]["id"])
    behind = await there.task(queue[1]["taskId"])
    await there.said(behind, "in")
    for each in (behind, await there.task(cancel[1]["taskId"])):
        await there.cancel(each["id"])
    for each in made:
        await there.ask("DELETE", f"{SCHEDULES}/{each['id']}", status=204)
    await there.nothing_is_left()


async def test_paused_and_resumed(there: TaskScene, clock: Clock) -> None:
    """What comes meanwhile is not missed; run now, it runs at once."""
    made = await schedule(there, every=60, misfire="all")
    paused = await do(there, made, "pause")
    assert (paused["paused"], paused["nextRuns"], paused["reason"]) == (True, [], None)
    await clock.set(datetime.now(UTC) + timedelta(hours=3))
    task = await do(there, made, "run", status=201)
    assert (await there.ended(task))["scheduleId"] == made["id"]
    resumed = await do(there, made, "resume")
    assert not resumed["paused"]
    assert moments(resumed)[0] > datetime.now(UTC) + timedelta(hours=3)
    (fired,) = await history(there, made, 1)
    assert (fired["outcome"], fired["askedBy"]) == ("started", made["createdBy"])
    await ready(there, made)
    await clock.set(moments(resumed)[0] + timedelta(seconds=1))
    assert (await history(there, made, 2))[1]["askedBy"] is None


async def test_those_that_come_together_begin_in_turns(
    there: TaskScene, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that is cancelled meanwhile holds up nobody."""
    monkeypatch.setattr(scheduler, "AT_ONCE", 0)
    made = [await schedule(there, every=600) for _ in range(3)]
    await ready(there, *made)
    await clock.set(max(due(each) for each in made) + timedelta(seconds=1))
    fired = [(await history(there, each, 1))[0] for each in made]
    assert [each["outcome"] for each in fired] == ["started"] * 3
    for each in fired:
        run = await there.run(each["runId"])
        assert (run["status"], run["waitingFor"]) == ("queued", "turn")
    assert (await there.cancel(fired[0]["taskId"]))["status"] == "cancelled"
    monkeypatch.setattr(scheduler, "AT_ONCE", 1)
    for each in fired[1:]:
        await there.ended(await there.task(each["taskId"]))


async def test_what_stands_against_a_task_stands_in_the_history(there: TaskScene, clock: Clock) -> None:
    """And nothing is left of it; the next time is tried again."""
    before, busy = await gathered(
        there.create(noop={}), there.create(exec={"script": "echo in; sleep 600"}, concurrency={"key": "one"})
    )
    await there.ended(before)
    alone = {"key": "one", "policy": "reject"}
    lost = await schedule(there, every=60, task=NOTHING | {"dependsOn": [before["id"]]})
    held = await schedule(there, every=60, task=NOTHING | {"concurrency": alone})
    await there.ask("DELETE", f"/api/v1/tasks/{before['id']}", status=204)
    await ready(there, lost, held)
    await clock.set(max(due(lost), due(held)) + timedelta(seconds=1))
    codes = [(await history(there, each, 1))[0] for each in (lost, held)]
    assert [(each["outcome"], each["reason"], each["taskId"]) for each in codes] == [
        ("failed", "dependency_not_found", None),
        ("failed", "concurrency_busy", None),
    ]
    assert (await look(there, held))["lastRun"] is None
    await there.cancel(busy["id"])
    await clock.set(max(due(lost), due(held)) + timedelta(seconds=61))
    again = (await history(there, held, 2))[1]
    await there.ended(await there.task(again["taskId"]))
    await remove_all(there)
    await there.nothing_is_left()


async def test_once(there: TaskScene, clock: Clock) -> None:
    at = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=1)
    made = await schedule(there, at=at.isoformat())
    assert moments(made) == [at]
    await ready(there, made)
    await clock.set(at)
    (fired,) = await history(there, made, 1)
    await there.ended(await there.task(fired["taskId"]))
    assert (await look(there, made))["nextRuns"] == []


async def test_a_task_with_a_schedule_is_one(there: TaskScene) -> None:
    body = {"title": "Weekly", "noop": {}, "schedule": {"cron": "@weekly"}, "projectId": there.project}
    made = await there.ask("POST", "/api/v1/tasks", status=201, json=body)
    assert (made["name"], made["cron"], made["task"]["title"]) == ("Weekly", "@weekly", "Weekly")
    assert [each["id"] for each in (await there.ask("GET", SCHEDULES, params={"q": "week"}))["items"]] == [
        made["id"]
    ]
    refused = await there.ask("POST", "/api/v1/tasks", status=409, json=body)
    assert refused["code"] == "schedule_exists"


@pytest.mark.parametrize(
    ("when", "code"),
    [
        ({"cron": "61 * * * *"}, "bad_schedule"),
        ({"cron": "* * * * * *"}, "bad_schedule"),
        ({"cron": "0 0 30 2 *"}, "bad_schedule"),
        ({"cron": "0 0 * * *", "timezone": "Europe/Nowhere"}, "bad_schedule"),
        ({"cron": "0 0 * * *", "timezone": "../../etc/passwd"}, "validation_failed"),
        ({"at": "2020-01-01T00:00:00Z"}, "bad_schedule"),
        ({"at": "2099-01-01T00:00:00"}, "validation_failed"),
        ({"every": 9}, "validation_failed"),
        ({"every": "5 minutes"}, "validation_failed"),
        ({}, "validation_failed"),
        ({"every": 60, "cron": "0 0 * * *"}, "validation_failed"),
    ],
)
async def test_times_that_there_are_not(there: TaskScene, when: dict[str, Any], code: str) -> None:
    assert (await schedule(there, status=422, **when))["code"] == code
