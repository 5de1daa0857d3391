"""When a project was deleted: what it had here goes some time after that."""

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """What is there already counts from now on."""
    op.execute("alter table git.deleted_projects add column deleted_at timestamptz not null default now()")
