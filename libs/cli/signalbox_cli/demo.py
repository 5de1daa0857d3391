"""The main job, shown live: a repository with a failing test, and a task that mends it on a branch."""

import os
import secrets
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from rich.table import Table

from signalbox_cli.client import Client
from signalbox_cli.commands.common import console
from signalbox_cli.operator import read_url
from signalbox_cli.repositories import RepositoryApi
from signalbox_cli.run_display import print_diff, seconds_of, view_for, watch
from signalbox_cli.stack.home import Home
from signalbox_cli.tasks import TaskApi

T = TypeVar("T")

_YAML = {"content-type": "application/yaml"}
_RESOURCES = """\
apiVersion: signalbox.dev/v1
kind: Bot
metadata: {name: helper}
spec: {ghostRef: helper, modelRef: quick, shellRef: chat}
---
apiVersion: signalbox.dev/v1
kind: Ghost
metadata: {name: helper}
spec: {systemPrompt: You answer briefly.}
---
apiVersion: signalbox.dev/v1
kind: Model
metadata: {name: quick}
spec: {provider: openai, model: gpt-4}
---
apiVersion: signalbox.dev/v1
kind: Shell
metadata: {name: chat}
spec: {type: Chat}
"""
_SUM = """\
#!/bin/sh
# Adds up what it is given.
total=0
while [ $# -gt 1 ]; do
    total=$((total + $1))
    shift
done
echo "$total"
"""
_TEST = """\
#!/bin/sh
failed=0
check() {
    expected=$1
    shift
    found=$(sh sum.sh "$@")
    if [ "$found" = "$expected" ]; then
        echo "ok      sum of $*"
    else
        echo "FAILED  sum of $*: $found, and not $expected"
        failed=1
    fi
}
check 0
check 7 7
check 6 1 2 3
exit $failed
"""
FILES = {"README.md": "# Sums\n\n`./sum.sh 1 2 3` says 6.\n", "sum.sh": _SUM, "test.sh": _TEST}
FIX = """\
sh test.sh && exit 1   # there should be something to mend
sed -i 's/-gt 1/-gt 0/' sum.sh
sh test.sh
git status --short
"""


class DemoFailed(Exception):
    """Something else came of it than should have."""


def run(place: Home) -> None:
    url = read_url(place)
    with Client(url) as http:
        _sign_up(http)
        api, repository = TaskApi(http), _prepare(http, place)
        project = repository["projectId"]
        body = {
            "title": "Mend the sum of numbers",
            "description": "The last number was left out.",
            "exec": {"script": FIX},
            "repository": repository["id"],
            "projectId": project,
        }
        task = _step("create the task", lambda: api.create(body), lambda made: str(made["id"]))
        begun = time.monotonic()
        with view_for(console, live=True) as view:
            found = watch(api, task["runId"], view)
        took = time.monotonic() - begun
        if found["status"] != "succeeded":
            raise DemoFailed(f"the run {found['status']}: {(found['error'] or {}).get('detail')}")
        _tell(api, task["id"], found, took, url, repository)


def _sign_up(http: Client) -> None:
    name, password = f"demo-{secrets.token_hex(4)}", secrets.token_urlsafe(16)
    user = {"username": name, "email": f"{name}@example.com", "password": password}
    _step("register", lambda: http.post("/api/v1/auth/register", json=user), lambda _: name)
    given = {"username": name, "password": password}
    session = _step(
        "log in", lambda: http.post("/api/v1/auth/login", json=given).json(), lambda _: "for 15 minutes"
    )
    http.headers["Authorization"] = f"Bearer {session['accessToken']}"


def _prepare(http: Client, place: Home) -> dict[str, Any]:
    """A project with a few resources and a repository; the repository."""
    project: dict[str, Any] = _step(
        "create a project",
        lambda: http.post("/api/v1/projects", json={"name": "A demo of Signalbox"}).json(),
        lambda made: str(made["slug"]),
    )
    where = {"namespace": project["slug"]}
    _step(
        "apply resources",
        lambda: http.post("/api/v1/apply", content=_RESOURCES, params=where, headers=_YAML).json(),
        _applied,
    )
    sample = _step("make a repository", lambda: _sample(place), lambda path: f"{path.name}, its test fails")
    api = RepositoryApi(http, project["id"])
    body = {"url": str(sample), "name": "sums", "forge": "git"}
    return _step("add it", lambda: api.fetched(api.add(body)), lambda found: str(found["status"]))


def _applied(answer: dict[str, Any]) -> str:
    counts = Counter(item["action"] for item in answer["items"])
    return ", ".join(f"{count} {action}" for action, count in counts.items())


def _step(title: str, call: Callable[[], T], show: Callable[[T], str]) -> T:
    begun = time.perf_counter()
    found = call()
    took = (time.perf_counter() - begun) * 1000
    console.print(f"[green]✓[/]  {title:<18} [dim]{took:7.1f} ms[/]  {show(found)}", soft_wrap=True)
    return found


def _sample(place: Home) -> Path:
    """A bare one, where repositories may lie that are given as paths."""
    root = Path(os.environ.get("SIGNALBOX_GIT_ROOT") or place.path / "repositories")
    target = root / f"sums-{secrets.token_hex(3)}.git"
    root.mkdir(parents=True, exist_ok=True)
    with _work_tree() as folder:
        for name, content in FILES.items():
            (folder / name).write_text(content, encoding="utf-8")
        _git(folder, "add", ".")
        _git(folder, "commit", "-q", "-m", "Add numbers up")
        _git(folder, "clone", "-q", "--bare", ".", str(target.resolve()))
    return target.resolve()


@contextmanager
def _work_tree() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="signalbox-demo-") as name:
        folder = Path(name)
        _git(folder, "init", "-q", "-b", "main")
        yield folder


def _git(folder: Path, *arguments: str) -> None:
    """As nobody in particular."""
    who = ("-c", "user.name=Demo", "-c", "user.email=demo@example.com", "-c", "commit.gpgSign=false")
    env = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    done = subprocess.run(
        ["git", *who, *arguments], cwd=folder, env=env, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise DemoFailed(f"git {arguments[0]}: {done.stderr.strip()}")


def _tell(
    api: TaskApi, task: str, run: dict[str, Any], took: float, url: str, repository: dict[str, Any]
) -> None:
    console.print()
    print_diff(api.changes(run["id"]) or "", console)
    table = Table.grid(padding=(0, 2))
    for step in api.steps(run["id"]):
        table.add_row(f"[dim]{step['name']}[/]", f"{seconds_of(step) * 1000:.0f} ms", step["detail"] or "")
    table.add_row("[bold]the run[/]", f"{took * 1000:.0f} ms", "")
    console.print(table)
    console.print(
        f"\nbranch [bold]{run['branch']}[/] of {repository['url']}, commit {run['commit'][:12]}\n"
        f"\n  signalbox login                   to look on as yourself"
        f"\n  signalbox run -r REPOSITORY -- …  to have something done"
        f"\n  curl {url}/api/v1/tasks/{task}    as whoever may read it"
        f"\n\nYour stack goes on at [bold]{url}[/] (pages at {url}/docs). `signalbox down` stops it.",
        soft_wrap=True,
    )
