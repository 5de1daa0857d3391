"""Ends what somebody follows when they may not read it any more."""

import asyncio
import uuid
from collections.abc import Collection
from typing import Protocol

from signalbox_common.contracts.auth import AccessRevoked
from signalbox_gateway.clients import Clients
from signalbox_gateway.identity import Asker
from signalbox_gateway.live.reach import still_allowed


class Following(Protocol):
    """Something open that somebody may see because of projects that they are members of."""

    @property
    def asker(self) -> Asker: ...

    @property
    def projects(self) -> Collection[uuid.UUID]: ...

    def forbid(self) -> None: ...


class Members:
    """Whoever is told that grants of a user do not count any more asks for new ones."""

    def __init__(self, clients: Clients) -> None:
        self._clients = clients
        self._following: dict[uuid.UUID, set[Following]] = {}
        self._asking: set[asyncio.Task[None]] = set()
        self.heard = 0
        """How often it was said that rights have ended."""
        clients.bus.revoked.listeners.add(self._on_revoked)

    def add(self, following: Following, heard: int) -> None:
        """What has ended since that much was heard is asked for at once."""
        self._following.setdefault(following.asker.user_id, set()).add(following)
        if heard != self.heard:
            self._look_at(following)

    def remove(self, following: Following) -> None:
        mine = self._following.get(following.asker.user_id, set())
        mine.discard(following)
        if not mine:
            self._following.pop(following.asker.user_id, None)

    def _on_revoked(self, what: AccessRevoked) -> None:
        self.heard += 1
        if what.user_id is None:
            return
        for following in self._following.get(what.user_id, ()):
            self._look_at(following)

    def _look_at(self, following: Following) -> None:
        task = asyncio.create_task(self._ask(following))
        self._asking.add(task)
        task.add_done_callback(self._asking.discard)

    async def _ask(self, following: Following) -> None:
        if not await still_allowed(self._clients, following.asker, following.projects):
            following.forbid()
