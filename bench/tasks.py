"""`python -m bench.tasks`: what tasks cost, from HTTP to their end, beside other systems on the same servers.

The others are installed from `bench/others/requirements.txt` into a folder of their own, given with --others.
"""

import argparse
import asyncio
import json
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import uvloop

from bench.report import Figure, Report, at_least, at_most, console
from bench.servers import ROOT
from bench.work import fresh_database
from signalbox_cli.demo import FILES, FIX
from signalbox_cli.provision.credentials import Credentials
from tests.support.checkouts import git
from tests.support.stack import Stack, new_home

RESULTS = ROOT / "bench/results/tasks.json"
ROUNDS = 3
BULKS, IN_BULK, SINGLES, LOOKS, DEMOS = 20, 100, 400, 100, 5
AT_ONCE = 16
OTHERS = {"procrastinate": 2_000, "taskiq": 4_000, "dbos": 1_000}
GROUP = "tasks"
ENDED = frozenset({"succeeded", "failed", "cancelled", "timed_out"})
TARGETS = {
    "POST until it runs, p50": at_most(25),
    "POST until it runs, p95": at_most(50),
    "done from bulk commands": at_least(120),
    "done by single POSTs": at_least(40),
    "the demo task beyond a shell script": at_most(400),
}
Note = Callable[[str, float], None]


class Bench:
    def __init__(self, http: httpx.AsyncClient, project: str) -> None:
        self._http = http
        self._project = project

    async def create(self, **body: Any) -> dict[str, Any]:
        given = {"title": "Do nothing", "noop": {}, "projectId": self._project} | body
        answer = await self._http.post("/api/v1/tasks", json=given)
        assert answer.status_code == 201, answer.text
        found: dict[str, Any] = answer.json()
        return found

    async def in_bulk(self) -> float:
        """Tasks a second, until the last has ended."""
        body = {"projectId": self._project, "tasks": [{"title": "Do nothing", "noop": {}}] * IN_BULK}

        async def bulk() -> None:
            answer = await self._http.post("/api/v1/tasks/bulk", json=body)
            assert answer.status_code in (201, 202), answer.text

        began = time.perf_counter()
        for _ in range(0, BULKS, 4):
            await asyncio.gather(*(bulk() for _ in range(4)))
        await self.all_ended()
        return BULKS * IN_BULK / (time.perf_counter() - began)

    async def singly(self) -> float:
        turn = asyncio.Semaphore(AT_ONCE)

        async def one() -> None:
            async with turn:
                await self.create()

        began = time.perf_counter()
        await asyncio.gather(*(one() for _ in range(SINGLES)))
        await self.all_ended()
        return SINGLES / (time.perf_counter() - began)

    async def all_ended(self) -> None:
        while True:
            left = 0
            for status in ("pending", "running"):
                params = {"projectId": self._project, "status": status, "limit": "1"}
                left += len((await self._http.get("/api/v1/tasks", params=params)).json()["items"])
            if not left:
                return
            await asyncio.sleep(0.05)

    async def until_it_runs(self) -> list[float]:
        """Milliseconds from the request until its first `running` reaches a client of server-sent events."""
        began: dict[str, float] = {}
        seen: dict[str, float] = {}
        listening, heard = asyncio.Event(), asyncio.Event()

        async def listen() -> None:
            params = {"project": self._project, "types": "tasks.run.changed"}
            async with self._http.stream("GET", "/api/v1/sse", params=params, timeout=None) as answer:
                listening.set()
                async for line in answer.aiter_lines():
                    if not line.startswith("data: "):
                        continue
                    data = json.loads(line[6:]).get("data", {})
                    if data.get("state") == "running":
                        seen[data["task"]] = time.perf_counter()
                        heard.set()

        client = asyncio.create_task(listen())
        await listening.wait()
        found = []
        for _ in range(LOOKS):
            at = time.perf_counter()
            task = (await self.create())["id"]
            began[task] = at
            while task not in seen:
                heard.clear()
                await heard.wait()
            found.append((seen[task] - at) * 1000)
            await asyncio.sleep(0.02)
        client.cancel()
        await asyncio.wait([client])
        return found

    async def demo(self, repository: str) -> tuple[float, dict[str, float]]:
        """Milliseconds of the whole, and of each step."""
        began = time.perf_counter()
        made = await self.create(noop=None, exec={"script": FIX}, repository=repository)
        while True:
            run = (await self._http.get(f"/api/v1/runs/{made['runId']}")).json()
            if run["status"] in ENDED:
                break
            await asyncio.sleep(0.01)
        took = (time.perf_counter() - began) * 1000
        assert run["status"] == "succeeded", run
        steps = (await self._http.get(f"/api/v1/runs/{made['runId']}/steps")).json()["items"]
        return took, {step["name"]: _milliseconds(step) for step in steps}

    async def repository(self, path: Path) -> str:
        body = {"url": str(path), "projectId": self._project, "forge": "git"}
        made = await self._http.post("/api/v1/repositories", json=body)
        assert made.status_code == 201, made.text
        while (await self._http.get(f"/api/v1/repositories/{made.json()['id']}")).json()["status"] != "ready":
            await asyncio.sleep(0.05)
        return str(made.json()["id"])


