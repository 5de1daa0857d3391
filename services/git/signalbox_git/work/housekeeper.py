"""Packs mirrors together while nobody uses them, one after the other, and makes way for whoever comes."""

import asyncio
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from signalbox_common import background, telemetry
from signalbox_common.db import Database
from signalbox_git.command import GitFailed, TookTooLong
from signalbox_git.mirrors import cleaning, locks
from signalbox_git.mirrors.mirror import Mirror, looks_corrupt, mirrors_below
from signalbox_git.mirrors.mirrors import Mirrors
from signalbox_git.store import operations

log = telemetry.get_logger()
EVERY, IDLE = 900.0, 600.0
"""Seconds between two turns, and for how long nobody has used what is packed."""
NEEDED_DAYS = 7
"""For which commits stay that something has begun with, after that has ended."""
_WITHIN = 900.0
_WATCH = 0.2
_MOST_PACKS, _MOST_LOOSE = 8, 500
_AT_LEAST_EVERY = 7 * 86_400.0
"""Seconds after which refs that nobody needs go, though there is little else to do."""


class Housekeeper:
    """In each instance: a mirror that another one has in hand is left alone."""

    def __init__(
        self,
        database: Database,
        mirrors: Mirrors,
        root: Path,
        *,
        every: float = EVERY,
        idle: float = IDLE,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._database = database
        self._mirrors = mirrors
        self._root = root
        self._every = every
        self._idle = idle
        self._clock = clock
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._keep_all(), name="mirrors")

    async def stop(self) -> None:
        """What is under way ends here: git leaves a mirror as whole as it was."""
        await background.end(self._task)

    async def _keep_all(self) -> None:
        while True:
            await asyncio.sleep(self._every)
            try:
                await self.turn()
            except Exception as error:  # noqa: BLE001 - whatever it was, the next turn tries again
                log.warning("mirrors not tidied up", reason=repr(error)[:300])

    async def turn(self) -> int:
        """How many were packed."""
        count = 0
        for mirror in await asyncio.to_thread(mirrors_below, self._root):
            if await asyncio.to_thread(self._is_worth_it, mirror):
                count += await self._packed(mirror)
        return count

    def _is_worth_it(self, mirror: Mirror) -> bool:
        now = self._clock()
        if not mirror.is_there or now - mirror.used_at < self._idle:
            return False
        packs, loose = mirror.clutter()
        return packs > _MOST_PACKS or loose > _MOST_LOOSE or now - mirror.cleaned_at > _AT_LEAST_EVERY

    async def _packed(self, mirror: Mirror) -> bool:
        """False where somebody uses it, or comes meanwhile."""
        before = mirror.used_at
        packing = asyncio.create_task(
            cleaning.cleaned(self._mirrors, mirror, partial(self._needed, mirror), wait=False)
        )
        try:
            async with asyncio.timeout(_WITHIN):
                while not (await asyncio.wait([packing], timeout=_WATCH))[0]:
                    if mirror.used_at != before:
                        return False
            return packing.result() is not None
        except (locks.Held, TimeoutError, TookTooLong):
            return False
        except GitFailed as error:
            log.warning("a mirror is not packed", mirror=mirror.folder.name, reason=str(error)[:300])
            if looks_corrupt(error):
                await self._mirrors.broken_in(mirror)
            return False
        finally:
            await background.end(packing)

    async def _needed(self, mirror: Mirror) -> set[str]:
        """Of a submodule nothing: trees have what they need of it."""
        if mirror.is_of_module:
            return set()
        async with self._database.reading() as connection:
            return await operations.needed_commits(connection, mirror.repository, NEEDED_DAYS)
