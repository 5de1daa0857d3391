"""Templates, and the sandboxes that they are built in."""

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

STATEMENTS = (
    """
    create table sandbox.templates (
        id uuid primary key,
        project_id uuid not null,
        name text not null,
        digest text,
        env jsonb not null,
        size_bytes bigint not null,
        created_by uuid not null,
        created_at timestamptz not null,
        removed_at timestamptz
    )
    """,
    """
    create unique index templates_of_project on sandbox.templates (project_id, name)
    where removed_at is null
    """,
    """
    alter table sandbox.sandboxes
    add column layer uuid,
    add column builds boolean not null default false,
    add column keeps jsonb
    """,
    "create index sandboxes_of_layer on sandbox.sandboxes (layer) where layer is not null",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
