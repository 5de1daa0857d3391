"""What it costs to know who asks: checking tokens, signing in, and taking access back."""

import asyncio
import json
import secrets
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from types import SimpleNamespace
from typing import Any, cast

import httpx
from argon2 import PasswordHasher
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from bench.report import Figure, Report, Target, at_least, at_most, console
from bench.servers import Person, Stack
from signalbox_auth.settings import AuthSettings
from signalbox_common.bus import Bus
from signalbox_common.keys import uuid7
from signalbox_common.revoked import Revocations
from signalbox_common.tokens import ACCESS, ACCESS_AUDIENCE, KeyRing, PublishedKey, SigningKey
from signalbox_gateway.identity import Identity

TOKENS = 2_000
LOGIN_SECONDS, LOGIN_CLIENTS = 5.0, 16
PEOPLE, LOOK = 40, 0.005
"""People who are logged out one after the other, and how often it is looked whether that counts."""


def measure(stack: Stack, report: Report, *, rounds: int) -> None:
    report.look_around("identity")
    first, again = zip(*(asyncio.run(_token_checks()) for _ in range(rounds)), strict=True)
    report.figures += [
        Figure("token check", "CPU, seen for the first time", "ms", first, at_most(0.15)),
        Figure("token check", "CPU, seen before", "ms", again, at_most(0.15)),
    ]
    report.figures += _logins(stack, rounds, slots=AuthSettings().argon2_concurrency)
    # With one password at a time, everything else has the other core: does anything but argon2 hold it up?
    stack.down()
    stack.up(SIGNALBOX_ARGON2_CONCURRENCY="1")
    report.figures += _logins(stack, rounds, slots=1, target=at_least(0.9))
    http, streams = asyncio.run(_revocations(stack))
    report.figures += [
        Figure("revocation", "to HTTP, p50", "ms", [_percentile(http, 0.5)]),
        Figure("revocation", "to HTTP, p99", "ms", [_percentile(http, 0.99)], at_most(1000)),
        Figure("revocation", "to open connections, p50", "ms", [_percentile(streams, 0.5)]),
        Figure("revocation", "to open connections, p99", "ms", [_percentile(streams, 0.99)], at_most(1000)),
    ]


def _logins(stack: Stack, rounds: int, *, slots: int, target: Target | None = None) -> list[Figure]:
    """The service, and argon2 with as many threads and nothing around it, in turns."""
    logins, hashes = [], []
    for number in range(rounds):
        console.print(f"identity: {slots} at a time, round {number + 1} of {rounds}", style="dim")
        hashes.append(_hashes_per_second(slots))
        logins.append(asyncio.run(_logins_per_second(stack)))
    ratio = [login / alone for login, alone in zip(logins, hashes, strict=True)]
    group = f"POST /auth/login, {slots} hashed at a time"
    return [
        Figure(group, f"{LOGIN_CLIENTS} clients", "/s", logins),
        Figure(group, "argon2 alone", "/s", hashes),
        Figure(group, "logins / argon2 alone", "", ratio, target),
    ]


def _percentile(values: list[float], share: float) -> float:
    return sorted(values)[min(int(len(values) * share), len(values) - 1)]


async def _token_checks() -> tuple[float, float]:
    """CPU milliseconds of the gateway's own check, for tokens that it has not and that it has seen."""
    key = SigningKey("kbench", Ed25519PrivateKey.generate())

    async def find(_kid: str) -> PublishedKey:
        return PublishedKey(key.public)

    revoked = Revocations()
    identity = Identity(cast("Bus", SimpleNamespace(keys=KeyRing(find), revoked=revoked)))
    tokens = [
        key.sign(
            ACCESS,
            ACCESS_AUDIENCE,
            timedelta(minutes=15),
            {"sub": str(uuid7()), "usr": "bench", "sid": str(uuid7())},
        )
        for _ in range(TOKENS)
    ]
    times = []
    for _ in range(2):
        started = time.process_time()
        for token in tokens:
            revoked.heard()
            await identity.asker(token)
        times.append((time.process_time() - started) * 1000 / TOKENS)
    return times[0], times[1]


def _hashes_per_second(slots: int) -> float:
    """Verifying passwords as the service does, with nothing around it."""
    settings = AuthSettings()
    hasher = PasswordHasher(
        time_cost=settings.argon2_time,
        memory_cost=settings.argon2_memory_kib,
        parallelism=settings.argon2_parallelism,
    )
    stored = hasher.hash("bench")
    ends = time.perf_counter() + LOGIN_SECONDS
    with ThreadPoolExecutor(slots) as pool:

        def work() -> int:
            count = 0
            while time.perf_counter() < ends:
                hasher.verify(stored, "bench")
                count += 1
            return count

        working = [pool.submit(work) for _ in range(slots)]
        done = sum(future.result() for future in working)
    return done / LOGIN_SECONDS


async def _logins_per_second(stack: Stack) -> float:
    people = [Person(stack.url) for _ in range(LOGIN_CLIENTS)]
    done = 0
    ends = time.perf_counter() + LOGIN_SECONDS
    limits = httpx.Limits(max_connections=LOGIN_CLIENTS)
    async with httpx.AsyncClient(base_url=stack.url, timeout=30, limits=limits) as client:

        async def work(person: Person) -> None:
            nonlocal done
            while time.perf_counter() < ends:
                answer = await client.post(
                    "/api/v1/auth/login", params={"cookie": "false"}, json=person.login
                )
                answer.raise_for_status()
                done += 1

        await asyncio.gather(*(work(person) for person in people))
    return done / LOGIN_SECONDS


async def _revocations(stack: Stack) -> tuple[list[float], list[float]]:
    """Milliseconds from the answer of a logout until HTTP refuses, and until an open connection ends."""
    http: list[float] = []
    streams: list[float] = []
    person = Person(stack.url)
    async with httpx.AsyncClient(base_url=stack.url, timeout=30) as client:
        for _ in range(PEOPLE):
            session: dict[str, Any] = (
                await client.post("/api/v1/auth/login", params={"cookie": "false"}, json=person.login)
            ).json()
            me = {"Authorization": f"Bearer {session['accessToken']}"}
            address = f"ws://127.0.0.1:{stack.port}/api/v1/ws"
            async with connect(address, additional_headers=me) as socket:
                assert json.loads(await socket.recv())["type"] == "ready"
                (await client.post("/api/v1/auth/logout", headers=me)).raise_for_status()
                started = time.perf_counter()
                closing = asyncio.create_task(_closed(socket))
                while (await client.get("/api/v1/auth/me", headers=me)).status_code != 401:
                    await asyncio.sleep(LOOK)
                http.append((time.perf_counter() - started) * 1000)
                streams.append((await closing - started) * 1000)
            await asyncio.sleep(secrets.randbelow(20) / 1000)  # not always at the same point of a heartbeat
    return http, streams


async def _closed(socket: Any) -> float:
    try:
        await asyncio.wait_for(socket.recv(), 10)
    except ConnectionClosed:
        return time.perf_counter()
    raise RuntimeError("the connection said something instead of ending")
