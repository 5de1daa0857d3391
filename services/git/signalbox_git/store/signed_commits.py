"""Commits that were signed, as they are: what was signed once is not signed again otherwise."""

import uuid

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from signalbox_common.db import Transaction

_ADD = text(
    "insert into git.signed_commits (delivery_id, unsigned, content) "
    "values (:delivery, :unsigned, :content) on conflict do nothing"
)
_GET = text("select content from git.signed_commits where delivery_id = :delivery and unsigned = :unsigned")


async def get(connection: AsyncConnection, delivery: uuid.UUID, unsigned: str) -> bytes | None:
    """`unsigned` is what git calls it without its signature."""
    values = {"delivery": delivery, "unsigned": unsigned}
    found: bytes | None = (await connection.execute(_GET, values)).scalar()
    return found


async def add(transaction: Transaction, delivery: uuid.UUID, unsigned: str, content: bytes) -> None:
    values = {"delivery": delivery, "unsigned": unsigned, "content": content}
    await transaction.connection.execute(_ADD, values)
