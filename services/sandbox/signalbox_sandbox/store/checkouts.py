"""Checkouts that could not be prepared."""

import uuid

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from signalbox_common.db import Transaction

_NOTE = text(
    "insert into sandbox.failed_checkouts (checkout, noted_at) values (:checkout, sandbox.clock()) "
    "on conflict do nothing"
)
_HAS_FAILED = text("select exists (select from sandbox.failed_checkouts where checkout = :checkout)")
_FORGET = text(
    "delete from sandbox.failed_checkouts where noted_at < sandbox.clock() - :days * interval '1 day'"
)


async def note_failed(transaction: Transaction, checkout: uuid.UUID) -> None:
    await transaction.connection.execute(_NOTE, {"checkout": checkout})


async def has_failed(connection: AsyncConnection, checkout: uuid.UUID) -> bool:
    return bool((await connection.execute(_HAS_FAILED, {"checkout": checkout})).scalar())


async def forget(transaction: Transaction, days: int) -> None:
    await transaction.connection.execute(_FORGET, {"days": days})
