"""Since when projects are deleted: what they have kept goes after a while."""

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        "alter table sandbox.deleted_projects "
        "add column deleted_at timestamptz not null default sandbox.clock()"
    )
