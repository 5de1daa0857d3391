"""Checkouts that could not be prepared: sandboxes that were to begin with one do not wait for it."""

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

STATEMENTS = (
    """
    create table sandbox.failed_checkouts (
        checkout uuid primary key,
        noted_at timestamptz not null
    )
    """,
    "create index failed_checkouts_noted on sandbox.failed_checkouts (noted_at)",
    """
    create index sandboxes_of_checkout on sandbox.sandboxes ((workspace->>'checkout'))
    where status in ('creating', 'running', 'paused') and workspace is not null
    """,
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
