"""What resources cost: lists that do not grow with the total, applies, trees and watches."""

import asyncio
import json
import statistics
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
import httpx
from pydantic import SecretStr

from bench.report import Figure, Report, Target, at_most, console
from bench.servers import Person, Stack
from signalbox_cli.provision.credentials import service_environment
from signalbox_common.bus import Bus
from signalbox_common.contracts.auth import GetGrant
from signalbox_common.contracts.base import Query
from signalbox_common.contracts.catalog import ListResources, ResolveResource
from signalbox_common.settings import ServiceSettings

MANY, FEW = 100_000, 1_000
ASKED = 300
DOCUMENTS, BOTS = 500, 10
CHANGES = 100

_FILL = """
with new as (
    insert into catalog.resources
    select gen_random_uuid(), $1, 'Ghost', 'ghost-' || lpad(n::text, 7, '0'), null,
           jsonb_build_object('team', 'team-' || n % 100), '{}', $2::jsonb, '{}',
           '{"state": "Available"}', 1000, 1, $3 + n, $1, now(), now(), null
    from generate_series(1, $4::int) as n
    returning uid, name, labels
)
insert into catalog.labels select $1, 'Ghost', 'team', labels ->> 'team', name, uid from new
"""


def measure(stack: Stack, report: Report, *, rounds: int) -> None:
    report.look_around("catalog")
    asyncio.run(_measure(stack, report, rounds))


async def _measure(stack: Stack, report: Report, rounds: int) -> None:
    person = Person(stack.url)
    me = {"Authorization": f"Bearer {person.token()}"}
    async with (
        httpx.AsyncClient(base_url=stack.url, timeout=60, headers=me) as client,
        _bus(stack) as bus,
    ):
        desk = _Admission(stack, bus, client, person)
        await _lists(stack, desk, report, rounds)
        await _applies(desk, report, rounds)
        await _trees(desk, report, rounds)
        await _watches(desk, report)


class _Admission:
    """Asks the catalog as the gateway does."""

    def __init__(self, stack: Stack, bus: Bus, client: httpx.AsyncClient, person: Person) -> None:
        self.stack = stack
        self.bus = bus
        self.client = client
        self._token = person.token

    async def project(self, name: str) -> tuple[str, str]:
        """Id and namespace of a new one."""
        made = (await self.client.post("/api/v1/projects", json={"name": name})).json()
        return made["id"], made["slug"]

    async def milliseconds(self, query: Query[Any], project: str, count: int) -> "_Took":
        grant = await self.grant(project)
        await self.once(query, grant)
        with self.watching(query) as took:
            took.times = [await self.once(query, grant) for _ in range(count)]
        return took

    @contextmanager
    def watching(self, query: Query[Any]) -> Iterator["_Took"]:
        took, subject = _Took(), query.subject_for("catalog")
        seconds, count = self.stack.handled("catalog", subject)
        yield took
        more_seconds, more = self.stack.handled("catalog", subject)
        assert more - count == len(took.times), "somebody else asked too"
        took.at_service = (more_seconds - seconds) / (more - count) * 1000

    async def grant(self, project: str) -> str:
        question = GetGrant(token=SecretStr(self._token()), audience="catalog", project=uuid.UUID(project))
        return (await self.bus.query(question)).value().grant

    async def once(self, query: Query[Any], grant: str) -> float:
        started = time.perf_counter()
        await self.bus.query(query, grant=grant)
        return (time.perf_counter() - started) * 1000


@dataclass
class _Took:
    """Milliseconds of the same questions."""

    times: list[float] = field(default_factory=list)
    at_service: float = 0.0
    """On average, from a message that has come to the answer that is sent, as the service counts."""

    @property
    def over_the_bus(self) -> float:
        """The median of one caller: the way over NATS, to the service and back."""
        return statistics.median(self.times)


@asynccontextmanager
async def _bus(stack: Stack) -> AsyncIterator[Bus]:
    files = service_environment(stack.home.credentials, "gateway")
    url = Path(files["NATS_URL_FILE"]).read_text("utf-8").strip()
    bus = Bus(ServiceSettings(service="gateway", nats_url=SecretStr(url), log_level="warning"))
    await bus.start()
    try:
        yield bus
    finally:
        await bus.stop()


# -- lists -------------------------------------------------------------------------------------------------


