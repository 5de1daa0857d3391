"""Notifications, and who dies over them: nothing is lost, and nothing is told under two ids."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from signalbox_common import background
from signalbox_common.testing import eventually
from tests.support.installation import Installation
from tests.support.processes import Running
from tests.support.receiver import SILENCE, Receiver, answer, receiving
from tests.support.services import restarting
from tests.support.tasks import TaskScene, gathered, task_scene

pytestmark = pytest.mark.usefixtures("patient")

NOTIFICATIONS = "/api/v1/notifications"
ENDS = ["succeeded", "failed", "cancelled", "timed_out"]


@pytest.fixture(scope="module")
async def there(
    shared_installation: Installation, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[TaskScene]:
    async with task_scene(shared_installation, tmp_path_factory.mktemp("tasks")) as scene:
        yield scene


def process(there: TaskScene, log: Path) -> Running:
    found = there.process(log)
    found.program.env["SIGNALBOX_PRIVATE_HOSTS"] = "127.0.0.1"
    return found


async def notification(there: TaskScene, receiver: Receiver) -> Any:
    body = {"name": "n", "url": receiver.url(), "states": ENDS, "projectId": there.project}
    made = await there.ask("POST", NOTIFICATIONS, status=201, json=body)
    return made["notification"] | {"secret": made["secret"]}


async def deliveries(there: TaskScene, found: Any, status: str) -> list[Any]:
    params = {"status": status, "limit": 200}
    items: list[Any] = []
    while True:
        page = await there.ask("GET", f"{NOTIFICATIONS}/{found['id']}/deliveries", params=params)
        items += page["items"]
        if page["nextCursor"] is None:
            return items
        params["cursor"] = page["nextCursor"]


async def test_who_dies_before_it_is_noted(there: TaskScene, tmp_path: Path) -> None:
    """SIGKILL while its receiver has it, and has not answered: the next one sends it again, as the same."""
    there.project = await there.http.project(there.headers)
    first, second = (process(there, tmp_path / f"{name}.log") for name in ("first", "second"))
    async with receiving() as receiver:
        receiver.says(SILENCE, answer(204))
        await first.start()
        try:
            found = await notification(there, receiver)
            task = await there.create(noop={})
            await receiver.told()
            first.kill()
            await second.start()
            await there.end_leases()
            one, other = await receiver.told(2)
            assert one.data["taskId"] == task["id"]
            assert (one.id, one.body) == (other.id, other.body)
            assert other.signed_with(found["secret"])

            async def noted() -> Any:
                return await deliveries(there, found, "delivered")

            (delivered,) = await eventually(noted, what="it is noted")
            assert (delivered["id"], len(receiver.heard)) == (one.id, 2)
        finally:
            await first.stop()
            await second.stop()


async def tell_while_they_die(there: TaskScene, folder: Path, *, tasks: int, kills: int) -> Counter[str]:
    """Two instances, of which another one dies each time, and a receiver that fails now and then."""
    there.project = await there.http.project(there.headers)
    services = [process(there, folder / f"tasks-{number}.log") for number in range(2)]
    chance = random.Random(17)
    async with receiving() as receiver:
        answers = [answer(204) if chance.random() < 0.8 else answer(500) for _ in range(tasks // 4)]
        receiver.says(*answers, answer(204))
        await gathered(*(each.start() for each in services))
        supervising = [asyncio.create_task(restarting(each)) for each in services]
        try:
            found = await notification(there, receiver)

            async def kill() -> None:
                for _ in range(kills):
                    await asyncio.sleep(chance.uniform(0.3, 1.5))  # where it is killed then
                    victim = chance.choice(services)
                    if victim.alive:
                        victim.kill()

            killing = asyncio.create_task(kill())
            made = []
            for number in range(0, tasks, 20):
                body = {"projectId": there.project, "tasks": [{"title": "N", "noop": {}}] * 20}
                key = {"Idempotency-Key": f"{there.project}-{number}"}

                async def created(body: Any = body, key: dict[str, str] = key) -> Any:
                    headers = there.headers | key
                    told = await there.http.post("/api/v1/tasks/bulk", json=body, headers=headers)
                    return told.json()["items"] if told.status_code == 201 else None

                made += await eventually(created, within=60, what="they are created")
            await killing

            async def all_are() -> bool:
                waiting = await deliveries(there, found, "pending")
                assert not waiting, (len(waiting), waiting[0])
                return len(await deliveries(there, found, "delivered")) == tasks

            await eventually(all_are, within=240, what="all are told")
            ids: dict[str, set[str]] = {}
            for told in receiver.heard:
                ids.setdefault(told.data["taskId"], set()).add(told.id)
            assert ids.keys() == {each["id"] for each in made}
            assert all(len(each) == 1 for each in ids.values())
            return Counter(told=len(ids), requests=len(receiver.heard), killed=kills)
        finally:
            for supervisor in supervising:
                await background.end(supervisor)
            for each in services:
                await each.stop()


@pytest.mark.proof
@pytest.mark.timeout(1200)
async def test_nothing_is_lost_whoever_dies(there: TaskScene, tmp_path: Path) -> None:
    counts = await tell_while_they_die(there, tmp_path, tasks=400, kills=40)
    print(f"\nnotifications: {dict(counts)}, each under one id")