def _milliseconds(step: dict[str, Any]) -> float:
    begun, ended = (datetime.fromisoformat(step[name]) for name in ("startedAt", "finishedAt"))
    return (ended - begun).total_seconds() * 1000


def sample(path: Path) -> Path:
    """What the demo begins with."""
    path.mkdir(parents=True)
    git(path, "init", "-q", "--bare", "-b", "main")
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        git(work, "clone", "-q", str(path), ".")
        for file, content in FILES.items():
            (work / file).write_text(content)
        git(work, "add", ".")
        git(work, "commit", "-q", "-m", "Add numbers up")
        git(work, "push", "-q", "origin", "HEAD:main")
    return path


def by_script(remote: Path, branch: str) -> float:
    """Milliseconds of the same by hand: a clone, the script, a commit, a push."""
    with tempfile.TemporaryDirectory() as name:
        began = time.perf_counter()
        script = (
            f"git clone -q {remote} . && {{\n{FIX}\n}} >/dev/null && git -c user.name=a -c user.email=a@x "
            f"commit -qam fix && git push -q origin HEAD:{branch}"
        )
        subprocess.run(["/bin/sh", "-c", script], cwd=name, check=True, capture_output=True)
        return (time.perf_counter() - began) * 1000


def other(python: Path, name: str, url: str, count: int) -> float:
    argv = [str(python), str(ROOT / f"bench/others/on_{name}.py"), url, str(count), "singly"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=300)
    if done.returncode:
        raise RuntimeError(f"{name}: {done.stderr[-1500:]}")
    return count / float(done.stdout.split()[-1])


async def measure(stack: Stack, note: Note) -> None:
    headers = {"Authorization": f"Bearer {stack.env['SIGNALBOX_TOKEN']}"}
    limits = httpx.Limits(max_connections=40)
    async with httpx.AsyncClient(base_url=stack.url, headers=headers, timeout=60, limits=limits) as http:
        made = await http.post("/api/v1/projects", json={"name": "Bench"})
        bench = Bench(http, made.json()["id"])
        found = sorted(await bench.until_it_runs())
        note("POST until it runs, p50", statistics.median(found))
        note("POST until it runs, p95", found[int(len(found) * 0.95)])
        note("done from bulk commands", await bench.in_bulk())
        note("done by single POSTs", await bench.singly())
        remote = sample(stack.home.path / "repositories" / f"sums-{time.time_ns()}.git")
        repository = await bench.repository(remote)
        await bench.demo(repository)  # the first one has a mirror and a tree to make
        whole, by_hand, steps = [], [], dict[str, list[float]]()
        for number in range(DEMOS):
            by_hand.append(by_script(remote, f"by-hand-{number}"))
            took, parts = await bench.demo(repository)
            whole.append(took)
            for name, value in parts.items():
                steps.setdefault(name, []).append(value)
        note("the demo task", statistics.median(whole))
        note("the same by a shell script", statistics.median(by_hand))
        note("the demo task beyond a shell script", statistics.median(whole) - statistics.median(by_hand))
        for name, values in steps.items():
            note(f"of that, {name}", statistics.median(values))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.tasks", description=__doc__)
    parser.add_argument("--others", type=Path, metavar="DIR", help="a virtual environment that has them")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    options = parser.parse_args()
    report, rounds = Report(), dict[str, list[float]]()

    def note(name: str, value: float) -> None:
        console.print(f"{name}: {value:.1f}", style="dim")
        rounds.setdefault(name, []).append(value)

    stack = Stack(new_home())
    try:
        stack.up()
        report.look_around("tasks")
        uvloop.run(stack.become_admin())
        credentials = Credentials.read(stack.home.credentials / "secrets.json")
        admin = (stack.home.credentials / "operator" / "database-url").read_text().strip()
        nats = (stack.home.credentials / "operator" / "nats-url").read_text().strip()
        passwords = credentials.passwords["nats"]
        nats = nats.replace("operator:", "admin:").replace(passwords["operator"], passwords["admin"])
        for _ in range(options.rounds):
            uvloop.run(measure(stack, note))
            if options.others is not None:
                python = options.others / "bin/python"
                for name in ("procrastinate", "dbos"):
                    url = uvloop.run(fresh_database(admin, f"bench_{name}"))
                    note(f"{name}, put singly", other(python, name, url, OTHERS[name]))
                note("taskiq on NATS, put singly", other(python, "taskiq", nats, OTHERS["taskiq"]))
    finally:
        stack.down()
        stack.remove()
    report.figures = [
        Figure(GROUP, name, "/s" if "done" in name or "singly" in name else "ms", values, TARGETS.get(name))
        for name, values in rounds.items()
    ]
    report.show()
    report.write(RESULTS)


if __name__ == "__main__":
    main()
