"""What sandboxes may reach, and their doors."""

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        """
        alter table sandbox.sandboxes
        add column network jsonb not null default '{}',
        add column network_due boolean not null default false,
        add column doors jsonb not null default '[]'
        """
    )
