"""Commands that are answered when what they ask for is so."""

import uuid
from collections.abc import Collection, Sequence

from sqlalchemy import text

from signalbox_common.db import Transaction
from signalbox_sandbox.domain import Sandbox

_ADD = text(
    "insert into sandbox.waiting_commands (command_id, sandbox_id, wish, generation) "
    "values (:command, :sandbox, :wish, :generation)"
)
_OF_SANDBOX = text(
    "select command_id, wish from sandbox.waiting_commands "
    "where sandbox_id = :sandbox and generation <= :generation order by generation for update"
)
_REMOVE = text("delete from sandbox.waiting_commands where command_id = any(cast(:commands as uuid[]))")


async def add(transaction: Transaction, command: uuid.UUID, sandbox: Sandbox, wish: str) -> None:
    values = {"command": command, "sandbox": sandbox.id, "wish": wish, "generation": sandbox.generation}
    await transaction.connection.execute(_ADD, values)


async def of_sandbox(
    transaction: Transaction, sandbox: uuid.UUID, generation: int
) -> Sequence[tuple[uuid.UUID, str]]:
    """Commands, in their order, that had been given when that was asked for, and what each wanted."""
    values = {"sandbox": sandbox, "generation": generation}
    rows = await transaction.connection.execute(_OF_SANDBOX, values)
    return [(row.command_id, row.wish) for row in rows]


async def remove(transaction: Transaction, commands: Collection[uuid.UUID]) -> None:
    await transaction.connection.execute(_REMOVE, {"commands": list(commands)})
