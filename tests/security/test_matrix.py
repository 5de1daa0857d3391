"""Every route, asked by everybody: whose things they are is all that counts."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from fastapi.routing import APIWebSocketRoute, iter_route_contexts
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from signalbox_gateway.app import build
from signalbox_gateway.settings import GatewaySettings
from tests.security.matrix import REFUSED, ROWS, WORDS, Row, Words
from tests.security.world import NAMES, World, ids_of, missing
from tests.support.installation import Installation
from tests.support.repositories import running_git
from tests.support.run import new_folder
from tests.support.sandboxes import running_sandboxes
from tests.support.tasks import running_tasks

pytestmark = pytest.mark.fresh  # every right of everybody is tried

API = "/api/v1"
IDS = {"X-Request-ID": "the-same", "X-Correlation-ID": "for-both"}
OF_THE_MOMENT = frozenset(
    {"date", "x-operation-id", "server-timing", "ratelimit-remaining", "ratelimit-reset"}
)


@pytest.fixture(scope="module")
def app() -> FastAPI:
    """The gateway as it would start, connected to nothing."""
    return build(GatewaySettings(docs=True))


@asynccontextmanager
async def world_of(installation: Installation) -> AsyncIterator[World]:
    async with (
        installation.running_auth(admin=True),
        installation.running_catalog(),
        running_sandboxes(installation),
        running_git(installation, new_folder("git")) as repositories,
        running_tasks(installation, new_folder("tasks")),
        installation.gateway() as http,
    ):
        world = World(installation, http, repositories)
        await world.build()
        yield world


def test_every_route_has_its_row_and_every_row_its_route(app: FastAPI) -> None:
    documented = set(_documented(app))
    rows = [row.route for row in ROWS]
    assert len(rows) == len(set(rows)), "a route has one row"
    assert {route for route in rows if not route.startswith("WS ")} == documented
    assert {route for route in rows if f" {API}/" in route} == set(_served(app)), "nothing is undocumented"


def test_what_takes_a_token_is_documented_to(app: FastAPI) -> None:
    documented = _documented(app)
    for row in ROWS:
        if row.method != "WS":
            assert ("security" in documented[row.route]) is (row.anonymous is not None), row.route


async def test_every_route_answers_everybody_as_the_matrix_says(
    installation: Installation, app: FastAPI, subtests: pytest.Subtests
) -> None:
    """First everybody who may not, then, on the same things, those who may."""
    async with world_of(installation) as world, installation.served_gateway() as (_, address):
        before = await world.state()
        for row in ROWS:
            refused = {asker: said for asker in REFUSED if (said := getattr(row, asker)) is not None}
            answers = await asyncio.gather(*(_answer(world, address, row, asker) for asker in refused))
            for (asker, expected), answer in zip(refused.items(), answers, strict=True):
                with subtests.test(row.route, asker=asker):
                    assert _said(answer) == expected
        assert await world.state() == before, "those who were refused changed something"
        for row in ROWS:
            with subtests.test(row.route, asker="right"):
                answer = await _answer(world, address, row, "right")
                assert _said(answer) == row.answer
                assert set(_undocumented(app, row, answer)) == set()


async def test_what_is_anothers_is_answered_like_what_is_not_there(
    installation: Installation, subtests: pytest.Subtests
) -> None:
    """To the byte, whichever of the ids in an address it is that is another's."""
    async with world_of(installation) as world:
        for row in (row for row in ROWS if row.method != "WS"):
            for name in ids_of(row):
                there = _others_from(world, row, name)
                away = there | {name: missing(name, there[name])}
                for asker in _outsiders(row, name):
                    headers = world.headers(asker, row) | IDS
                    with subtests.test(row.route, anothers=name, asker=asker):
                        answers = [await world.ask(row, headers, ids) for ids in (there, away)]
                        assert _bytes(answers[0], there) == _bytes(answers[1], away)
                        assert answers[0].status_code in (403, 404)


