"""Changes of one project wait for each other here, and not on connections of the database."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Collection
from contextlib import AsyncExitStack, asynccontextmanager

AT_ONCE = 2
"""One that holds the project's row, and one that waits for it."""


class ProjectLimiter:
    """Bounds how many changes of one project are under way in this process."""

    def __init__(self) -> None:
        self._slots: dict[uuid.UUID, tuple[asyncio.Semaphore, int]] = {}

    @asynccontextmanager
    async def slots(self, projects: Collection[uuid.UUID]) -> AsyncIterator[None]:
        """In one order for all, as the rows are locked."""
        async with AsyncExitStack() as stack:
            for project in sorted(set(projects)):
                await stack.enter_async_context(self._one(project))
            yield

    @asynccontextmanager
    async def _one(self, project: uuid.UUID) -> AsyncIterator[None]:
        slot, users = self._slots.get(project, (asyncio.Semaphore(AT_ONCE), 0))
        self._slots[project] = slot, users + 1
        try:
            async with slot:
                yield
        finally:
            slot, users = self._slots[project]
            if users == 1:
                del self._slots[project]
            else:
                self._slots[project] = slot, users - 1
