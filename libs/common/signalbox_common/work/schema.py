"""The table of work, and the function that claims from it."""

from collections.abc import Callable

WORK_V1 = (
    """
    create table {schema}.work (
        id bigint generated always as identity primary key,
        kind text not null,
        key text not null,
        project uuid not null,
        state text not null default 'waiting' check (state in ('waiting', 'running', 'failed')),
        due_at timestamptz not null,
        attempts integer not null default 0,
        epoch bigint not null default 0,
        lease_owner text,
        lease_until timestamptz,
        target text,
        command_id uuid,
        actor uuid,
        operation text,
        payload jsonb not null,
        error text,
        created_at timestamptz not null,
        unique (kind, key)
    ) with (fillfactor = 80)
    """,
    "create index work_waiting on {schema}.work (kind, project, due_at, id) where state = 'waiting'",
    "create index work_due on {schema}.work (due_at) where state = 'waiting'",
    "create index work_running on {schema}.work (kind, project) where state = 'running'",
    "create table {schema}.work_gate (only_one boolean primary key default true check (only_one))",
    "insert into {schema}.work_gate default values",
    # One claim at a time, each statement of it on what the one before has committed, so that limits hold.
    # Projects take turns: what is claimed next is of the project that has the least running. A lease that
    # ends later than any can was taken before the clock was put back.
    """
    create function {schema}.claim_work(
        kinds text[], most integer[], most_in_project integer[],
        batch integer, node text, worker text, lease interval
    ) returns setof {schema}.work language plpgsql as $claim$
    declare
        moment timestamptz;
        latest timestamptz;
    begin
        perform from {schema}.work_gate for update;
        moment := {schema}.clock();
        latest := moment + greatest(10 * lease, interval '5 minutes');
        return query
        with recursive wanted as (
            select * from unnest(kinds, most, most_in_project) as wanted (kind, room, room_in_project)
        ),
        busy as (
            select work.kind, work.project, count(*) as jobs
            from {schema}.work
            where state = 'running' and lease_until between moment and latest
            group by work.kind, work.project
        ),
        queues as (
            (
                select work.kind, work.project from {schema}.work
                where state = 'waiting'
                order by work.kind, work.project
                limit 1
            )
            union all
            select following.kind, following.project
            from queues
            cross join lateral (
                select work.kind, work.project from {schema}.work
                where state = 'waiting' and (work.kind, work.project) > (queues.kind, queues.project)
                order by work.kind, work.project
                limit 1
            ) following
        ),
        abandoned as (
            select work.id, work.kind, work.project, work.due_at from {schema}.work
            join wanted on wanted.kind = work.kind
            where state = 'running' and not lease_until between moment and latest
                and (target is null or target = node)
            order by lease_until
            limit batch
            for update of work skip locked
        ),
        waiting as (
            select due.* from queues
            join wanted on wanted.kind = queues.kind
            left join busy on busy.kind = queues.kind and busy.project = queues.project
            cross join lateral (
                select work.id, work.kind, work.project, work.due_at from {schema}.work
                where state = 'waiting' and work.kind = queues.kind and work.project = queues.project
                    and work.due_at <= moment and (target is null or target = node)
                order by work.due_at, work.id
                limit least(batch, greatest(0, room_in_project - coalesce(jobs, 0)))
                for update skip locked
            ) due
        ),
        candidates as (
            select each.*, coalesce(jobs, 0) + row_number() over (
                partition by each.kind, each.project order by each.due_at, each.id
            ) as turn
            from (select * from abandoned union all select * from waiting) each
            left join busy on busy.kind = each.kind and busy.project = each.project
        ),
        ranked as (
            select candidates.*, row_number() over (
                partition by candidates.kind order by turn, candidates.due_at, candidates.id
            ) as place
            from candidates
            join wanted on wanted.kind = candidates.kind
            where turn <= room_in_project
        ),
        chosen as (
            select ranked.id from ranked
            join wanted on wanted.kind = ranked.kind
            where place <= room - (select coalesce(sum(jobs), 0) from busy where busy.kind = ranked.kind)
            order by turn, ranked.due_at, ranked.id
            limit batch
        )
        update {schema}.work
        set state = 'running', attempts = work.attempts + 1, epoch = work.epoch + 1,
            lease_owner = worker, lease_until = moment + lease
        from chosen
        where work.id = chosen.id
        returning work.*;
    end
    $claim$
    """,
)


def add_work(execute: Callable[[str], None], schema: str) -> None:
    for statement in WORK_V1:
        execute(statement.format(schema=schema))
