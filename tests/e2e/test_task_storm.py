"""Hundreds of tasks while everything is killed: each ends as it should, as one commit, and none is left."""

import asyncio
import os
import random
import signal
import time
from collections import Counter
from contextlib import suppress
from typing import Any

import httpx
import psutil
import pytest

from signalbox_common.testing import eventually
from tests.support.checkouts import git
from tests.support.remotes import new_repository
from tests.support.stack import Stack

SERVICES = ("auth", "tasks", "tasks-2", "sandbox", "git", "gateway", "fanout")
SERVERS = ("nats", "postgres", "redis")
SCRIPT = "echo ran >> ran.txt; for n in 1 2 3 4 5; do echo line $n; sleep 0.2; done"
LOG = "".join(f"line {number}\n" for number in range(1, 6))
ENDED = frozenset({"succeeded", "failed", "cancelled", "timed_out"})


async def storm(stack: Stack, *, tasks: int, kills: int, pause: float) -> Counter[str]:
    """Programs by turns, and now and then a keeper, whose sandbox ends with it, or a server."""
    path = new_repository(stack.home.path / "repositories" / "storm.git", {"a.txt": "1\n"})
    made = await _create(stack, str(path), tasks)
    killed = await _kill(stack, kills, pause)
    found = await _all_ended(stack, made)
    killed |= Counter(task["status"] for task in found)
    wrong = [(task["error"], task["attempts"]) for task in found if task["status"] != "succeeded"]
    assert wrong == []
    for task in found:
        branch = task["gitBranch"]
        assert git(path, "rev-list", "--count", f"main..{branch}").strip() == "1"
        assert git(path, "show", f"{branch}:ran.txt") == "ran\n"
    branches = git(path, "for-each-ref", "--format=%(refname:short)", "refs/heads/s").split()
    assert sorted(branches) == sorted(f"s/{number}" for number in range(tasks))
    await _nothing_is_left(stack, [task["runId"] for task in found])
    killed["runs"] = sum(task["attempts"] for task in found)
    return killed


async def _ask(stack: Stack, method: str, path: str, **more: Any) -> Any:
    """Until it is answered: the gateway is killed, too."""

    async def answered() -> httpx.Response | None:
        headers = {"Authorization": f"Bearer {stack.env['SIGNALBOX_TOKEN']}"}
        try:
            async with stack.client() as http:
                answer = await http.request(method, path, headers=headers | more.get("headers", {}), **rest)
        except httpx.HTTPError:
            return None
        return answer if answer.status_code < 500 else None

    rest = {name: value for name, value in more.items() if name != "headers"}
    answer = await eventually(answered, within=120, what=f"{method} {path} is answered")
    assert answer is not None
    assert answer.is_success, answer.text
    return answer.json() if "json" in answer.headers.get("content-type", "") else answer.text


async def _create(stack: Stack, path: str, count: int) -> list[str]:
    repository = await _ask(stack, "POST", "/api/v1/repositories", json={"url": path, "forge": "git"})
    project = repository["projectId"]
    made = []
    for begin in range(0, count, 100):
        body = {
            "projectId": project,
            "tasks": [
                {
                    "title": f"Task {number}",
                    "exec": {"script": SCRIPT},
                    "repository": repository["id"],
                    "branch": f"s/{number}",
                    "retry": {"attempts": 8},
                }
                for number in range(begin, min(begin + 100, count))
            ],
        }
        headers = {"Idempotency-Key": f"storm-{begin}"}
        found = await _ask(stack, "POST", "/api/v1/tasks/bulk", json=body, headers=headers)
        made += [task["id"] for task in found["items"]]
    return made


async def _kill(stack: Stack, kills: int, pause: float) -> Counter[str]:
    chance, killed = random.Random(11), Counter[str]()
    victims = [*SERVICES * 3, *SERVERS, *["keeper of one"] * 3]
    planned = [victims[number % len(victims)] for number in range(kills)]
    chance.shuffle(planned)
    for victim in planned:
        await asyncio.sleep(pause * chance.uniform(0.3, 1.7))  # where it is killed then
        pid = _keeper(stack) if victim == "keeper of one" else _pid(stack, victim)
        if pid is not None:
            os.kill(pid, signal.SIGKILL)
            killed[victim] += 1
    return killed


def _pid(stack: Stack, name: str) -> int | None:
    state = stack.home.read_state() or {}
    children = [*state.get("services", ()), *state.get("servers", ())]
    pid = next((child["pid"] for child in children if child["name"] == name), None)
    return int(pid) if pid is not None and psutil.pid_exists(int(pid)) else None


def _keeper(stack: Stack) -> int | None:
    """One that keeps a sandbox, if there is any at the moment."""
    role = _pid(stack, "keeper")
    if role is None:
        return None
    with suppress(psutil.Error):
        return next((each.pid for each in psutil.Process(role).children() if each.children()), None)
    return None


async def _all_ended(stack: Stack, made: list[str]) -> list[Any]:
    found: dict[str, Any] = {}

    async def ended() -> bool:
        for task in made:
            if task not in found:
                seen = await _ask(stack, "GET", f"/api/v1/tasks/{task}")
                if seen["status"] not in ENDED:
                    return False
                found[task] = seen
        return True

    await eventually(ended, within=1500, what="all tasks have ended")
    return [found[task] for task in made]


async def _nothing_is_left(stack: Stack, runs: list[str]) -> None:
    assert await _ask(stack, "GET", f"/api/v1/runs/{runs[0]}/log") == LOG

    async def gone() -> bool:
        page = await _ask(stack, "GET", "/api/v1/sandboxes", params={"status": "running", "limit": "200"})
        assert page["items"] == []
        listed = stack.run("work", "ls", "--service", "tasks", "--json")
        assert listed.stdout.strip() in ("", "[]"), listed.stdout
        return True

    await eventually(gone, within=120, what="nothing is left of them")


@pytest.mark.proof
@pytest.mark.timeout(3000)
async def test_whatever_is_killed(own_stack: Stack) -> None:
    own_stack.env["SIGNALBOX_TASKS_INSTANCES"] = "2"
    own_stack.up()
    await own_stack.become_admin()
    count, kills = 300, 60
    begun = time.monotonic()
    counts = await storm(own_stack, tasks=count, kills=kills, pause=1.5)
    took = time.monotonic() - begun
    print(f"\n{count} tasks in {took:.0f} s, one commit each; killed, and what came of it: {dict(counts)}")
