"""Signing in, staying signed in, and what happens to those who have copies."""

import asyncio
import uuid
from collections import Counter
from typing import Any

import bcrypt
import httpx
import jwt
import pytest

from signalbox_common.contracts.auth import Refresh
from signalbox_common.testing import running
from tests.support.installation import PASSWORD, Http, Installation
from tests.support.pace import promptly

LOGIN, REFRESH, ME = "/api/v1/auth/login?cookie=false", "/api/v1/auth/refresh", "/api/v1/auth/me"


def bearer(session: dict[str, Any]) -> dict[str, str]:
    return {"Authorization": f"Bearer {session['accessToken']}"}


async def registered(http: Http, name: str | None = None) -> str:
    name = name or f"user-{uuid.uuid4().hex[:10]}"
    body = {"username": name, "email": f"{name}@example.com", "password": PASSWORD}
    assert (await http.post("/api/v1/auth/register", json=body)).status_code == 201
    return name


async def signed_in(http: Http, name: str) -> dict[str, Any]:
    answer = await http.post(LOGIN, json={"username": name, "password": PASSWORD})
    assert answer.status_code == 200, answer.text
    session: dict[str, Any] = answer.json()
    return session


async def refreshed(http: Http, token: str) -> httpx.Response:
    return await http.post(REFRESH, json={"refreshToken": token})


async def age_rotation(installation: Installation) -> None:
    """Lets the grace of the last rotation be over."""
    async with installation.sql() as connection:
        await connection.execute("update auth.sessions set rotated_at = rotated_at - interval '11 seconds'")


@pytest.mark.fresh
async def test_a_session_goes_on_and_ends(installation: Installation) -> None:
    async with installation.running_auth(), installation.gateway() as http:
        session = await signed_in(http, await registered(http))
        claims = jwt.decode(session["accessToken"], options={"verify_signature": False})
        assert set(claims) == {"iss", "aud", "iat", "exp", "sub", "usr", "sid"}
        header = jwt.get_unverified_header(session["accessToken"])
        assert (header["alg"], header["typ"]) == ("EdDSA", "at+jwt")

        renewed = (await refreshed(http, session["refreshToken"])).json()
        assert renewed["refreshToken"] != session["refreshToken"]
        assert (await http.get(ME, headers=bearer(renewed))).status_code == 200
        assert (await http.get(ME, headers=bearer(session))).status_code == 200, "until it expires"

        assert (await http.post("/api/v1/auth/logout", headers=bearer(renewed))).status_code == 204
        assert (await refreshed(http, renewed["refreshToken"])).status_code == 401

        async def ended() -> bool:
            answers = [await http.get(ME, headers=bearer(s)) for s in (session, renewed)]
            return [(a.status_code, a.json().get("code")) for a in answers] == [(401, "session_ended")] * 2

        await promptly(ended)
        assert await installation.count("auth.sessions", "refresh_hash is null") == 0
        async with installation.sql() as connection:
            stored = str(await connection.fetch("select * from auth.sessions"))
        assert renewed["refreshToken"] not in stored


@pytest.mark.fresh
async def test_the_predecessor_gets_the_same_successor_for_ten_seconds(installation: Installation) -> None:
    async with installation.running_auth(), installation.gateway() as http:
        first = (await signed_in(http, await registered(http)))["refreshToken"]
        second = (await refreshed(http, first)).json()["refreshToken"]
        assert (await refreshed(http, first)).json()["refreshToken"] == second
        third = (await refreshed(http, second)).json()["refreshToken"]
        assert third not in (first, second)

        reused = await refreshed(http, first)
        assert (reused.status_code, reused.json()["code"]) == (401, "refresh_token_reused")
        assert (await refreshed(http, third)).status_code == 401, "the family is dead"
        assert await installation.count("auth.sessions", "reason = 'refresh_token_reused'") == 1


@pytest.mark.fresh
async def test_after_the_grace_the_predecessor_kills_the_family(installation: Installation) -> None:
    async with installation.running_auth(), installation.gateway() as http:
        session = await signed_in(http, await registered(http))
        successor = (await refreshed(http, session["refreshToken"])).json()
        await age_rotation(installation)
        assert (await refreshed(http, session["refreshToken"])).json()["code"] == "refresh_token_reused"
        assert (await refreshed(http, successor["refreshToken"])).status_code == 401

        async def out() -> bool:
            return (await http.get(ME, headers=bearer(successor))).status_code == 401

        await promptly(out)


