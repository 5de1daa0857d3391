"""What projects may have, and which packages are referred to."""

from alembic import op

from signalbox_common.quotas import add_quotas

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    add_quotas(op.execute, "catalog")
    op.execute(
        """
        create index resources_package on catalog.resources ((status -> 'package' ->> 'object'))
        where status -> 'package' is not null
        """
    )
