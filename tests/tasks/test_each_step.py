"""What ends a run ends it at each of its steps: its time, the role of whoever asked, its project."""

import uuid
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from typing import Any

import pytest

from signalbox_common.testing import eventually
from tests.support.checkouts import git
from tests.support.remotes import held, reached
from tests.support.tasks import ENDED, TaskScene, gathered

pytestmark = pytest.mark.usefixtures("patient")

STEPS = ("prepare", "setup", "shell", "deliver")
WAITS = "echo begun; sleep 600"
End = Callable[["Held"], Awaitable[None]]


class Held:
    """A run of somebody in a project of their own, held at one step."""

    def __init__(self, there: TaskScene, step: str) -> None:
        self.there = there
        self.step = step
        self.person: dict[str, str] = {}
        self.project = ""
        self.task: Any = None

    async def ended(self, end: End) -> tuple[Any, bool]:
        """The task, and whether anything of it is at the remote."""
        there = self.there
        self.project = await there.http.project(there.headers, f"Held {self.step}")
        self.person = await there.http.join(there.headers, self.project, "developer")
        repository, remote = await there.repository({"a.txt": "1\n"}, projectId=self.project)
        script = WAITS if self.step == "shell" else "echo 2 > a.txt"
        body: dict[str, Any] = {
            "title": "Do it",
            "projectId": self.project,
            "repository": repository,
            "branch": "held",
        }
        body |= {"exec": {"script": script}, "setup": [WAITS] if self.step == "setup" else []}
        with ExitStack() as stack:
            asked = None
            if self.step in ("prepare", "deliver"):
                service = "git-upload-pack" if self.step == "prepare" else "git-receive-pack"
                asked = stack.enter_context(held(there.remote, f"{remote.name}/info/refs?service={service}"))
            made = await there.ask("POST", "/api/v1/tasks", status=201, json=body, headers=self.person)
            self.task = made
            await there.until(made, "running", step=self.step)
            if asked is not None:
                await reached(asked)
            else:
                await there.said(made, "begun")
            await end(self)
            if self.step == "deliver":
                stack.close()  # one push that is under way is finished
            over = await self._over()
        if end is lose_the_role:
            await self._let_the_sandbox_go()
        return over, git(remote, "for-each-ref", "refs/heads/held") != ""

    async def _let_the_sandbox_go(self) -> None:
        """It stays for an hour, for somebody to look at."""
        sandbox = (await self.there.run(self.task["runId"]))["sandboxId"]
        if sandbox is not None:
            path = f"/api/v1/sandboxes/{sandbox}"
            answer = await self.there.http.delete(path, headers=self.there.headers)
            assert answer.status_code == 200, answer.text

    async def _over(self) -> Any:
        async with self.there.installation.sql() as sql:

            async def so() -> Any:
                row = await sql.fetchrow(
                    "select status, error ->> 'code' as code from tasks.tasks where id = $1",
                    uuid.UUID(self.task["id"]),
                )
                return dict(row) if row["status"] in ENDED else None

            return await eventually(so, within=90, what=f"it has ended at {self.step}")


async def lose_the_role(at: Held) -> None:
    who = (await at.there.http.me(at.person))["id"]
    path = f"/api/v1/projects/{at.project}/members/{who}"
    assert (await at.there.http.delete(path, headers=at.there.headers)).status_code == 204


async def lose_the_project(at: Held) -> None:
    path = f"/api/v1/projects/{at.project}"
    assert (await at.there.http.delete(path, headers=at.there.headers)).status_code == 204


async def lose_the_time(at: Held) -> None:
    async with at.there.installation.sql() as sql:
        await sql.execute("update tasks.runs set ends_at = 0 where id = $1", uuid.UUID(at.task["runId"]))


@pytest.mark.parametrize(
    ("end", "status", "code"),
    [
        (lose_the_role, "failed", "authority_ended"),
        pytest.param(lose_the_project, "failed", "authority_ended", marks=pytest.mark.proof),
        pytest.param(lose_the_time, "timed_out", "timed_out", marks=pytest.mark.proof),
    ],
)
async def test_it_ends_at_each_step(there: TaskScene, end: End, status: str, code: str) -> None:
    """Nothing of it stays; a push that is under way is finished, and has succeeded if only time was over."""
    found = await gathered(*(Held(there, step).ended(end) for step in STEPS))
    for step, (task, is_pushed) in zip(STEPS, found, strict=True):
        assert step == "deliver" or not is_pushed
        expected: list[Any] = [{"status": status, "code": code}]
        if is_pushed:  # seen by whoever waited for it, or not any more
            succeeded = {"status": "succeeded", "code": None}
            expected = [succeeded] if end is lose_the_time else [*expected, succeeded]
        assert task in expected, step
    await there.nothing_is_left()
