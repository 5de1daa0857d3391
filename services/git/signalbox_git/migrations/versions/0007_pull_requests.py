"""Pull requests, and what a whole host is reached with."""

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

STATEMENTS = (
    "alter table git.repositories add column api_url text",
    "alter table git.change_deliveries add column pull_request jsonb, add column note text",
    """
    create table git.pull_requests (
        id uuid primary key,
        project_id uuid not null,
        repository_id uuid not null references git.repositories,
        number bigint not null,
        url text not null,
        state text not null,
        head text not null,
        base text not null,
        title text not null,
        commit text not null,
        run uuid,
        task uuid,
        created_by uuid not null,
        created_at timestamptz not null,
        seen_at timestamptz not null,
        version bigint not null
    )
    """,
    "create unique index pull_requests_numbered on git.pull_requests (repository_id, number)",
    "create index pull_requests_of_project on git.pull_requests (project_id, id desc)",
    "create index pull_requests_of_repository on git.pull_requests (project_id, repository_id, id desc)",
    """
    create table git.host_credentials (
        id uuid primary key,
        project_id uuid not null,
        host text not null,
        forge text not null,
        api_url text,
        username text,
        credential uuid not null,
        created_by uuid,
        created_at timestamptz not null,
        unique (project_id, host)
    )
    """,
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
