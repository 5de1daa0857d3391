"""Whoever follows something live stands on a scope, a role and an answer of auth, all the time."""

import json
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed

from signalbox_common.contracts.auth import AccessRevoked
from signalbox_gateway.live import assurance
from tests.support.installation import Http, Installation
from tests.support.live import SSE, Teller, fanout, said, say, socket, streaming, telling
from tests.support.live_scene import Scene, live

ANSWERS_COUNT_FOR = 1.5
"""Seconds, here."""


@pytest.fixture
async def scene(installation: Installation) -> AsyncIterator[Scene]:
    async with live(installation) as made:
        yield made


async def token_for(http: Http, me: dict[str, str], *scopes: str) -> dict[str, str]:
    made = await http.post("/api/v1/auth/tokens", json={"name": "m", "scopes": list(scopes)}, headers=me)
    assert made.status_code == 201, made.text
    return {"Authorization": f"Bearer {made.json()['token']}"}


async def test_a_token_without_the_scope_follows_no_project_at_all(scene: Scene) -> None:
    """Neither all projects of its person, nor an operation that is in none."""
    made = await scene.http.post("/api/v1/projects", json={"name": "Other"}, headers=scene.me)
    operation = made.headers["x-operation-id"]
    lists = await token_for(scene.http, scene.me, "projects:read")
    for path in (SSE, f"/api/v1/operations/{operation}/events"):
        async with streaming(scene.address, lists, path) as stream:
            assert stream.answer is not None
            assert stream.answer.status_code == 403
            assert json.loads(stream.answer.content)["code"] == "insufficient_scope"
    both = await token_for(scene.http, scene.me, "projects:read", "events:read")
    async with streaming(scene.address, both) as stream:
        await scene.teller.tell(scene.project)
        await stream.until(lambda: stream.events)


async def test_a_newer_token_on_a_socket_keeps_what_it_covers_and_no_more(scene: Scene) -> None:
    async with socket(scene.address, scene.me) as connection:
        await say(connection, type="subscribe", ref="a", project=scene.project)
        assert (await said(connection))["type"] == "subscribed"
        again = await token_for(scene.http, scene.me, "events:read")
        await say(connection, type="auth", token=again["Authorization"].removeprefix("Bearer "))
        assert (await said(connection))["type"] == "ready"
        await scene.teller.tell(scene.project)
        assert (await said(connection))["ref"] == "a"
        narrow = await token_for(scene.http, scene.me, "projects:read")
        await say(connection, type="auth", token=narrow["Authorization"].removeprefix("Bearer "))
        ended = await said(connection)
        assert (ended["type"], ended.get("ref"), ended.get("code")) == ("error", "a", "insufficient_scope")
        assert (await said(connection))["type"] == "ready"
        await scene.teller.tell(scene.project)
        await say(connection, type="ping")
        assert await said(connection) == {"type": "pong"}


@dataclass
class AuthAway:
    """Somebody follows a project, and auth has died since."""

    http: Http
    address: str
    member: dict[str, str]
    member_id: str
    project: str
    teller: Teller
    installation: Installation
    auth: AsyncExitStack

    async def remove(self, *, told: bool) -> None:
        """As auth does, which dies before or after the others are told."""
        await self.auth.aclose()
        async with self.installation.sql() as connection:
            await connection.execute(
                "delete from auth.members where project_id = $1 and user_id = $2",
                self.project,
                self.member_id,
            )
        if told:
            what = AccessRevoked.model_validate({"user_id": self.member_id, "version": 1_000})
            async with self.installation.nats("auth") as client:
                await client.jetstream().publish("rvk._.auth.access.revoked", what.encode())


@pytest.fixture
async def away(installation: Installation, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[AuthAway]:
    monkeypatch.setattr(assurance, "UNCHECKED_FOR", ANSWERS_COUNT_FOR)
    monkeypatch.setattr(assurance, "ASK_EVERY", 0.2)
    async with (
        AsyncExitStack() as auth,
        fanout(installation),
        telling(installation) as teller,
    ):
        await auth.enter_async_context(installation.running_auth())
        async with installation.served_gateway() as (http, address):
            me = await http.sign_up()
            project = await http.project(me)
            member = await http.join(me, project, "viewer")
            member_id = (await http.me(member))["id"]
            yield AuthAway(http, address, member, member_id, project, teller, installation, auth)


@pytest.mark.fresh
@pytest.mark.parametrize("told", [True, False], ids=["told", "not told"])
async def test_a_member_who_is_removed_while_auth_is_away_does_not_stay(away: AuthAway, told: bool) -> None:
    async with (
        streaming(away.address, away.member, project=away.project) as one,
        streaming(away.address, away.member) as all_,
        socket(away.address, away.member) as connection,
    ):
        await say(connection, type="subscribe", ref="a", project=away.project)
        assert (await said(connection))["type"] == "subscribed"
        await away.remove(told=told)
        began = time.perf_counter()
        await one.until(lambda: one.ended and all_.ended, within=20 * ANSWERS_COUNT_FOR)
        took = time.perf_counter() - began
        await _ended(connection)
        assert took > ANSWERS_COUNT_FOR / 2, "who was let in before is not thrown out for a moment's silence"
        await away.teller.tell(away.project)
        async with streaming(away.address, away.member, project=away.project) as again:
            assert again.answer is not None
            assert again.answer.status_code == 503, "nor is somebody let in on an old answer"
        assert "tasks.lab.taken" not in {event.name for event in (*one.events, *all_.events)}


async def _ended(connection: Any) -> None:
    """The subscription, or all of it."""
    with suppress(ConnectionClosed):
        while (told := await said(connection))["type"] != "error":
            pass
        assert told["code"] == "unavailable"
    await connection.wait_closed()
    assert connection.close_code == 1013
