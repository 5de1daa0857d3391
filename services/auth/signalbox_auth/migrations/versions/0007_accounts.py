"""Invitations, links that are good once, and addresses that several say are theirs until one has shown it."""

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

STATEMENTS = (
    "alter table auth.users add column email_confirmed boolean not null default true",
    "alter table auth.users drop constraint users_email_folded_key",
    "create unique index users_email on auth.users (email_folded) where email_confirmed",
    "create index users_email_said on auth.users (email_folded, id) where not email_confirmed",
    """
    create table auth.invitations (
        id uuid primary key,
        email text,
        project_id uuid references auth.projects (id),
        role text check (role in ('viewer', 'developer', 'maintainer', 'owner')),
        invited_by uuid not null references auth.users (id),
        created_at timestamptz not null,
        expires_at timestamptz not null,
        used_by uuid references auth.users (id),
        revoked_at timestamptz,
        check ((project_id is null) = (role is null))
    )
    """,
    "create index invitations_project on auth.invitations (project_id, id)",
    """
    create table auth.links (
        hash bytea primary key,
        purpose text not null check (purpose in ('reset', 'confirm', 'invitation')),
        user_id uuid references auth.users (id),
        invitation_id uuid references auth.invitations (id) on delete cascade,
        mailed boolean not null,
        expires_at timestamptz not null,
        check ((user_id is null) = (purpose = 'invitation')),
        check ((invitation_id is null) = (purpose <> 'invitation'))
    )
    """,
    "create index links_user on auth.links (user_id, purpose)",
    "create index links_expiry on auth.links (expires_at)",
    """
    create table auth.letters (
        key bytea primary key,
        job bigint not null,
        sent_at timestamptz not null
    )
    """,
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
