"""Tells who watches a project's resources that something has happened there."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from signalbox_common.bus import Bus
from signalbox_common.contracts.auth import AccessRevoked


@dataclass
class _Project:
    waiting: set[asyncio.Event] = field(default_factory=set)
    subscription: Subscription | None = None


class Wakes:
    """One subscription per project that somebody watches.

    Only a hint: events may be lost on the way here, so whoever waits looks again after a while anyway.
    """

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._projects: dict[uuid.UUID, _Project] = {}
        self._lock = asyncio.Lock()
        bus.revoked.listeners.add(self._on_revoked)

    @asynccontextmanager
    async def of(self, project_id: uuid.UUID) -> AsyncIterator[asyncio.Event]:
        """Set whenever a resource of the project may have changed, or what somebody may see."""
        wake = asyncio.Event()
        await self._join(project_id, wake)
        try:
            yield wake
        finally:
            await asyncio.shield(self._leave(project_id, wake))

    async def _join(self, project_id: uuid.UUID, wake: asyncio.Event) -> None:
        async with self._lock:
            project = self._projects.setdefault(project_id, _Project())
            project.waiting.add(wake)
            if project.subscription is not None:
                return

            async def on_event(_message: Msg) -> None:
                for each in project.waiting:
                    each.set()

            try:
                project.subscription = await self._bus.connection.client.subscribe(
                    f"evt.{project_id}.catalog.resource.*", cb=on_event
                )
            except BaseException:
                self._forget(project_id, wake)
                raise

    async def _leave(self, project_id: uuid.UUID, wake: asyncio.Event) -> None:
        async with self._lock:
            subscription = self._forget(project_id, wake)
            if subscription is not None and self._bus.connection.is_up:
                await subscription.unsubscribe()

    def _forget(self, project_id: uuid.UUID, wake: asyncio.Event) -> Subscription | None:
        """The subscription, where nobody needs it any more."""
        project = self._projects[project_id]
        project.waiting.discard(wake)
        if project.waiting:
            return None
        return self._projects.pop(project_id).subscription

    def _on_revoked(self, _what: AccessRevoked) -> None:
        """Everybody's next look is with a grant of now."""
        for project in self._projects.values():
            for wake in project.waiting:
                wake.set()
