"""Bytes between people and the service that holds them, through the gateway."""

import asyncio
import base64
import hashlib
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from signalbox_common.testing import eventually
from tests.support.bytes_lab import CHUNK
from tests.support.bytes_routes import bytes_routes
from tests.support.bytes_scene import Scene, scene_of, some_bytes
from tests.support.installation import Http, Installation

MIB = 1024 * 1024


@dataclass
class Edge:
    """A gateway in front of the lab."""

    scene: Scene
    http: Http
    address: str

    @property
    def path(self) -> str:
        return f"/api/v1/lab/{self.scene.project}"

    def file(self, content: bytes) -> str:
        name = hashlib.sha256(content).hexdigest()
        (self.scene.folder() / name).write_bytes(content)
        return name

    @asynccontextmanager
    async def stream(self, path: str, **more: str) -> AsyncIterator[httpx.Response]:
        async with (
            httpx.AsyncClient(base_url=f"http://{self.address}", timeout=20) as client,
            client.stream("GET", f"{self.path}{path}", headers=self.scene.owner | more) as response,
        ):
            assert response.status_code == 200
            yield response

    def socket(self, what: str) -> AbstractAsyncContextManager[ClientConnection]:
        token = self.scene.owner["Authorization"].removeprefix("Bearer ")
        return connect(f"ws://{self.address}{self.path}/{what}/ws?token={token}", max_size=2 * CHUNK)

    async def log_out(self) -> None:
        left = await self.http.post("/api/v1/auth/logout", headers=self.scene.owner)
        assert left.status_code == 204


@pytest.fixture
async def edge(installation: Installation, tmp_path: Path) -> AsyncIterator[Edge]:
    async with (
        scene_of(installation, tmp_path) as scene,
        installation.served_gateway(bytes_routes(scene.socket), max_body=16 * MIB) as (http, address),
    ):
        yield Edge(scene, http, address)


async def events_of(response: httpx.Response) -> AsyncIterator[dict[str, str]]:
    """The fields of each, comments left out."""
    fields: dict[str, str] = {}
    async for line in response.aiter_lines():
        name, _, value = line.partition(":")
        if name:
            fields[name] = value.removeprefix(" ")
        elif not line and fields:
            yield fields
            fields = {}


async def test_bytes_go_in_and_come_out(edge: Edge) -> None:
    content = some_bytes(5 * MIB + 7)
    name = hashlib.sha256(content).hexdigest()
    stored = await edge.http.put(f"{edge.path}/changes/{name}", content=content, headers=edge.scene.owner)
    assert (stored.status_code, stored.content) == (200, b"stored")
    whole = await edge.http.get(f"{edge.path}/files/{name}", headers=edge.scene.owner)
    assert whole.content == content
    assert whole.headers["content-type"] == "application/octet-stream"
    assert whole.headers["content-length"] == str(len(content)), "it is not compressed"
    rest = await edge.http.get(
        f"{edge.path}/files/{name}", params={"offset": 5 * MIB}, headers=edge.scene.owner
    )
    assert rest.content == content[-7:]


async def test_a_refusal_is_a_problem(edge: Edge) -> None:
    viewer = await edge.http.join(edge.scene.owner, edge.scene.project, "viewer")
    stranger = await edge.http.sign_up()
    name = edge.file(b"something")
    changes = f"{edge.path}/changes/{name}"
    for answer, status, code in (
        (await edge.http.put(changes, content=b"x", headers=viewer), 403, "role_too_low"),
        (await edge.http.put(changes, content=b"x", headers=edge.scene.owner), 422, "other_digest"),
        (await edge.http.put(changes, content=b"x", headers=stranger), 404, "project_not_found"),
        (await edge.http.put(changes, content=b"x"), 401, "unauthenticated"),
        (await edge.http.get(f"{edge.path}/files/unknown", headers=viewer), 404, "not_found"),
        (await edge.http.get(f"{edge.path}/files/unknown/events", headers=viewer), 404, "not_found"),
    ):
        assert (answer.status_code, answer.json()["code"]) == (status, code)
        assert answer.headers["content-type"] == "application/problem+json"
    async with edge.socket("unknown") as socket:
        assert await close_code(socket) == 4403


async def test_events_are_numbered_by_what_they_have_told(edge: Edge) -> None:
    content = some_bytes(2 * MIB + 5)
    name = edge.file(content)
    told, ids = b"", list[str]()
    async with edge.stream(f"/files/{name}/events") as response:
        events = [event async for event in events_of(response)]
    assert events.pop()["event"] == "end"
    for event in events:
        told += base64.b64decode(event["data"])
        assert event["id"] == str(len(told))
        ids.append(event["id"])
    assert told == content
    middle = ids[len(ids) // 2]
    async with edge.stream(f"/files/{name}/events", **{"Last-Event-ID": middle}) as response:
        rest = [event async for event in events_of(response)]
    assert rest.pop()["event"] == "end"
    assert b"".join(base64.b64decode(event["data"]) for event in rest) == content[int(middle) :]


async def test_a_socket_gets_it_all(edge: Edge) -> None:
    content = some_bytes(3 * MIB + 1)
    told = b""
    async with edge.socket(edge.file(content)) as socket:
        await socket.send("whatever it says")
        await socket.send(b"as well")
        with suppress(ConnectionClosed):
            while True:
                told += await socket.recv(decode=False)
        assert await close_code(socket) == 1000
    assert told == content


@pytest.mark.parametrize("how", ["bytes", "events", "socket"])
async def test_nothing_is_followed_for_who_has_left(edge: Edge, how: str) -> None:
    """Also while there is nothing to tell."""
    if how == "socket":
        async with edge.socket("idle") as socket:
            assert await socket.recv(decode=False) == b"first"
    else:
        async with edge.stream("/idle/events" if how == "events" else "/idle") as response:
            assert await anext(response.aiter_raw())
    await asyncio.wait_for(edge.scene.lab.left.wait(), 20)


@pytest.mark.parametrize("how", ["bytes", "events", "socket"])
async def test_what_is_open_ends_with_the_session_of_who_asked(edge: Edge, how: str) -> None:
    """Without the end that something whole has."""
    if how == "socket":
        async with edge.socket("follow") as socket:
            await socket.recv(decode=False)
            await edge.log_out()
            with suppress(ConnectionClosed):
                while True:
                    await socket.recv(decode=False)
            assert await close_code(socket) == 4401
    elif how == "events":
        async with edge.stream("/idle/events") as response:
            events = events_of(response)
            await anext(events)
            await edge.log_out()
            assert (await anext(events))["event"] == "error"
    else:
        async with edge.stream("/follow") as response:
            chunks = response.aiter_raw()
            await anext(chunks)
            await edge.log_out()
            with pytest.raises(httpx.RemoteProtocolError):
                await drain(chunks)


async def test_a_slow_reader_is_waited_for(edge: Edge) -> None:
    """What it does not take is not read from the service either."""
    async with edge.stream("/follow") as response:
        await anext(response.aiter_raw(CHUNK))
        before = -1

        async def stands_still() -> bool:
            nonlocal before
            earlier, before = before, edge.scene.lab.sent
            await asyncio.sleep(0.1)
            return earlier == before == edge.scene.lab.sent

        await eventually(stands_still)
        assert edge.scene.lab.sent < 32 * MIB


async def drain(chunks: AsyncIterator[bytes]) -> None:
    async for _ in chunks:
        pass


async def close_code(socket: ClientConnection) -> int | None:
    await asyncio.wait_for(socket.wait_closed(), 20)
    return socket.close_code
