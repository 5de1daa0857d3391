"""What is written down of an operation, and told with it."""

from dataclasses import replace

from signalbox_common.db import Transaction
from signalbox_git.operations.record import Operation
from signalbox_git.operations.replies import tell_of_operation
from signalbox_git.store import operations


async def write(transaction: Transaction, locked: Operation, changed: Operation) -> Operation:
    """In the place of the one that is locked; that it was cancelled meanwhile is not forgotten."""
    now = replace(changed, version=locked.version + 1, cancelling=changed.cancelling or locked.cancelling)
    await operations.save(transaction, now)
    tell_of_operation(transaction, now)
    return now