async def test_garbage_with_the_right_session_kills_nobody(installation: Installation) -> None:
    """Whoever knows a session's id, but never had a token of it, cannot end it."""
    async with installation.running_auth(), installation.gateway() as http:
        token = (await signed_in(http, await registered(http)))["refreshToken"]
        for forged in (
            token[:-2] + ("A" if token[-2] != "A" else "B") + token[-1],  # the last one may say less
            token[:40] + "x" * 58,
            "sbx_rt_",
            "é",
        ):
            answer = await refreshed(http, forged)
            assert (answer.status_code, answer.json()["code"]) == (401, "bad_refresh_token")
        assert (await refreshed(http, token)).status_code == 200


@pytest.mark.parametrize("late", [False, True], ids=["within the grace", "after it"])
@pytest.mark.fresh
async def test_five_hundred_uses_of_one_token_leave_one_family_at_most(
    installation: Installation, late: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Refresh, "patience", 30.0)  # all of them, their clients included, share one process
    async with running(installation.auth(request_concurrency=64)), installation.gateway() as http:
        token = (await signed_in(http, await registered(http)))["refreshToken"]
        if late:
            await refreshed(http, token)
            await age_rotation(installation)
        answers = await asyncio.gather(*(refreshed(http, token) for _ in range(500)))
        assert {answer.status_code for answer in answers} <= {200, 401, 503}
        successors = {answer.json()["refreshToken"] for answer in answers if answer.status_code == 200}
        assert len(successors) == (0 if late else 1)
        alive = await installation.count("auth.sessions", "revoked_at is null")
        assert alive == (0 if late else 1)


@pytest.mark.fresh
async def test_passwords_change_and_other_sessions_end(installation: Installation) -> None:
    async with installation.running_auth(), installation.gateway() as http:
        name = await registered(http)
        here, there = await signed_in(http, name), await signed_in(http, name)
        change = {"currentPassword": "wrong", "newPassword": "a much better secret"}
        wrong = await http.post("/api/v1/auth/password", json=change, headers=bearer(here))
        assert (wrong.status_code, wrong.json()["code"]) == (403, "wrong_password")
        change["currentPassword"] = PASSWORD
        assert (
            await http.post("/api/v1/auth/password", json=change, headers=bearer(here))
        ).status_code == 204

        async def out() -> bool:
            return (await http.get(ME, headers=bearer(there))).status_code == 401

        await promptly(out)
        assert (await http.get(ME, headers=bearer(here))).status_code == 200
        assert (await http.post(LOGIN, json={"username": name, "password": PASSWORD})).status_code == 401


async def test_sessions_are_listed_and_ended_one_by_one(installation: Installation) -> None:
    async with installation.running_auth(), installation.gateway() as http:
        name = await registered(http)
        here, there, third = [await signed_in(http, name) for _ in range(3)]
        listed = (await http.get("/api/v1/auth/sessions", headers=bearer(here))).json()["items"]
        assert Counter(item["current"] for item in listed) == {True: 1, False: 2}
        claims = jwt.decode(there["accessToken"], options={"verify_signature": False})
        ended = await http.delete(f"/api/v1/auth/sessions/{claims['sid']}", headers=bearer(here))
        assert ended.status_code == 204

        async def out(session: dict[str, Any]) -> bool:
            return (await http.get(ME, headers=bearer(session))).status_code == 401

        await promptly(lambda: out(there))
        assert (await http.get(ME, headers=bearer(third))).status_code == 200
        assert (await http.delete("/api/v1/auth/sessions", headers=bearer(here))).status_code == 204
        await promptly(lambda: out(third))
        assert (await http.get(ME, headers=bearer(here))).status_code == 200


@pytest.mark.fresh
async def test_guessing_is_slowed_down_and_nobody_is_locked_out(installation: Installation) -> None:
    """From where the owner has signed in before, a guesser elsewhere changes nothing for the owner."""
    async with installation.running_auth(), installation.gateway(trusted_proxies="127.0.0.1/32") as http:
        name = await registered(http)
        home, away = {"X-Forwarded-For": "192.0.2.1"}, {"X-Forwarded-For": "198.51.100.7"}
        right, wrong = {"username": name, "password": PASSWORD}, {"username": name, "password": "guess"}
        assert (await http.post(LOGIN, json=right, headers=home)).status_code == 200

        answers = await asyncio.gather(*(http.post(LOGIN, json=wrong, headers=away) for _ in range(40)))
        seen = Counter(answer.status_code for answer in answers)
        assert set(seen) == {401, 429}
        assert seen[401] <= 8, "they were decided about one after the other"
        refused = next(answer for answer in answers if answer.status_code == 429)
        assert refused.json()["code"] == "too_many_attempts"
        assert 1 <= int(refused.headers["Retry-After"]) <= 300
        blocked = await http.post(LOGIN, json=right, headers=away)
        assert blocked.status_code == 429, "the right password from there must wait, too"

        assert (await http.post(LOGIN, json=right, headers=home)).status_code == 200
        async with installation.sql() as connection:
            await connection.execute("update auth.attempts set blocked_until = now()")
        assert (await http.post(LOGIN, json=right, headers=away)).status_code == 200, "never for ever"


