"""Whatever is shown instead of a token is refused: with 401, as a problem, and without breaking anything."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from pydantic import SecretStr
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from signalbox_common.bus import Bus, Envelope
from signalbox_common.contracts.auth import CreateProject, GetGrant, GetMe, GetProject, RotateKeys
from signalbox_common.contracts.base import Query
from signalbox_common.errors import SignalboxError
from signalbox_common.keys import uuid7
from tests.security.forgeries import HOUR, MALFORMED, UNKNOWN, forgeries
from tests.support.factories import Person, bearer, registered
from tests.support.forgery import Signer, access_claims, grant_claims
from tests.support.installation import Http, Installation
from tests.support.pace import promptly

pytestmark = pytest.mark.fresh  # keys are distrusted

ME, REFRESH, TICKET, JWKS = (
    "/api/v1/auth/me",
    "/api/v1/auth/refresh",
    "/api/v1/auth/ws-ticket",
    "/.well-known/jwks.json",
)
RETIRED = "key_retired"


@dataclass(frozen=True)
class Scene:
    """An installation that takes the test's key for one of auth's, and somebody who is signed in there."""

    installation: Installation
    http: Http
    person: Person
    signer: Signer

    async def jwk(self) -> dict[str, str]:
        """The key that auth signs with, as everybody may read it."""
        keys: list[dict[str, str]] = (await self.http.get(JWKS)).json()["keys"]
        return keys[0]


@pytest.fixture
async def scene(installation: Installation) -> AsyncIterator[Scene]:
    async with installation.running_auth(), installation.gateway() as http:
        signer = Signer()
        await signer.publish(installation)
        yield Scene(installation, http, await registered(http), signer)


async def test_a_sound_token_of_the_same_making_is_good(scene: Scene) -> None:
    """Or else the refusals below would prove nothing."""
    token = scene.signer.access(scene.person)
    assert (await scene.http.get(ME, headers=bearer(token))).status_code == 200
    async with scene.installation.bus() as bus:
        me = await bus.query(GetMe(), grant=scene.signer.grant(scene.person))
    assert str(me.value().id) == scene.person.id


async def test_forged_access_tokens_open_nothing(scene: Scene, subtests: pytest.Subtests) -> None:
    sound = access_claims(scene.person)
    forged = forgeries(scene.signer, "at+jwt", sound, await scene.jwk())
    session = {
        "no session": (scene.signer.access(scene.person, {"sid": None}), MALFORMED),
        "session that is no id": (scene.signer.access(scene.person, {"sid": "mine"}), MALFORMED),
        "session that is a number": (scene.signer.access(scene.person, {"sid": 7}), MALFORMED),
        "a session that never was": (
            scene.signer.access(scene.person, {"sid": str(uuid7())}),
            "session_ended",
        ),
        "somebody else's session": (
            scene.signer.access(scene.person, {"sub": str(uuid7())}),
            "session_ended",
        ),
    }
    for name, (token, code) in (forged | session).items():
        with subtests.test(name):
            refused(await scene.http.get(ME, headers=bearer(token)), code)
            if token.isascii() and len(token) < 4_000:
                refused(await scene.http.get(ME, headers={"Cookie": f"sbx_access={token}"}), code)
    assert (await scene.http.get(ME, headers=scene.person.headers)).status_code == 200


async def test_what_is_no_access_token_is_not_taken_for_one(scene: Scene, subtests: pytest.Subtests) -> None:
    http, person = scene.http, scene.person
    async with scene.installation.bus() as bus:
        grant = (await bus.query(GetGrant(token=SecretStr(person.access_token), audience="auth"))).value()
    ticket = (await http.post(TICKET, headers=person.headers)).json()["ticket"]
    device = (await http.post("/api/v1/auth/device/code")).json()
    api_token = await _api_token(http, person)
    last = "0" if api_token[-1] != "0" else "1"
    others = {
        "refresh token": person.refresh_token,
        "grant": grant.grant,
        "ticket for a socket": ticket,
        "device code": device["device_code"],
        "user code": device["user_code"],
        "API token with another checksum": api_token[:-1] + last,
        "API token in capitals": api_token.upper(),
        "API token and more": api_token + "0",
        "beginning of an API token": "sbx_pat_",
        "API token of NULs": "sbx_pat_" + "\x00" * 36,
        "API token without end": "sbx_pat_" + "0" * 100_000,
        "delegation": "sbx_dlg_" + "A" * 43,
        "password": "correct horse battery staple",
    }
    for name, token in others.items():
        with subtests.test(name):
            refused(await http.get(ME, headers=_raw(f"Bearer {token}")))
            refused(await http.post(TICKET, headers=_raw(f"Bearer {token}")))
    assert (await http.get(ME, headers=bearer(api_token))).status_code == 200
    cookie = await http.get(ME, headers={"Cookie": f"sbx_access={api_token}"})
    refused(cookie)  # cookies are for sessions


async def test_odd_headers_are_refused_whole(scene: Scene, subtests: pytest.Subtests) -> None:
    token = scene.person.access_token
    odd = {
        "no scheme": token,
        "no token": "Bearer",
        "no token but a space": "Bearer ",
        "another scheme": f"Basic {token}",
        "a scheme that begins alike": f"BearerX {token}",
        "no space": f"Bearer{token}",
        "a tab": f"Bearer\t{token}",
        "a comma": f"Bearer {token}, Bearer {token}",
        "something behind": f"Bearer {token} x",
        "NUL behind": f"Bearer {token}\x00",
        "a line break behind": f"Bearer {token}\nX-Admin: 1",
        "NULs": "Bearer \x00\x00",
        "line breaks": "Bearer a\r\nb",
        "not ASCII": "Bearer \xe9\xff",
        "100 KB": f"Bearer {'a' * 100_000}",
        "odd case and forged": "bEaReR a.b.c",
    }
    for name, value in odd.items():
        with subtests.test(name):
            refused(await scene.http.get(ME, headers=_raw(value)))
            refused(await scene.http.get(ME, headers=_raw(value) + _cookie(token)))
    for scheme in ("bearer", "BEARER", "bEaReR"):  # RFC 9110: schemes have no case
        assert (await scene.http.get(ME, headers=_raw(f"{scheme} {token}"))).status_code == 200


async def test_two_authorization_headers_are_one_too_many(scene: Scene, subtests: pytest.Subtests) -> None:
    """What is in front of us may have looked at the other one."""
    good, bad = _raw(f"Bearer {scene.person.access_token}"), _raw("Bearer a.b.c")
    for name, headers in {"good, bad": good + bad, "bad, good": bad + good, "twice": good + good}.items():
        with subtests.test(name):
            answer = await scene.http.get(ME, headers=headers)
            assert answer.status_code in (400, 401)
            _is_problem(answer)


async def test_a_first_word_that_is_no_token_closes_the_socket(
    scene: Scene, subtests: pytest.Subtests
) -> None:
    words: dict[str, Any] = {
        "forged": "a.b.c",
        "refresh token": scene.person.refresh_token,
        "empty": "",
        "NUL": "\x00",
        "line break": "a\r\nb",
        "not ASCII": "\u00e9\u4e2d",
        "lone surrogate": "\ud800",
        "60 KB": "a" * 60_000,  # what is longer than 64 KiB is no frame
        "number": 7,
        "list": ["a"],
        "nothing": None,
    }
    async with scene.installation.served_gateway() as (_, address):
        for name, token in words.items():
            with subtests.test(name):
                async with connect(f"ws://{address}/api/v1/ws") as socket:
                    await socket.send(json.dumps({"type": "auth", "token": token}))
                    with pytest.raises(ConnectionClosed) as closed:
                        await asyncio.wait_for(socket.recv(), 5)
                    assert closed.value.rcvd is not None
                    assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (4401, MALFORMED)


async def test_only_refresh_tokens_refresh(scene: Scene, subtests: pytest.Subtests) -> None:
    http, person = scene.http, scene.person
    token = person.refresh_token
    others = {
        "access token": person.access_token,
        "grant": scene.signer.grant(person),
        "API token": await _api_token(http, person),
        "one bit off": token[:40] + ("A" if token[40] != "A" else "B") + token[41:],
        "cut short": token[:-1],
        "and more": token + "AAAA",
        "prefix alone": "sbx_rt_",
        "another alphabet": "sbx_rt_" + "+/" * 40,
        "nothing": "",
        "NUL": "\x00",
        "100 KB": "a" * 100_000,
    }
    for name, other in others.items():
        with subtests.test(name):
            answer = await http.post(REFRESH, json={"refreshToken": other})
            assert answer.status_code in (401, 422)
            _is_problem(answer)
            if "\x00" not in other and len(other) < 4_000:
                refused(await http.post(REFRESH, headers={"Cookie": f"sbx_refresh={other}"}))
    for value in (7, ["a"], {"a": 1}, True):
        assert (await http.post(REFRESH, json={"refreshToken": value})).status_code == 422
    refused(await http.post(REFRESH), MALFORMED)
    good = await http.post(REFRESH, json={"refreshToken": token})
    assert good.status_code == 200, "and none of that has ended the session"


async def test_forged_grants_open_nothing(scene: Scene, subtests: pytest.Subtests) -> None:
    """Straight on the bus, as whoever has the gateway's password could send them."""
    sound = grant_claims(scene.person)
    forged = forgeries(scene.signer, "grant+jwt", sound, await scene.jwk())
    odd = {
        "no role": scene.signer.grant(scene.person, {"rol": None}),
        "a role that there is not": scene.signer.grant(scene.person, {"rol": "root"}),
        "version that is a word": scene.signer.grant(scene.person, {"ver": "latest"}),
        "no name": scene.signer.grant(scene.person, {"usr": None}),
        "project that is no id": scene.signer.grant(scene.person, {"prj": "*", "prr": "owner"}),
        "project without a role": scene.signer.grant(scene.person, {"prj": str(uuid7())}),
        "access token": scene.person.access_token,
        "nothing": "",
    }
    async with scene.installation.bus() as bus:
        for name, (token, code) in (forged | {n: (t, MALFORMED) for n, t in odd.items()}).items():
            with subtests.test(name):
                if code == UNKNOWN:
                    # It may be on its way here: no reason to refuse for ever what was rightly accepted.
                    assert await _asked(bus, GetMe(), token) == (503, code)
                else:
                    assert await _asked(bus, GetMe(), token) == (401, code)
                    assert await _commanded(bus, token) == (401, code)
    assert await scene.installation.count("auth.projects", "name = 'Forged'") == 0
    assert await scene.installation.count("auth.inbox", "subject like 'cmd.%'") == 0
    assert await scene.installation.messages("DEAD_LETTERS") == []


