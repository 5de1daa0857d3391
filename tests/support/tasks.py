"""Tasks with all that they need: git with a remote, a node with sandboxes, and somebody who has them done."""

import asyncio
import json
import os
import signal
import uuid
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from signalbox_common.runtime import Service
from signalbox_common.testing import eventually, running
from signalbox_tasks.app import build
from signalbox_tasks.settings import TasksSettings
from tests.support import services
from tests.support.installation import Http, Installation
from tests.support.node import Node
from tests.support.processes import Running
from tests.support.remotes import HttpRemote
from tests.support.repositories import REPOSITORIES, GitScene, git_scene
from tests.support.sandboxes import process_of, service_of

TASKS, RUNS = "/api/v1/tasks", "/api/v1/runs"
_HOLDERS = "(select authority from tasks.schedules union all select authority from tasks.triggers) holders"
ENDED = frozenset({"succeeded", "failed", "cancelled", "timed_out"})


@dataclass
class TaskScene:
    installation: Installation
    folder: Path
    git: GitScene
    node: Node
    headers: dict[str, str]
    project: str
    repositories: dict[str, str] = field(default_factory=dict)

    @property
    def http(self) -> Http:
        return self.git.http

    @property
    def remote(self) -> HttpRemote:
        return self.git.remote

    # -- what a person does --------------------------------------------------------------------------------

    async def ask(self, method: str, path: str, *, status: int = 200, **more: Any) -> Any:
        headers = more.pop("headers", self.headers)
        answer = await self.http.request(method, path, headers=headers, **more)
        assert answer.status_code == status, answer.text
        return answer.json() if "json" in answer.headers.get("content-type", "") else answer.text

    async def with_api_token(self) -> None:
        """For what takes longer than a session's token lasts."""
        made = await self.ask("POST", "/api/v1/auth/tokens", status=201, json={"name": "a long test"})
        self.headers = {"Authorization": f"Bearer {made['token']}"}

    async def create(self, **body: Any) -> Any:
        given = {"title": "Do it", "projectId": self.project} | body
        return await self.ask("POST", TASKS, status=201, json=given)

    async def refused(self, status: int, **body: Any) -> str:
        """With which code."""
        given = {"title": "Do it", "projectId": self.project} | body
        return str((await self.ask("POST", TASKS, status=status, json=given))["code"])

    async def task(self, task: str) -> Any:
        return await self.ask("GET", f"{TASKS}/{task}")

    async def run(self, run: str) -> Any:
        return await self.ask("GET", f"{RUNS}/{run}")

    async def steps(self, run: str) -> dict[str, str]:
        found = await self.ask("GET", f"{RUNS}/{run}/steps")
        return {step["name"]: step["state"] for step in found["items"]}

    async def log(self, run: str) -> str:
        text: str = await self.ask("GET", f"{RUNS}/{run}/log")
        return text

    async def cancel(self, task: str, *, status: int = 200) -> Any:
        return await self.ask("POST", f"{TASKS}/{task}/cancel", status=status)

    async def ended(self, task: Any, state: str = "succeeded", *, within: float = 60.0) -> Any:
        """The task, once its newest run has ended so."""

        async def so() -> Any:
            found = await self.task(task["id"])
            return found if found["status"] in ENDED else None

        found = await eventually(so, within=within, what="the task has ended")
        if found["status"] != state:
            run = await self.run(found["runId"])
            raise AssertionError((found["status"], run, await self.log(found["runId"])))
        return found

    async def another_run(self, task: Any, *, within: float = 30.0) -> Any:
        """The task, once another run has followed that one."""

        async def so() -> Any:
            found = await self.task(task["id"])
            return found if found["runId"] != task["runId"] else None

        return await eventually(so, within=within, what="another run has followed")

    async def until(self, task: Any, status: str, *, step: str | None = None) -> Any:
        """Its run is so, or at that step."""

        async def so() -> Any:
            found = await self.run((await self.task(task["id"]))["runId"])
            return found if found["status"] == status and step in (None, found["step"]) else None

        return await eventually(so, what=f"its run is {status}")

    async def said(self, task: Any, text: str, *, within: float = 30.0) -> None:
        async def so() -> bool:
            return text in await self.log(task["runId"])

        await eventually(so, within=within, what=f"it says {text}")

    async def repository(
        self, files: dict[str, str] | None = None, owner: str = "", **more: Any
    ) -> tuple[str, Path]:
        """A new one of the project, and where its remote lies."""
        name = f"{owner}{uuid.uuid4().hex[:8]}.git"
        remote = self.remote.new(name, files)
        body = {"url": self.remote.url(name), "projectId": self.project} | more
        body |= {"credential": {"token": self.remote.token}}
        made = await self.ask("POST", REPOSITORIES, status=201, json=body)
        return made["id"], remote

    # -- what is there -------------------------------------------------------------------------------------

    async def facts(self, what: str, run: str) -> list[Any]:
        """What was told of a run, in its order."""
        await self.installation.all_told("tasks")
        messages = await self.installation.messages("EVENTS", f"evt.{self.project}.tasks.run.{what}")
        return [found for message in messages if (found := json.loads(message.data))["run"] == run]

    async def kill_keeper(self, run: str) -> None:
        """And with it the sandbox of that run."""
        sandbox = (await self.run(run))["sandboxId"]
        status = await self.node.keepers.of(sandbox).ask("status")
        os.kill(int(status["pid"]), signal.SIGKILL)

    async def end_leases(self) -> None:
        """Of whoever is dead, or stands still: how long a lease lasts otherwise, others have shown."""
        async with self.installation.sql() as sql:
            await sql.execute("update tasks.work set lease_until = tasks.clock() where state = 'running'")

    async def nothing_is_left(self) -> None:
        """No sandbox, no work, no secret, no delegation, beside those of schedules that are there."""

        async def gone() -> bool:
            async with self.installation.sql() as sql:
                work = await sql.fetch(
                    "select kind, key, state, error from tasks.work where kind <> 'authority' "
                    f"or key not in (select cast(authority as text) from {_HOLDERS})"
                )
                secrets = await sql.fetch(
                    "select name from tasks.secrets where name like 'runs/%' "
                    "and cast(split_part(name, '/', 2) as uuid) "
                    f"not in (select authority from {_HOLDERS})"
                )
                alive = await sql.fetch(
                    "select id, status, owner_run from sandbox.sandboxes where owner_run is not null "
                    "and status in ('creating', 'running', 'paused')"
                )
                counts = await sql.fetch("select active, queued from tasks.projects")
            assert work == [], work
            assert secrets == [], secrets
            assert alive == [], alive
            assert all(tuple(row) == (0, 0) for row in counts), counts
            return True

        await eventually(gone, within=30, what="nothing is left of it")

    # -- the service ---------------------------------------------------------------------------------------

    def settings(self, **changes: Any) -> TasksSettings:
        given: dict[str, Any] = {"data_listen": f"unix:{self.node.folder.parent}/{uuid.uuid4().hex[:8]}.sock"}
        return self.installation.settings(TasksSettings, **(given | changes))

    def process(self, log: Path) -> Running:
        """The service in a process of its own, which may be killed."""
        found = services.process(self.installation, "tasks", log)
        found.program.env["SIGNALBOX_DATA_LISTEN"] = str(self.settings().data_listen)
        return found

    @asynccontextmanager
    async def service(self, **changes: Any) -> AsyncIterator[Service]:
        async with running(build(self.settings(**changes))) as service:
            yield service

    # -- those that it asks ----------------------------------------------------------------------------------

    @property
    def trees(self) -> Path:
        """Where git lays what sandboxes work on."""
        return self.node.folder.parent / "trees"

    def git_service(self) -> AbstractAsyncContextManager[Service]:
        return self.git.service(trees=self.trees)

    def git_process(self, log: Path) -> Running:
        found = self.git.process(log)
        found.program.env["SIGNALBOX_TREES"] = str(self.trees)
        return found

    def sandbox_service(self) -> AbstractAsyncContextManager[Service]:
        return running(service_of(self.installation, self.node, trees=self.trees))

    def sandbox_process(self, log: Path) -> Running:
        found = process_of(self.installation, self.node, log)
        found.program.env["SIGNALBOX_TREES"] = str(self.trees)
        return found


@asynccontextmanager
async def running_tasks(installation: Installation, folder: Path) -> AsyncIterator[Service]:
    """Their service, for tests that are about others."""
    settings = installation.settings(TasksSettings, data_listen=f"unix:{folder}/tasks.sock")
    async with running(build(settings)) as service:
        yield service


@asynccontextmanager
async def task_scene(
    installation: Installation, folder: Path, *, without: str | None = None
) -> AsyncIterator[TaskScene]:
    """With git and a node; without the service tasks: a test says how many of it there are.

    Without the service `git` or `sandbox`, too, where the test is about how it dies.
    """
    node = Node.new()
    await node.start()
    try:
        async with AsyncExitStack() as stack:
            git = await stack.enter_async_context(git_scene(installation, folder))
            scene = TaskScene(installation, folder, git, node, git.headers, git.project)
            if without != "git":
                await stack.enter_async_context(scene.git_service())
            if without != "sandbox":
                await stack.enter_async_context(scene.sandbox_service())
            yield scene
    finally:
        await node.stop()


async def gathered(*tasks: Any) -> list[Any]:
    return list(await asyncio.gather(*tasks))
