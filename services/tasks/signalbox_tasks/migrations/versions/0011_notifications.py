"""Notifications, and what is sent for them."""

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

STATEMENTS = (
    """
    create table tasks.notifications (
        id uuid primary key,
        project_id uuid not null,
        name text not null,
        url text not null,
        states text[] not null,
        paused boolean not null,
        reason text,
        secret uuid not null,
        old_secret uuid,
        rotated_at timestamptz,
        failures integer not null,
        rest_until timestamptz,
        delivered_at timestamptz,
        created_by uuid not null,
        created_at timestamptz not null,
        updated_at timestamptz not null,
        version bigint not null
    ) with (fillfactor = 70)
    """,
    "create unique index notifications_name on tasks.notifications (project_id, lower(name))",
    "create index notifications_of_project on tasks.notifications (project_id, id desc)",
    """
    create table tasks.notices (
        id uuid primary key,
        sequence bigint generated always as identity,
        notification_id uuid not null references tasks.notifications on delete cascade,
        project_id uuid not null,
        type text not null,
        task_id uuid,
        run_id uuid,
        version bigint,
        data jsonb not null,
        status text not null check (status in ('pending', 'delivered', 'dead')),
        attempts integer not null,
        tries integer not null,
        next_at timestamptz,
        http_status integer,
        duration_ms integer,
        reason text,
        excerpt text,
        created_at timestamptz not null,
        attempted_at timestamptz
    ) with (fillfactor = 80)
    """,
    "create index notices_of on tasks.notices (notification_id, sequence desc)",
    "create index notices_in on tasks.notices (notification_id, status, sequence desc)",
    "create unique index notices_once on tasks.notices (notification_id, run_id, version)",
    "create index notices_due on tasks.notices (notification_id, next_at) where status = 'pending'",
    "create index notices_pending on tasks.notices (project_id) where status = 'pending'",
    "create index notices_at on tasks.notices (created_at)",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
