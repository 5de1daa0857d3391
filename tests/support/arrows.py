"""The way of a task is walked once to see its arrows, and again for each of them: a service dies there."""

import asyncio
import os
import signal
import sys
import time
import uuid
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import psutil

from signalbox_common import background
from signalbox_common.testing import eventually
from signalbox_git.trees.maker import TreeMaker
from signalbox_git.trees.trees import Trees
from tests.support.checkouts import git
from tests.support.effects import AFTER, BEFORE
from tests.support.forge_simulator import ForgeSimulator
from tests.support.processes import Running
from tests.support.tasks import ENDED, TASKS, TaskScene
from tests.support.teams import apply, bot, script, team

AWAY = frozenset({202, 500, 502, 503, 504})
"""Accepted and not answered yet, or nobody is there: it is asked again, with the same key."""
WITHIN = 120.0


@dataclass(frozen=True)
class Arrow:
    name: str
    side: str

    def __str__(self) -> str:
        return f"{self.side} {self.name}"


class Errand:
    """A task with a branch of its own, what a person does about it, and what must have come of it."""

    log = "set up\none\ntwo\nthree\n"
    files = ("ran.txt", "ran\n")
    commits = 1

    def __init__(self, there: TaskScene, repository: str, remote: Path) -> None:
        self.there, self.repository, self.remote = there, repository, remote
        self.branch = f"t/{uuid.uuid4().hex[:8]}"
        self.task: Any = None

    @property
    def body(self) -> dict[str, Any]:
        text = "echo ran >> ran.txt; printf 'one\\ntwo\\nthree\\n'"
        return {"setup": ["echo set up"], "exec": {"script": text}}

    async def do(self) -> None:
        """To its end, whoever is away meanwhile."""
        body = {"title": "Do it", "projectId": self.there.project, "repository": self.repository}
        self.task = await self.asked("POST", TASKS, 201, body | {"branch": self.branch} | self.body)
        await eventually(self._ended, within=WITHIN, what="the task has ended")

    async def _ended(self) -> bool:
        self.task = await self.asked("GET", f"{TASKS}/{self.task['id']}", 200)
        return self.task["status"] in ENDED

    async def asked(self, method: str, path: str, status: int, body: Any = None) -> Any:
        headers = self.there.headers | {"Idempotency-Key": uuid.uuid4().hex}

        async def answered() -> Any:
            answer = await self.there.http.request(method, path, json=body, headers=headers)
            if answer.status_code not in AWAY:
                assert answer.status_code == status, answer.text
                return [answer.json() if "json" in answer.headers["content-type"] else answer.text]
            return None

        return (await eventually(answered, within=WITHIN, what=f"{method} {path} is answered"))[0]

    async def is_done_once(self) -> None:
        run = await self.there.run(self.task["runId"])
        assert self.task["status"] == "succeeded", run
        assert (self.task["attempts"], self.task["gitBranch"]) == (1, self.branch)
        path, content = self.files
        assert git(self.remote, "show", f"{self.branch}:{path}") == content
        assert git(self.remote, "rev-list", "--count", f"main..{self.branch}").strip() == str(self.commits)
        branches = git(self.remote, "for-each-ref", "--format=%(refname:short)", f"refs/heads/{self.branch}*")
        assert branches.split() == [self.branch]
        assert await self.there.log(run["id"]) == self.log
        ended = await self.there.facts("ended", run["id"])
        assert [fact["state"] for fact in ended] == ["succeeded"]
        tasks = await self.there.ask(
            "GET", f"/api/v1/projects/{self.there.project}/tasks", params={"q": self.task["title"]}
        )
        assert [each["id"] for each in tasks["items"] if each["gitBranch"] == self.branch] == [
            self.task["id"]
        ]


class TeamErrand(Errand):
    """Two bots, with a person between them."""

    log = "wrote\n"
    files = ("ran.txt", "first\nGo on\n")

    @property
    def body(self) -> dict[str, Any]:
        return {"team": "careful", "waitTimeout": 600}

    @staticmethod
    async def prepare(there: TaskScene) -> None:
        first = script("echo first >> ran.txt; echo wrote")
        second = script('echo "$SIGNALBOX_ANSWER" >> ran.txt')
        await apply(there, *bot("careful-first", first), *bot("careful-second", second))
        asked = {"botRef": {"name": "careful-first"}, "requireConfirmation": True}
        await team(there, "careful", asked, {"botRef": {"name": "careful-second"}})

    async def _ended(self) -> bool:
        over = await super()._ended()
        if self.task["status"] == "waiting":
            path = f"/api/v1/runs/{self.task['runId']}/answer"
            await self.asked("POST", path, 200, {"approve": True, "message": "Go on"})
        return over


class PullErrand(Errand):
    """At a forge, where it becomes a pull request."""

    def __init__(self, there: TaskScene, repository: str, remote: Path, forge: ForgeSimulator) -> None:
        super().__init__(there, repository, remote)
        self.forge = forge

    async def is_done_once(self) -> None:
        await super().is_done_once()
        pulls = [each for each in self.forge.pulls[self.remote.stem] if each["head"]["ref"] == self.branch]
        assert [each["html_url"] for each in pulls] == [self.task["pullRequestUrl"]]


class Victim:
    """A service that dies at an arrow, or writes down which it comes to."""

    def __init__(self, running: Running, service: str, trace: Path, arrow: Arrow | None = None) -> None:
        self.running, self.trace, self.arrow = running, trace, arrow
        point = [arrow.name, arrow.side] if arrow is not None else []
        argv = [sys.executable, "-m", "tests.support.effects", service, str(trace), *point]
        running.program.argv[:] = argv

    def load(self) -> None:
        """It waits then until it is wanted."""
        self.running.spawn()

    async def start(self) -> None:
        async def loaded() -> bool:
            assert self.running.alive, self.running.log.read_text()[-3000:]
            return psutil.Process(self.running.pid).status() == psutil.STATUS_STOPPED

        await eventually(loaded, what="it has loaded")
        self.running.signal(signal.SIGCONT)
        await self.running.ready()


