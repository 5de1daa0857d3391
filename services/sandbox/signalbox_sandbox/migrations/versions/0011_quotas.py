"""What projects may have, and an index of what they have."""

from alembic import op

from signalbox_common.quotas import add_quotas
from signalbox_common.storage import add_storage

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    add_quotas(op.execute, "sandbox")
    add_storage(op.execute, "sandbox")
    op.execute(
        "create index sandboxes_living on sandbox.sandboxes (project_id) "
        "where status in ('creating', 'running', 'paused')"
    )
