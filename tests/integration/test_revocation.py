"""What was taken back is not good anywhere within a second, open connections included."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any
from uuid import UUID

import pytest
from pydantic import SecretStr
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from signalbox_common.bus import Envelope
from signalbox_common.contracts.auth import CreateProject, GetGrant, GetMe, GetProject
from signalbox_common.errors import SignalboxError
from signalbox_common.keys import uuid7
from signalbox_common.testing import eventually
from tests.support.installation import Installation
from tests.support.pace import pace, promptly, soon

ME, PROJECTS = "/api/v1/auth/me", "/api/v1/projects"


@asynccontextmanager
async def socket(address: str, me: dict[str, str] | None = None, query: str = "") -> AsyncIterator[Any]:
    async with connect(f"ws://{address}/api/v1/ws{query}", additional_headers=me or {}) as connection:
        yield connection


async def said(connection: ClientConnection) -> dict[str, Any]:
    message: dict[str, Any] = json.loads(await asyncio.wait_for(connection.recv(), 5))
    return message


async def closed(connection: ClientConnection) -> tuple[int | None, str | None]:
    with pytest.raises(ConnectionClosed) as error:
        await asyncio.wait_for(connection.recv(), 15)
    received = error.value.rcvd
    return (received.code, received.reason) if received is not None else (None, None)


async def test_logging_out_reaches_every_gateway_and_open_connection(installation: Installation) -> None:
    """Ten people, one after the other; the slowest of what they notice counts."""
    slowest = control = 0.0
    async with (
        installation.running_auth(),
        installation.gateway() as http,
        installation.served_gateway() as (other, address),
    ):
        for _ in range(10):
            me = await http.sign_up()
            async with socket(address, me) as connection:
                assert await said(connection) == {"type": "ready"}
                assert (await other.get(ME, headers=me)).status_code == 200
                control = max(control, await pace(partial(other.get, ME, headers=me), times=3))
                assert (await http.post("/api/v1/auth/logout", headers=me)).status_code == 204
                started = time.perf_counter()
                assert await closed(connection) == (4401, "revoked")

                async def refused(me: dict[str, str] = me) -> bool:
                    answers = [await gateway.get(ME, headers=me) for gateway in (http, other)]
                    return {answer.status_code for answer in answers} == {401}

                await promptly(refused)
                slowest = max(slowest, time.perf_counter() - started)
    assert slowest < soon(control)


@pytest.mark.fresh
async def test_deactivating_ends_everything_of_a_user(installation: Installation) -> None:
    async with (
        installation.running_auth(admin=True),
        installation.served_gateway() as (http, address),
    ):
        me = await http.sign_up()
        my_id = (await http.me(me))["id"]
        token = (await http.post("/api/v1/auth/tokens", json={"name": "t"}, headers=me)).json()["token"]
        machine = {"Authorization": f"Bearer {token}"}
        body = {"username": "admin", "password": "the administrator's own"}
        session = (await http.post("/api/v1/auth/login?cookie=false", json=body)).json()
        admin = {"Authorization": f"Bearer {session['accessToken']}"}
        async with socket(address, me) as mine, socket(address, machine) as machines:
            await said(mine)
            await said(machines)
            gone = await http.patch(f"/api/v1/users/{my_id}", json={"active": False}, headers=admin)
            assert (gone.status_code, gone.json()["active"]) == (200, False)
            assert (await closed(mine))[0] == (await closed(machines))[0] == 4401
        for headers in (me, machine):
            assert (await http.get(PROJECTS, headers=headers)).status_code == 401
        mine_again = await http.patch(f"/api/v1/users/{my_id}", json={"active": True}, headers=admin)
        assert mine_again.status_code == 200
        unchanged = await http.patch(f"/api/v1/users/{my_id}", json={"active": True}, headers=admin)
        assert (unchanged.status_code, unchanged.json()["active"]) == (200, True)
        assert (await http.get(PROJECTS, headers=me)).status_code == 401, "what ended stays ended"
        admin_id = (await http.me(admin))["id"]
        for change in ({"active": False}, {"role": "user"}):
            last = await http.patch(f"/api/v1/users/{admin_id}", json=change, headers=admin)
            assert (last.status_code, last.json()["code"]) == (409, "last_admin")


async def test_a_socket_speaks_after_a_ticket_a_header_or_a_first_word(installation: Installation) -> None:
    async with installation.running_auth(), installation.served_gateway() as (http, address):
        me = await http.sign_up()
        issued = (await http.post("/api/v1/auth/ws-ticket", headers=me)).json()
        assert issued["expiresIn"] <= 30
        async with socket(address, query=f"?ticket={issued['ticket']}") as connection:
            assert await said(connection) == {"type": "ready"}
            await connection.send('{"type": "ping"}')
            assert await said(connection) == {"type": "pong"}
            for nonsense in ("nonsense", "[]", '{"type": "shout"}', "9" * 1000):
                await connection.send(nonsense)
                assert (await said(connection))["code"] == "unknown_message"
        with pytest.raises(InvalidStatus):
            async with socket(address, query=f"?ticket={issued['ticket']}"):
                pass
        async with socket(address) as connection:
            token = me["Authorization"].removeprefix("Bearer ")
            await connection.send(json.dumps({"type": "auth", "token": token}))
            await connection.send('{"type": "ping"}')
            assert [(await said(connection))["type"] for _ in range(2)] == ["ready", "pong"]
        for first_word in ('{"type": "auth", "token": "forged"}', '{"type": "ping"}', "x"):
            async with socket(address) as connection:
                await connection.send(first_word)
                assert (await closed(connection))[0] == 4401
        cookie = {"Cookie": f"sbx_access={token}"}
        async with socket(address, cookie | {"Origin": f"http://{address}"}) as connection:
            assert await said(connection) == {"type": "ready"}
        for origin in ({"Origin": "https://evil.example"}, {}):
            with pytest.raises(InvalidStatus):
                async with socket(address, cookie | origin):
                    pass


async def test_cut_off_from_the_bus_nothing_that_was_kept_is_trusted(own_installation: Installation) -> None:
    """Grants at hand are dropped after a second, connections that cannot be checked end after ten."""
    installation = own_installation
    broker = installation.servers.processes["nats"]
    async with installation.running_auth(), installation.served_gateway() as (http, address):
        me = await http.sign_up()
        assert (await http.get(ME, headers=me)).status_code == 200
        revoked = http.clients.bus.revoked
        async with socket(address, me) as connection:
            await said(connection)
            broker.kill()
            started = time.perf_counter()

            async def untrusted() -> bool:
                return not revoked.trusted

            await eventually(untrusted, what="nothing is trusted, long before connections end")
            assert (await http.get(ME, headers=me)).status_code == 503
            assert await closed(connection) == (1013, "unchecked")
            assert time.perf_counter() - started > 9
        await broker.start()

        async def back() -> bool:
            return (await http.get(ME, headers=me)).status_code == 200

        await eventually(back)


@pytest.mark.fresh
async def test_a_service_refuses_a_grant_that_it_knows_to_be_old(installation: Installation) -> None:
    """Even if a gateway, or whoever stole it, goes on sending it."""
    async with (
        installation.running_auth(),
        installation.gateway() as http,
        installation.bus() as bus,
    ):
        owner = await http.sign_up()
        project = await http.project(owner)
        member = await http.join(owner, project, "developer")
        member_id = (await http.me(member))["id"]
        token = member["Authorization"].removeprefix("Bearer ")
        grants = [
            (await bus.query(GetGrant(token=SecretStr(token), audience="auth", project=where))).value().grant
            for where in (UUID(project), None)
        ]
        assert (await bus.query(GetProject(), grant=grants[0])).value()
        await http.delete(f"{PROJECTS}/{project}/members/{member_id}", headers=owner)

        async def refused() -> bool:
            try:
                await bus.query(GetProject(), grant=grants[0])
            except SignalboxError as error:
                return error.code == "grant_revoked"
            return False

        await promptly(refused)
        with pytest.raises(SignalboxError, match="taken back"):
            await bus.query(GetMe(), grant=grants[1])
        assert (await http.get(ME, headers=member)).status_code == 200, "a new grant is to be had"


@pytest.mark.fresh
async def test_the_stream_of_revocations_is_read_from_its_beginning_by_whoever_starts(
    installation: Installation,
) -> None:
    async with installation.running_auth():
        async with installation.gateway() as http:
            me = await http.sign_up()
            await http.post("/api/v1/auth/logout", headers=me)
            await eventually(lambda: installation.messages("REVOCATIONS"))
        async with installation.gateway() as late:
            await late.clients.bus.revoked.known()
            assert (await late.get(ME, headers=me)).json()["code"] == "session_ended"


@pytest.mark.fresh
async def test_an_accepted_command_outlives_the_grant_but_not_one_that_came_too_late(
    installation: Installation,
) -> None:
    """What counts is which of the two the server has stored first."""
    async with installation.gateway() as http, installation.bus() as bus:
        async with installation.running_auth():
            me = await http.sign_up()
            my_id = (await http.me(me))["id"]
            token = me["Authorization"].removeprefix("Bearer ")
            grant = (await bus.query(GetGrant(token=SecretStr(token), audience="auth"))).value().grant

        async def send(name: str) -> None:
            sending = Envelope(uuid7(), "digest", grant)
            assert await bus.send(CreateProject(name=name), sending, patience=0.0) is None

        await send("Before")
        async with installation.nats("auth") as auth:
            revoked = json.dumps({"userId": my_id, "version": 99}).encode()
            await auth.jetstream().publish("rvk._.auth.access.revoked", revoked, stream="REVOCATIONS")
        await send("After")
        async with installation.running_auth():

            async def handled() -> bool:
                async with installation.nats() as client:
                    info = await client.jetstream().consumer_info("COMMANDS", "auth-v1-create-project")
                return not info.num_pending and not info.num_ack_pending

            await eventually(handled)
        assert await installation.count("auth.projects", "name = 'Before'") == 1
        assert await installation.count("auth.projects", "name = 'After'") == 0