async def _lists(stack: Stack, desk: _Admission, report: Report, rounds: int) -> None:
    few, few_slug = await desk.project("Few")
    many, many_slug = await desk.project("Many")
    await _fill(stack, {few: (few_slug, FEW), many: (many_slug, MANY)})
    middle = ListResources(plural="ghosts", limit=100, cursor=await _cursor_in_the_middle(desk, many_slug))
    wanted = {
        f"100 of {FEW:,}": (ListResources(plural="ghosts", limit=100), few, None),
        f"100 of {MANY:,}": (ListResources(plural="ghosts", limit=100), many, at_most(15)),
        f"100 of {MANY:,}, from the middle": (middle, many, at_most(15)),
        f"100 of {MANY:,}, with a label": (
            ListResources(plural="ghosts", limit=100, label_selector="team=team-7"),
            many,
            at_most(15),
        ),
        f"part of a name among {MANY:,}": (
            ListResources(plural="ghosts", limit=100, q="99999"),
            many,
            None,
        ),
    }
    found: dict[str, list[_Took]] = {name: [] for name in wanted}
    for number in range(rounds):
        console.print(f"catalog: lists, round {number + 1} of {rounds}", style="dim")
        for name, (query, project, _) in wanted.items():
            found[name].append(await desk.milliseconds(query, project, ASKED // rounds))
    for name, (_, _, target) in wanted.items():
        report.figures += _figures(f"list {name}", found[name], target)


def _figures(group: str, took: list[_Took], target: Target | None) -> list[Figure]:
    return [
        Figure(group, "at the service, mean", "ms", [each.at_service for each in took], target),
        Figure(group, "over the bus, 1 caller, p50", "ms", [each.over_the_bus for each in took]),
    ]


async def _fill(stack: Stack, projects: dict[str, tuple[str, int]]) -> None:
    """Straight into the tables: through the front door it would take an hour."""
    files = service_environment(stack.home.credentials, "catalog")
    url = Path(files["DATABASE_URL_FILE"]).read_text("utf-8").strip()
    connection = await asyncpg.connect(url)
    try:
        for project, (slug, count) in projects.items():
            await connection.execute(
                "insert into catalog.namespaces (project_id, slug, version) values ($1, $2, $3)",
                uuid.UUID(project),
                slug,
                count,
            )
            spec = json.dumps({"systemPrompt": "You write code. " * 20, "description": "One of many."})
            await connection.execute(_FILL, uuid.UUID(project), spec, 0, count, timeout=120)
        await connection.execute("analyze catalog.resources, catalog.labels")
    finally:
        await connection.close()


async def _cursor_in_the_middle(desk: _Admission, slug: str) -> str:
    """Found by a name."""
    page = await desk.client.get(
        "/api/v1/kinds/ghosts", params={"namespace": slug, "limit": 1, "q": "ghost-005"}
    )
    return str(page.json()["nextCursor"])


# -- applies -----------------------------------------------------------------------------------------------


async def _applies(desk: _Admission, report: Report, rounds: int) -> None:
    first, again, tried = [], [], []
    for number in range(rounds):
        console.print(f"catalog: applies, round {number + 1} of {rounds}", style="dim")
        _, slug = await desk.project(f"Applied {number}")
        text = _documents(DOCUMENTS)
        first.append(await _apply(desk, text, slug, "created"))
        again.append(await _apply(desk, text, slug, "unchanged"))
        tried.append(await _apply(desk, text.replace("You write", "You test"), slug, "updated", dry_run=True))
    group = f"POST /apply, {DOCUMENTS} documents"
    report.figures += [
        Figure(group, "all created", "s", first, at_most(2)),
        Figure(group, "all unchanged", "s", again, at_most(2)),
        Figure(group, "dry run", "s", tried),
    ]


_FIVE = """\
apiVersion: signalbox.dev/v1
kind: Bot
metadata: {{name: bot-{n}, labels: {{team: bench}}}}
spec: {{ghostRef: {{name: ghost-{n}}}, shellRef: shell-{n}, modelRef: {{name: model-{n}}}}}
---
apiVersion: signalbox.dev/v1
kind: Ghost
metadata: {{name: ghost-{n}}}
spec:
  systemPrompt: |
    You write code.
    Number {n}.
  skills: [skill-{n}]
---
apiVersion: signalbox.dev/v1
kind: Skill
metadata: {{name: skill-{n}}}
spec: {{description: checks {n}}}
---
apiVersion: signalbox.dev/v1
kind: Model
metadata: {{name: model-{n}}}
spec: {{modelConfig: {{env: {{model: openai, model_id: m{n}, api_key: sk-bench-{n}-0123456789}}}}}}
---
apiVersion: signalbox.dev/v1
kind: Shell
metadata: {{name: shell-{n}}}
spec: {{shellType: Chat}}
"""


def _documents(count: int) -> str:
    return "---\n".join(_FIVE.format(n=n) for n in range(count // 5))


async def _apply(desk: _Admission, text: str, slug: str, expected: str, *, dry_run: bool = False) -> float:
    started = time.perf_counter()
    answer = await desk.client.post(
        "/api/v1/apply",
        content=text,
        params={"namespace": slug, "dryRun": dry_run},
        headers={"content-type": "application/yaml"},
    )
    took = time.perf_counter() - started
    answer.raise_for_status()
    actions = {item["action"] for item in answer.json()["items"]}
    assert expected in actions, actions
    return took


# -- trees -------------------------------------------------------------------------------------------------


async def _trees(desk: _Admission, report: Report, rounds: int) -> None:
    project, slug = await desk.project("Tree")
    names = ", ".join(f"bot-{n}" for n in range(BOTS))
    team = f"kind: Team\nmetadata: {{name: team}}\nspec: {{bots: [{names}]}}\n"
    documents = f"{_documents(BOTS * 5)}---\napiVersion: signalbox.dev/v1\n{team}"
    await _apply(desk, documents, slug, "created")
    query = ResolveResource(plural="teams", name="team")
    kept = [await desk.milliseconds(query, project, ASKED // rounds) for _ in range(rounds)]
    fresh = []
    for number in range(rounds):
        grant = await desk.grant(project)
        console.print(f"catalog: trees, round {number + 1} of {rounds}", style="dim")
        with desk.watching(query) as took:
            for n in range(20):
                patch = {"metadata": {"annotations": {"n": f"{number}-{n}"}}}
                where = f"/api/v1/kinds/ghosts/ghost-{n % BOTS}"
                (await desk.client.patch(where, json=patch, params={"namespace": slug})).raise_for_status()
                took.times.append(await desk.once(query, grant))
        fresh.append(took)
    group = f"resolve a team of {BOTS} bots"
    report.figures += _figures(f"{group}, after a change within", fresh, at_most(5))
    report.figures += _figures(f"{group}, nothing changed", kept, at_most(5))


# -- watches -----------------------------------------------------------------------------------------------


async def _watches(desk: _Admission, report: Report) -> None:
    _, slug = await desk.project("Watched")
    where, query = "/api/v1/kinds/shells", {"namespace": slug}
    body = {"metadata": {"name": "one"}, "spec": {"shellType": "Chat"}}
    (await desk.client.post(where, json=body, params=query)).raise_for_status()
    sent: dict[str, float] = {}
    seen: dict[str, float] = {}
    writes = []
    async with desk.client.stream("GET", where, params=query | {"watch": "true"}) as stream:
        lines = stream.aiter_lines()
        while "BOOKMARK" not in await anext(lines):
            pass
        reading = asyncio.create_task(_read(lines, seen, CHANGES))
        for n in range(CHANGES):
            started = time.perf_counter()
            patch = {"metadata": {"annotations": {"n": str(n)}}}
            answer = await desk.client.patch(f"{where}/one", json=patch, params=query)
            answered = time.perf_counter()
            writes.append((answered - started) * 1000)
            sent[answer.json()["metadata"]["resourceVersion"]] = started
            await asyncio.sleep(0.02)
        await asyncio.wait_for(reading, 30)
    late = sorted((seen[version] - started) * 1000 for version, started in sent.items())
    report.figures += [
        Figure("PATCH of a resource", "answered, p50", "ms", [statistics.median(writes)]),
        Figure("PATCH of a resource", "seen by a watcher, p50", "ms", [statistics.median(late)]),
        Figure("PATCH of a resource", "seen by a watcher, p99", "ms", [late[int(len(late) * 0.99) - 1]]),
    ]


async def _read(lines: AsyncIterator[str], seen: dict[str, float], count: int) -> None:
    async for line in lines:
        if line.startswith("id: "):
            seen.setdefault(line.removeprefix("id: "), time.perf_counter())
            if len(seen) > count:  # the first is where the watch began
                return
