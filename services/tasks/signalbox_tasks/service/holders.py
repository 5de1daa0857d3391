"""Schedules and triggers, where it does not matter which."""

import uuid

from signalbox_common.db import Transaction
from signalbox_tasks.service import schedules, triggers


async def stop_under(transaction: Transaction, authority: uuid.UUID, reason: str) -> bool:
    """Whoever acts under it starts nothing more, and says why; False where there is none."""
    for each in (schedules, triggers):
        if await each.stop_under(transaction, authority, reason):
            return True
    return False
