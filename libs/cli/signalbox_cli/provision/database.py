"""Database, roles, schemas and migrations.

A stable NOLOGIN role owns the objects of each service; the role that the service logs in with may only
read and write them.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sqlalchemy import Connection, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from signalbox_cli.provision.credentials import MAINTENANCE, Credentials, database_of, database_role
from signalbox_cli.provision.errors import ProvisionError
from signalbox_common.contracts.streams import GENERATION
from signalbox_common.migrate import upgrade
from signalbox_common.programs import OWNERS

_RACED = ("42P06", "42P07", "23505")
"""What another one has just made."""


async def provision(admin_url: str, credentials: Credentials, name: str | None = None) -> list[str]:
    """Brings the database server to what this version needs; answers what was changed."""
    url = make_url(admin_url).set(drivername="postgresql+asyncpg")
    name = name or database_of(admin_url)
    changes = await _ensure_database(url, name)
    engine = create_async_engine(url.set(database=name), isolation_level="AUTOCOMMIT")
    try:
        async with engine.connect() as connection, _one_at_a_time(engine):
            await _check_generation(connection)
            for service in OWNERS:
                await _ensure_roles(connection, service, credentials.passwords["postgres"][service], name)
            for service in OWNERS:
                changes += await _migrate(connection, service)
            await connection.execute(
                text("update signalbox.generation set generation = :g where generation < :g"),
                {"g": GENERATION},
            )
    finally:
        await engine.dispose()
    return changes


@asynccontextmanager
async def _one_at_a_time(engine: AsyncEngine) -> AsyncIterator[None]:
    """By a lock on a table that no service may touch; any role could hold an advisory one."""
    async with engine.connect() as connection:
        for make in ("schema if not exists signalbox", "table if not exists signalbox.provisioning ()"):
            try:
                await connection.execute(text(f"create {make}"))
            except DBAPIError as error:
                if getattr(error.orig, "sqlstate", None) not in _RACED:
                    raise
    async with engine.execution_options(isolation_level="READ COMMITTED").connect() as connection:
        await connection.execute(text("lock table signalbox.provisioning"))
        yield


async def _ensure_database(url: URL, name: str) -> list[str]:
    """It cannot be made from within itself."""
    engine = create_async_engine(url.set(database=MAINTENANCE), isolation_level="AUTOCOMMIT")
    try:
        async with engine.connect() as connection:
            found = await connection.execute(
                text("select 1 from pg_database where datname = :name"), {"name": name}
            )
            if found.first() is not None:
                return []
            await connection.execute(
                text(f"create database {_quoted(name)} encoding 'UTF8' template template0")
            )
            return [f"database {name} created"]
    finally:
        await engine.dispose()


async def _check_generation(connection: AsyncConnection) -> None:
    await connection.execute(
        text("create table if not exists signalbox.generation (generation integer primary key)")
    )
    await connection.execute(
        text(
            "insert into signalbox.generation select :g where not exists (select 1 from signalbox.generation)"
        ),
        {"g": GENERATION},
    )
    there = (await connection.execute(text("select max(generation) from signalbox.generation"))).scalar_one()
    if there > GENERATION:
        raise ProvisionError(
            f"this installation is of generation {there}, this program only knows {GENERATION}"
        )


async def _ensure_roles(connection: AsyncConnection, service: str, password: str, database: str) -> None:
    login, owner = database_role(service), f"{database_role(service)}_owner"
    await connection.execute(text("revoke all on schema public from public"))
    await connection.execute(text(f"revoke connect on database {_quoted(database)} from public"))
    for role, login_clause in ((owner, "nologin"), (login, "login")):
        exists = await connection.execute(text("select 1 from pg_roles where rolname = :r"), {"r": role})
        if exists.first() is None:
            await connection.execute(text(f"create role {role} {login_clause}"))
    defaults = f"alter default privileges for role {owner} in schema {service}"
    quoted = password.replace("'", "''")
    for statement in (
        f"alter role {login} password '{quoted}'",
        f"grant connect on database {_quoted(database)} to {login}",
        f"grant {owner} to current_user",
        f"create schema if not exists {service} authorization {owner}",
        f"grant usage on schema {service} to {login}",
        f"{defaults} grant select, insert, update, delete on tables to {login}",
        f"{defaults} grant usage on sequences to {login}",
    ):
        await connection.execute(text(statement))


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""').replace(":", r"\:") + '"'


async def _migrate(connection: AsyncConnection, service: str) -> list[str]:
    """All migrations of one service in one transaction, as the owner of its schema."""

    def run(sync: Connection) -> tuple[str | None, str | None]:
        sync.execute(text("begin"))
        try:
            sync.execute(text(f"set local role {database_role(service)}_owner"))
            revisions = upgrade(sync, service)
        except BaseException:
            sync.execute(text("rollback"))
            raise
        sync.execute(text("commit"))
        return revisions

    try:
        before, after = await connection.run_sync(run)
    except DBAPIError as error:
        raise ProvisionError(f"the migrations of {service} failed: {error.orig}") from error
    return [f"schema {service}: {before or 'empty'} -> {after}"] if before != after else []
