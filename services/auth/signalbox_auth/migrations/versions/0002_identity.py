"""Sessions, API tokens, devices, delegations, the audit log, and what users and projects need for them."""

from alembic import op

from signalbox_common.secrets.local import create_secret_tables

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

STATEMENTS = (
    """
    alter table auth.users
        alter column email drop not null,
        alter column email_folded drop not null,
        alter column password_hash drop not null,
        add column kind text not null default 'person' check (kind in ('person', 'service')),
        add column version bigint not null default 1,
        add column deactivated_at timestamptz
    """,
    """
    alter table auth.projects
        add column personal_of uuid unique references auth.users (id),
        add column deleted_at timestamptz
    """,
    "alter table auth.users add column home_project uuid references auth.projects (id)",
    "alter table auth.members add column added_at timestamptz not null default now()",
    """
    alter table auth.signing_keys
        alter column sealed drop not null,
        add column state text not null default 'current' check (state in ('next', 'current', 'retired')),
        add column public bytea,
        add column retired_at timestamptz,
        add column distrusted boolean not null default false
    """,
    """
    create table auth.sessions (
        id uuid primary key,
        user_id uuid not null references auth.users (id),
        client text,
        address text,
        created_at timestamptz not null,
        last_used_at timestamptz not null,
        expires_at timestamptz not null,
        generation bigint not null,
        refresh_hash bytea not null,
        rotated_at timestamptz,
        revoked_at timestamptz,
        reason text
    )
    """,
    "create index sessions_user on auth.sessions (user_id) where revoked_at is null",
    "create index sessions_expiry on auth.sessions (expires_at)",
    """
    create table auth.api_tokens (
        id uuid primary key,
        user_id uuid not null references auth.users (id),
        name text not null,
        hash bytea not null unique,
        hint text not null,
        scopes text[] not null,
        expires_at timestamptz,
        created_at timestamptz not null,
        created_by uuid not null,
        last_used_at timestamptz,
        revoked_at timestamptz
    )
    """,
    "create index api_tokens_user on auth.api_tokens (user_id) where revoked_at is null",
    """
    create table auth.devices (
        device_hash bytea primary key,
        user_code text not null unique,
        client_name text not null,
        address text,
        agent text,
        requested_at timestamptz not null,
        expires_at timestamptz not null,
        interval_seconds integer not null,
        polled_at timestamptz,
        approved boolean,
        user_id uuid references auth.users (id)
    )
    """,
    """
    create table auth.attempts (
        key bytea primary key,
        failures integer not null,
        last_failed_at timestamptz not null,
        blocked_until timestamptz not null
    )
    """,
    """
    create table auth.known_places (
        user_id uuid not null references auth.users (id),
        address text not null,
        seen_at timestamptz not null,
        primary key (user_id, address)
    )
    """,
    """
    create table auth.delegations (
        id uuid primary key,
        hash bytea not null unique,
        service text not null,
        user_id uuid not null references auth.users (id),
        project_id uuid not null references auth.projects (id),
        run text not null,
        verbs text[] not null,
        role_needed text not null,
        token_id uuid references auth.api_tokens (id),
        scopes text[],
        created_at timestamptz not null,
        expires_at timestamptz not null,
        revoked_at timestamptz
    )
    """,
    "create index delegations_expiry on auth.delegations (expires_at)",
    """
    create table auth.audit (
        sequence bigint primary key,
        id uuid not null unique,
        at timestamptz not null,
        action text not null,
        outcome text not null,
        code text,
        actor uuid,
        actor_name text,
        credential text,
        resource text,
        project uuid,
        address text,
        correlation_id text,
        operation text,
        hash bytea not null
    )
    """,
    "create index audit_project on auth.audit (project, sequence)",
    "create index audit_actor on auth.audit (actor, sequence)",
    """
    create table auth.audit_head (
        one boolean primary key default true check (one),
        sequence bigint not null,
        hash bytea not null
    )
    """,
    "insert into auth.audit_head (sequence, hash) values (0, decode(repeat('00', 32), 'hex'))",
    # Append-only: not even this service's own role changes or deletes a line.
    "revoke update, delete on auth.audit from signalbox_auth",
    """
    create function auth.refuse_change() returns trigger language plpgsql as
    $$ begin raise exception 'the audit log is append-only'; end $$
    """,
    """
    create trigger audit_append_only before update or delete or truncate on auth.audit
    for each statement execute function auth.refuse_change()
    """,
)


def upgrade() -> None:
    create_secret_tables(op.execute, "auth")
    for statement in STATEMENTS:
        op.execute(statement)
