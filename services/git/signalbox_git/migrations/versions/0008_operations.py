"""Operations that are written down."""

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

STATEMENTS = (
    """
    create table git.operations (
        id uuid primary key,
        project_id uuid not null,
        repository_id uuid not null references git.repositories on delete cascade,
        type text not null,
        action jsonb not null,
        author jsonb not null,
        created_by uuid not null,
        created_at timestamptz not null,
        status text not null,
        source text,
        previous text,
        value text,
        commit text,
        made boolean not null,
        push_begun boolean not null,
        changed boolean,
        freed_bytes bigint,
        error jsonb,
        cancelling boolean not null,
        started_at timestamptz,
        ended_at timestamptz,
        version bigint not null,
        progress jsonb
    )
    """,
    "create index operations_of_project on git.operations (project_id, id desc)",
    "create index operations_of_repository on git.operations (repository_id, id desc)",
    "create index operations_ended on git.operations (ended_at) where ended_at is not null",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
