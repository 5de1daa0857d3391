"""What this service tells the others, in the transaction that made it true."""

import uuid

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from signalbox_auth.store.tables import SCHEMA
from signalbox_common import outbox
from signalbox_common.contracts.auth import AccessRevoked
from signalbox_common.contracts.events import Event
from signalbox_common.db import Transaction


def record(transaction: Transaction, event: Event, *, project: uuid.UUID | None = None) -> None:
    outbox.emit(transaction, SCHEMA, event, project=project)


def revoke(transaction: Transaction, what: AccessRevoked) -> None:
    """Reaches every process within a second of the commit."""
    outbox.emit(transaction, SCHEMA, what, project=None)


_REVOCATION_WAITS = text(
    f"select exists (select from {SCHEMA}.outbox where starts_with(subject, 'rvk.'))"  # noqa: S608 - our own
)


async def revocation_waits(connection: AsyncConnection) -> bool:
    """Whether one is committed and not yet known to be in the stream."""
    return bool(await connection.scalar(_REVOCATION_WAITS))
