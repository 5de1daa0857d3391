"""Operations that end later than their request: who waits for their answer, and how they come to it."""

import uuid
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any

from sqlalchemy import Row, TextClause, text

from signalbox_common import outbox
from signalbox_common.contracts.base import Failure
from signalbox_common.contracts.events import AuditRecorded
from signalbox_common.db import Database, Transaction
from signalbox_common.outcomes import Checkpoint, Deferred, Outcome

Answer = Callable[[str, Outcome[Any]], Awaitable[None]]
WAITING = 8
"""Subjects that wait for the answer of one operation; those before have given up long ago."""

_DEFER = """
    update {schema}.inbox set resource = :resource, reply_to = :reply_to, audit = :audit
    where command_id = :command_id
"""
_JOIN = """
    update {schema}.inbox
    set reply_to = case
        when cast(:reply_to as text) is null then reply_to
        else (array_append(reply_to, :reply_to))[greatest(1, cardinality(reply_to) + 2 - {waiting}):]
    end
    where command_id = :command_id and status = 'pending'
    returning command_id
"""
_ASKED = """
    select subject, user_id, project_id, status from {schema}.inbox where command_id = :command_id for update
"""
_SETTLE = """
    update {schema}.inbox
    set status = :status, reply = :reply, resource = coalesce(:resource, resource), finished_at = now()
    where command_id = :command_id and status = 'pending'
    returning reply_to, audit, resource
"""


async def _nobody(_reply_to: str, _outcome: Outcome[Any]) -> None:
    """Where nothing is served, nobody waits."""


class PendingOperations:
    """The rows of the inbox of one service that have no answer yet."""

    def __init__(self, database: Database, checkpoint: Checkpoint) -> None:
        self.answer: Answer = _nobody
        """How an answer is sent to a subject that waits for it."""
        self._schema = database.schema
        self._checkpoint = checkpoint

        def prepared(statement: str) -> TextClause:
            return text(statement.format(schema=database.schema, waiting=WAITING))

        self._defer, self._join, self._settle = map(prepared, (_DEFER, _JOIN, _SETTLE))
        self._asked = prepared(_ASKED)

    async def defer(
        self,
        transaction: Transaction,
        command_id: uuid.UUID,
        deferred: Deferred,
        *,
        reply_to: str | None,
        entry: AuditRecorded | None,
    ) -> None:
        """Leaves it pending: with who waits, and with what can be said already of how it ends."""
        values = {
            "command_id": command_id,
            "resource": deferred.resource,
            "reply_to": [reply_to] if reply_to else [],
            "audit": entry.encode() if entry is not None else None,
        }
        await transaction.connection.execute(self._defer, values)

    async def join(self, transaction: Transaction, command_id: uuid.UUID, reply_to: str | None) -> bool:
        """Waits, too; False where it was settled meanwhile."""
        joined = await transaction.connection.execute(
            self._join, {"command_id": command_id, "reply_to": reply_to}
        )
        return joined.first() is not None

    async def asked(self, transaction: Transaction, command_id: uuid.UUID) -> Row[Any] | None:
        """Who asked for it, and how far it is; stays so to the end of the transaction."""
        found = await transaction.connection.execute(self._asked, {"command_id": command_id})
        return found.first()

    async def settle(
        self,
        transaction: Transaction,
        command_id: uuid.UUID,
        outcome: Outcome[Any],
        *,
        resource: str | None = None,
    ) -> bool:
        """Ends it with the transaction that commits its result, once; False where it has ended before.

        Whoever waits is answered after the commit; who does not hear it finds it at the operation.
        """
        values = {
            "command_id": command_id,
            "status": outcome.status,
            "reply": outcome.body,
            "resource": resource,
        }
        settled = (await transaction.connection.execute(self._settle, values)).first()
        if settled is None:
            return False
        if settled.audit is not None:
            outbox.emit(transaction, self._schema, _ended(settled, outcome), project=None)
        transaction.after_commit.append(partial(self._tell, tuple(settled.reply_to), outcome))
        return True

    async def _tell(self, waiting: Sequence[str], outcome: Outcome[Any]) -> None:
        await self._checkpoint("settled")
        for reply_to in waiting:
            await self.answer(reply_to, outcome)


def _ended(settled: Row[Any], outcome: Outcome[Any]) -> AuditRecorded:
    """The line of the audit log, as far as it could not be written before."""
    entry = AuditRecorded.model_validate_json(settled.audit)
    end: dict[str, Any] = {"at": datetime.now(UTC), "resource": settled.resource or entry.resource}
    if outcome.failed:
        end |= {"outcome": "refused", "code": Failure.model_validate_json(outcome.body).code}
    return entry.model_copy(update=end)
