"""A first slice through the whole stack, shown live."""

import asyncio
import json
import secrets
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import httpx
from nats.aio.client import Client
from nats.aio.msg import Msg
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from signalbox_cli.commands.common import console
from signalbox_cli.operator import Operator, read_url
from signalbox_cli.stack.home import Home

EVENT_PATIENCE = 5.0


class Screen:
    """Steps on top, events as they pass below."""

    def __init__(self) -> None:
        self._steps: list[tuple[str, str, str, float | None]] = []
        self._events: list[Text] = []

    def begin(self, step: str) -> None:
        self._steps.append(("…", step, "", None))

    def end(self, outcome: str, seconds: float, *, good: bool = True) -> None:
        _, step, _, _ = self._steps[-1]
        self._steps[-1] = ("[green]✓[/]" if good else "[red]✗[/]", step, outcome, seconds)

    def event(self, line: Text) -> None:
        self._events.append(line)

    def __rich__(self) -> Panel:
        table = Table.grid(padding=(0, 2))
        for mark, step, outcome, seconds in self._steps:
            took = "" if seconds is None else f"[dim]{seconds * 1000:7.1f} ms[/]"
            table.add_row(mark, step, took, outcome)
        table.add_row("", "", "", "")
        for line in self._events[-8:]:
            table.add_row("[cyan]»[/]", "event", "", line)
        return Panel(table, title="signalbox demo", border_style="dim")


_YAML = {"content-type": "application/yaml"}
_BOT = """\
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


def _told(applied: dict[str, Any]) -> str:
    """What became of the documents."""
    counts = Counter(item["action"] for item in applied["items"])
    return ", ".join(f"{count} {action}" for action, count in counts.items())


class DemoFailed(Exception):
    """An answer that was not expected."""


async def run(place: Home) -> None:
    screen = Screen()
    url = read_url(place)
    seen: asyncio.Queue[Msg] = asyncio.Queue()
    async with Operator(place).nats() as operator, httpx.AsyncClient(base_url=url, timeout=15) as http:
        await _watch(operator, screen, seen)
        with Live(screen, console=console, refresh_per_second=20):
            await _steps(screen, http, seen)
    console.print(f"\nYour stack goes on at [bold]{url}[/] (pages at {url}/docs). `signalbox down` stops it.")


async def _watch(operator: Client, screen: Screen, seen: "asyncio.Queue[Msg]") -> None:
    async def on_event(message: Msg) -> None:
        kind = (message.headers or {}).get("ce-type", "")
        if not kind.endswith("audit.recorded"):  # beside each of the others, and of no news here
            screen.event(Text.assemble((kind, "bold"), "  ", (message.data.decode()[:90], "dim")))
        seen.put_nowait(message)

    await operator.subscribe("evt.>", cb=on_event)
    await operator.flush()


async def _steps(screen: Screen, http: httpx.AsyncClient, seen: "asyncio.Queue[Msg]") -> None:
    name = f"demo-{secrets.token_hex(4)}"
    password = secrets.token_urlsafe(16)

    async def step(
        title: str, call: Callable[[], Any], expected: int, show: Callable[[dict[str, Any]], str]
    ) -> dict[str, Any]:
        screen.begin(title)
        started = time.perf_counter()
        response: httpx.Response = await call()
        took = time.perf_counter() - started
        if response.status_code != expected:
            screen.end(f"[red]{response.status_code}[/] {response.text[:120]}", took, good=False)
            raise DemoFailed(f"{title}: {response.status_code} {response.text[:300]}")
        body: dict[str, Any] = response.json()
        screen.end(show(body), took)
        return body

    await step(
        "POST /api/v1/auth/register",
        lambda: http.post(
            "/api/v1/auth/register",
            json={"username": name, "email": f"{name}@example.com", "password": password},
        ),
        201,
        lambda user: f"user [bold]{user['username']}[/]",
    )
    session = await step(
        "POST /api/v1/auth/login",
        lambda: http.post("/api/v1/auth/login", json={"username": name, "password": password}),
        200,
        lambda session: f"access token for {session['expiresIn'] // 60} min",
    )
    http.headers["Authorization"] = f"Bearer {session['accessToken']}"
    await step(
        "GET  /api/v1/auth/me", lambda: http.get("/api/v1/auth/me"), 200, lambda user: str(user["email"])
    )

    def create() -> Any:
        return http.post(
            "/api/v1/projects", json={"name": f"Project of {name}"}, headers={"Idempotency-Key": name}
        )

    project = await step(
        "POST /api/v1/projects", create, 201, lambda project: f"slug [bold]{project['slug']}[/]"
    )
    again = await step(
        "the same again, same key", create, 201, lambda _: "the same project, no second effect"
    )
    if again["id"] != project["id"]:
        raise DemoFailed("the same Idempotency-Key made two projects")
    await step(
        "GET  /api/v1/projects",
        lambda: http.get("/api/v1/projects"),
        200,
        lambda page: f"{len(page['items'])} projects, one of them personal",
    )
    namespace = {"namespace": project["slug"]}

    def apply() -> Any:
        return http.post("/api/v1/apply", content=_BOT, params=namespace, headers=_YAML)

    await step("POST /api/v1/apply", apply, 200, _told)
    await step("the same again", apply, 200, _told)
    await step(
        "GET  …/bots/helper/resolved",
        lambda: http.get("/api/v1/kinds/bots/helper/resolved", params=namespace),
        200,
        lambda tree: f"with its {', '.join(sorted(tree['references']))}",
    )
    sandbox = await step(
        "POST /api/v1/sandboxes",
        lambda: http.post("/api/v1/sandboxes", json={"projectId": project["id"], "timeout": 60}),
        201,
        lambda made: f"[bold]{made['status']}[/]",
    )
    await step(
        "POST …/exec",
        lambda: http.post(
            f"/api/v1/sandboxes/{sandbox['id']}/exec", json={"command": "echo hello from $(uname -n)"}
        ),
        200,
        lambda result: str(result["stdout"]).strip(),
    )
    await step(
        "DELETE …/{id}",
        lambda: http.delete(f"/api/v1/sandboxes/{sandbox['id']}"),
        200,
        lambda gone: str(gone["status"]),
    )
    screen.begin("its event on the bus")
    started = time.perf_counter()
    subject = await asyncio.wait_for(_event_of(seen, project["id"]), EVENT_PATIENCE)
    screen.end(f"[dim]{subject}[/]", time.perf_counter() - started)


async def _event_of(seen: "asyncio.Queue[Msg]", project: str) -> str:
    while True:
        message = await seen.get()
        if json.loads(message.data).get("id") == project and "project.created" in message.subject:
            return message.subject
