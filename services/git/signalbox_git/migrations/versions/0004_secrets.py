"""The secret store."""

from alembic import op

from signalbox_common.secrets.local import create_secret_tables

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    create_secret_tables(op.execute, "git")
