"""What is known of runs, and what follows from it for their sandboxes."""

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

STATEMENTS = (
    """
    create table sandbox.runs (
        project_id uuid not null,
        run uuid not null,
        stopping boolean not null default false,
        ended boolean not null default false,
        keep_sandbox boolean not null default false,
        noted_at timestamptz not null,
        primary key (project_id, run)
    )
    """,
    "create index runs_by_age on sandbox.runs (noted_at)",
    """
    alter table sandbox.sandboxes
    add column keep_for integer not null default 0,
    add column stopping boolean not null default false,
    add column grace double precision not null default 0,
    add column stop_due boolean not null default false
    """,
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