async def test_a_grant_opens_what_it_is_for_and_nothing_else(scene: Scene) -> None:
    http, person = scene.http, scene.person
    project = await http.project(person.headers)
    async with scene.installation.bus() as bus:

        async def grant(audience: str, about: str | None = None) -> str:
            query = GetGrant(token=SecretStr(person.access_token), audience=audience, project=about)
            return (await bus.query(query)).value().grant

        for audience in ("tasks", "catalog", "sandbox", "git"):
            replayed = await grant(audience, project)
            assert await _asked(bus, GetProject(), replayed) == (401, MALFORMED)
            assert await _commanded(bus, replayed) == (401, MALFORMED)
        assert (await _asked(bus, GetProject(), await grant("auth")))[0] == 403
        good = await bus.query(GetProject(), grant=await grant("auth", project))
        assert str(good.value().id) == project
        for audience in ("gateway", "nobody"):
            with pytest.raises(SignalboxError) as unknown:
                await grant(audience)
            assert unknown.value.status == 422


async def test_a_retired_key_vouches_for_nothing_new(scene: Scene) -> None:
    now = time.time()
    old, recent, distrusted = Signer("kold"), Signer("krecent"), Signer("kdistrusted")
    await old.publish(scene.installation, retired_at=now - 2 * HOUR)
    await recent.publish(scene.installation, retired_at=now - HOUR / 2)
    await distrusted.publish(scene.installation, distrusted=True)
    person, http = scene.person, scene.http
    for signer, ends_in in ((old, 600), (recent, HOUR), (distrusted, 600)):
        ends = {"exp": int(now) + ends_in}
        refused(await http.get(ME, headers=bearer(signer.access(person, ends))), RETIRED)
        async with scene.installation.bus() as bus:
            assert await _asked(bus, GetMe(), signer.grant(person, ends)) == (401, RETIRED)
    outlived = recent.access(person, {"exp": int(now) + 600})
    assert (await http.get(ME, headers=bearer(outlived))).status_code == 200


