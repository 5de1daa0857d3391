"""Commits that are kept as they come, policies of repositories, and signatures."""

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

STATEMENTS = (
    "alter table git.repositories add column policy jsonb, add column signing_key uuid",
    "alter table git.repositories add column signed_by text",
    "alter table git.changes add column bundled boolean not null default false",
    "alter table git.change_deliveries add column bundled boolean not null default false",
    """
    create table git.signed_commits (
        delivery_id uuid not null references git.change_deliveries on delete cascade,
        unsigned text not null,
        content bytea not null,
        primary key (delivery_id, unsigned)
    )
    """,
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
