"""One anonymous client takes all it can get, while somebody else works."""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx
import psutil
import pytest

from signalbox_cli.stack.program import free_port
from signalbox_common.testing import eventually
from tests.support.installation import Http, Installation
from tests.support.pace import SECOND

pytestmark = pytest.mark.fresh  # its gateway is a process

ME = "/api/v1/auth/me"
MOST_MEMORY = 200 * 1024 * 1024
"""What the gateway may grow by: the room of all bodies, and as much again for what holds them."""
_DEFAULTS = (
    *("RATE_LIMIT_ANONYMOUS", "RATE_LIMIT_USER", "CONNECTIONS_PER_ADDRESS", "REQUESTS_WAITING"),
    *("SHED_LAG", "ARGON2_REGISTER_QUEUE", "ARGON2_MEMORY_KIB", "ARGON2_TIME"),
)


@dataclass
class Served:
    address: str
    process: psutil.Process


@asynccontextmanager
async def programs(installation: Installation) -> AsyncIterator[Served]:
    """Auth and a gateway as they are when somebody uses them: with the bounds that nobody has changed."""
    ours = {k: v for k, v in os.environ.items() if not k.startswith("SIGNALBOX_")}
    port, started = free_port(), list[subprocess.Popen[bytes]]()
    try:
        for program in ("auth", "gateway"):
            own = installation.environment(program) | {"SIGNALBOX_PORT": str(port)}
            for name in _DEFAULTS:
                own.pop(f"SIGNALBOX_{name}", None)
            argv = [sys.executable, "-m", "signalbox_common.start", f"signalbox_{program}.app"]
            started.append(subprocess.Popen(argv, env=ours | own))
        address = f"127.0.0.1:{port}"

        async def ready() -> bool:
            try:
                async with httpx.AsyncClient() as client:
                    body = {"username": "x", "password": "x"}
                    found = await client.post(f"http://{address}/api/v1/auth/login", json=body)
            except httpx.TransportError:
                return False
            return found.status_code == 401

        await eventually(ready, within=60)
        yield Served(address, psutil.Process(started[-1].pid))
    finally:
        for each in started:
            each.terminate()
        for each in started:
            each.wait()


@asynccontextmanager
async def attacked(address: str) -> AsyncIterator[None]:
    stranger = subprocess.Popen([sys.executable, "-m", "tests.support.stranger", address])
    try:
        yield
    finally:
        stranger.kill()
        stranger.wait()


async def waits(http: Http, me: dict[str, str], seconds: float) -> list[float]:
    """How long each request took of somebody who works; all of them are answered."""
    found, ends = list[float](), time.monotonic() + seconds
    while time.monotonic() < ends:
        began = time.perf_counter()
        answer = await http.get(ME, headers=me)
        found.append(time.perf_counter() - began)
        assert answer.status_code == 200, answer.text
        await asyncio.sleep(0.015)  # under what one person may ask
    return sorted(found)


def percentile(values: list[float], part: float) -> float:
    return values[min(len(values) - 1, int(len(values) * part))]


async def attack(installation: Installation, seconds: float) -> tuple[list[float], list[float], int]:
    """How long requests take in quiet and under attack, and the bytes that the gateway grew by."""
    async with (
        programs(installation) as served,
        httpx.AsyncClient(base_url=f"http://{served.address}", timeout=30) as client,
    ):
        http = Http(client, None)  # type: ignore[arg-type]  # that is in another process
        me = await http.sign_up()
        await waits(http, me, 0.5)
        quiet = await waits(http, me, seconds)
        before = most = served.process.memory_info().rss
        async with attacked(served.address):
            await waits(http, me, min(seconds, 2.0))
            busy = asyncio.create_task(waits(http, me, seconds))
            while not busy.done():
                most = max(most, served.process.memory_info().rss)
                await asyncio.wait([busy], timeout=0.1)
        return quiet, busy.result(), most - before


async def test_somebody_works_on(installation: Installation) -> None:
    """In short: the proof takes ten seconds, and the machine for itself."""
    quiet, busy, grown = await attack(installation, 2.0)
    assert percentile(busy, 0.5) < max(10 * percentile(quiet, 0.5), SECOND / 4)
    assert grown < MOST_MEMORY


@pytest.mark.proof
async def test_somebody_works_on_as_fast(installation: Installation) -> None:
    quiet, busy, grown = await attack(installation, 10.0)
    told = f"p50 {percentile(quiet, 0.5) * 1000:.1f} → {percentile(busy, 0.5) * 1000:.1f} ms, "
    told += f"p99 {percentile(quiet, 0.99) * 1000:.1f} → {percentile(busy, 0.99) * 1000:.1f} ms, "
    print(told + f"{grown / 1024 / 1024:.0f} MiB")
    assert percentile(busy, 0.99) <= 3 * percentile(quiet, 0.99)
    assert grown < MOST_MEMORY
