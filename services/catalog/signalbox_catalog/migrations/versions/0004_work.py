"""Operations that end later, and the work that ends them."""

from alembic import op

from signalbox_common.migrate import add_deferred_operations
from signalbox_common.work.schema import add_work

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    add_deferred_operations(op.execute, "catalog")
    add_work(op.execute, "catalog")
