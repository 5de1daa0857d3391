"""What a sandbox costs through the API: answered, audited, and by the data plane."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

import httpx

from bench.sandbox_steps import AT_ONCE, GIGABYTE, SINGLE, timed
from tests.support.stack import Stack, new_home

API = "/api/v1/sandboxes"
MADE_AT_ONCE = 100


async def measure_api(note: Callable[[str, float], None], *, rounds: int) -> None:
    """On a native stack of its own."""
    stack = Stack(new_home())
    try:
        stack.up()
        await stack.become_admin()
        headers = {"Authorization": f"Bearer {stack.env['SIGNALBOX_TOKEN']}"}
        async with httpx.AsyncClient(base_url=stack.url, headers=headers, timeout=60) as http:
            for _ in range(rounds):
                await _one_round(http, note)
    finally:
        stack.down()
        stack.remove()


async def _one_round(http: httpx.AsyncClient, note: Callable[[str, float], None]) -> None:
    made: list[str] = []

    async def create() -> None:
        answer = await http.post(API, json={"timeout": 600})
        assert answer.status_code == 201, answer.text
        made.append(answer.json()["id"])

    async def execute() -> None:
        answer = await http.post(f"{API}/{made[0]}/exec", json={"command": "true"})
        assert answer.status_code == 200, answer.text

    await create()
    note("create through the API, p50", await timed(create, SINGLE))
    note("exec through the API, p50", await timed(execute, SINGLE))
    note("1 GiB of output through the API", await _output_rate(http, made[0]))
    note("destroy through the API, p50", await timed(lambda: _destroy(http, made.pop()), SINGLE))
    turn = asyncio.Semaphore(AT_ONCE)

    async def one() -> None:
        async with turn:
            await create()

    began = time.perf_counter()
    await asyncio.gather(*(one() for _ in range(MADE_AT_ONCE)))
    note(f"create through the API, {AT_ONCE} at once", MADE_AT_ONCE / (time.perf_counter() - began))
    await asyncio.gather(*(_destroy(http, each) for each in made))


async def _destroy(http: httpx.AsyncClient, sandbox: str) -> None:
    answer = await http.delete(f"{API}/{sandbox}")
    assert answer.status_code == 200, answer.text


async def _output_rate(http: httpx.AsyncClient, sandbox: str) -> float:
    """Of a file that a folder is packed with: held, so nothing of it is lost."""
    body: dict[str, Any] = {"command": f"mkdir -p big && truncate -s {GIGABYTE} big/file"}
    assert (await http.post(f"{API}/{sandbox}/exec", json=body)).json()["exitCode"] == 0
    began, size = time.perf_counter(), 0
    async with http.stream("GET", f"{API}/{sandbox}/files/archive", params={"path": "big"}) as answer:
        assert answer.status_code == 200
        async for chunk in answer.aiter_raw():
            size += len(chunk)
    assert size > GIGABYTE
    return size / (time.perf_counter() - began) / 1_000_000
