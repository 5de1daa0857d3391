"""Since when a sandbox is what it is, whatever that is; its deadline is one only while it runs."""

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

STATEMENTS = (
    "alter table sandbox.sandboxes add column since timestamptz",
    """
    update sandbox.sandboxes
    set since = coalesce(ended_at, case when status = 'paused' then deadline end, sandbox.clock()),
        deadline = case when status = 'running' then deadline end
    """,
    "alter table sandbox.sandboxes alter column since set not null, drop column ended_at",
    """
    create index sandboxes_at_rest on sandbox.sandboxes (status, since)
    where status in ('paused', 'destroyed', 'failed', 'lost')
    """,
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
