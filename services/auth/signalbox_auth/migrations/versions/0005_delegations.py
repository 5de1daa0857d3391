"""The audit log names the service that acted for somebody."""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("alter table auth.audit add column act text")
