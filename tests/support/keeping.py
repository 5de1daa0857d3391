"""Keeps open what several tests use: started when it is first wanted, stopped at the end."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, TypeVar, cast

T = TypeVar("T")


class Keeper:
    """Each thing is entered and left by a task of its own: whoever wants it first may end before it does."""

    def __init__(self) -> None:
        self._open: dict[str, tuple[asyncio.Future[Any], asyncio.Event, asyncio.Task[None]]] = {}

    @asynccontextmanager
    async def kept(self, name: str, start: Callable[[], AbstractAsyncContextManager[T]]) -> AsyncIterator[T]:
        if name not in self._open:
            opened: asyncio.Future[T] = asyncio.get_running_loop().create_future()
            over = asyncio.Event()
            self._open[name] = (opened, over, asyncio.create_task(_hold(start, opened, over), name=name))
        yield cast(T, await self._open[name][0])

    async def close(self) -> None:
        """The last one first: it may stand on those before it."""
        for _, over, task in reversed(self._open.values()):
            over.set()
            await task


async def _hold(
    start: Callable[[], AbstractAsyncContextManager[T]], opened: "asyncio.Future[T]", over: asyncio.Event
) -> None:
    try:
        async with start() as given:
            opened.set_result(given)
            await over.wait()
    except Exception as error:
        if opened.done():
            raise
        opened.set_exception(error)


@asynccontextmanager
async def keeping() -> AsyncIterator[Keeper]:
    keeper = Keeper()
    try:
        yield keeper
    finally:
        await keeper.close()
