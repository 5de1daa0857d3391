"""Devices that wait for somebody to approve them."""

import uuid
from datetime import timedelta
from typing import Any

from sqlalchemy import Row, delete, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from signalbox_auth.domain.devices import Device
from signalbox_auth.store.tables import devices
from signalbox_common.db import Transaction


async def add(transaction: Transaction, device: Device) -> bool:
    """False where another device shows the same code at the moment."""
    row = await transaction.connection.execute(
        insert(devices)
        .values(
            device_hash=device.device_hash,
            user_code=device.user_code,
            client_name=device.client_name,
            address=device.address,
            agent=device.agent,
            requested_at=device.requested_at,
            expires_at=device.expires_at,
            interval_seconds=int(device.interval.total_seconds()),
        )
        .on_conflict_do_nothing()
        .returning(devices.c.user_code)
    )
    return row.first() is not None


async def lock(transaction: Transaction, device_hash: bytes) -> Device | None:
    row = (
        await transaction.connection.execute(
            select(devices).where(devices.c.device_hash == device_hash).with_for_update()
        )
    ).first()
    return _device(row) if row is not None else None


async def waiting(connection: AsyncConnection, user_code: str) -> Device | None:
    """One that nobody has decided about."""
    row = (
        await connection.execute(
            select(devices).where(
                devices.c.user_code == user_code,
                devices.c.approved.is_(None),
                devices.c.expires_at > func.now(),
            )
        )
    ).first()
    return _device(row) if row is not None else None


async def decide(transaction: Transaction, user_code: str, user_id: uuid.UUID, *, approved: bool) -> bool:
    """False where there is nothing to decide any more."""
    row = await transaction.connection.execute(
        devices.update()
        .where(
            devices.c.user_code == user_code,
            devices.c.approved.is_(None),
            devices.c.expires_at > func.now(),
        )
        .values(approved=approved, user_id=user_id)
        .returning(devices.c.user_code)
    )
    return row.first() is not None


async def note_poll(transaction: Transaction, device: Device, *, slower_by: timedelta = timedelta(0)) -> None:
    await transaction.connection.execute(
        devices.update()
        .where(devices.c.device_hash == device.device_hash)
        .values(polled_at=func.now(), interval_seconds=int((device.interval + slower_by).total_seconds()))
    )


async def remove(transaction: Transaction, device: Device) -> None:
    await transaction.connection.execute(delete(devices).where(devices.c.device_hash == device.device_hash))


async def tidy(transaction: Transaction) -> None:
    await transaction.connection.execute(delete(devices).where(devices.c.expires_at < func.now()))


def _device(row: Row[Any]) -> Device:
    return Device(
        device_hash=bytes(row.device_hash),
        user_code=row.user_code,
        client_name=row.client_name,
        address=row.address,
        agent=row.agent,
        requested_at=row.requested_at,
        expires_at=row.expires_at,
        interval=timedelta(seconds=row.interval_seconds),
        polled_at=row.polled_at,
        approved=row.approved,
        user_id=row.user_id,
    )
