"""Use cases on a bare transaction: no bus, no other service, and nothing stays."""

import json
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from signalbox_common import outbox
from signalbox_common.bus import Call
from signalbox_common.bus.audit import AuditedRequest
from signalbox_common.bus.calls import Handler
from signalbox_common.contracts.base import Failure, Reply, Request
from signalbox_common.contracts.roles import PlatformRole, ProjectRole
from signalbox_common.db import Database, Transaction
from signalbox_common.errors import SignalboxError
from signalbox_common.inbox import Inbox, RequestKey
from signalbox_common.keys import uuid7
from signalbox_common.outcomes import Outcome
from signalbox_common.principal import Principal

R = TypeVar("R", bound=Reply)


def principal(
    user_id: uuid.UUID | None = None,
    *,
    username: str = "developer",
    role: PlatformRole = PlatformRole.USER,
    project_id: uuid.UUID | None = None,
    project_role: ProjectRole | None = None,
    **more: Any,
) -> Principal:
    """Somebody whose grant was verified: in their project, if one is named, as its owner."""
    if project_id is not None and project_role is None:
        project_role = ProjectRole.OWNER
    return Principal(user_id or uuid.uuid4(), username, role, project_id, project_role, **more)


class WithinOneTransaction(Database):
    """Whatever somebody opens is a savepoint of one transaction, and whatever they read is read in it."""

    def __init__(self, schema: str, connection: AsyncConnection) -> None:
        self.schema = schema
        self._connection = connection

    @asynccontextmanager
    async def transaction(
        self, *, actor: uuid.UUID | None = None, operation: str | None = None
    ) -> AsyncIterator[Transaction]:
        async with self._connection.begin_nested():
            transaction = Transaction(self._connection, actor=actor, operation=operation)
            yield transaction
            if transaction.before_commit is not None:
                await transaction.before_commit()

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        yield self._connection


@dataclass
class Scene:
    """One service's schema in a transaction that is rolled back."""

    service: str
    transaction: Transaction
    database: Database = field(init=False)

    def __post_init__(self) -> None:
        self.database = WithinOneTransaction(self.service, self.transaction.connection)

    def call(self, request: Request[Any], who: Principal | None = None) -> Call:
        """As the bus hands it to a use case: with the transaction open, and an inbox for the others."""
        key = RequestKey(
            command_id=uuid7(),
            subject=request.subject,
            digest="",
            user_id=who.user_id if who else None,
            project_id=who.project_id if who else None,
        )
        return Call(
            AuditedRequest(type(request), request, who),
            inbox=Inbox(self.database),
            key=key,
            open=self.transaction,
        )

    async def do(self, use_case: Handler, request: Request[R], who: Principal | None = None) -> R:
        """What it answers; its refusal is raised, also where it was stored."""
        answered = await use_case(self.call(request, who), request)
        if isinstance(answered, Outcome):
            if answered.failed:
                raise SignalboxError.of(Failure.model_validate_json(answered.body))
            answered = request.reply.model_validate_json(answered.body)
        return cast(R, answered)

    async def told(self) -> list[tuple[str, dict[str, Any]]]:
        """Subject and body of all that the others would be told with the commit, oldest first."""
        await outbox.write(self.transaction, self.service)
        table = outbox.table(self.service)
        rows = await self.transaction.connection.execute(
            select(table.c.subject, table.c.body).order_by(table.c.id)
        )
        return [(row.subject, json.loads(row.body)) for row in rows]
