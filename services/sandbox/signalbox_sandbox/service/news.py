"""Who waits for a change of a sandbox."""

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from contextlib import suppress

from signalbox_common.contracts.sandbox import SandboxStatus
from signalbox_sandbox.domain import Sandbox

_LOOK = 0.25


class News:
    """Tells those who wait in this process that a sandbox has changed."""

    def __init__(self) -> None:
        self._waiting: dict[uuid.UUID, set[asyncio.Event]] = {}

    async def tell(self, sandbox: uuid.UUID) -> None:
        for event in self._waiting.get(sandbox, ()):
            event.set()

    async def until(
        self, sandbox: uuid.UUID, look: Callable[[], Awaitable[Sandbox | None]], patience: float
    ) -> Sandbox | None:
        """What it is when it is not being created any more, or when the patience ends."""
        event = asyncio.Event()
        waiting = self._waiting.setdefault(sandbox, set())
        waiting.add(event)
        ends = asyncio.get_running_loop().time() + patience
        try:
            while True:
                event.clear()
                found = await look()
                left = ends - asyncio.get_running_loop().time()
                if found is None or found.status is not SandboxStatus.CREATING or left <= 0:
                    return found
                with suppress(TimeoutError):
                    async with asyncio.timeout(min(_LOOK, left)):
                        await event.wait()
        finally:
            waiting.discard(event)
            if not waiting:
                self._waiting.pop(sandbox, None)
