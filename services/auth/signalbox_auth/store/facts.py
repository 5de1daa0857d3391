"""What this service tells the others, in the transaction that made it true."""

import uuid

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
