"""Makes a sandbox what is wanted of it, by what is there; however often, and wherever it was left."""

import time
import uuid
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

from signalbox_common import telemetry
from signalbox_common.contracts.sandbox import SandboxStatus
from signalbox_common.db import Database, Transaction
from signalbox_common.errors import SignalboxError
from signalbox_common.outcomes import Outcome
from signalbox_common.pending import PendingOperations
from signalbox_common.storage import ProjectStorage
from signalbox_common.work import Job, Worker
from signalbox_common.work.kinds import Retry
from signalbox_sandbox import errors
from signalbox_sandbox.domain import Sandbox, Wish, at_its_end
from signalbox_sandbox.layers import Layers
from signalbox_sandbox.replies import reply_of, template_reply
from signalbox_sandbox.runtime.base import (
    Found,
    Runtime,
    RuntimeAway,
    RuntimeRefused,
    SandboxGone,
)
from signalbox_sandbox.service.sandboxes import DEADLINE, KEPT, KIND, NETWORK
from signalbox_sandbox.store import nodes, sandboxes, templates, waiting
from signalbox_sandbox.work.plans import NotThere, Plans
from signalbox_sandbox.work.records import Records

log = telemetry.get_logger()

MOST, MOST_IN_PROJECT = 200, 64
ROOM_LOOK = 0.5
"""Seconds between two looks for room."""


