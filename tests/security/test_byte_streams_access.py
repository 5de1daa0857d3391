"""Bytes that go on and on end with what their askers stand on, as events do."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from websockets.asyncio.client import connect

from signalbox_common.testing import eventually
from signalbox_gateway.identity import Asker
from signalbox_gateway.live import assurance
from tests.support.bytes_lab import BytesLab
from tests.support.bytes_routes import bytes_routes
from tests.support.bytes_scene import server_of
from tests.support.installation import Http, Installation

pytestmark = pytest.mark.fresh  # auth goes away
ANSWERS_COUNT_FOR = 1.5
"""Seconds, here."""


@dataclass
class Place:
    http: Http
    address: str
    path: str
    me: dict[str, str]
    auth: AsyncExitStack
    begun: int = 0

    async def read_to_end(self, path: str, headers: dict[str, str]) -> str:
        """How it ended."""
        async with (
            httpx.AsyncClient(timeout=20) as client,
            client.stream("GET", f"http://{self.address}{self.path}{path}", headers=headers) as answer,
        ):
            assert answer.status_code == 200, await answer.aread()
            self.begun += 1
            try:
                said = await answer.aread()
            except httpx.RemoteProtocolError:
                return "cut"
        return "error" if b"event: error" in said else "whole"


@pytest.fixture
async def place(
    installation: Installation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Place]:
    monkeypatch.setattr(assurance, "UNCHECKED_FOR", ANSWERS_COUNT_FOR)
    monkeypatch.setattr(assurance, "ASK_EVERY", 0.2)
    listen = f"unix:{tmp_path / 'run' / 'tasks.sock'}"
    async with AsyncExitStack() as auth, installation.bus("tasks") as tasks:
        await auth.enter_async_context(installation.running_auth())
        lab = BytesLab(tmp_path / "files")
        lab.folder.mkdir()
        server = server_of(lab, tasks)
        await server.start(listen)
        try:
            async with installation.served_gateway(bytes_routes(listen)) as (http, address):
                me = await http.sign_up()
                path = f"/api/v1/lab/{await http.project(me)}"
                yield Place(http, address, path, me, auth)
        finally:
            await server.stop()


async def test_they_end_where_auth_does_not_vouch_for_them_any_more(place: Place) -> None:
    token = place.me["Authorization"].removeprefix("Bearer ")
    socket = f"ws://{place.address}{place.path}/idle/ws?token={token}"
    async with connect(socket) as connection:
        reading = [
            asyncio.create_task(place.read_to_end(path, place.me)) for path in ("/idle", "/idle/events")
        ]

        async def begun() -> bool:
            return place.begun == len(reading)

        await eventually(begun)
        await place.auth.aclose()
        ends = await asyncio.wait_for(asyncio.gather(*reading), 20 * ANSWERS_COUNT_FOR)
        assert ends == ["cut", "error"], "nobody takes it for whole"
        await asyncio.wait_for(connection.wait_closed(), 20 * ANSWERS_COUNT_FOR)
        assert connection.close_code == 1013


async def test_they_end_with_their_token(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    made = await place.http.post("/api/v1/auth/tokens", json={"name": "short"}, headers=place.me)
    short = {"Authorization": f"Bearer {made.json()['token']}"}
    monkeypatch.setattr(Asker, "ends_at", property(lambda _: time.time() + 0.5))
    assert await asyncio.wait_for(place.read_to_end("/idle", short), 20) == "cut"
