"""This node as others know it, and what is on it: nothing that should not be there, nobody gone unseen."""

import asyncio
import uuid
from collections.abc import Callable, Iterable

from signalbox_common import background, telemetry
from signalbox_common.contracts.sandbox import SandboxStatus
from signalbox_common.db import Database, Transaction
from signalbox_common.work import Worker
from signalbox_sandbox.domain import Sandbox
from signalbox_sandbox.runtime.base import Runtime, Trace
from signalbox_sandbox.service.sandboxes import KIND
from signalbox_sandbox.store import nodes, sandboxes

log = telemetry.get_logger()

BEAT = 1.0
"""Seconds between two heartbeats of an instance."""
SWEEP = 5.0
"""Seconds between two looks at everything on this node."""


class Node:
    def __init__(
        self,
        database: Database,
        worker: Worker,
        runtime: Runtime,
        *,
        name: str,
        instance: str,
        url: str,
        capacity: int,
        alive: Callable[[], None],
    ) -> None:
        """`alive` is called when others can have seen that we are."""
        self._database = database
        self._worker = worker
        self._runtime = runtime
        self._name = name
        self._instance = instance
        self._url = url
        self._capacity = capacity
        self._alive = alive
        self._watches: dict[uuid.UUID, asyncio.Task[None]] = {}
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        async with self._database.reading() as connection:
            await nodes.enroll(connection, self._name, self._capacity)
            await nodes.beat(connection, self._instance, self._name, self._url)
        self._alive()
        if not self._tasks:
            self._tasks = [
                asyncio.create_task(self._beat(), name="heartbeats of the node"),
                asyncio.create_task(self._sweep(), name="looks at the node"),
            ]

    async def stop(self) -> None:
        await background.end(*self._tasks, *self._watches.values())
        try:
            async with self._database.reading() as connection:
                await nodes.leave(connection, [self._instance])
        except Exception as error:  # noqa: BLE001 - others see that it does not beat any more
            log.warning("node not left", reason=repr(error)[:300])

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(BEAT)
            try:
                async with self._database.reading() as connection:
                    await nodes.beat(connection, self._instance, self._name, self._url)
                self._alive()
            except Exception as error:  # noqa: BLE001 - the next one counts
                log.warning("no heartbeat", reason=repr(error)[:300])

    # -- what is here --------------------------------------------------------------------------------------

    async def _sweep(self) -> None:
        while True:
            try:
                await self.look()
            except Exception as error:  # noqa: BLE001 - looked at again a little later
                log.warning("node not looked at", reason=repr(error)[:300])
            await asyncio.sleep(SWEEP)

    async def look(self) -> None:
        """What is here is read before what should be: a sandbox is written down before it begins."""
        here = await self._runtime.all()
        async with self._database.reading() as connection:
            wanted = await sandboxes.on_node(connection, self._name)
            known = {
                each.id: each for each in await sandboxes.these(connection, [found.id for found in here])
            }
        there = {found.id for found in here}
        for sandbox in wanted:
            if sandbox.status is SandboxStatus.RUNNING and sandbox.id in there:
                self.watch(sandbox.id)
        odd = [found.id for found in here if _is_odd(found, known.get(found.id), self._name)]
        odd += [sandbox.id for sandbox in wanted if sandbox.epoch and sandbox.id not in there]
        await self._reconsider(odd)

    async def _reconsider(self, sandboxes: Iterable[uuid.UUID]) -> None:
        """A look at each, by whoever has room for it."""
        async with self._database.transaction() as transaction:
            for sandbox in dict.fromkeys(sandboxes):
                await self._put(transaction, sandbox)

    async def _put(self, transaction: Transaction, sandbox: uuid.UUID) -> None:
        await self._worker.put(transaction, KIND, str(sandbox), target=self._name, soonest=True)

    def watch(self, sandbox: uuid.UUID) -> None:
        """For its end, if nobody does already."""
        if sandbox not in self._watches:
            self._watches[sandbox] = asyncio.create_task(self._until_gone(sandbox), name=f"watch {sandbox}")

    async def _until_gone(self, sandbox: uuid.UUID) -> None:
        """Its end is seen when it comes, whatever it comes from; what is missed, the next look finds."""
        try:
            await self._runtime.until_gone(sandbox)
            await self._reconsider([sandbox])
        except Exception as error:  # noqa: BLE001 - the next look finds it
            log.warning("end of a sandbox not told", sandbox=str(sandbox), reason=repr(error)[:300])
        finally:
            del self._watches[sandbox]


def _is_odd(found: Trace, known: Sandbox | None, node: str) -> bool:
    """Whether what is there is not what should be."""
    if known is None or known.ended or known.node != node or found.epoch < known.epoch:
        return True
    running = known.status is SandboxStatus.RUNNING
    return running and found.ended is not None
