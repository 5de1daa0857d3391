"""A task whose way is walked once to see its arrows, and again for each of them, where a service dies there."""

import asyncio
import sys
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from signalbox_common import background
from signalbox_common.testing import eventually
from tests.support.checkouts import git
from tests.support.effects import AFTER, BEFORE
from tests.support.forge_simulator import OWNER, ForgeSimulator
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
        assert [each["id"] for each in tasks["items"] if each["gitBranch"] == self.branch] == [self.task["id"]]


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

    forge: ForgeSimulator

    async def is_done_once(self) -> None:
        await super().is_done_once()
        pulls = [each for each in self.forge.pulls[self.remote.stem] if each["head"]["ref"] == self.branch]
        assert [each["html_url"] for each in pulls] == [self.task["pullRequestUrl"]]


@dataclass
class Walk:
    """Of one kind of errand; `victim` makes a process of the service that dies, `stand_in` is the one that lives."""

    there: TaskScene
    folder: Path
    service: str
    victim: Callable[[Path], Running]
    stand_in: Callable[[], AbstractAsyncContextManager[Any]]
    errand: Callable[[], Awaitable[Errand]]
    deaths: Counter[str] = field(default_factory=Counter)
    _number: int = 0

    async def arrows(self) -> list[str]:
        """In their order, where nothing dies."""
        trace = self._file("trace")
        victim = self._armed(trace)
        await victim.start()
        try:
            errand = await self.errand()
            await errand.do()
            await errand.is_done_once()
            await self.there.nothing_is_left()
        finally:
            await victim.stop()
        return list(dict.fromkeys(trace.read_text().splitlines()))

    async def dies_at(self, arrow: Arrow) -> bool:
        """Whether it came there; whatever became of it, it was done once."""
        trace = self._file("trace")
        victim = self._armed(trace, arrow)
        errand = await self.errand()
        await victim.start()
        doing = asyncio.create_task(errand.do())
        try:
            await eventually(partial(_over, victim, doing), within=WITHIN, what="it is dead, or done")
            died = not victim.alive
            await victim.stop()
            async with self.there.installation.sql() as sql:
                # How long a lease lasts otherwise, others have shown.
                await sql.execute(
                    f"update {self.service}.work set lease_until = {self.service}.clock() "
                    "where state = 'running'"
                )
            async with self.stand_in():
                await doing
                await errand.is_done_once()
                await self.there.nothing_is_left()
        except BaseException as error:
            error.add_note(f"died {arrow}, of {trace}")
            raise
        finally:
            await background.end(doing)
            await victim.stop()
        self.deaths["died" if died else "did not come there"] += 1
        return died

    async def dies_at_all(self, arrows: Sequence[Arrow]) -> str:
        begun = time.monotonic()
        missed = [str(arrow) for arrow in arrows if not await self.dies_at(arrow)]
        for each in missed:
            print(f"\n  not met again: {each}", end="")
        return f"{dict(self.deaths)} in {time.monotonic() - begun:.0f} s"

    def _file(self, what: str) -> Path:
        self._number += 1
        return self.folder / f"{self.service}-{self._number}.{what}"

    def _armed(self, trace: Path, arrow: Arrow | None = None) -> Running:
        found = self.victim(trace.with_suffix(".log"))
        point = [arrow.name, arrow.side] if arrow is not None else []
        argv = [sys.executable, "-m", "tests.support.effects", self.service, str(trace), *point]
        found.program.argv[:] = argv
        return found


async def _over(victim: Running, doing: "asyncio.Task[None]") -> bool:
    return not victim.alive or doing.done()


def both_sides(names: Sequence[str]) -> Iterator[Arrow]:
    for name in names:
        yield Arrow(name, BEFORE)
        yield Arrow(name, AFTER)
