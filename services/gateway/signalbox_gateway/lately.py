"""An answer that is at most a second old, whoever asks for it how often."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

T = TypeVar("T")

KEPT = 1.0
"""Seconds, from when it was begun."""


class Lately(Generic[T]):
    def __init__(self, ask: Callable[[], Awaitable[T]]) -> None:
        self._ask = ask
        self._asked_at = -KEPT
        self._asking: asyncio.Task[T] | None = None

    async def get(self) -> T:
        old = time.monotonic() - self._asked_at > KEPT
        if self._asking is None or (self._asking.done() and old):
            self._asked_at = time.monotonic()
            self._asking = asyncio.create_task(self._answer())
        return await asyncio.shield(self._asking)

    async def _answer(self) -> T:
        return await self._ask()
