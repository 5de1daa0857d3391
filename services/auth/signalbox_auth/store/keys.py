"""Signing keys: which there are; their private halves lie in the secret store."""

from sqlalchemy import func, insert, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from signalbox_auth.domain.keys import Key, State
from signalbox_auth.store.tables import signing_keys
from signalbox_common.db import Transaction


async def lock(transaction: Transaction) -> None:
    """One at a time changes them; reading goes on."""
    await transaction.connection.execute(text("lock table auth.signing_keys in share row exclusive mode"))


async def all_of(connection: AsyncConnection) -> list[Key]:
    """Newest last."""
    rows = await connection.execute(
        select(signing_keys)
        .where(signing_keys.c.public.is_not(None))
        .order_by(signing_keys.c.created_at, signing_keys.c.kid)
    )
    return [
        Key(
            kid=row.kid,
            state=row.state,
            public=bytes(row.public),
            created_at=row.created_at,
            retired_at=row.retired_at,
            distrusted=row.distrusted,
        )
        for row in rows
    ]


async def add(transaction: Transaction, kid: str, public: bytes, state: State) -> None:
    await transaction.connection.execute(
        insert(signing_keys).values(
            kid=kid, public=public, state=state, created_at=func.clock_timestamp(), distrusted=False
        )
    )


async def set_state(transaction: Transaction, kid: str, state: State) -> None:
    # Other processes go on signing with it until they have looked.
    retired_at = text("clock_timestamp() + interval '10 seconds'") if state == "retired" else None
    await transaction.connection.execute(
        signing_keys.update().where(signing_keys.c.kid == kid).values(state=state, retired_at=retired_at)
    )


async def distrust(transaction: Transaction, kid: str) -> None:
    await transaction.connection.execute(
        signing_keys.update().where(signing_keys.c.kid == kid).values(distrusted=True)
    )


async def sealed_in_table(connection: AsyncConnection) -> dict[str, bytes]:
    """Private keys of the first version, which lay here, sealed; they move into the secret store."""
    rows = await connection.execute(
        select(signing_keys.c.kid, signing_keys.c.sealed).where(signing_keys.c.sealed.is_not(None))
    )
    return {row.kid: bytes(row.sealed) for row in rows}


async def moved(transaction: Transaction, kid: str, public: bytes) -> None:
    await transaction.connection.execute(
        signing_keys.update().where(signing_keys.c.kid == kid).values(sealed=None, public=public)
    )
