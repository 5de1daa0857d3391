"""Repositories, checkouts of them, and what is known of runs."""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

STATEMENTS = (
    """
    create table git.repositories (
        id uuid primary key,
        project_id uuid not null,
        name text not null,
        url text not null,
        forge text not null,
        default_branch text,
        credential uuid,
        setup jsonb not null,
        created_by uuid not null,
        created_at timestamptz not null,
        updated_at timestamptz not null,
        status text not null,
        reason text,
        detail text,
        host_keys text,
        fetched_at timestamptz,
        size_bytes bigint,
        deleted_at timestamptz
    )
    """,
    """
    create unique index repositories_named on git.repositories (project_id, lower(name))
    where deleted_at is null
    """,
    "create unique index repositories_at on git.repositories (project_id, url) where deleted_at is null",
    "create index repositories_of_project on git.repositories (project_id, id desc) where deleted_at is null",
    """
    create table git.checkouts (
        id uuid primary key,
        project_id uuid not null,
        repository_id uuid not null references git.repositories,
        run uuid,
        wanted jsonb not null,
        created_by uuid not null,
        created_at timestamptz not null,
        state text not null,
        commit text,
        branch text,
        base text,
        error jsonb,
        folder text,
        held_since timestamptz not null,
        version bigint not null
    )
    """,
    "create index checkouts_of_run on git.checkouts (project_id, run, id desc) where run is not null",
    "create index checkouts_of_folder on git.checkouts (project_id, folder) where folder is not null",
    "create index checkouts_held on git.checkouts (held_since) where folder is not null",
    """
    create table git.checkout_sandboxes (
        sandbox uuid primary key,
        checkout_id uuid not null references git.checkouts on delete cascade,
        version bigint not null,
        ended boolean not null
    )
    """,
    "create index checkout_sandboxes_of on git.checkout_sandboxes (checkout_id)",
    """
    create table git.runs (
        project_id uuid not null,
        run uuid not null,
        stopping boolean not null default false,
        ended boolean not null default false,
        noted_at timestamptz not null,
        primary key (project_id, run)
    )
    """,
    "create index runs_noted on git.runs (noted_at)",
    "create table git.deleted_projects (project_id uuid primary key)",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
