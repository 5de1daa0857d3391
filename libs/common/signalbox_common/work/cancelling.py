"""Ends operations that are pending, for whoever asked for them."""

import uuid

from signalbox_common.bus import Call, ServiceBus
from signalbox_common.contracts.base import REGISTRY, Request
from signalbox_common.contracts.operations import CancelOperation, OperationReport, OperationStatus
from signalbox_common.contracts.roles import ProjectRole
from signalbox_common.db import Transaction
from signalbox_common.errors import AlreadyEnded, Cancelled, NotCancellable, OperationNotFound
from signalbox_common.outcomes import Outcome
from signalbox_common.principal import Principal, authorize
from signalbox_common.work.job import Job
from signalbox_common.work.worker import Worker


class Cancelling:
    """The operations that end with work of one service."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._table = worker.table

    def register(self, bus: ServiceBus) -> None:
        bus.on_ask(CancelOperation)(self.cancel)

    async def cancel(self, call: Call, ask: CancelOperation) -> OperationReport:
        """The row goes, whoever works on it, and with it the right to write anything; then it is settled."""
        transaction = call.transaction
        # In the order of a worker that settles: first the work, then what waits for it.
        row = await self._table.waited_for(transaction, ask.command_id)
        command = await self._check(transaction, ask.command_id, call.principal)
        kind = self._worker.kind(row.kind) if row is not None else None
        if row is None or kind is None or kind.cancelled is None:
            raise NotCancellable
        await kind.cancelled(transaction, Job.of(row, self._table, lease_ends=0.0))
        await self._table.remove(transaction, row.id)
        refusal = Cancelled()
        await self._table.pending.settle(transaction, ask.command_id, Outcome.failure(refusal))
        self._worker.stop_after(transaction, row.lease_owner)
        return OperationReport(status=OperationStatus.FAILED, command=command, error=refusal.failure())

    async def _check(self, transaction: Transaction, command_id: uuid.UUID, who: Principal) -> str:
        """Returns its command, where it is pending and theirs to end."""
        asked = await self._table.pending.asked(transaction, command_id)
        if asked is None or asked.project_id != who.project_id:
            raise OperationNotFound
        command: str = asked.subject
        contract = REGISTRY.get(command)
        if contract is None or not issubclass(contract, Request):
            raise NotCancellable  # of a version that knew it
        authorize(contract, who.standing)
        role = who.project_role
        if asked.user_id != who.user_id and not (role and role.includes(ProjectRole.MAINTAINER)):
            raise OperationNotFound
        if asked.status != OperationStatus.PENDING:
            raise AlreadyEnded
        return command
