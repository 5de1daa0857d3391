"""The messaging tables; the schema has nothing else yet."""

from alembic import op

from signalbox_common.migrate import create_messaging_tables

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    create_messaging_tables(op.execute, "catalog")
