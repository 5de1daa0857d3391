"""Agents: who works on tasks, and what was counted of their runs."""

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

STATEMENTS = (
    """
    create table tasks.agents (
        id uuid primary key,
        project_id uuid not null,
        name text not null,
        role text not null,
        avatar_url text,
        bot text,
        team text,
        concurrency integer,
        missing boolean not null default false,
        seen bigint not null default 0,
        trouble text,
        failed_in_row integer not null default 0,
        runs bigint not null default 0,
        succeeded bigint not null default 0,
        lost bigint not null default 0,
        created_by uuid not null,
        created_at timestamptz not null,
        updated_at timestamptz not null,
        version bigint not null default 1,
        check ((bot is null) <> (team is null))
    ) with (fillfactor = 80)
    """,
    "create unique index agents_name on tasks.agents (project_id, lower(name))",
    "create index agents_of_project on tasks.agents (project_id, id desc)",
    "create index agents_working_as on tasks.agents (project_id, coalesce(bot, team))",
    "alter table tasks.tasks add column agent uuid",
    "create index tasks_of_agent on tasks.tasks (agent, id desc) where agent is not null",
    "alter table tasks.runs add column agent uuid",
    "create index runs_of_agent on tasks.runs (agent, queued_at desc, id desc) where agent is not null",
    """
    create index runs_of_agent_left on tasks.runs (agent)
    where agent is not null and finished_at is null
    """,
    """
    create table tasks.agent_days (
        agent uuid not null references tasks.agents on delete cascade,
        day date not null,
        runs bigint not null,
        succeeded bigint not null,
        failed bigint not null,
        cancelled bigint not null,
        timed_out bigint not null,
        tokens bigint not null default 0,
        cost double precision not null default 0,
        primary key (agent, day)
    )
    """,
    """
    create table tasks.agent_durations (
        agent uuid not null,
        day date not null,
        bucket smallint not null,
        runs bigint not null,
        primary key (agent, day, bucket),
        foreign key (agent, day) references tasks.agent_days on delete cascade
    )
    """,
    """
    create table tasks.agent_activity (
        id bigint generated always as identity primary key,
        agent uuid not null references tasks.agents on delete cascade,
        type text not null,
        message text not null,
        data jsonb not null,
        run_id uuid,
        created_by uuid,
        created_at timestamptz not null
    )
    """,
    "create index agent_activity_of on tasks.agent_activity (agent, id desc)",
    "create index agent_activity_at on tasks.agent_activity (created_at)",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
