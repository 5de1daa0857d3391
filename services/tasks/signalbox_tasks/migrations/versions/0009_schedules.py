"""Schedules, and what became of their times."""

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

STATEMENTS = (
    """
    create table tasks.schedules (
        id uuid primary key,
        project_id uuid not null,
        name text not null,
        cron text,
        at timestamptz,
        every integer,
        timezone text not null,
        since timestamptz not null,
        task jsonb not null,
        environment uuid,
        misfire text not null,
        misfire_limit integer not null,
        late_after integer not null,
        overlap text not null,
        paused boolean not null,
        reason text,
        next_at timestamptz,
        last_at timestamptz,
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
    "create unique index schedules_name on tasks.schedules (project_id, lower(name))",
    "create index schedules_of_project on tasks.schedules (project_id, id desc)",
    "create unique index schedules_authority on tasks.schedules (authority)",
    "create index schedules_due on tasks.schedules (next_at, project_id) where delegated",
    "create index schedules_environment on tasks.schedules (environment) where environment is not null",
    """
    create table tasks.schedule_attachments (
        schedule_id uuid not null references tasks.schedules on delete cascade,
        attachment_id uuid not null,
        primary key (schedule_id, attachment_id)
    )
    """,
    "create index schedule_attachments_of on tasks.schedule_attachments (attachment_id)",
    """
    create table tasks.firings (
        id bigint generated always as identity primary key,
        schedule_id uuid not null references tasks.schedules on delete cascade,
        due_at timestamptz not null,
        until timestamptz not null,
        times integer not null,
        outcome text not null,
        reason text,
        detail text,
        task_id uuid,
        run_id uuid,
        asked_by uuid,
        fired_at timestamptz not null
    )
    """,
    "create index firings_of on tasks.firings (schedule_id, id desc)",
    "create unique index firings_once on tasks.firings (schedule_id, due_at) where asked_by is null",
    "create index firings_at on tasks.firings (fired_at)",
    "alter table tasks.tasks add column schedule uuid",
    "create index tasks_of_schedule on tasks.tasks (schedule, id desc) where schedule is not null",
    """
    create index tasks_of_schedule_left on tasks.tasks (schedule)
    where schedule is not null and completed_at is null
    """,
    "alter table tasks.runs add column schedule uuid",
    "alter table tasks.runs add column held boolean not null default false",
    "create index runs_held on tasks.runs (queued_at, id) where held and state = 'queued'",
    """
    create index runs_of_schedule_beginning on tasks.runs (schedule)
    where schedule is not null and admitted and state = 'queued'
    """,
    """
    create index runs_of_schedule_left on tasks.runs (authority)
    where schedule is not null and finished_at is null
    """,
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