async def test_tokens_of_a_distrusted_key_are_worth_nothing_any_more(scene: Scene) -> None:
    """Not even a ticket, for which nobody but the gateway is asked."""
    headers = scene.person.headers
    assert (await scene.http.post(TICKET, headers=headers)).status_code == 200
    await scene.installation.operator(RotateKeys(distrust_old=True))

    async def none() -> bool:
        return (await scene.http.post(TICKET, headers=headers)).status_code == 401

    await promptly(none, what="no ticket for a token of a distrusted key")


# -- helpers -------------------------------------------------------------------------------------------


def refused(answer: httpx.Response, code: str | None = None) -> None:
    assert answer.status_code == 401, answer.text
    _is_problem(answer)
    assert answer.headers["www-authenticate"] == "Bearer"
    if code is not None:
        assert answer.json()["code"] == code


def _is_problem(answer: httpx.Response) -> None:
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert body["correlationId"] == answer.headers["x-correlation-id"]
    assert body["status"] == answer.status_code


def _raw(authorization: str) -> list[tuple[bytes, bytes]]:
    """As no client library would send it."""
    return [(b"authorization", authorization.encode("latin-1"))]


def _cookie(token: str) -> list[tuple[bytes, bytes]]:
    return [(b"cookie", f"sbx_access={token}".encode())]


async def _api_token(http: Http, person: Person) -> str:
    made = await http.post("/api/v1/auth/tokens", json={"name": "t"}, headers=person.headers)
    return str(made.json()["token"])


async def _asked(bus: Bus, query: Query[Any], grant: str) -> tuple[int, str]:
    with pytest.raises(SignalboxError) as error:
        await bus.query(query, grant=grant)
    return error.value.status, error.value.code


async def _commanded(bus: Bus, grant: str) -> tuple[int, str]:
    with pytest.raises(SignalboxError) as error:
        await bus.send(CreateProject(name="Forged"), Envelope(uuid7(), "digest", grant))
    return error.value.status, error.value.code
