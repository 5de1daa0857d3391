"""Who is told to come later, and when."""

import asyncio
import time
from types import SimpleNamespace
from typing import Any

import pytest

from signalbox_gateway import shedding
from signalbox_gateway.lately import Lately
from signalbox_gateway.shedding import Lag, LoadShedding


class Front:
    """Requests to an application that answers when it is let."""

    def __init__(self, *, lag: float = 0.0, most: int = 0) -> None:
        self.go_on = asyncio.Event()
        known: Any = SimpleNamespace(known=lambda token: token if token == "known" else None)
        late: Any = SimpleNamespace(seconds=lag)
        self._front = LoadShedding(self._app, lag=late, identity=known, most_lag=0.5, most=most)

    async def _app(self, _scope: Any, _receive: Any, send: Any) -> None:
        await self.go_on.wait()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def ask(self, token: str = "", path: str = "/api/v1/projects") -> int:
        said: list[Any] = []
        headers = [(b"authorization", f"Bearer {token}".encode())] if token else []
        scope = {"type": "http", "method": "GET", "path": path, "headers": headers}

        async def send(message: Any) -> None:
            said.append(message)

        await self._front(scope, None, send)  # type: ignore[arg-type]  # nothing reads
        return int(said[0]["status"])


@pytest.mark.parametrize(
    ("lag", "stranger", "known"), [(0.1, 200, 200), (0.6, 503, 200), (1.1, 503, 503)], ids=str
)
async def test_strangers_come_later_first(lag: float, stranger: int, known: int) -> None:
    front = Front(lag=lag)
    front.go_on.set()
    assert await front.ask() == await front.ask("made up") == stranger
    assert await front.ask("known") == known
    assert await front.ask(path="/api/v1/readiness") == 200, "whoever looks after it is told how it is"


async def test_so_many_wait_and_no_more() -> None:
    front = Front(most=4)
    waiting = [asyncio.create_task(front.ask("known")) for _ in range(2)]
    await asyncio.sleep(0)
    assert await front.ask() == 503
    waiting += [asyncio.create_task(front.ask("known")) for _ in range(2)]
    await asyncio.sleep(0)
    assert await front.ask("known") == 503
    front.go_on.set()
    assert set(await asyncio.gather(*waiting)) == {200}
    assert await front.ask() == 200


async def test_being_late_once_is_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shedding, "_LOOK_EVERY", 0.02)
    lag = Lag()
    lag.start()
    try:
        await asyncio.sleep(0.01)
        time.sleep(0.3)
        await asyncio.sleep(0.01)
        assert lag.seconds < 0.2
        for _ in range(6):
            time.sleep(0.3)
            await asyncio.sleep(0)
        assert lag.seconds > 0.2
    finally:
        await lag.stop()


async def test_an_answer_is_shared_for_a_second() -> None:
    asked = 0

    async def ask() -> int:
        nonlocal asked
        asked += 1
        await asyncio.sleep(0)
        return asked

    lately = Lately(ask)
    assert await asyncio.gather(*(lately.get() for _ in range(100))) == [1] * 100
    assert await lately.get() == 1
    lately._asked_at -= 2.0
    assert await lately.get() == 2
