"""From SIGKILL of a service until it answers again."""

import asyncio
import os
import signal
import time

import httpx

from bench.processes import is_alive
from bench.report import Line, Note
from bench.servers import Person, Stack

GROUP = "SIGKILL until answered"
_ASKED = {
    "gateway": "/api/v1/auth/me",
    "auth": "/api/v1/auth/me",
    "catalog": "/api/v1/kinds/bots",
}
"""What only that service can answer."""
_EVERY, _ANSWERED_WITHIN, _LIMIT = 0.05, 5.0, 180.0


def measure(stack: Stack, note: Note) -> None:
    """Each once in the life of a stack: who dies often is started again later."""
    person = Person(stack.url)
    for service, path in _ASKED.items():
        asyncio.run(_first_answer(stack, path, person.token()))
        (pid,) = stack.pids(service)
        token = person.token()
        os.kill(pid, signal.SIGKILL)
        killed = time.monotonic()
        while is_alive(pid):
            time.sleep(0.001)
        note(Line(GROUP, service, "s"), asyncio.run(_first_answer(stack, path, token)) - killed)


async def _first_answer(stack: Stack, path: str, token: str) -> float:
    """Asks again and again, also while an earlier question still waits: who hangs hides nothing."""
    answered: asyncio.Future[float] = asyncio.get_running_loop().create_future()
    asking: set[asyncio.Task[None]] = set()

    async def ask() -> None:
        try:
            status = (await client.get(path)).status_code
        except httpx.HTTPError:
            return
        if status == 200 and not answered.done():
            answered.set_result(time.monotonic())

    headers = {"Authorization": f"Bearer {token}"}
    async with httpx.AsyncClient(
        base_url=stack.url,
        headers=headers,
        timeout=_ANSWERED_WITHIN,
        limits=httpx.Limits(max_connections=None),
    ) as client:
        try:
            async with asyncio.timeout(_LIMIT):
                while not answered.done():
                    asking.add(asyncio.create_task(ask()))
                    await asyncio.wait([answered], timeout=_EVERY)
        finally:
            for task in asking:
                task.cancel()
            await asyncio.gather(*asking, return_exceptions=True)
    return answered.result()
