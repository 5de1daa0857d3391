"""Ends open connections: when what they stand on was revoked, or cannot be checked any more."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum

from signalbox_common import background
from signalbox_common.contracts.auth import AccessRevoked
from signalbox_common.revoked import Revoked
from signalbox_gateway.identity import Asker

UNCHECKED_FOR = 10.0
"""Seconds without word of revocations after which open connections are ended."""
_LOOK = 0.5


class End(StrEnum):
    REVOKED = "revoked"
    UNCHECKED = "unchecked"


class Open:
    """One open connection and the person that it was opened for."""

    def __init__(self, asker: Asker) -> None:
        self.asker = asker
        self.ended: asyncio.Future[End] = asyncio.get_running_loop().create_future()

    def end(self, why: End) -> None:
        if not self.ended.done():
            self.ended.set_result(why)


class Watch:
    """All open connections of this process."""

    def __init__(self, revoked: Revoked) -> None:
        self._revoked = revoked
        self._open: set[Open] = set()
        self._task: asyncio.Task[None] | None = None
        revoked.listeners.add(self._on_revoked)

    @contextmanager
    def over(self, asker: Asker) -> Iterator[Open]:
        connection = Open(asker)
        self._open.add(connection)
        # It may have been revoked since it was checked: from now on nothing is missed.
        if asker.revoked(self._revoked):
            connection.end(End.REVOKED)
        try:
            yield connection
        finally:
            self._open.discard(connection)

    def start(self) -> None:
        self._task = asyncio.create_task(self._look(), name="open connections")

    async def stop(self) -> None:
        await background.end(self._task)

    def _on_revoked(self, what: AccessRevoked) -> None:
        for connection in list(self._open):
            if connection.asker.stands_on(what):
                connection.end(End.REVOKED)

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(_LOOK)
            if self._revoked.silence > UNCHECKED_FOR:
                self._end_all()

    def _end_all(self) -> None:
        for connection in list(self._open):
            connection.end(End.UNCHECKED)
