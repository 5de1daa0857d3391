"""Sees that a node has gone: whoever is there watches the heartbeats of the others, and never its own."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import replace

from signalbox_common import background, telemetry
from signalbox_common.contracts.sandbox import SandboxStatus
from signalbox_common.db import Database, Transaction
from signalbox_common.work import Worker
from signalbox_sandbox.domain import Sandbox, Wish
from signalbox_sandbox.service.sandboxes import KIND
from signalbox_sandbox.store import nodes, sandboxes
from signalbox_sandbox.store.nodes import Instance
from signalbox_sandbox.work.records import Records

log = telemetry.get_logger()

LOOK = 0.5
LOST_AFTER = 9.0
"""Seconds of ours in which nothing of a node has moved; with the look, noticed within ten."""
_LATE = 2.0
"""A look that comes that late says that we were away ourselves, or the database: it begins anew."""


class Observer:
    def __init__(
        self, database: Database, worker: Worker, records: Records, *, node: str, instance: str
    ) -> None:
        self._database = database
        self._worker = worker
        self._records = records
        self._node = node
        self._instance = instance
        self._beats: dict[str, tuple[int, float]] = {}
        """Of each instance, and when it was seen to grow."""
        self._missing: dict[str, float] = {}
        """Nodes with sandboxes and no instance, and since when."""
        self._looked_at = 0.0
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        if self._task is None:
            self._task = asyncio.create_task(self._observe(), name="heartbeats of others")

    async def stop(self) -> None:
        await background.end(self._task)

    async def _observe(self) -> None:
        while True:
            try:
                await self.look()
            except Exception as error:  # noqa: BLE001 - what was not seen counts for nothing
                log.warning("nodes not looked at", reason=repr(error)[:300])
            await asyncio.sleep(LOOK)

    async def look(self) -> None:
        async with self._database.reading() as connection:
            instances = await nodes.instances(connection)
            in_use = await sandboxes.nodes_in_use(connection)
        now = time.monotonic()
        if now - self._looked_at > _LATE:
            self._beats.clear()
            self._missing.clear()
        self._looked_at = now
        dead = self._dead(instances, now)
        if dead:
            async with self._database.reading() as connection:
                await nodes.leave(connection, [each.name for each in dead])
        alive = {each.node for each in instances if each not in dead} | {self._node}
        self._missing = {node: self._missing.get(node, now) for node in in_use - alive}
        silent = {each.node for each in dead}
        for node, since in self._missing.items():
            if node in silent or now - since >= LOST_AFTER:
                await self.give_up(node)

    def _dead(self, instances: Sequence[Instance], now: float) -> list[Instance]:
        """Those that have stood still for too long, whichever node they are on; never ourselves."""
        self._beats = {
            each.name: (each.beat, now)
            if self._beats.get(each.name, (None, now))[0] != each.beat
            else self._beats[each.name]
            for each in instances
        }
        return [
            each
            for each in instances
            if each.name != self._instance and now - self._beats[each.name][1] >= LOST_AFTER
        ]

    async def give_up(self, node: str) -> None:
        """What ran there is lost, what was to begin there begins elsewhere; files wait for their node."""
        async with self._database.reading() as connection:
            found = await sandboxes.on_node(connection, node)
        for sandbox in found:
            async with self._database.transaction() as transaction:
                await self._without_node(transaction, sandbox)
        log.warning("node lost", node=node)

    async def _without_node(self, transaction: Transaction, seen: Sandbox) -> None:
        """Whoever can may work on it: answer who waits, or begin it. Its row is locked after its work."""
        await self._worker.put(transaction, KIND, str(seen.id), project=seen.project_id, soonest=True)
        await self._worker.table.release(transaction, KIND, str(seen.id))
        locked = await sandboxes.lock_for_work(transaction, seen.id)
        if locked is None or locked.sandbox.node != seen.node or locked.sandbox.ended:
            return
        sandbox = locked.sandbox
        if sandbox.status is SandboxStatus.CREATING:
            await sandboxes.save(transaction, replace(sandbox, node=None))
            return
        if sandbox.wish is Wish.DESTROYED:
            gone = sandbox.seen(SandboxStatus.DESTROYED, "node_lost")
        elif sandbox.status is SandboxStatus.RUNNING:
            gone = sandbox.seen(SandboxStatus.LOST, "node_lost")
        else:
            return
        await self._records.write(transaction, gone, locked.moment)
