"""Open connections, and their end with what their askers stand on."""

import asyncio
import time
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import Any

from starlette.types import Scope

from signalbox_common import background
from signalbox_common.contracts.auth import AccessRevoked
from signalbox_common.revoked import Revocations
from signalbox_gateway.closing import NOT_AUTHENTICATED, TRY_LATER
from signalbox_gateway.identity import Asker
from signalbox_gateway.live.assurance import Assurance

_CHECK_EVERY = 0.5


class EndReason(StrEnum):
    REVOKED = "revoked"
    UNCHECKED = "unchecked"


CLOSES = {EndReason.REVOKED: NOT_AUTHENTICATED, EndReason.UNCHECKED: TRY_LATER}
"""What a WebSocket is closed with."""


class OpenConnection:
    """One open connection and the person that it was opened for."""

    def __init__(self, asker: Asker) -> None:
        self.asker = asker
        self.ended: asyncio.Future[EndReason] = asyncio.get_running_loop().create_future()

    def end(self, reason: EndReason) -> None:
        if not self.ended.done():
            self.ended.set_result(reason)


class OpenConnections:
    """All of this process; ended when the token behind one is revoked, or cannot be checked any more."""

    def __init__(self, revoked: Revocations, assurance: Assurance) -> None:
        self._revoked = revoked
        self._assurance = assurance
        self._open: set[OpenConnection] = set()
        self._task: asyncio.Task[None] | None = None
        revoked.listeners.add(self._on_revoked)

    @contextmanager
    def track(self, asker: Asker) -> Iterator[OpenConnection]:
        connection = OpenConnection(asker)
        self._open.add(connection)
        # It may have been revoked since it was checked: from now on nothing is missed.
        if asker.revoked(self._revoked):
            connection.end(EndReason.REVOKED)
        try:
            yield connection
        finally:
            self._open.discard(connection)

    def start(self) -> None:
        self._assurance.start()
        self._task = asyncio.create_task(self._check(), name="open connections")

    async def stop(self) -> None:
        await background.end(self._task)
        await self._assurance.stop()

    def _on_revoked(self, what: AccessRevoked) -> None:
        for connection in list(self._open):
            if connection.asker.stands_on(what):
                connection.end(EndReason.REVOKED)

    async def _check(self) -> None:
        while True:
            await asyncio.sleep(_CHECK_EVERY)
            if self._assurance.is_lost:
                self._end_all()

    def _end_all(self) -> None:
        for connection in list(self._open):
            connection.end(EndReason.UNCHECKED)


def connections_of(scope: Scope) -> OpenConnections:
    found: OpenConnections = scope["app"].state.node.connections
    return found


async def while_allowed(
    connections: OpenConnections, asker: Asker, *work: Coroutine[Any, Any, None], within: float | None = None
) -> EndReason | None:
    """Until the first of it ends, the time is over, or whoever it is done for may not go on: then, why."""
    with connections.track(asker) as connection:

        async def until_ended() -> None:
            await asyncio.wait([connection.ended])

        left = [within] if within is not None else []
        left += [asker.ends_at - time.time()] if asker.ends_at is not None else []
        await background.until_one_ends(*work, until_ended(), within=max(0.0, min(left)) if left else None)
        return connection.ended.result() if connection.ended.done() else None
