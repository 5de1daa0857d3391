"""Signing keys rotate under load, and nobody is refused for it."""

import asyncio
from typing import Any

import pytest

from signalbox_common.contracts.auth import RotateKeys
from signalbox_common.contracts.rotation import RotateSecrets
from signalbox_common.keys import Sealer
from tests.support.installation import PASSWORD, Http, Installation
from tests.support.pace import promptly

pytestmark = pytest.mark.fresh  # keys are rotated

ME, JWKS = "/api/v1/auth/me", "/.well-known/jwks.json"
ROTATIONS = 50


async def test_fifty_rotations_under_load_refuse_nobody(installation: Installation) -> None:
    """With two processes of auth, of which one only hears of the rotations."""
    async with (
        installation.running_auth(),
        installation.running_auth(),
        installation.gateway() as http,
    ):
        name = (await http.me(await http.sign_up()))["username"]
        codes: list[int] = []
        done = asyncio.Event()

        async def work() -> None:
            body = {"username": name, "password": PASSWORD}
            while not done.is_set():
                session = await http.post("/api/v1/auth/login?cookie=false", json=body)
                me = {"Authorization": f"Bearer {session.json()['accessToken']}"}
                answers = [session, await http.get(ME, headers=me)]
                answers.append(await http.post("/api/v1/projects", json={"name": "Under load"}, headers=me))
                codes.extend(answer.status_code for answer in answers)

        working = [asyncio.create_task(work()) for _ in range(4)]
        for _ in range(ROTATIONS):
            await installation.operator(RotateKeys())
        done.set()
        await asyncio.gather(*working)
        assert set(codes) <= {200, 201}, codes
        assert len(codes) > ROTATIONS
        states = {key["kid"] for key in (await http.get(JWKS)).json()["keys"]}
        assert len(states) == ROTATIONS + 2, "the retired ones stay as long as their tokens live"


async def test_the_public_keys_are_what_tokens_are_checked_with(installation: Installation) -> None:
    async with installation.running_auth(), installation.gateway() as http:
        await http.sign_up()
        before = (await http.get(JWKS)).json()["keys"]
        assert all(
            key["kty"] == "OKP"
            and key["crv"] == "Ed25519"
            and set(key) == {"kty", "crv", "alg", "use", "kid", "x"}
            for key in before
        )
        rotated = await installation.operator(RotateKeys())
        assert [key.state for key in rotated.items] == ["retired", "current", "next"]
        assert [key["kid"] for key in before] == [key.kid for key in rotated.items[:2]]


async def test_distrusting_old_keys_ends_their_tokens_and_no_session(installation: Installation) -> None:
    async with installation.running_auth(), installation.gateway() as http:
        name = (await http.me(await http.sign_up()))["username"]
        body = {"username": name, "password": PASSWORD}
        session = (await http.post("/api/v1/auth/login?cookie=false", json=body)).json()
        me = {"Authorization": f"Bearer {session['accessToken']}"}
        assert (await http.get(ME, headers=me)).status_code == 200
        token = (await http.post("/api/v1/auth/tokens", json={"name": "t"}, headers=me)).json()
        machine = {"Authorization": f"Bearer {token['token']}"}
        assert (await http.get("/api/v1/projects", headers=machine)).status_code == 200
        await installation.operator(RotateKeys(distrust_old=True))

        async def refused() -> bool:
            return (await http.get(ME, headers=me)).status_code == 401

        await promptly(refused)
        assert (await http.get("/api/v1/projects", headers=machine)).status_code == 200
        renewed = await http.post("/api/v1/auth/refresh", json={"refreshToken": session["refreshToken"]})
        assert renewed.status_code == 200
        me = {"Authorization": f"Bearer {renewed.json()['accessToken']}"}
        assert (await http.get(ME, headers=me)).status_code == 200


async def test_keys_survive_restarts_and_the_rotation_of_the_secret_store(
    installation: Installation,
) -> None:
    async with installation.gateway() as http:
        async with installation.running_auth():
            me = await http.sign_up()
            rotated = await installation.operator(RotateSecrets(), "auth")
            assert rotated.rewrapped == 2
            await installation.operator(RotateKeys())
            again = await installation.operator(RotateSecrets(), "auth")
            assert again.rewrapped == 2, "what never signs again is not kept"
        async with installation.running_auth():
            assert (await http.get(ME, headers=me)).status_code == 200
            assert await _is_mine(http, me)
        async with installation.sql() as connection:
            kept: list[Any] = await connection.fetch("select * from auth.signing_keys")
            assert all(row["sealed"] is None for row in kept)
    keys_file = installation.folder / "auth.keys"
    assert keys_file.stat().st_mode & 0o777 == 0o600


async def test_keys_of_the_first_version_move_into_the_secret_store(installation: Installation) -> None:
    """An installation of before: its key lay sealed in the table, and its tokens go on being good."""
    sealer = Sealer(installation.servers.credentials.secret_key, "auth/signing-keys")
    async with installation.sql() as connection:
        await connection.execute(
            "insert into auth.signing_keys (kid, sealed, created_at) values ('kold', $1, now())",
            sealer.seal(bytes(range(32)), "kold"),
        )
    async with installation.running_auth(), installation.gateway() as http:
        await http.sign_up()
        kids = [key["kid"] for key in (await http.get(JWKS)).json()["keys"]]
        assert kids[0] == "kold"
        assert len(kids) == 2
        async with installation.sql() as connection:
            assert (
                await connection.fetchval("select sealed from auth.signing_keys where kid = 'kold'") is None
            )
            assert await connection.fetchval("select count(*) from auth.secrets") == 2


async def _is_mine(http: Http, me: dict[str, str]) -> bool:
    page = (await http.get("/api/v1/projects", headers=me)).json()
    return [item["personal"] for item in page["items"]] == [True]
