"""What sandboxes may reach, and their doors."""

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        """
        alter table sandbox.sandboxes
        drop column network,  -- so far it could be none, and nothing else
        add column network jsonb not null default '{}',
        add column network_due boolean not null default false,
        add column doors jsonb not null default '[]'
        """
    )
