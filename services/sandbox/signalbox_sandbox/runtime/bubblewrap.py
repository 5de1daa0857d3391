"""Sandboxes of bubblewrap: kept by keepers, which live on whatever becomes of the service."""

import asyncio
import os
import platform
import shutil
import socket
import uuid
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from itertools import count
from pathlib import Path
from typing import Any

from signalbox_common import background, telemetry
from signalbox_sandbox.keeper.box import BUILT
from signalbox_sandbox.runtime.base import Found, RuntimeAway, SandboxGone, SandboxPlan, Trace
from signalbox_sandbox.runtime.keepers import ChangesLine, FileLine, KeeperGone, Keepers, Label

log = telemetry.get_logger()

_GONE = ".gone-"
"""Folders of sandboxes that are no more, until they are removed."""
_REMOVED_AT_ONCE = 4
_STEP = 0.02
_PATIENCE = 30.0
"""Seconds for a keeper to begin, or to end."""
_PIDS_SINCE = (5, 14)
"""The Linux that counts processes for each namespace of users."""
_GROUPED = {"memory": "memoryMb", "cpus": "cpus"}


class BubblewrapRuntime:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._keepers = Keepers(folder)
        self._numbers = count()
        self._removers = asyncio.Semaphore(_REMOVED_AT_ONCE)
        self._removing: set[asyncio.Task[None]] = set()
        release = platform.release().split(".")
        linux = tuple(int("".join(filter(str.isdecimal, part)) or 0) for part in release[:2])
        self._always = {"openFiles", "fileSizeMb", "diskMb"} | ({"pids"} if linux >= _PIDS_SINCE else set())

    @property
    def enforced(self) -> frozenset[str]:
        return frozenset(self._always | {_GROUPED[limit] for limit in self._keepers.holds()})

    async def all(self) -> Sequence[Trace]:
        return [
            Trace(uuid.UUID(label.id), label.epoch, label.ended)
            for label in await asyncio.to_thread(self._keepers.labels)
            if _is_ours(label.id)
        ]

    async def find(self, sandbox: uuid.UUID) -> Found | None:
        identifier = str(sandbox)
        async with asyncio.timeout(_PATIENCE):
            while True:
                label = self._keepers.label(identifier)
                if label is None:
                    return None
                try:
                    status = await self._keepers.of(identifier).ask("status")
                except KeeperGone:
                    if not self._keepers.is_held(identifier):
                        return _ended(sandbox, self._keepers.label(identifier) or label)
                    await asyncio.sleep(_STEP)  # it begins, or ends
                else:
                    return Found(sandbox, status["epoch"], None, alive=True, paused=status["paused"])

    async def begin(self, plan: SandboxPlan) -> None:
        try:
            await self._keepers.keep(
                str(plan.id),
                epoch=plan.epoch,
                lifetime=plan.lifetime,
                limits=plan.limits,
                env=plan.env,
                lower=plan.lower,
                layer=plan.layer,
                builds=plan.builds,
                stopping=plan.stopping,
                network=plan.network,
                doors=plan.doors,
            )
        except KeeperGone as error:
            raise RuntimeAway(f"no sandboxes are begun here at the moment: {error}") from error

    async def pause(self, sandbox: uuid.UUID) -> None:
        await self.ask(sandbox, "pause")

    async def resume(self, sandbox: uuid.UUID, lifetime: float) -> None:
        await self.ask(sandbox, "resume", seconds=lifetime)

    async def set_deadline(self, sandbox: uuid.UUID, lifetime: float) -> None:
        await self.ask(sandbox, "set-deadline", seconds=lifetime)

    async def set_network(self, sandbox: uuid.UUID, network: Mapping[str, Any]) -> None:
        await self.ask(sandbox, "set-network", network=dict(network))

    async def stop_programs(self, sandbox: uuid.UUID, grace: float) -> None:
        await self.ask(sandbox, "stop-programs", grace=grace)

    async def end(self, sandbox: uuid.UUID) -> None:
        with suppress(SandboxGone):
            await self.ask(sandbox, "end")
        async with asyncio.timeout(_PATIENCE):
            while self._keepers.is_held(str(sandbox)):  # noqa: ASYNC110 - nobody tells of a lock let go
                await asyncio.sleep(_STEP)

    def built(self, sandbox: uuid.UUID) -> Path:
        return self._folder / str(sandbox) / BUILT

    async def remove(self, sandbox: uuid.UUID) -> None:
        """Out of the way at once; on the disk a little later."""
        gone = self._folder / f"{_GONE}{sandbox}-{os.getpid()}-{next(self._numbers)}"
        with suppress(FileNotFoundError):
            (self._folder / str(sandbox)).rename(gone)
            self._remove_later(gone)

    async def until_gone(self, sandbox: uuid.UUID) -> None:
        await self._keepers.of(str(sandbox)).until_gone()

    async def ask(self, sandbox: uuid.UUID, do: str, **request: Any) -> dict[str, Any]:
        return await self._keepers.of(str(sandbox)).ask(do, **request)

    async def write(self, sandbox: uuid.UUID, key: str, offset: int, data: bytes, **more: Any) -> int:
        return await self._keepers.of(str(sandbox)).write(key, offset, data, **more)

    def files(self, sandbox: uuid.UUID, fence: int | None = None) -> AbstractAsyncContextManager[FileLine]:
        return self._keepers.of(str(sandbox)).files(fence)

    def changes(self, sandbox: uuid.UUID) -> AbstractAsyncContextManager[ChangesLine]:
        return self._keepers.of(str(sandbox)).changes()

    async def connect(self, sandbox: uuid.UUID, port: int) -> socket.socket:
        return await self._keepers.of(str(sandbox)).connect(port)

    def output(
        self, sandbox: uuid.UUID, key: str, offset: int, *, follow: bool
    ) -> AbstractAsyncContextManager[AsyncGenerator[bytes, None]]:
        return self._keepers.of(str(sandbox)).output(key, offset, follow=follow)

    # -- what is left on the disk ----------------------------------------------------------------------------

    def remove_leftovers(self) -> None:
        """Of removals that somebody before us has begun."""
        for path in self._folder.glob(f"{_GONE}*"):
            self._remove_later(path)

    def _remove_later(self, path: Path) -> None:
        task = asyncio.create_task(self._remove(path))
        self._removing.add(task)
        task.add_done_callback(self._removed)

    async def _remove(self, path: Path) -> None:
        async with self._removers:
            await remove_tree(path)

    def _removed(self, task: "asyncio.Task[None]") -> None:
        self._removing.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.warning("files of a sandbox not removed", reason=repr(error)[:300])

    async def stop(self) -> None:
        await background.end(*self._removing)


async def remove_tree(path: Path) -> None:
    """However deep it is, and with folders that programs have closed to themselves.

    Nobody else is in it any more. Where that takes more than Python can, by programs that follow no links.
    """
    try:
        await asyncio.to_thread(shutil.rmtree, path)
    except (OSError, RecursionError):
        await _remove_by_program(path)


async def _remove_by_program(path: Path) -> None:
    for program in (["chmod", "-R", "u+rwX"], ["rm", "-rf", "--one-file-system"]):
        process = await asyncio.create_subprocess_exec(
            *program,
            "--",
            str(path),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        await process.wait()
    if await asyncio.to_thread(path.exists):
        raise OSError(f"{path} could not be removed")


def _is_ours(identifier: str) -> bool:
    try:
        return str(uuid.UUID(identifier)) == identifier
    except ValueError:
        return False


def _ended(sandbox: uuid.UUID, label: Label) -> Found:
    return Found(sandbox, label.epoch, label.ended, alive=False)
