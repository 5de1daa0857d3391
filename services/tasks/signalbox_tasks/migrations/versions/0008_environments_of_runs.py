"""Runs by the variables that they want beyond their task."""

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        "create index runs_environment on tasks.runs ((wish -> 'exec' ->> 'environment')) "
        "where wish -> 'exec' ->> 'environment' is not null"
    )