@dataclass
class Walk:
    """Of one kind of errand; `victim` is a process of the service, `stand_in` the service that goes on."""

    there: TaskScene
    folder: Path
    service: str
    victim: Callable[[Path], Running]
    stand_in: Callable[[], AbstractAsyncContextManager[Any]]
    errand: Callable[[], Awaitable[Errand]]
    _number: int = 0

    async def arrows(self) -> list[str]:
        """In their order, where nothing dies."""
        victim = self._victim()
        victim.load()
        await victim.start()
        try:
            errand = await self.errand()
            await errand.do()
            await errand.is_done_once()
            await self._all_is_quiet()
        finally:
            await victim.running.stop()
        return list(dict.fromkeys(victim.trace.read_text().splitlines()))

    async def dies_at(self, *arrows: Arrow) -> list[Arrow]:
        """One after the other. Answers at which it did not die, as it did not come there another time.

        Whatever became of each, all is done once, and nothing is left.
        """
        missed: list[Arrow] = []
        loaded: list[Victim] = []
        try:
            for number, arrow in enumerate(arrows):
                victim = loaded.pop() if loaded else self._loaded(arrow)

                def next_one(number: int = number) -> None:
                    if number + 1 < len(arrows):
                        loaded.append(self._loaded(arrows[number + 1]))

                if not await self._dies(victim, next_one):
                    missed.append(arrow)
        finally:
            for each in loaded:
                each.running.kill()
        await nothing_lasts(self.there)
        return missed

    async def dies_at_all(self, arrows: Sequence[Arrow]) -> str:
        """What does not come again the same way is tried three times."""
        begun, deaths, missed = time.monotonic(), 0, list(arrows)
        for _ in range(3):
            left = await self.dies_at(*missed) if missed else []
            deaths += len(missed) - len(left)
            missed = left
        for each in missed:
            print(f"\n  it never came there again: {each}", end="")
        seconds = time.monotonic() - begun
        return f"{deaths} deaths of {self.service} at {len(arrows)} places in {seconds:.0f} s"

    async def _dies(self, victim: Victim, meanwhile: Callable[[], None]) -> bool:
        process = victim.running
        errand = await self.errand()
        await victim.start()
        doing = asyncio.create_task(self._whole(errand))
        try:
            meanwhile()
            await eventually(partial(_over, process, doing), within=WITHIN, what="it is dead, or done")
            died = not process.alive
            await process.stop()
            async with self.there.installation.sql() as sql:
                # How long a lease lasts otherwise, others have shown.
                await sql.execute(
                    f"update {self.service}.work set lease_until = {self.service}.clock() "
                    "where state = 'running'"
                )
            async with self.stand_in():
                await doing
                await errand.is_done_once()
        except BaseException as error:
            error.add_note(f"died {victim.arrow}: {victim.trace}")
            raise
        finally:
            await background.end(doing)
            await process.stop()
        return died

    async def _whole(self, errand: Errand) -> None:
        await errand.do()
        await self._all_is_quiet()

    async def _all_is_quiet(self) -> None:
        """Nothing is left of it, all of it was told, and whoever had to hear it has."""
        await self.there.nothing_is_left()

        async def quiet() -> bool:
            async with self.there.installation.sql() as sql:
                for service in ("tasks", "git", "sandbox"):
                    if await sql.fetchval(f"select count(*) from {service}.outbox"):
                        return False
            async with self.there.installation.nats() as client:
                consumers = await client.jetstream().consumers_info("EVENTS")
                return not any(
                    each.num_pending or each.num_ack_pending
                    for each in consumers
                    if each.name.startswith(("tasks-", "git-", "sandbox-"))
                )

        await eventually(quiet, within=WITHIN, what="all was heard")

    def _loaded(self, arrow: Arrow) -> Victim:
        found = self._victim(arrow)
        found.load()
        return found

    def _victim(self, arrow: Arrow | None = None) -> Victim:
        self._number += 1
        trace = self.folder / f"{self.service}-{self._number}.trace"
        return Victim(self.victim(trace.with_suffix(".log")), self.service, trace, arrow)


async def nothing_lasts(there: TaskScene) -> None:
    """Neither of a sandbox nor of a tree, and nobody acts for anybody any more."""
    await there.nothing_is_left()

    for path in there.trees.glob("*/.draft-*"):
        # What was in the making when it died goes when it is older than anything can be that is made.
        os.utime(path, (0, 0), follow_symlinks=False)
    Trees(there.trees, TreeMaker(None)).remove_leftovers()

    async def gone() -> bool:
        held = "revoked_at is null and expires_at > now() and service = 'tasks'"
        assert not await there.installation.count("auth.delegations", held)
        left = [process.cmdline() for process in there.node.processes()]
        left += [[path.name] for path in there.node.folder.iterdir() if path.is_dir() and path.name[0] != "."]
        left += [[str(path)] for path in there.trees.glob("*/.draft-*")]
        assert left == [], left
        return True

    await eventually(gone, what="nothing lasts")


async def _over(victim: Running, doing: "asyncio.Task[None]") -> bool:
    return not victim.alive or doing.done()


def both_sides(names: Iterable[str]) -> list[Arrow]:
    return [Arrow(name, side) for name in names for side in (BEFORE, AFTER)]
