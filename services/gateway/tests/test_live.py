"""Small parts of the live edge: single flight, and rights that end while somebody joins."""

import asyncio
import uuid
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from signalbox_common.contracts.auth import AccessRevoked
from signalbox_common.errors import SignalboxError
from signalbox_gateway.errors import ProjectNotFound
from signalbox_gateway.identity import Asker
from signalbox_gateway.live import access
from signalbox_gateway.live.access import AccessMonitor
from signalbox_gateway.live.single_flight import SingleFlight
from signalbox_gateway.live.transport import Transport

ASKER = Asker(uuid.uuid4(), "somebody", "token", 0.0)


@dataclass
class Question:
    """Answers how often it was asked, when it is let."""

    count: int = 0
    let: list[asyncio.Event] = field(default_factory=list)

    async def ask(self) -> int:
        self.count += 1
        mine, go_on = self.count, asyncio.Event()
        self.let.append(go_on)
        await go_on.wait()
        return mine


async def turns() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_nobody_gets_an_answer_that_was_on_its_way_already() -> None:
    question = Question()
    flight = SingleFlight(question.ask)
    first = [asyncio.create_task(flight.get()) for _ in range(3)]
    await turns()
    later = [asyncio.create_task(flight.get()) for _ in range(3)]
    await turns()
    assert question.count == 1, "one question is on its way, the next one waits"
    later[0].cancel()
    question.let[0].set()
    assert await asyncio.gather(*first) == [1, 1, 1]
    await turns()
    question.let[1].set()
    assert await asyncio.gather(*later[1:]) == [2, 2]


@dataclass(eq=False)
class OpenStream:
    """A stream, as whoever takes rights away sees it."""

    asker: Asker = ASKER
    projects: frozenset[uuid.UUID] = frozenset({uuid.uuid4()})
    forbidden: bool = False

    def forbid(self, _why: SignalboxError) -> None:
        self.forbidden = True


@pytest.mark.parametrize("ended_meanwhile", [True, False])
async def test_rights_that_end_while_somebody_joins(
    monkeypatch: pytest.MonkeyPatch, ended_meanwhile: bool
) -> None:
    async def no_more(*_: Any, **__: Any) -> None:
        raise ProjectNotFound

    listeners: set[Any] = set()
    assurance: Any = SimpleNamespace(is_lost=False, left=10.0)
    clients: Any = SimpleNamespace(bus=SimpleNamespace(revoked=SimpleNamespace(listeners=listeners)))
    monkeypatch.setattr(access, "require_access", no_more)
    monitor = AccessMonitor(clients, assurance)
    (hear,) = listeners
    revocations = monitor.revocations
    if ended_meanwhile:
        hear(AccessRevoked(user_id=ASKER.user_id))
    stream = OpenStream()
    monitor.add(stream, revocations)
    await turns()
    assert stream.forbidden is ended_meanwhile
    hear(AccessRevoked(user_id=ASKER.user_id))
    await turns()
    assert stream.forbidden


def test_whoever_is_gone_is_not_written_to() -> None:
    def raise_closed(_data: bytes) -> None:
        raise RuntimeError("the handler is closed")

    left: list[bool] = []
    transport = Transport(SimpleNamespace(write=raise_closed))
    transport.on_lost = lambda: left.append(True)
    transport.lost()
    transport.write(b"an event")
    assert left == [True]
