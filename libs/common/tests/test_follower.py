"""Following revocations: what arrives before the answer that announced it."""

import json
import uuid
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast

from signalbox_common.bus.connection import Connection
from signalbox_common.bus.revocations import Follower
from signalbox_common.contracts.auth import AccessRevoked
from signalbox_common.revoked import Revocations
from signalbox_common.testing import eventually

HEARTBEAT = SimpleNamespace(headers={"Status": "100", "Nats-Last-Consumer": "2"})


class Server:
    """Sends the two messages that it has before it says that it has two."""

    inbox_prefix = "_INBOX.test"

    def __init__(self) -> None:
        self.client = self
        self.deliver: Callable[[Any], Awaitable[None]]

    async def wait_up(self) -> None:
        pass

    async def subscribe(self, _subject: str, cb: Callable[[Any], Awaitable[None]]) -> Any:
        self.deliver = cb

        async def unsubscribe() -> None:
            pass

        return SimpleNamespace(unsubscribe=unsubscribe)

    async def request(self, _subject: str, _body: bytes, **_rest: object) -> Any:
        for number in (1, 2):
            meta = SimpleNamespace(
                sequence=SimpleNamespace(consumer=number), num_pending=2 - number, timestamp=datetime.now(UTC)
            )
            said = AccessRevoked(session_id=uuid.uuid4()).encode()
            await self.deliver(SimpleNamespace(headers=None, metadata=meta, data=said))
        return SimpleNamespace(data=json.dumps({"num_pending": 2}).encode())


async def test_messages_may_come_before_their_number() -> None:
    server, revoked = Server(), Revocations()
    follower = Follower(cast("Connection", server), revoked, "test")

    async def _listens() -> bool:
        return follower._spoken > 0

    follower.start()
    try:
        await eventually(_listens)
        before = revoked._heard_at
        await server.deliver(HEARTBEAT)
        assert revoked.trusted
        assert revoked._heard_at != before
    finally:
        await follower.stop()
