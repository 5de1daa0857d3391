"""Triggers, and what was sent to them."""

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

STATEMENTS = (
    "alter table tasks.runs rename column schedule to holder",
    """
    create table tasks.triggers (
        id uuid primary key,
        project_id uuid not null,
        name text not null,
        token bytea,
        event text,
        verify text not null,
        secret uuid,
        task jsonb not null,
        environment uuid,
        rules jsonb not null,
        paused boolean not null,
        reason text,
        allowance double precision not null,
        refilled_at timestamptz not null,
        last_task uuid,
        authority uuid not null,
        proof_at timestamptz not null,
        delegated boolean not null,
        acts_for uuid not null,
        acts_for_name text not null,
        created_by uuid not null,
        created_at timestamptz not null,
        updated_at timestamptz not null,
        version bigint not null
    ) with (fillfactor = 70)
    """,
    "create unique index triggers_name on tasks.triggers (project_id, lower(name))",
    "create index triggers_of_project on tasks.triggers (project_id, id desc)",
    "create unique index triggers_authority on tasks.triggers (authority)",
    "create unique index triggers_token on tasks.triggers (token) where token is not null",
    "create index triggers_of_events on tasks.triggers (project_id) where event is not null",
    "create index triggers_environment on tasks.triggers (environment) where environment is not null",
    """
    create table tasks.trigger_attachments (
        trigger_id uuid not null references tasks.triggers on delete cascade,
        attachment_id uuid not null,
        primary key (trigger_id, attachment_id)
    )
    """,
    "create index trigger_attachments_of on tasks.trigger_attachments (attachment_id)",
    """
    create table tasks.calls (
        id bigint generated always as identity primary key,
        trigger_id uuid not null references tasks.triggers on delete cascade,
        once text,
        delivery text,
        digest bytea not null,
        size integer not null,
        outcome text not null,
        reason text,
        detail text,
        task_id uuid,
        run_id uuid,
        called_at timestamptz not null
    )
    """,
    "create index calls_of on tasks.calls (trigger_id, id desc)",
    "create unique index calls_once on tasks.calls (trigger_id, once) where once is not null",
    "create index calls_at on tasks.calls (called_at)",
    "alter table tasks.tasks add column trigger uuid",
    "create index tasks_of_trigger on tasks.tasks (trigger, id desc) where trigger is not null",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
