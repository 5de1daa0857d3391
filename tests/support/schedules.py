"""Schedules, as tests declare them and look at them."""

import uuid
from datetime import datetime
from typing import Any

from signalbox_common.testing import eventually
from tests.support.tasks import TaskScene

SCHEDULES = "/api/v1/schedules"
NOTHING = {"title": "Do nothing", "noop": {}}


async def schedule(
    there: TaskScene, *, status: int = 201, headers: dict[str, str] | None = None, **body: Any
) -> Any:
    given = {"name": f"s {uuid.uuid4().hex[:8]}", "task": NOTHING, "projectId": there.project} | body
    return await there.ask("POST", SCHEDULES, status=status, json=given, headers=headers or there.headers)


async def look(there: TaskScene, found: Any, path: str = "", **params: Any) -> Any:
    return await there.ask("GET", f"{SCHEDULES}/{found['id']}{path}", params=params)


async def do(there: TaskScene, found: Any, what: str, *, status: int = 200) -> Any:
    return await there.ask("POST", f"{SCHEDULES}/{found['id']}/{what}", status=status)


async def ready(there: TaskScene, *found: Any) -> None:
    """They may act for their people."""
    ids = [uuid.UUID(each["id"]) for each in found]

    async def so() -> bool:
        async with there.installation.sql() as sql:
            waiting = await sql.fetchval(
                "select count(*) from tasks.schedules where not delegated and id = any($1)", ids
            )
        return bool(waiting == 0)

    await eventually(so, what="they may act")


async def history(there: TaskScene, found: Any, times: int) -> list[Any]:
    """The oldest first, once there are so many."""

    async def so() -> Any:
        items = (await look(there, found, "/history"))["items"]
        return items if len(items) >= times else None

    return list(reversed(await eventually(so, what=f"{times} entries")))


async def remove_all(there: TaskScene) -> None:
    """With what they have started, while the clock is as it was: what waits by it would wait for long."""
    found = await there.ask("GET", SCHEDULES, params={"projectId": there.project, "limit": 200})
    for each in found["items"]:
        await there.ask("DELETE", f"{SCHEDULES}/{each['id']}", status=204)

    async def closed() -> bool:
        async with there.installation.sql() as sql:
            left = await sql.fetch(
                "select id, run from tasks.tasks where schedule is not null and completed_at is null"
            )
            for row in left:
                await there.http.post(f"/api/v1/tasks/{row['id']}/cancel", headers=there.headers)
            work = await sql.fetch(
                "select key, state, due_at, tasks.clock() from tasks.work where kind = 'authority' "
                "and key not in (select cast(authority as text) from tasks.triggers) "
                "and key not in (select cast(authority as text) from tasks.schedules)"
            )
        assert (left, work) == ([], []), (left, work)
        return True

    await eventually(closed, what="nothing acts for anybody any more")


def moments(found: Any) -> list[datetime]:
    """The times that come next."""
    return [datetime.fromisoformat(each) for each in found["nextRuns"]]


def due(found: Any) -> datetime:
    return moments(found)[0]