@pytest.mark.fresh
async def test_unknown_names_are_slowed_down_like_known_ones(installation: Installation) -> None:
    async with installation.running_auth(), installation.gateway() as http:
        known = await registered(http)
        for name in (known, f"nobody-{uuid.uuid4().hex[:8]}"):
            other = f"{name}@example.com" if name == known else name.upper()
            names = [name, name.upper(), other, name, other, name, other]
            answers = [
                await http.post(LOGIN, json={"username": spelled, "password": "guess"}) for spelled in names
            ]
            assert [answer.status_code for answer in answers] == [401] * 5 + [429] * 2, name


@pytest.mark.fresh
async def test_imported_bcrypt_hashes_verify_and_are_upgraded(installation: Installation) -> None:
    async with (
        installation.running_auth(admin=True),
        installation.gateway() as http,
    ):
        admin = await http.post(LOGIN, json={"username": "admin", "password": "the administrator's own"})
        stored = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()
        imported = {"username": "imported", "email": "imported@example.com", "passwordHash": stored}
        made = await http.post("/api/v1/auth/admin/register", json=imported, headers=bearer(admin.json()))
        assert (made.status_code, made.json()["role"]) == (201, "admin"), "as nothing else is said"
        await asyncio.gather(*(signed_in(http, "imported") for _ in range(8)))
        async with installation.sql() as connection:
            now = await connection.fetchval(
                "select password_hash from auth.users where username = 'imported'"
            )
        assert now.startswith("$argon2id$")
        await signed_in(http, "imported")
        wrong = await http.post(LOGIN, json={"username": "imported", "password": "x"})
        assert wrong.status_code == 401
        for broken in ("$2b$04$short", "plain", "$argon2i$v=19$m=1$a$b"):
            other = imported | {"username": "other", "passwordHash": broken}
            refused = await http.post("/api/v1/auth/admin/register", json=other, headers=bearer(admin.json()))
            assert (refused.status_code, refused.json()["code"]) == (422, "bad_password_hash")


@pytest.mark.fresh
async def test_registration_can_be_closed(installation: Installation) -> None:
    async with running(installation.auth(registration="closed")), installation.gateway() as http:
        body = {"username": "someone", "email": "someone@example.com", "password": PASSWORD}
        refused = await http.post("/api/v1/auth/register", json=body)
        assert (refused.status_code, refused.json()["code"]) == (403, "registration_closed")


@pytest.mark.fresh
async def test_who_signs_in_while_the_password_changes_is_out(installation: Installation) -> None:
    """A session of the old password is ended by the change, or does not begin."""
    async with installation.running_auth(), installation.gateway() as http:
        name = await registered(http)
        here = await signed_in(http, name)
        change = {"currentPassword": PASSWORD, "newPassword": "a much better secret"}
        logins = [
            asyncio.create_task(http.post(LOGIN, json={"username": name, "password": PASSWORD}))
            for _ in range(20)
        ]
        changed = await http.post("/api/v1/auth/password", json=change, headers=bearer(here))
        assert changed.status_code == 204
        assert {answer.status_code for answer in await asyncio.gather(*logins)} <= {200, 401, 429}
        assert await installation.count("auth.sessions", "revoked_at is null") == 1


async def test_what_was_approved_ends_with_the_sessions(installation: Installation) -> None:
    """Somebody with a stolen session cannot keep a device for later."""
    async with installation.running_auth(), installation.gateway() as http:
        name = await registered(http)
        here, stolen = await signed_in(http, name), await signed_in(http, name)
        codes = (await http.post("/api/v1/auth/device/code")).json()
        approval = {"userCode": codes["user_code"], "approve": True}
        approved = await http.post("/api/v1/auth/device/decision", json=approval, headers=bearer(stolen))
        assert approved.status_code == 204
        assert (await http.delete("/api/v1/auth/sessions", headers=bearer(here))).status_code == 204
        poll = await http.post("/api/v1/auth/device/token", json={"device_code": codes["device_code"]})
        assert poll.json()["error"] == "expired_token"
