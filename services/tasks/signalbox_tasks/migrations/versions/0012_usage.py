"""What runs have come to and taken, and the quotas of projects."""

from alembic import op

from signalbox_common.quotas import add_quotas
from signalbox_common.storage import add_storage

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

STATEMENTS = (
    # No agent and no model are the nil UUID and no text: parts of a key are never null.
    """
    create table tasks.usage_days (
        project_id uuid not null,
        day date not null,
        agent uuid not null,
        model text not null,
        person uuid not null,
        runs bigint not null,
        succeeded bigint not null,
        failed bigint not null,
        cancelled bigint not null,
        timed_out bigint not null,
        run_ms bigint not null,
        sandbox_ms bigint not null,
        requests bigint not null,
        input_tokens bigint not null,
        output_tokens bigint not null,
        cost numeric not null,
        primary key (project_id, day, agent, model, person)
    ) with (fillfactor = 80)
    """,
    """
    create table tasks.usage_months (
        project_id uuid not null,
        month date not null,
        tokens numeric not null,
        cost numeric not null,
        primary key (project_id, month)
    ) with (fillfactor = 80)
    """,
    # Of the runs that are there, as they would have been counted.
    """
    insert into tasks.usage_days
    select runs.project_id, (runs.finished_at at time zone 'UTC')::date,
        coalesce(agent, '00000000-0000-0000-0000-000000000000'), '', runs.created_by,
        count(*),
        count(*) filter (where runs.state = 'succeeded'),
        count(*) filter (where runs.state = 'failed'),
        count(*) filter (where runs.state = 'cancelled'),
        count(*) filter (where runs.state = 'timed_out'),
        coalesce(sum(floor(greatest(0, extract(epoch from runs.finished_at - runs.started_at)) * 1000)), 0),
        coalesce(sum(floor(greatest(0, extract(epoch from runs.finished_at - steps.finished_at)) * 1000)), 0),
        0, 0, 0, 0
    from tasks.runs
    left join tasks.steps on steps.run_id = runs.id and steps.name = 'sandbox' and steps.state = 'succeeded'
    where runs.finished_at is not null
    group by 1, 2, 3, 4, 5
    """,
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
    add_quotas(op.execute, "tasks")
    add_storage(op.execute, "tasks")
