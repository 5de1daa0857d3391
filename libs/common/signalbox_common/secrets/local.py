"""Secrets in the service's own schema, under keys from its key file: needs no other server.

Whoever wraps looks for the newest key only after it has locked the table against the barrier of a rotation,
which passes there once its own key is in the file. So no row gets an older key from then on, and one walk
over the table finds every row that needs the new one.
"""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    Executable,
    LargeBinary,
    MetaData,
    Row,
    Table,
    Text,
    bindparam,
    delete,
    func,
    select,
    text,
    update,
)
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from signalbox_common import telemetry
from signalbox_common.db import CommitUncertain, Database, is_outage
from signalbox_common.errors import OutcomeUnknown
from signalbox_common.secrets import envelope
from signalbox_common.secrets.base import (
    RotationResult,
    Secret,
    SecretNotFound,
    SecretStoreUnavailable,
    SecretUnreadable,
    check_name,
    check_value,
)
from signalbox_common.secrets.envelope import DecryptionFailed, Key, Place
from signalbox_common.secrets.keyfile import KeyFile, KeyFileMissing, KeyFileUnusable

log = telemetry.get_logger()

AnyRow = Row[*tuple[Any, ...]]

_ALTERED = "it was altered"

BATCH = 100
KEPT = timedelta(days=30)
"""How long a key stays after its successor came: backups and replicas from before still need it."""

SECRETS_V1 = (
    """
    create table {schema}.secrets (
        name text collate "C" primary key,
        version bigint not null,
        kek text not null,
        wrapped_key bytea not null,
        sealed_value bytea not null,
        created_at timestamptz not null,
        updated_at timestamptz not null
    )
    """,
)
"""The first form of the table behind `LocalSecrets`; a change is a V2 beside it."""


def create_secret_tables(execute: Callable[[str], None], schema: str) -> None:
    for statement in SECRETS_V1:
        execute(statement.format(schema=schema))


