"""What projects may have and use, where that was said for them."""

from alembic import op

from signalbox_common.quotas import add_quotas

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    add_quotas(op.execute, "auth")
