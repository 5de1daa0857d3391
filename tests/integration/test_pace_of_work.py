"""What it takes that an answer comes when the work is done, and that bytes go past the bus."""

import statistics
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from signalbox_common.dataplane import DataClient
from tests.support import lab_routes
from tests.support.bytes_lab import READ
from tests.support.bytes_scene import scene_of
from tests.support.installation import Installation
from tests.support.services import process

pytestmark = [pytest.mark.fresh, pytest.mark.proof]

ROUNDS = 300


async def timed(step: Callable[[], Awaitable[None]]) -> list[float]:
    """Milliseconds, in order."""
    took = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        await step()
        took.append(1000 * (time.perf_counter() - began))
    return sorted(took)


async def test_a_deferred_command_beside_a_plain_one(installation: Installation, tmp_path: Path) -> None:
    """HTTP to HTTP, one client, turn by turn; the deferred one does nothing outside but to make a file."""
    service = process(
        installation,
        "tasks",
        tmp_path / "tasks.log",
        ["-m", "tests.support.works", str(tmp_path / "world"), "15", "64"],
    )
    async with (
        installation.running_auth(),
        installation.served_gateway(lab_routes.routes) as (http, _),
    ):
        await service.start()
        try:
            headers = await http.sign_up()
            path = f"/api/v1/lab/{await http.project(headers)}"

            async def send(kind: str, body: dict[str, str]) -> float:
                began = time.perf_counter()
                answer = await http.post(f"{path}/{kind}", json=body, headers=headers)
                assert answer.status_code == 200, answer.text
                return 1000 * (time.perf_counter() - began)

            plain, deferred = list[float](), list[float]()
            for number in range(ROUNDS):
                plain.append(await send("jots", {"text": f"note-{number}"}))
                deferred.append(await send("orders", {"name": f"house-{number}"}))
        finally:
            service.kill()
    before, now = statistics.median(plain[20:]), statistics.median(deferred[20:])
    print(f"\na plain command {before:.1f} ms, a deferred one {now:.1f} ms: {now / before:.2f} times")
    assert now < 4 * before


async def test_the_first_byte(installation: Installation, tmp_path: Path) -> None:
    async with scene_of(installation, tmp_path) as scene:
        (scene.folder() / "small").write_bytes(b"x")
        grant = await scene.grant()
        async with scene.client(grant) as client:

            async def same(client: DataClient = client) -> None:
                assert b"".join([chunk async for chunk in client.read(READ, name="small")]) == b"x"

            took = await timed(same)
    print(f"\nfirst byte: p50 {took[len(took) // 2]:.2f} ms, p90 {took[len(took) * 9 // 10]:.2f} ms")
    assert took[len(took) // 2] < 100
