"""The relay of the outbox leads by a lease in a row."""

from alembic import op

from signalbox_common.migrate import add_relay_lease

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    add_relay_lease(op.execute, "auth")
