"""Tasks and their runs."""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

STATEMENTS = (
    """
    create table tasks.projects (
        project_id uuid primary key,
        active integer not null default 0,
        queued integer not null default 0,
        deleted_at timestamptz
    )
    """,
    """
    create table tasks.tasks (
        id uuid primary key,
        project_id uuid not null,
        title text not null,
        description text not null,
        priority smallint not null,
        labels jsonb not null,
        spec jsonb not null,
        repository uuid,
        environment uuid,
        status text not null,
        run uuid not null,
        attempts integer not null,
        error jsonb,
        branch text,
        pushed text,
        target text,
        pull_request_url text,
        created_by uuid not null,
        created_at timestamptz not null,
        updated_at timestamptz not null,
        completed_at timestamptz
    ) with (fillfactor = 80)
    """,
    "create index tasks_of_project on tasks.tasks (project_id, id desc)",
    "create index tasks_of_project_updated on tasks.tasks (project_id, updated_at desc, id desc)",
    "create index tasks_environment on tasks.tasks (environment) where environment is not null",
    """
    create table tasks.dependencies (
        task_id uuid not null references tasks.tasks on delete cascade,
        depends_on uuid not null,
        primary key (task_id, depends_on)
    )
    """,
    "create index dependencies_on on tasks.dependencies (depends_on)",
    """
    create table tasks.runs (
        id uuid primary key,
        project_id uuid not null,
        task_id uuid not null references tasks.tasks on delete cascade,
        attempt integer not null,
        state text not null,
        plan text[] not null,
        step text,
        admitted boolean not null default false,
        rank smallint not null,
        key text,
        stop_reason text,
        waiting_for text,
        error jsonb,
        result jsonb,
        facts jsonb not null,
        wish jsonb not null,
        authority uuid not null,
        log_end bigint not null default 0,
        proof_at timestamptz,
        created_by uuid not null,
        created_by_name text not null,
        queued_at timestamptz not null,
        started_at timestamptz,
        finished_at timestamptz,
        ends_at double precision,
        version bigint not null
    ) with (fillfactor = 70)
    """,
    "create index runs_of_task on tasks.runs (task_id, attempt desc)",
    """
    create index runs_queued on tasks.runs (project_id, rank desc, queued_at, id)
    where state = 'queued' and not admitted
    """,
    """
    create index runs_with_key on tasks.runs (project_id, key)
    where key is not null and finished_at is null
    """,
    "create index runs_ending on tasks.runs (ends_at) where finished_at is null",
    "create index runs_finished on tasks.runs (finished_at) where finished_at is not null",
    """
    create table tasks.steps (
        run_id uuid not null references tasks.runs on delete cascade,
        name text not null,
        state text not null,
        started_at timestamptz not null,
        finished_at timestamptz,
        detail text,
        error jsonb,
        request jsonb,
        primary key (run_id, name)
    )
    """,
    """
    create table tasks.news (
        run_id uuid not null references tasks.runs on delete cascade,
        about text not null,
        version bigint not null,
        body jsonb not null,
        primary key (run_id, about)
    )
    """,
    """
    create table tasks.waiting_commands (
        command_id uuid primary key,
        run_id uuid not null references tasks.runs on delete cascade
    )
    """,
    "create index waiting_commands_of_run on tasks.waiting_commands (run_id)",
    """
    create table tasks.log (
        run_id uuid not null references tasks.runs on delete cascade,
        begin bigint not null,
        step text not null,
        stream smallint not null,
        content bytea not null,
        primary key (run_id, begin)
    )
    """,
    "alter table tasks.log alter column content set storage external",
    """
    create table tasks.artifacts (
        run_id uuid not null references tasks.runs on delete cascade,
        name text not null,
        media_type text not null,
        size bigint not null,
        sha256 text not null,
        created_at timestamptz not null,
        primary key (run_id, name)
    )
    """,
    """
    create table tasks.artifact_parts (
        run_id uuid not null,
        name text not null,
        begin bigint not null,
        content bytea not null,
        primary key (run_id, name, begin),
        foreign key (run_id, name) references tasks.artifacts on delete cascade
    )
    """,
    """
    create table tasks.environments (
        id uuid primary key,
        project_id uuid not null,
        created_at timestamptz not null
    )
    """,
    """
    create table tasks.lived (
        only_one boolean primary key default true check (only_one),
        seconds double precision not null,
        seen_at timestamptz not null
    )
    """,
    "insert into tasks.lived values (true, 0, tasks.clock())",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
