"""Resources, what they refer to, their labels and what they were before."""

from alembic import op

from signalbox_common.secrets.local import create_secret_tables

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

STATEMENTS = (
    # One row per project: its lock puts the changes of a project in order, its counter numbers them.
    """
    create table catalog.namespaces (
        project_id uuid primary key,
        slug text not null,
        version bigint not null default 0,
        floor bigint not null default 0,
        gone boolean not null default false
    )
    """,
    """
    create table catalog.resources (
        uid uuid primary key,
        project_id uuid not null references catalog.namespaces (project_id),
        kind text not null,
        name text collate "C" not null,
        display_name text,
        labels jsonb not null,
        annotations jsonb not null,
        spec jsonb not null,
        secrets jsonb not null,
        status jsonb not null,
        size integer not null,
        generation bigint not null,
        version bigint not null,
        created_by uuid not null,
        created_at timestamptz not null,
        updated_at timestamptz not null,
        deleted_at timestamptz
    )
    """,
    """
    create unique index resources_living on catalog.resources (project_id, kind, name)
    where deleted_at is null
    """,
    """
    create index resources_deleted on catalog.resources (project_id, kind, deleted_at, uid)
    where deleted_at is not null
    """,
    "create index resources_to_purge on catalog.resources (deleted_at) where deleted_at is not null",
    # Living resources only; in the order of names, so that a page of a label is a range of the index.
    """
    create table catalog.labels (
        project_id uuid not null,
        kind text not null,
        key text collate "C" not null,
        value text collate "C" not null,
        name text collate "C" not null,
        uid uuid not null references catalog.resources (uid) on delete cascade,
        primary key (project_id, kind, key, value, name)
    )
    """,
    "create index labels_uid on catalog.labels (uid)",
    # Of living resources; what is referred to lives as well, if it is of the same project.
    """
    create table catalog.refs (
        from_uid uuid not null references catalog.resources (uid) on delete cascade,
        field text collate "C" not null,
        to_uid uuid not null references catalog.resources (uid),
        primary key (from_uid, field)
    )
    """,
    "create index refs_to on catalog.refs (to_uid)",
    """
    create table catalog.revisions (
        project_id uuid not null references catalog.namespaces (project_id),
        version bigint not null,
        uid uuid not null,
        kind text not null,
        change text not null,
        generation bigint not null,
        labels_before jsonb,
        resource jsonb not null,
        size integer not null,
        changed_by uuid not null,
        changed_at timestamptz not null,
        primary key (project_id, version)
    )
    """,
    "create index revisions_of_kind on catalog.revisions (project_id, kind, version)",
    "create index revisions_of_one on catalog.revisions (uid, generation, version)",
    "create index revisions_age on catalog.revisions (changed_at)",
)


def upgrade() -> None:
    create_secret_tables(op.execute, "catalog")
    for statement in STATEMENTS:
        op.execute(statement)
