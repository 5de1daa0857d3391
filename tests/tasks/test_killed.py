"""Whatever dies on the way: each script runs once, each task is one commit, and nothing is left."""

import asyncio
import random
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from signalbox_common import background
from tests.support.checkouts import git
from tests.support.installation import Installation
from tests.support.services import restarting
from tests.support.tasks import TaskScene, gathered, task_scene
from tests.support.teams import apply, bot, script, team

pytestmark = pytest.mark.usefixtures("patient")

SCRIPT = """
echo ran >> ran.txt
for number in 1 2 3 4 5 6 7 8; do echo "line $number"; sleep 0.1; done
"""
LOG = "set up\n" + "".join(f"line {number}\n" for number in range(1, 9))


@pytest.fixture(scope="module")
async def there(
    shared_installation: Installation, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[TaskScene]:
    async with (
        task_scene(shared_installation, tmp_path_factory.mktemp("tasks")) as scene,
        shared_installation.running_catalog(),
    ):
        yield scene


async def kill_while_they_run(
    there: TaskScene, folder: Path, *, tasks: int, kills: int, pause: float, instances: int = 2
) -> Counter[str]:
    """Each time another instance dies, wherever it is."""
    repository, remote = await there.repository({"a.txt": "1\n"})
    services = [there.process(folder / f"tasks-{number}.log") for number in range(instances)]
    for each in services:
        await each.start()
    supervising = [asyncio.create_task(restarting(each)) for each in services]
    chance = random.Random(7)
    killed = 0
    try:
        body = {"repository": repository, "setup": ["echo set up"], "exec": {"script": SCRIPT}}
        made = await gathered(
            *(there.create(**body, title=f"Task {number}", branch=f"t/{number}") for number in range(tasks))
        )
        for _ in range(kills):
            await asyncio.sleep(pause * chance.uniform(0.3, 1.7))  # where it is killed then
            victim = chance.choice(services)
            if victim.alive:
                victim.kill()
                killed += 1
        found = await gathered(*(there.ended(task, within=240) for task in made))
        for task in found:
            assert git(remote, "rev-list", "--count", f"main..{task['gitBranch']}").strip() == "1"
            assert git(remote, "show", f"{task['gitBranch']}:ran.txt") == "ran\n"
            assert await there.log(task["runId"]) == LOG
        branches = git(remote, "for-each-ref", "--format=%(refname:short)", "refs/heads/t").split()
        assert sorted(branches) == sorted(f"t/{number}" for number in range(tasks))
        await there.nothing_is_left()
        return Counter(task["status"] for task in found) + Counter(killed=killed)
    finally:
        for supervisor in supervising:
            await background.end(supervisor)
        for each in services:
            await each.stop()


async def test_who_dies_in_the_middle_breaks_nothing(there: TaskScene, tmp_path: Path) -> None:
    await kill_while_they_run(there, tmp_path, tasks=12, kills=6, pause=0.8)


@pytest.mark.proof
@pytest.mark.timeout(3000)
async def test_who_dies_in_the_middle_breaks_nothing_however_often(there: TaskScene, tmp_path: Path) -> None:
    for instances in (2, 4):
        begun = time.monotonic()
        counts = await kill_while_they_run(
            there, tmp_path, tasks=120, kills=60, pause=1.5, instances=instances
        )
        took = time.monotonic() - begun
        print(f"\ntasks, {instances} instances: {dict(counts)} in {took:.0f} s, each script once")


async def test_those_who_are_there_share_the_work(there: TaskScene, tmp_path: Path) -> None:
    """Four of them: no one has all that goes on at the same time, and nothing runs twice."""
    services = [there.process(tmp_path / f"tasks-{number}.log") for number in range(4)]
    await gathered(*(each.start() for each in services))
    try:
        script = "echo ran; while [ ! -e /tmp/go ]; do sleep 0.1; done"
        made = await gathered(*(there.create(exec={"script": script}) for _ in range(12)))
        await gathered(*(there.said(task, "ran") for task in made))
        async with there.installation.sql() as sql:
            owners = await sql.fetch("select lease_owner from tasks.work where kind = 'run'")
        assert len({row["lease_owner"] for row in owners}) > 1
        for task in made:
            run = await there.run(task["runId"])
            path = f"/api/v1/sandboxes/{run['sandboxId']}/files"
            await there.ask("PUT", path, status=204, params={"path": "/tmp/go"}, content=b"")
        await gathered(*(there.ended(task) for task in made))
        assert [await there.log(task["runId"]) for task in made] == ["ran\n"] * 12
        await there.nothing_is_left()
    finally:
        await gathered(*(each.stop() for each in services))


async def test_who_was_held_up_starts_nothing_twice(there: TaskScene, tmp_path: Path) -> None:
    """A worker that stands still loses its run to another one, and what it still does is refused."""
    repository, remote = await there.repository({"a.txt": "1\n"})
    first, second = (there.process(tmp_path / f"{name}.log") for name in ("first", "second"))
    await first.start()
    try:
        body = {"repository": repository, "branch": "held", "setup": ["echo set up"]}
        made = await there.create(**body, exec={"script": SCRIPT.replace("0.1", "1.5")})
        await there.said(made, "line 1")
        first.signal(signal.SIGSTOP)
        await there.end_leases()
        second.spawn()
        await there.said(made, "line 8", within=90)
        first.signal(signal.SIGCONT)
        await there.ended(made)
        assert await there.log(made["runId"]) == LOG
        assert git(remote, "show", "held:ran.txt") == "ran\n"
        assert git(remote, "rev-list", "--count", "main..held").strip() == "1"
        await there.nothing_is_left()
    finally:
        for each in (first, second):
            await each.stop()


async def test_who_goes_on_with_a_team_tells_it_the_same(there: TaskScene, tmp_path: Path) -> None:
    """Killed while the second one speaks: its process is found again, with what it was told of the first."""
    await apply(
        there,
        *bot("before", script("echo wrote")),
        *bot(
            "after",
            script(f'echo "told: $SIGNALBOX_PREVIOUS"; sleep 0.3; printf "%01000d\\n" 0; {SCRIPT.strip()}'),
        ),
    )
    after = {"botRef": {"name": "after"}, "contextPassing": "previous_bot"}
    await team(there, "two", {"botRef": {"name": "before"}}, after)
    service = there.process(tmp_path / "tasks.log")
    await service.start()
    try:
        made = await there.create(team="two")
        await there.said(made, "line 3")
        service.kill()
        await service.stop()
        await there.end_leases()
        await service.start()
        await there.ended(made)
        spoken = LOG.removeprefix("set up\n")
        assert await there.log(made["runId"]) == f"wrote\ntold: wrote\n\n{'0' * 1000}\n{spoken}"
        await there.nothing_is_left()
    finally:
        await service.stop()
