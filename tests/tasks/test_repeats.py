"""All that is asked for tasks is asked again, at once and a day later: nothing is done twice, nor anew."""

import uuid
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from signalbox_auth.settings import AuthSettings
from signalbox_common.db import Database
from signalbox_common.inbox import Inbox
from signalbox_common.settings import OwnerSettings
from signalbox_sandbox.settings import SandboxSettings
from tests.support.checkouts import git
from tests.support.forgery import Signer
from tests.support.installation import Installation
from tests.support.repeats import DAY, Recorder, Sent, answer_to
from tests.support.tasks import TaskScene, gathered, task_scene
from tests.support.teams import apply, bot, script, team

pytestmark = pytest.mark.usefixtures("patient")

DATA = "head -c 2000 /dev/urandom > data.bin"


@pytest.fixture(scope="module")
async def there(
    shared_installation: Installation, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[TaskScene]:
    async with (
        task_scene(shared_installation, tmp_path_factory.mktemp("tasks")) as scene,
        shared_installation.running_catalog(),
        scene.service(),
    ):
        await apply(scene, *bot("maker", script("echo made >> made.txt")))
        await team(scene, "careful", {"botRef": {"name": "maker"}, "requireConfirmation": True})
        yield scene


class Story:
    """Of tasks with all that people may ask for them."""

    def __init__(self, there: TaskScene, repository: str, remote: Path) -> None:
        self.there, self.repository, self.remote = there, repository, remote

    @staticmethod
    async def of(there: TaskScene) -> "Story":
        return Story(there, *await there.repository({"a.txt": "1\n"}))

    async def happens(self) -> None:
        await gathered(self._asked_and_gone_on_with(), self._retried(), self._delivered(), self._cancelled())
        await self.there.nothing_is_left()

    async def _asked_and_gone_on_with(self) -> None:
        made = await self._created(team="careful", branch="asked", waitTimeout=600)
        await self._approve(made)
        await self._approve(await self._ask(f"tasks/{made['id']}/follow-up", message="More"))

    async def _retried(self) -> None:
        made = await self.there.create(exec={"script": "exit 7"})
        await self.there.ended(made, "failed")
        await self.there.ended(await self._ask(f"tasks/{made['id']}/retry"), "failed")

    async def _delivered(self) -> None:
        """What was refused first."""
        made = await self._created(branch="data", exec={"script": DATA})
        await self.there.ended(made, "failed")
        await self._ask(f"runs/{made['runId']}/deliver", findings="allow")
        await self.there.ended(made)

    async def _cancelled(self) -> None:
        made = await self.there.create(exec={"script": "sleep 600"})
        await self.there.until(made, "running", step="shell")
        await self.there.cancel(made["id"])

    async def _created(self, **body: Any) -> Any:
        return await self.there.create(repository=self.repository, **body)

    async def _approve(self, task: Any) -> None:
        run = await self.there.until(task, "waiting")
        await self._ask(f"runs/{run['id']}/answer", 200, approve=True)
        await self.there.ended(task)

    async def _ask(self, path: str, status: int = 201, **body: Any) -> Any:
        return await self.there.ask("POST", f"/api/v1/{path}", status=status, json=body or None)

    async def is_told_once(self) -> None:
        assert git(self.remote, "show", "asked:made.txt") == "made\nmade\n"
        assert git(self.remote, "rev-list", "--count", "main..asked").strip() == "2"
        assert git(self.remote, "rev-list", "--count", "main..data").strip() == "1"
        branches = git(self.remote, "for-each-ref", "--format=%(refname:short)", "refs/heads").split()
        assert branches == ["asked", "data", "main"]

    async def traces(self) -> dict[str, Any]:
        """Of all that there is of tasks, wherever."""
        async with self.there.installation.sql() as sql:
            return {
                "refs": git(self.remote, "for-each-ref"),
                "runs": await sql.fetch("select id, attempt, state from tasks.runs order by id"),
                "tasks": await sql.fetchval("select count(*) from tasks.tasks"),
                "checkouts": await sql.fetchval("select count(*) from git.checkouts"),
                "deliveries": await sql.fetchval("select count(*) from git.change_deliveries"),
                "sandboxes": await sql.fetchval("select count(*) from sandbox.sandboxes"),
                "delegations": await sql.fetchval("select count(*) from auth.delegations"),
                "work": await sql.fetchval("select count(*) from tasks.work"),
            }


ALL = {
    "tasks.create": 4,
    "tasks.answer-run": 2,
    "tasks.follow-up": 1,
    "tasks.retry": 1,
    "tasks.deliver-run": 1,
    "tasks.cancel": 1,
    "auth.delegate": 7,
    "git.prepare": 3,
    "git.deliver": 4,
    "sandbox.create": 6,
    "sandbox.pause": 2,
    "sandbox.resume": 2,
}
OUTDATED = {
    "tasks.create": "already_done",
    "tasks.answer-run": "not_waiting",
    "tasks.follow-up": "already_done",
    "tasks.retry": "already_done",
    "tasks.deliver-run": "already_done",
    "tasks.cancel": "already_ended",
    "git.prepare": "run_ended",
    "git.deliver": "run_ended",
    "sandbox.create": "run_ended",
    "sandbox.pause": "sandbox_ended",
    "sandbox.resume": "sandbox_ended",
}
"""What is said where nobody remembers that it was asked, and whoever asks still may."""


async def test_each_comes_three_times_at_once(there: TaskScene, monkeypatch: pytest.MonkeyPatch) -> None:
    story, recorder = await Story.of(there), Recorder(times=3)
    before = await story.traces()
    with recorder.listening(monkeypatch):
        await story.happens()
    assert Counter(each.name for each in recorder.sent) == ALL
    await story.is_told_once()
    after = await story.traces()
    new = {name: after[name] - before[name] for name in ("tasks", "checkouts", "deliveries", "sandboxes")}
    assert new == {"tasks": 4, "checkouts": 3, "deliveries": 4, "sandboxes": 6}
    assert len(after["runs"]) - len(before["runs"]) == after["delegations"] - before["delegations"] == 7


async def test_each_comes_a_day_later(there: TaskScene, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its grant is over then, and so is the delegation; granted anew, it gets the answer that it had.

    When its entry in the inbox has been tidied away, too, it is known by what it was about.
    """
    story, recorder = await Story.of(there), Recorder()
    with recorder.listening(monkeypatch):
        await story.happens()
    before = await story.traces()
    signer = Signer()
    await signer.publish(there.installation)
    commands = [each for each in recorder.sent if each.is_command]
    asks = [each for each in recorder.sent if each.name == "sandbox.create"]
    async with there.installation.bus() as bus, there.installation.bus("tasks") as tasks:
        delegations = [each for each in recorder.sent if each.name == "auth.delegate"]

        async def code_of(sent: Sent) -> str:
            done, said = await answer_to(tasks if sent in delegations else bus, sent)
            return "done" if done else str(said["code"])

        for days, again in ((1, "already_done"), (46, "delegation_exists")):
            await tidied(there, days)
            for each in commands + asks:
                assert (each.name, await code_of(each.granted(signer, ago=DAY))) == (
                    each.name,
                    "token_expired",
                )
            for each in delegations:
                assert await code_of(each) == again
            for each in commands + asks:
                if "dlg" in each.claims:
                    assert (each.name, await code_of(each.granted(signer))) == (each.name, "grant_revoked")
                wanted = OUTDATED[each.name] if days == 46 else "done"
                sent = each.granted(signer, delegation=uuid.uuid4())
                assert (each.name, await code_of(sent)) == (each.name, wanted)
            await there.nothing_is_left()
            assert await story.traces() == before


async def tidied(there: TaskScene, days: int) -> None:
    """As if all that was answered had been so many days ago, and been tidied up since."""
    sandbox = there.installation.settings(SandboxSettings, sandboxes=there.node.folder)
    settings: tuple[OwnerSettings, ...] = (
        there.settings(),
        there.git.settings(),
        sandbox,
        there.installation.settings(AuthSettings),
    )
    for each in settings:
        async with there.installation.sql() as sql:
            await sql.execute(
                f"update {each.service}.inbox set finished_at = finished_at - interval '{days} days'"
            )
        database = Database(each)
        try:
            await Inbox(database).tidy()
        finally:
            await database.close()
