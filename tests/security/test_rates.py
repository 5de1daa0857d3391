"""How often somebody may ask: who is counted as whom, together at all gateways, and while Redis is away."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from redis.asyncio import Redis
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from signalbox_cli.provision.permissions import ADMIN
from signalbox_common.testing import eventually
from tests.support.installation import Http, Installation

pytestmark = pytest.mark.fresh  # everybody here has the same address

ME = "/api/v1/auth/me"
ANONYMOUS, USER = 20, 60


@pytest.fixture
async def auth(installation: Installation) -> AsyncIterator[None]:
    async with installation.running_auth():
        yield


@asynccontextmanager
async def limits(installation: Installation, **more: Any) -> AsyncIterator[Http]:
    """Of a gateway that nobody has asked yet."""
    await forget(installation)
    bounds = {"rate_limit_anonymous": ANONYMOUS, "rate_limit_user": USER}
    async with installation.gateway(**bounds | more) as http:
        yield http


async def forget(installation: Installation) -> None:
    servers = installation.servers
    async with Redis.from_url(servers.credentials.redis_url(servers.endpoints, ADMIN)) as redis:
        async for key in redis.scan_iter("rate:*"):
            await redis.delete(key)


async def until_refused(http: Http, path: str, headers: dict[str, str] | None = None) -> list[httpx.Response]:
    answers: list[httpx.Response] = []
    while len(answers) < 10 * USER and (not answers or answers[-1].status_code != 429):
        answers.append(await http.get(path, headers=headers))
    return answers


@pytest.mark.usefixtures("auth")
async def test_strangers_are_counted_by_address_and_people_by_themselves(installation: Installation) -> None:
    async with limits(installation, trusted_proxies="127.0.0.0/8") as http:
        one, other = await http.sign_up(), await http.sign_up()
        assert (await http.get(ME, headers=one)).status_code == 200  # from now on they are known
        assert (await http.get(ME, headers=other)).status_code == 200
        strangers = await until_refused(http, "/")
        assert ANONYMOUS / 2 < len(strangers) <= 2 * ANONYMOUS
        first, last = strangers[0], strangers[-1]
        assert first.headers["ratelimit-limit"] == str(ANONYMOUS)
        assert first.headers["ratelimit-policy"] == f"{ANONYMOUS};w=60"
        counts = [int(each.headers["ratelimit-remaining"]) for each in strangers[:-1]]
        assert counts == sorted(counts, reverse=True)
        assert last.json()["code"] == "rate_limited"
        assert int(last.headers["retry-after"]) >= 1
        assert last.headers["ratelimit-remaining"] == "0"
        assert int(last.headers["ratelimit-reset"]) > 30
        assert last.headers["x-request-id"]
        assert last.headers["x-content-type-options"] == "nosniff"
        forged = {"Authorization": "Bearer forged"}
        assert (await http.get(ME, headers=forged)).status_code == 429, "a token that is made up helps nobody"
        known = await http.get(ME, headers=one)
        assert (known.status_code, known.headers["ratelimit-limit"]) == (200, str(USER))
        newcomer = await http.sign_up()
        first = await http.get(ME, headers=newcomer)
        assert (first.status_code, first.headers["ratelimit-limit"]) == (200, str(USER)), "it is signed by us"
        elsewhere = {"X-Forwarded-For": "203.0.113.7"}
        assert (await http.get("/", headers=elsewhere)).status_code == 200
        neighbour = {"X-Forwarded-For": "2001:db8::1"}
        assert (await until_refused(http, "/", neighbour))[-1].status_code == 429
        moved = await http.get("/", headers={"X-Forwarded-For": "2001:db8::ffff:2"})
        assert moved.status_code == 429, "all of a network of IPv6 is one"
        people = await until_refused(http, ME, one)
        assert USER / 2 < len(people) <= 2 * USER
        assert (await http.get(ME, headers=other)).status_code == 200


@pytest.mark.usefixtures("auth")
async def test_who_is_kept_out_can_sign_in_and_whoever_looks_after_it_is_answered(
    installation: Installation,
) -> None:
    async with limits(installation) as http:
        await until_refused(http, "/")
        await http.sign_up()
        for probe in ("/health", "/api/v1/health", "/api/v1/liveness", "/api/v1/readiness"):
            for _ in range(2 * ANONYMOUS):
                answer = await http.get(probe)
                assert (answer.status_code, answer.headers.get("ratelimit-limit")) == (200, None)
        body = {"username": "nobody", "password": "wrong"}
        answers = [(await http.post("/api/v1/auth/login", json=body)) for _ in range(2 * ANONYMOUS)]
        assert "rate_limited" in {answer.json()["code"] for answer in answers}


async def test_all_gateways_count_together(installation: Installation) -> None:
    async with limits(installation) as one, limits(installation) as other:
        answers = [await http.get("/") for _ in range(2 * ANONYMOUS) for http in (one, other)]
        good = sum(answer.status_code == 200 for answer in answers)
        assert ANONYMOUS / 2 < good <= 1.5 * ANONYMOUS


async def test_at_once_as_one_after_the_other(installation: Installation) -> None:
    async with limits(installation) as http:
        answers = await asyncio.gather(*(http.get("/") for _ in range(5 * ANONYMOUS)))
        good = sum(answer.status_code == 200 for answer in answers)
        assert ANONYMOUS / 2 < good <= 1.5 * ANONYMOUS


async def test_a_socket_is_not_opened_either(installation: Installation) -> None:
    await forget(installation)
    bounds = {"rate_limit_anonymous": ANONYMOUS}
    async with installation.served_gateway(**bounds) as (http, address):
        await until_refused(http, "/")
        with pytest.raises(InvalidStatus) as refused:
            async with connect(f"ws://{address}/api/v1/ws"):
                pass
        assert refused.value.response.status_code == 429
        assert refused.value.response.headers["retry-after"]


async def test_nothing_is_counted_where_that_is_off(installation: Installation) -> None:
    async with limits(installation, rate_limit_anonymous=0) as http:
        answers = [await http.get("/") for _ in range(2 * ANONYMOUS)]
        assert {answer.status_code for answer in answers} == {200}
        assert "ratelimit-limit" not in answers[0].headers


@pytest.mark.parametrize("how", ["dead", "asleep"])
async def test_without_redis_each_gateway_counts_for_itself(own_installation: Installation, how: str) -> None:
    redis = own_installation.servers.processes["redis"]
    async with limits(own_installation) as http:
        assert (await http.get("/")).status_code == 200
        if how == "dead":
            redis.kill()
        else:
            redis.signal(signal.SIGSTOP)
        try:
            answers = await until_refused(http, "/openapi.json")
            assert answers[-1].status_code == 429
            assert ANONYMOUS / 2 < len(answers) <= 3 * ANONYMOUS
        finally:
            if how == "asleep":
                redis.signal(signal.SIGCONT)
        if how == "dead":
            await redis.start()

        async def again() -> bool:
            return (await http.get("/")).status_code == 200

        await eventually(again)
