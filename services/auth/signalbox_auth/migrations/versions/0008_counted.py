"""What is counted of each person and each project."""

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("create index projects_created_by on auth.projects (created_by)")
    op.execute("create index users_home on auth.users (home_project) where home_project is not null")
