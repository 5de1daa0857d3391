"""Files that people give to tasks."""

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

STATEMENTS = (
    """
    create table tasks.attachments (
        id uuid primary key,
        project_id uuid not null,
        name text not null,
        media_type text not null,
        size bigint not null default 0,
        sha256 text,
        created_at timestamptz not null
    )
    """,
    "create index attachments_created on tasks.attachments (created_at)",
    """
    create table tasks.attachment_parts (
        attachment_id uuid not null references tasks.attachments on delete cascade,
        begin bigint not null,
        content bytea not null,
        primary key (attachment_id, begin)
    )
    """,
    "alter table tasks.attachment_parts alter column content set storage external",
    """
    create table tasks.attachment_uploads (
        id uuid primary key,
        attachment_id uuid not null references tasks.attachments on delete cascade
    )
    """,
    "create index attachment_uploads_of on tasks.attachment_uploads (attachment_id)",
    """
    create table tasks.attachment_space (
        project_id uuid primary key,
        bytes bigint not null check (bytes >= 0)
    )
    """,
    """
    create table tasks.task_attachments (
        task_id uuid not null references tasks.tasks on delete cascade,
        attachment_id uuid not null references tasks.attachments,
        primary key (task_id, attachment_id)
    )
    """,
    "create index task_attachments_of on tasks.task_attachments (attachment_id)",
    "alter table tasks.tasks add column attachments jsonb not null default '[]'",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
