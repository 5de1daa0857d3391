"""What is known of runs, and what follows from it for their sandboxes; since when projects are deleted."""

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

STATEMENTS = (
    """
    create table sandbox.runs (
        project_id uuid not null,
        run uuid not null,
        stopping boolean not null default false,
        ended boolean not null default false,
        noted_at timestamptz not null,
        primary key (project_id, run)
    )
    """,
    "create index runs_by_age on sandbox.runs (noted_at)",
    """
    alter table sandbox.sandboxes
    add column stopping boolean not null default false,
    add column grace double precision not null default 0,
    add column stop_due boolean not null default false
    """,
    "alter table sandbox.deleted_projects add column deleted_at timestamptz not null default sandbox.clock()",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
