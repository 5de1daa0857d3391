"""Sandboxes, the instances of the service with their nodes, and who waits for what."""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

STATEMENTS = (
    """
    create table sandbox.sandboxes (
        id uuid primary key,
        project_id uuid not null,
        created_by uuid not null,
        operation text,
        owner_run uuid,
        owner_name text,
        workspace jsonb,
        template text not null,
        limits jsonb not null,
        lifetime integer not null,
        at_end text not null,
        network text not null,
        labels jsonb not null,
        keep_for integer not null,
        has_env boolean not null,
        wish text not null,
        generation bigint not null,
        lifetime_due boolean not null,
        status text not null,
        reason text,
        node text,
        epoch bigint not null,
        version bigint not null,
        not_enforced jsonb not null,
        deadline timestamptz,
        created_at timestamptz not null,
        ended_at timestamptz
    ) with (fillfactor = 80)
    """,
    "create index sandboxes_of_project on sandbox.sandboxes (project_id, id desc)",
    """
    create unique index sandboxes_of_run on sandbox.sandboxes (project_id, owner_run, owner_name)
    where owner_run is not null
    """,
    """
    create index sandboxes_of_node on sandbox.sandboxes (node)
    where status in ('creating', 'running', 'paused')
    """,
    "create index sandboxes_ended on sandbox.sandboxes (ended_at) where ended_at is not null",
    # Commands that are answered when what they ask for is so, or cannot be any more.
    """
    create table sandbox.waiting_commands (
        command_id uuid primary key,
        sandbox_id uuid not null references sandbox.sandboxes on delete cascade,
        wish text not null,
        generation bigint not null
    )
    """,
    "create index waiting_commands_of_sandbox on sandbox.waiting_commands (sandbox_id)",
    """
    create table sandbox.nodes (
        name text primary key,
        capacity integer not null
    )
    """,
    """
    create table sandbox.instances (
        name text primary key,
        node text not null references sandbox.nodes,
        url text not null,
        beat bigint not null
    )
    """,
    "create table sandbox.deleted_projects (project_id uuid primary key)",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