class LocalSecrets:
    """The table `secrets` of one service, and the key file that belongs to it and to no other service.

    Keys that no row needs any more are retired, and a service sees its own rows only.
    """

    def __init__(self, database: Database, keys: KeyFile) -> None:
        self._database = database
        self._keys = keys
        self._table = table = Table(
            "secrets",
            MetaData(schema=database.schema),
            Column("name", Text, primary_key=True),
            Column("version", BigInteger),
            Column("kek", Text),
            Column("wrapped_key", LargeBinary),
            Column("sealed_value", LargeBinary),
            Column("created_at", DateTime(timezone=True)),
            Column("updated_at", DateTime(timezone=True)),
        )
        # Built once: putting a statement together takes longer than sending it.
        self._find = select(table).where(table.c.name == bindparam("wanted"))
        self._lock = self._find.with_only_columns(table.c.version, table.c.created_at).with_for_update()
        store = insert(table).values({column.name: bindparam(column.name) for column in table.c})
        self._store = store.on_conflict_do_update(
            index_elements=["name"],
            set_={c.name: store.excluded[c.name] for c in table.c if not c.primary_key},
            where=table.c.version == store.excluded.version - 1,
        ).returning(table.c.name)
        self._any = select(table.c.name).limit(1)
        self._barrier = text(f"lock table {table.fullname} in exclusive mode")
        self._outdated = (
            select(table.c.name, table.c.version, table.c.kek, table.c.wrapped_key)
            .where(table.c.name > bindparam("after"), table.c.kek != bindparam("newest"))
            .order_by(table.c.name)
            .limit(BATCH)
            .with_for_update()
        )
        self._rewrap = (
            update(table)
            .where(table.c.name == bindparam("outdated"))
            .values(kek=bindparam("kek"), wrapped_key=bindparam("wrapped_key"))
        )

    async def put(self, name: str, value: bytes) -> Secret:
        check_name(name)
        check_value(value)
        with _explained():
            while (secret := await self._put(name, value)) is None:
                pass  # somebody else made it at the same moment; now there is a row to lock
        return secret

    async def _put(self, name: str, value: bytes) -> Secret | None:
        async with self._database.transaction() as transaction:
            connection = transaction.connection
            there = (await connection.execute(self._lock, {"wanted": name})).first()
            now = datetime.now(UTC)
            secret = Secret(
                name=name,
                value=value,
                version=there.version + 1 if there else 1,
                created_at=there.created_at if there else now,
                updated_at=now,
            )
            row = self._sealed(secret, await self._newest(connection))
            stored = (await connection.execute(self._store, row)).first()
        return secret if stored else None

    async def get(self, name: str) -> Secret:
        check_name(name)
        missing: str | None = None
        with _explained():
            while True:
                rows = await self._read(self._find, wanted=name)
                if not rows:
                    raise SecretNotFound
                row = rows[0]
                key = await self._key(row.kek)
                if key is not None:
                    return self._opened(row, key)
                if row.kek == missing:
                    raise _keyless(row)
                missing = row.kek  # unless a rotation took that key away after the row was read

    async def delete(self, name: str) -> None:
        check_name(name)
        with _explained():
            async with self._database.transaction() as transaction:
                await transaction.connection.execute(delete(self._table).where(self._table.c.name == name))

    async def names(self, prefix: str = "") -> list[str]:
        found = select(self._table.c.name).where(func.starts_with(self._table.c.name, prefix))
        with _explained():
            return [row.name for row in await self._read(found.order_by(self._table.c.name))]

    async def check(self) -> None:
        with _explained():
            async with self._database.reading() as connection:
                await connection.execute(self._any)
                await self._newest(connection)

    async def rotate(self) -> RotationResult:
        await self.check()
        with _explained():
            key = await asyncio.to_thread(self._keys.add)
            async with self._database.transaction() as transaction:
                await transaction.connection.execute(self._barrier)
            rewrapped = unreadable = 0
            after: str | None = ""
            while after is not None:
                after, done, failed = await self._rewrap_some(after, key)
                rewrapped += done
                unreadable += failed
            used = {row.kek for row in await self._read(select(self._table.c.kek).distinct())}
            # What was superseded after our key came may be in the hands of those who passed our barrier.
            superseded = min(key.created_at, datetime.now(UTC) - KEPT)
            await asyncio.to_thread(self._keys.retire, used, superseded_by=superseded)
        log.info("secrets are wrapped with a new key", key=key.id, rewrapped=rewrapped, unreadable=unreadable)
        return RotationResult(key.id, rewrapped, unreadable)

    async def _rewrap_some(self, after: str, key: Key) -> tuple[str | None, int, int]:
        """Answers where to go on, how many rows it did, and how many it could not."""
        async with self._database.transaction() as transaction:
            connection = transaction.connection
            rows = (await connection.execute(self._outdated, {"after": after, "newest": key.id})).all()
            newest = await self._newest(connection)  # of another rotation, maybe, which must not be undone
            changes = []
            for row in rows:
                try:
                    changes.append(await self._rewrapped(row, newest))
                except SecretUnreadable as error:
                    log.warning("a secret stays under its old key", reason=str(error))
            if changes:
                await connection.execute(self._rewrap, changes)
        return (rows[-1].name if rows else None), len(changes), len(rows) - len(changes)

    async def _rewrapped(self, row: AnyRow, newest: Key) -> dict[str, Any]:
        place = self._place(row.name, row.version)
        old = await self._key(row.kek)
        if old is None:
            raise _keyless(row)
        try:
            data_key = envelope.unwrap(old, row.wrapped_key, place)
        except DecryptionFailed as error:
            raise SecretUnreadable(row.name, _ALTERED) from error
        wrapped = envelope.wrap(newest, data_key, place)
        return {"outdated": row.name, "kek": newest.id, "wrapped_key": wrapped}

    async def _newest(self, connection: AsyncConnection) -> Key:
        """The key to wrap with; the file is made only where no secret waits for a lost one."""
        try:
            return await asyncio.to_thread(self._keys.newest)
        except KeyFileMissing:
            needed = (await connection.execute(self._any)).first() is not None
            return await asyncio.to_thread(self._keys.newest if needed else self._keys.create)

    async def _key(self, key_id: str) -> Key | None:
        return self._keys.known(key_id) or await asyncio.to_thread(self._keys.find, key_id)

    async def _read(self, statement: Executable, **parameters: str) -> Sequence[AnyRow]:
        """A read that met a connection of before the database's restart is simply read again."""
        try:
            return await self._read_once(statement, parameters)
        except Exception as error:
            if not is_outage(error):
                raise
            return await self._read_once(statement, parameters)

    async def _read_once(self, statement: Executable, parameters: dict[str, str]) -> Sequence[AnyRow]:
        async with self._database.reading() as connection:
            return (await connection.execute(statement, parameters)).all()

    def _sealed(self, secret: Secret, key: Key) -> dict[str, Any]:
        data_key = envelope.fresh_key()
        place = self._place(secret.name, secret.version)
        return {
            "name": secret.name,
            "version": secret.version,
            "kek": key.id,
            "wrapped_key": envelope.wrap(key, data_key, place),
            "sealed_value": envelope.seal(
                data_key, secret.value, place, secret.created_at, secret.updated_at
            ),
            "created_at": secret.created_at,
            "updated_at": secret.updated_at,
        }

    def _opened(self, row: AnyRow, key: Key) -> Secret:
        place = self._place(row.name, row.version)
        try:
            data_key = envelope.unwrap(key, row.wrapped_key, place)
            value = envelope.unseal(data_key, row.sealed_value, place, row.created_at, row.updated_at)
        except DecryptionFailed as error:
            raise SecretUnreadable(row.name, _ALTERED) from error
        return Secret(row.name, value, row.version, row.created_at, row.updated_at)

    def _place(self, name: str, version: int) -> Place:
        return Place(self._database.schema, name, version)


def _keyless(row: AnyRow) -> SecretUnreadable:
    return SecretUnreadable(row.name, f"its key {row.kek} is not in the key file")


@contextmanager
def _explained() -> Iterator[None]:
    """What goes wrong below, in the words of the interface."""
    try:
        yield
    except KeyFileUnusable as error:
        log.warning("secrets are not available", reason=str(error))
        raise
    except CommitUncertain as error:
        raise OutcomeUnknown from error
    except Exception as error:
        if is_outage(error):
            raise SecretStoreUnavailable from error
        raise
