"""Runs the Alembic migrations of a service, and the tables that every owner has."""

from collections.abc import Callable
from importlib.resources import files
from pathlib import Path

from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

MESSAGING_V1 = (
    """
    create table {schema}.inbox (
        command_id uuid primary key,
        subject text not null,
        digest text not null,
        user_id uuid,
        project_id uuid,
        status text not null,
        reply bytea,
        resource text,
        finished_at timestamptz
    )
    """,
    "create index inbox_finished on {schema}.inbox (finished_at)",
    """
    create table {schema}.seen_facts (
        handler text not null,
        event_id uuid not null,
        seen_at timestamptz not null,
        primary key (handler, event_id)
    )
    """,
    "create index seen_facts_seen on {schema}.seen_facts (seen_at)",
    """
    create table {schema}.deliveries (
        consumer text not null,
        sequence bigint not null,
        stored_at timestamptz not null,
        command_id uuid,
        attempts integer not null,
        error text,
        dead boolean not null,
        updated_at timestamptz not null,
        primary key (consumer, sequence, stored_at)
    )
    """,
    "create index deliveries_command on {schema}.deliveries (command_id)",
    """
    create table {schema}.outbox (
        id bigint generated always as identity primary key,
        event_id uuid not null unique,
        subject text not null,
        headers jsonb not null,
        body bytea not null
    )
    """,
)
"""The first form of the tables behind `inbox.py` and `outbox.py`; a change is a V2 beside it."""


def create_messaging_tables(execute: Callable[[str], None], schema: str) -> None:
    for statement in MESSAGING_V1:
        execute(statement.format(schema=schema))


RELAY_LEASE = (
    # The only clock that decides about leases.
    """
    create function {schema}.clock() returns timestamptz language sql volatile
    as 'select clock_timestamp()'
    """,
    """
    create table {schema}.relay (
        only_one boolean primary key default true check (only_one),
        owner text,
        epoch bigint not null default 0,
        until timestamptz not null default '-infinity'
    )
    """,
    "insert into {schema}.relay default values",
)
"""The lease by which one relay of the service leads."""


def add_relay_lease(execute: Callable[[str], None], schema: str) -> None:
    for statement in RELAY_LEASE:
        execute(statement.format(schema=schema))


DEFERRED_OPERATIONS = (
    "alter table {schema}.inbox add column reply_to text[] not null default '{{}}', add column audit bytea",
)
"""Who waits for the answer of an operation that ends later, and what the audit log is told then."""


def add_deferred_operations(execute: Callable[[str], None], schema: str) -> None:
    for statement in DEFERRED_OPERATIONS:
        execute(statement.format(schema=schema))


def upgrade(connection: Connection, service: str, to: str = "head") -> tuple[str | None, str | None]:
    """Brings the schema of one service to that revision; answers the revisions before and after."""
    scripts = ScriptDirectory(str(Path(str(files(f"signalbox_{service}"))) / "migrations"))
    context = MigrationContext.configure(
        connection,
        opts={
            "version_table_schema": service,
            "version_table": "schema_version",
            "fn": lambda revision, _context: scripts._upgrade_revs(to, revision),  # noqa: SLF001 - what `alembic upgrade` itself calls
            "script": scripts,
        },
    )
    before = context.get_current_revision()
    with Operations.context(context):
        context.run_migrations()
    return before, context.get_current_revision()
