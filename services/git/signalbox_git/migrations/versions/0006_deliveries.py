"""Change sets that were stored, and what becomes of them."""

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

STATEMENTS = (
    "alter table git.repositories add column protected jsonb, add column head text",
    """
    create table git.changes (
        project_id uuid not null,
        sha256 text not null,
        size bigint not null,
        stored_at timestamptz not null,
        primary key (project_id, sha256)
    )
    """,
    "create index changes_stored on git.changes (stored_at)",
    """
    create table git.change_deliveries (
        id uuid primary key,
        project_id uuid not null,
        repository_id uuid not null references git.repositories,
        run uuid,
        ordinal integer not null,
        wanted jsonb not null,
        changes text not null,
        base text not null,
        created_by uuid not null,
        created_at timestamptz not null,
        state text not null,
        commit text,
        branch text,
        expected text,
        push_begun boolean not null,
        rebased boolean not null,
        findings jsonb not null,
        error jsonb,
        version bigint not null,
        foreign key (project_id, changes) references git.changes
    )
    """,
    "create index deliveries_of_project on git.change_deliveries (project_id, id desc)",
    """
    create index deliveries_of_run on git.change_deliveries (project_id, run, ordinal, id desc)
    where run is not null
    """,
    "create index deliveries_of_changes on git.change_deliveries (project_id, changes)",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