def _others_from(world: World, row: Row, name: str) -> dict[str, str]:
    """Ids of an address that are the stranger's own up to that one, and another's from there on."""
    ids = world.ids(row)
    for own in list(ids)[: list(ids).index(name)]:
        ids[own] = world.strangers[own]
    return ids


def _outsiders(row: Row, name: str) -> list[str]:
    """Who asks; only the stranger has things of their own behind which another's could stand."""
    first = ids_of(row)[0] == name
    return [a for a in ("stranger", "admin") if getattr(row, a) is not None and (first or a == "stranger")]


def _bytes(answer: httpx.Response, ids: dict[str, str]) -> tuple[int, bytes, list[tuple[str, str]]]:
    """All of an answer; a name that was asked for may stand in it, and nothing else that differs."""
    headers = [item for item in answer.headers.multi_items() if item[0] not in OF_THE_MOMENT]
    content = answer.content
    for name in NAMES:
        if name in ids:
            content = content.replace(ids[name].encode(), name.encode())
    return answer.status_code, content, headers


def _said(answer: httpx.Response | str) -> str:
    if isinstance(answer, str):
        return answer
    if answer.status_code < 400:
        return str(answer.status_code)
    assert answer.headers["content-type"] == "application/problem+json"
    return f"{answer.status_code} {answer.json()['code']}"


async def _answer(world: World, address: str, row: Row, asker: str) -> httpx.Response | str:
    headers = world.headers(asker, row)
    if row.streams and asker == "right":
        return await world.opened(row, headers, address)
    if row.method != "WS":
        return await world.ask(row, headers)
    # The token comes with the first word: a refusal of the request itself would not say why.
    token = headers.get("Authorization", "").removeprefix("Bearer ")
    path = row.path.format_map(world.ids(row) | WORDS.get(row.route, Words()).path)
    async with connect(f"ws://{address}{path}") as connection:
        await connection.send(json.dumps({"type": "auth", "token": token} if token else {"type": "ping"}))
        try:
            return str(json.loads(await asyncio.wait_for(connection.recv(), 5))["type"])
        except ConnectionClosed as closed:
            return f"{closed.rcvd.code} {closed.rcvd.reason}" if closed.rcvd else "cut off"


# -- what the gateway says of itself -------------------------------------------------------------------


def _documented(app: FastAPI) -> dict[str, dict[str, Any]]:
    return {
        f"{method.upper()} {path}": operation
        for path, operations in app.openapi()["paths"].items()
        for method, operation in operations.items()
    }


def _served(app: FastAPI) -> Iterator[str]:
    """What the router would answer under the API's path, documented or not."""
    for context in iter_route_contexts(app.routes):
        path = re.sub(r":\w+}", "}", context.path or "")
        if path.startswith(f"{API}/"):
            if isinstance(context.original_route, APIWebSocketRoute):
                yield f"WS {path}"
            for method in context.methods or ():
                yield f"{method} {path}"


def _undocumented(app: FastAPI, row: Row, answer: httpx.Response | str) -> Iterator[str]:
    """The properties of an answer that its schema does not name."""
    if isinstance(answer, str) or answer.headers.get("content-type") != "application/json":
        return
    document = app.openapi()
    responses = _documented(app)[row.route]["responses"]
    schema = responses[str(answer.status_code)]["content"]["application/json"]["schema"]
    yield from _unnamed(document["components"]["schemas"], schema, answer.json(), "")


def _unnamed(schemas: dict[str, Any], schema: dict[str, Any], value: Any, at: str) -> Iterator[str]:
    options = [option for option in schema.get("anyOf", [schema]) if option.get("type") != "null"]
    schema = schemas[options[0]["$ref"].rpartition("/")[2]] if "$ref" in options[0] else options[0]
    if isinstance(value, list):
        for item in value:
            yield from _unnamed(schemas, schema.get("items", {}), item, f"{at}[]")
    elif isinstance(value, dict) and "properties" in schema:
        for name, item in value.items():
            if name in schema["properties"]:
                yield from _unnamed(schemas, schema["properties"][name], item, f"{at}.{name}")
            else:
                yield f"{at}.{name}"