class Reconciler:
    def __init__(
        self,
        database: Database,
        pending: PendingOperations,
        runtime: Runtime,
        plans: Plans,
        layers: Layers,
        records: Records,
        storage: ProjectStorage,
        *,
        watch: Callable[[uuid.UUID], None],
        node: str,
        wait: float,
    ) -> None:
        """`watch` is told of each that runs here."""
        self._database = database
        self._pending = pending
        self._runtime = runtime
        self._plans = plans
        self._layers = layers
        self._records = records
        self._storage = storage
        self._watch = watch
        self._node = node
        self._wait = timedelta(seconds=wait)

    def register(self, worker: Worker) -> None:
        take = worker.on(
            KIND,
            most=MOST,
            most_in_project=MOST_IN_PROJECT,
            retry=Retry((0.5, 1.0, 2.0, 5.0, 10.0, 30.0)),
            failed=self._failed,
        )
        take(self.reconcile)

    async def reconcile(self, job: Job) -> None:
        identifier = uuid.UUID(job.key)
        sandbox = await self._find(identifier)
        if sandbox is not None and _needs_place(sandbox):
            async with job.transaction() as transaction:
                sandbox = await self._placed(transaction, job, identifier)
        if job.ended:
            return
        try:
            seen = await self._made_so(job, identifier, sandbox)
        except (RuntimeAway, TimeoutError) as error:
            raise errors.NodeAway from error
        except RuntimeRefused as error:
            if error.code == "no_answer":
                raise errors.NodeAway from error
            raise
        if sandbox is None or seen is None:  # it was forgotten, long after its end
            return
        async with job.transaction() as transaction:
            if seen.node not in (None, self._node) and not seen.ended:
                await job.again(transaction, 0.0, target=seen.node)
            else:
                await self._commit(transaction, job, sandbox, seen)

    # -- where -------------------------------------------------------------------------------------------

    async def _find(self, identifier: uuid.UUID) -> Sandbox | None:
        async with self._database.reading() as connection:
            return await sandboxes.find(connection, identifier)

    async def _placed(self, transaction: Transaction, job: Job, identifier: uuid.UUID) -> Sandbox | None:
        """On this node, if it has room; otherwise this job ends here."""
        locked = await sandboxes.lock_for_work(transaction, identifier)
        if locked is None or not _needs_place(locked.sandbox):
            return locked.sandbox if locked is not None else None
        sandbox = locked.sandbox
        if await nodes.has_room(transaction, self._node):
            placed = replace(sandbox, node=self._node, epoch=sandbox.epoch + 1)
            await sandboxes.save(transaction, placed)
            return placed
        if locked.moment - sandbox.created_at < self._wait:
            await job.again(transaction, ROOM_LOOK)
            return sandbox
        failed = sandbox.seen(SandboxStatus.FAILED, errors.NoCapacity.code)
        failed = await self._records.write(transaction, failed, locked.moment)
        if locked.is_waited_for:
            await self._settle(transaction, failed, failed.generation)
        await job.done(transaction)
        return failed

    # -- what is there -----------------------------------------------------------------------------------

    async def _made_so(self, job: Job, identifier: uuid.UUID, sandbox: Sandbox | None) -> Sandbox | None:
        """What it is then; nothing of it stays here where it has ended, is elsewhere, or is known no more."""
        found = await self._runtime.find(identifier)
        await job.keep()
        if sandbox is None or sandbox.ended or sandbox.node != self._node:
            await self._clear(identifier, found)
            if sandbox is not None and sandbox.node is None and not sandbox.ended:
                return sandbox.seen(SandboxStatus.DESTROYED, "destroyed")
            return sandbox
        if sandbox.wish is Wish.DESTROYED:
            sandbox = await self._kept(sandbox)
            await self._clear(identifier, found)
            return sandbox.seen(SandboxStatus.DESTROYED, "kept" if sandbox.is_kept else "destroyed")
        if found is not None and found.alive and found.epoch < sandbox.epoch:
            await self._runtime.end(sandbox.id)  # of before it was begun anew
            found = replace(found, alive=False)
        match sandbox.status:
            case SandboxStatus.CREATING:
                return await self._begun(sandbox, found)
            case SandboxStatus.PAUSED:
                return await self._while_paused(job, sandbox, found)
            case _:
                return await self._while_running(sandbox, found)

    async def _begun(self, sandbox: Sandbox, found: Found | None) -> Sandbox:
        """With the files that it has, where it has some."""
        if found is not None and found.epoch == sandbox.epoch:
            return await self._as_it_was_begun(sandbox, found)
        try:
            plan = await self._plans.make(sandbox)
        except NotThere as missing:
            return await self._without(sandbox, missing)
        try:
            await self._runtime.begin(plan)
        except RuntimeRefused as error:
            if error.code != "not_started":
                raise
            log.warning("sandbox not started", sandbox=str(sandbox.id), reason=error.detail)
            await self._clear(sandbox.id)
            return sandbox.seen(SandboxStatus.FAILED, error.code)
        return self._running(sandbox)

    async def _as_it_was_begun(self, sandbox: Sandbox, found: Found) -> Sandbox:
        """By somebody who did not come to write it down; more may have been asked for since."""
        if not found.alive:
            return await self._ended(sandbox, found)
        try:
            await self._told(sandbox)
            if sandbox.lifetime_due:
                await self._runtime.set_deadline(sandbox.id, sandbox.lifetime)
        except SandboxGone:
            return await self._ended(sandbox, await self._runtime.find(sandbox.id))
        return self._running(sandbox)

    async def _without(self, sandbox: Sandbox, missing: NotThere) -> Sandbox:
        """A checkout may still be prepared; whoever prepares it says so if it never comes."""
        if sandbox.status is not SandboxStatus.CREATING:
            await self._clear(sandbox.id)
            return sandbox.seen(SandboxStatus.LOST, f"{missing.what}_lost")
        late = time.time() - sandbox.created_at.timestamp() > self._wait.total_seconds()
        if late or missing.never:
            return sandbox.seen(SandboxStatus.FAILED, f"no_{missing.what}")
        return sandbox

    def _running(self, sandbox: Sandbox) -> Sandbox:
        self._watch(sandbox.id)
        missing = sandbox.limits_without(self._runtime.enforced)
        return _settled(sandbox.seen(SandboxStatus.RUNNING, not_enforced=missing))

    async def _told(self, sandbox: Sandbox) -> None:
        """What its keeper does not know yet."""
        if sandbox.network_due:
            await self._runtime.set_network(sandbox.id, sandbox.network)
        if sandbox.stop_due:
            await self._runtime.stop_programs(sandbox.id, sandbox.grace)

    async def _while_running(self, sandbox: Sandbox, found: Found | None) -> Sandbox:
        if found is None or not found.alive:
            return await self._ended(sandbox, found)
        try:
            return await self._adjusted(sandbox, found)
        except SandboxGone:
            return await self._ended(sandbox, await self._runtime.find(sandbox.id))

    async def _adjusted(self, sandbox: Sandbox, found: Found) -> Sandbox:
        await self._told(sandbox)
        if sandbox.wish is Wish.PAUSED:
            await self._runtime.pause(sandbox.id)
            return _settled(sandbox.seen(SandboxStatus.PAUSED, "asked"))
        if found.paused:
            await self._runtime.resume(sandbox.id, sandbox.lifetime)
        elif sandbox.lifetime_due:
            await self._runtime.set_deadline(sandbox.id, sandbox.lifetime)
        if found.paused or sandbox.lifetime_due or sandbox.network_due:
            return self._running(sandbox)
        if sandbox.stop_due:
            return _settled(sandbox)
        self._watch(sandbox.id)
        return sandbox

    async def _while_paused(self, job: Job, sandbox: Sandbox, found: Found | None) -> Sandbox:
        if found is None:
            return sandbox.seen(SandboxStatus.LOST, "files_lost")
        if found.alive:
            try:
                await self._told(sandbox)
            except SandboxGone:
                raise errors.NodeAway from None  # looked at again
        if sandbox.wish is Wish.PAUSED:
            return _settled(sandbox)
        if found.alive and found.paused:
            try:
                await self._runtime.resume(sandbox.id, sandbox.lifetime)
            except SandboxGone:
                raise errors.NodeAway from None  # looked at again
            return self._running(sandbox)
        if found.alive:
            return self._running(sandbox)
        if found.epoch == sandbox.epoch:
            async with job.transaction() as transaction:
                current = await sandboxes.lock(transaction, sandbox.id)
                if current is None:
                    raise errors.NodeAway
                await sandboxes.save(transaction, replace(current, epoch=current.epoch + 1))
            sandbox = replace(sandbox, epoch=sandbox.epoch + 1)
        return await self._begun(sandbox, found)

    async def _ended(self, sandbox: Sandbox, found: Found | None) -> Sandbox:
        status, reason = at_its_end(sandbox, found.ended if found is not None else None)
        if status is not SandboxStatus.PAUSED:
            await self._clear(sandbox.id, found)
            return sandbox.seen(status, reason)
        return sandbox.seen(status, reason, wish=Wish.PAUSED)

    async def _kept(self, sandbox: Sandbox) -> Sandbox:
        """With what it has built, where that is to become a template; a second time it is found done."""
        if sandbox.keeps is None:
            return sandbox
        await self._runtime.end(sandbox.id)
        layer = uuid.UUID(sandbox.keeps["id"])
        try:
            size = await self._layers.keep(self._runtime.built(sandbox.id), sandbox.project_id, layer)
        except OSError as error:  # of what it has made there, or of the disk: it is built again
            log.warning("template not kept", sandbox=str(sandbox.id), reason=repr(error)[:300])
            size = None
        return replace(sandbox, keeps={**sandbox.keeps, "size": size})

    async def _clear(self, identifier: uuid.UUID, found: Found | None = None) -> None:
        """Nothing of it stays."""
        if found is None:
            found = await self._runtime.find(identifier)
        if found is not None:
            await self._runtime.end(identifier)
            await self._runtime.remove(identifier)

    # -- what is written ---------------------------------------------------------------------------------

    async def _commit(self, transaction: Transaction, job: Job, before: Sandbox, seen: Sandbox) -> None:
        """What was seen, onto what is wanted now; more was asked for meanwhile: it is looked at again."""
        locked = await sandboxes.lock_for_work(transaction, seen.id)
        if locked is None:
            await job.done(transaction)
            return
        current = locked.sandbox
        if _is_overtaken(current, before, seen):
            await job.again(transaction, 0.0, target=current.node)
            return
        newer = current.generation != before.generation
        merged = replace(
            current,
            status=seen.status,
            reason=seen.reason,
            version=seen.version,
            epoch=seen.epoch,
            not_enforced=seen.not_enforced,
            lifetime_due=current.lifetime_due if newer else seen.lifetime_due,
            network_due=current.network_due if newer else seen.network_due,
            stop_due=current.stop_due if newer else seen.stop_due,
            wish=current.wish if newer else seen.wish,
            keeps=seen.keeps or current.keeps,
        )
        if merged.version != current.version:
            merged = await self._records.write(transaction, merged, locked.moment)
            if merged.is_kept:
                await templates.keep(transaction, merged.template_kept(locked.moment))
                size = await templates.size(transaction.connection, merged.project_id)
                await self._storage.measure(transaction, merged.project_id, size)
        elif merged != current:
            await sandboxes.save(transaction, merged)
        if locked.is_waited_for and (merged.fulfils(before.wish) or merged.ended):
            await self._settle(transaction, merged, before.generation)
        if newer or not merged.is_settled:
            waits = not newer and merged.status is SandboxStatus.CREATING
            await job.again(transaction, ROOM_LOOK if waits else 0.0, target=merged.node)
        else:
            await job.done(transaction)

    async def _settle(self, transaction: Transaction, sandbox: Sandbox, generation: int) -> None:
        """Answers the commands for which it is so, or never will be."""
        commands = await waiting.of_sandbox(transaction, sandbox.id, generation)
        for command, wish in commands:
            outcome = _outcome(sandbox, wish)
            await self._pending.settle(transaction, command, outcome, resource=str(sandbox.id))
        if commands:
            await waiting.remove(transaction, [command for command, _ in commands])

    async def _failed(self, transaction: Transaction, job: Job, error: SignalboxError) -> None:
        """It cannot be made so: an operator finds out why at the row of work."""
        locked = await sandboxes.lock_for_work(transaction, uuid.UUID(job.key))
        if locked is None:
            return
        sandbox = locked.sandbox
        if not sandbox.ended:
            failed = sandbox.seen(SandboxStatus.FAILED, error.code)
            sandbox = await self._records.write(transaction, failed, locked.moment)
        await self._settle(transaction, sandbox, sandbox.generation)


def _is_overtaken(current: Sandbox, before: Sandbox, seen: Sandbox) -> bool:
    """Whether somebody has said meanwhile that it is lost, or begins elsewhere: then what was seen is old."""
    return current.version != before.version or current.node != before.node or current.epoch > seen.epoch


def _settled(sandbox: Sandbox) -> Sandbox:
    """Its keeper knows all that was asked for."""
    return replace(sandbox, lifetime_due=False, network_due=False, stop_due=False)


def _needs_place(sandbox: Sandbox) -> bool:
    return sandbox.node is None and not sandbox.ended and sandbox.wish is not Wish.DESTROYED


def _outcome(sandbox: Sandbox, wish: str) -> Outcome[Any]:
    if wish == KEPT and sandbox.is_kept:
        return Outcome.of(template_reply(sandbox.template_kept(sandbox.since)))
    if sandbox.ended and wish != Wish.DESTROYED:
        return Outcome.failure(errors.SandboxEnded())
    if sandbox.ended or wish in (DEADLINE, NETWORK) or sandbox.fulfils(Wish(wish)):
        return Outcome.of(reply_of(sandbox))
    return Outcome.failure(errors.Superseded())
