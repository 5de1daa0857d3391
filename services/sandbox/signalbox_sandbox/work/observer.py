"""Sees that a node has gone: whoever is there watches the heartbeats of the others, and never its own."""

import asyncio
import time
from dataclasses import replace
from datetime import datetime
from functools import partial

from signalbox_common import background, telemetry
from signalbox_common.contracts.sandbox import SandboxStatus
from signalbox_common.db import Database, Transaction
from signalbox_common.work import Worker
from signalbox_common.work.table import NO_PROJECT
from signalbox_sandbox import store
from signalbox_sandbox.domain import Sandbox, Wish
from signalbox_sandbox.replies import tell
from signalbox_sandbox.service import KIND, News

log = telemetry.get_logger()

LOOK = 0.5
LOST_AFTER = 9.0
"""Seconds of ours in which nothing of a node has moved; with the look, noticed within ten."""
_LATE = 2.0
"""A look that comes that late says that we were away ourselves, or the database: it begins anew."""


class Observer:
    def __init__(self, database: Database, worker: Worker, news: News, *, node: str) -> None:
        self._database = database
        self._worker = worker
        self._news = news
        self._node = node
        self._moved: dict[str, tuple[frozenset[tuple[str, int]], float]] = {}
        """Of each node: its beats, and when they were seen to move."""
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
            instances = await store.instances(connection)
            nodes = await store.nodes_in_use(connection)
        now = time.monotonic()
        if now - self._looked_at > _LATE:
            self._moved.clear()
        self._looked_at = now
        for node in nodes | {each.node for each in instances}:
            if node == self._node:
                continue
            beats = frozenset((each.name, each.beat) for each in instances if each.node == node)
            known = self._moved.get(node)
            if known is None or known[0] != beats:
                self._moved[node] = (beats, now)
            elif now - known[1] >= LOST_AFTER:
                await self._lost(node, [name for name, _ in beats])
                del self._moved[node]

    async def _lost(self, node: str, instances: list[str]) -> None:
        """What ran there is lost, what was to begin there begins elsewhere; files wait for their node."""
        async with self._database.transaction() as transaction:
            await store.leave(transaction.connection, instances)
            found = await store.lock_on_node(transaction, node)
            now, _ = await store.moment(transaction, NO_PROJECT)
            for sandbox in found:
                await self._give_up(transaction, sandbox, now)
        log.warning("node lost", node=node)

    async def _give_up(self, transaction: Transaction, sandbox: Sandbox, now: datetime) -> None:
        if sandbox.status is SandboxStatus.CREATING:
            await store.save(transaction, replace(sandbox, node=None))
            await self._worker.table.release(transaction, KIND, str(sandbox.id))
            self._worker.wake_after(transaction)
            return
        if sandbox.wish is Wish.DESTROYED:
            gone = sandbox.seen(SandboxStatus.DESTROYED, "node_lost")
        elif sandbox.status is SandboxStatus.RUNNING:
            gone = sandbox.seen(SandboxStatus.LOST, "node_lost")
        else:
            return
        gone = replace(gone, ended_at=now)
        if sandbox.owner_run is not None:
            transaction.operation = str(sandbox.owner_run)
        await store.save(transaction, gone)
        tell(transaction, gone)
        # Answers who waits; the node that comes back late takes away what is left there.
        await self._worker.put(transaction, KIND, str(sandbox.id), project=sandbox.project_id, soonest=True)
        await self._worker.table.release(transaction, KIND, str(sandbox.id))
        transaction.after_commit.append(partial(self._news.tell, sandbox.id))
