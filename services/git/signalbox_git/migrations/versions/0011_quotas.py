"""What projects may have, and how much of it other services keep."""

from alembic import op

from signalbox_common.quotas import add_quotas
from signalbox_common.storage import add_storage

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    add_quotas(op.execute, "git")
    add_storage(op.execute, "git")
