"""Users, projects, members, signing keys, and the messaging tables."""

from alembic import op

from signalbox_common.migrate import create_messaging_tables

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

STATEMENTS = (
    """
    create table auth.users (
        id uuid primary key,
        username text not null,
        username_folded text not null unique,
        email text not null,
        email_folded text not null unique,
        display_name text not null,
        role text not null check (role in ('user', 'admin')),
        password_hash text not null,
        created_at timestamptz not null
    )
    """,
    """
    create table auth.projects (
        id uuid primary key,
        name text not null,
        slug text not null unique,
        description text not null,
        created_by uuid not null references auth.users (id),
        created_at timestamptz not null,
        updated_at timestamptz not null
    )
    """,
    """
    create table auth.members (
        project_id uuid not null references auth.projects (id),
        user_id uuid not null references auth.users (id),
        role text not null check (role in ('viewer', 'developer', 'maintainer', 'owner')),
        primary key (project_id, user_id)
    )
    """,
    "create index members_user on auth.members (user_id, project_id)",
    """
    create table auth.signing_keys (
        kid text primary key,
        sealed bytea not null,
        created_at timestamptz not null
    )
    """,
)


def upgrade() -> None:
    create_messaging_tables(op.execute, "auth")
    for statement in STATEMENTS:
        op.execute(statement)
