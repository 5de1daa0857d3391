"""What runs have come to and taken, counted when they end: by day, agent, model and person."""

import uuid
from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from itertools import combinations
from typing import Any

from sqlalchemy import RowMapping, TextClause, text
from sqlalchemy.ext.asyncio import AsyncConnection

from signalbox_common.contracts.tasks import RunState, UsageGroup
from signalbox_common.db import Transaction
from signalbox_tasks.domain import FINAL, Consumption, Run

NOBODY = uuid.UUID(int=0)
"""Stands for no agent."""
OUTCOMES = tuple(sorted(state.value for state in FINAL))
FIGURES = ("runs", *OUTCOMES, "run_ms", "sandbox_ms", "requests", "input_tokens", "output_tokens", "cost")
TYPES = {
    UsageGroup.DAY: "date",
    UsageGroup.AGENT: "uuid",
    UsageGroup.MODEL: "text",
    UsageGroup.PERSON: "uuid",
}
"""Each group is a column of its name; they are ordered as here."""
_MS = timedelta(milliseconds=1)

_COLUMNS = ("project_id", *TYPES, *FIGURES)
_COUNT = text(
    f"insert into tasks.usage_days ({', '.join(_COLUMNS)}) "  # noqa: S608 - names of ours
    f"values ({', '.join(f':{name}' for name in _COLUMNS)}) "
    "on conflict (project_id, day, agent, model, person) do update "
    f"set {', '.join(f'{name} = usage_days.{name} + excluded.{name}' for name in FIGURES)}"
)
_COUNT_MONTH = text(
    "insert into tasks.usage_months (project_id, month, tokens, cost) "
    "values (:project, :month, :tokens, :cost) on conflict (project_id, month) do update "
    "set tokens = usage_months.tokens + excluded.tokens, cost = usage_months.cost + excluded.cost"
)
_SANDBOX_SINCE = text(
    "select finished_at from tasks.steps where run_id = :run and name = 'sandbox' and state = 'succeeded'"
)
_OF_MONTH = text(
    "select tokens, cost from tasks.usage_months where project_id = :project "
    "and month = date_trunc('month', tasks.clock() at time zone 'UTC')::date"
)
_FORGET = tuple(
    text(
        f"delete from tasks.{table} where project_id in (select project_id from tasks.projects "  # noqa: S608 - names of ours
        "where deleted_at < tasks.clock() - :days * interval '1 day')"
    )
    for table in ("usage_days", "usage_months")
)


def _page_by(by: Sequence[UsageGroup]) -> TextClause:
    groups = ", ".join(by)
    after = ", ".join(f"cast(:after_{name} as {TYPES[name]})" for name in by)
    figures = ", ".join(f"coalesce(sum({name}), 0) as {name}" for name in FIGURES)
    return text(
        f"select {groups}{', ' if by else ''}{figures} from tasks.usage_days "  # noqa: S608 - names of ours
        "where project_id = :project and day between :since and :until "
        "and (cast(:person as uuid) is null or person = :person)"
        + (f" and (not :goes_on or ({groups}) > ({after})) group by {groups} order by {groups}" if by else "")
        + " limit :limit"
    )


_PAGES = {
    groups: _page_by(groups) for count in range(len(TYPES) + 1) for groups in combinations(TYPES, count)
}


async def count(transaction: Transaction, run: Run, now: datetime) -> None:
    """A run that has just ended, once: in the transaction that ends it."""
    usage = run.usage
    main = run.main_model or ""
    where = {
        "project_id": run.project_id,
        "day": now.date(),
        "agent": run.agent or NOBODY,
        "person": run.created_by,
    }
    begun = await _begun(transaction, run)
    rows = [
        where | {"model": model, **_figures(used)} | (_outcome(run, now, begun) if model == main else {})
        for model, used in sorted(({main: Consumption()} | usage).items())
    ]
    await transaction.connection.execute(_COUNT, rows)
    if (used := run.used).tokens or used.cost:
        month = {"project": run.project_id, "month": now.date().replace(day=1)}
        await transaction.connection.execute(_COUNT_MONTH, month | {"tokens": used.tokens, "cost": used.cost})


async def _begun(transaction: Transaction, run: Run) -> datetime | None:
    """When its sandbox was there, if it had one."""
    if "sandbox" not in run.facts:
        return None
    found: datetime | None = (await transaction.connection.execute(_SANDBOX_SINCE, {"run": run.id})).scalar()
    return found


def _figures(used: Consumption) -> dict[str, Any]:
    return dict.fromkeys(FIGURES, 0) | vars(used)


def _outcome(run: Run, now: datetime, sandbox: datetime | None) -> dict[str, int]:
    outcomes = {name: int(run.state is RunState(name)) for name in OUTCOMES}
    return {
        "runs": 1,
        **outcomes,
        "run_ms": _lasted(run.started_at, now),
        "sandbox_ms": _lasted(sandbox, now),
    }


def _lasted(since: datetime | None, until: datetime) -> int:
    """A clock that was put back makes nothing negative."""
    return max(0, (until - since) // _MS) if since is not None else 0


async def of_month(connection: AsyncConnection, project: uuid.UUID) -> tuple[int, Decimal]:
    """Tokens and cost of this month, of runs that have ended."""
    row = (await connection.execute(_OF_MONTH, {"project": project})).first()
    return (int(row.tokens), row.cost) if row is not None else (0, Decimal(0))


async def page(
    connection: AsyncConnection,
    project: uuid.UUID,
    *,
    by: Sequence[UsageGroup],
    since: date,
    until: date,
    person: uuid.UUID | None,
    after: Mapping[UsageGroup, Any] | None,
    limit: int,
) -> Sequence[RowMapping]:
    """In the order of the groups; `person` for those of one alone."""
    values: dict[str, Any] = {"project": project, "since": since, "until": until, "person": person}
    values["limit"] = limit
    if by:
        values["goes_on"] = after is not None
        values |= {f"after_{name}": (after or {}).get(name) for name in by}
    return (await connection.execute(_PAGES[tuple(by)], values)).mappings().all()


async def forget(transaction: Transaction, days: int) -> None:
    """Of projects that were deleted so long ago; of others it stays."""
    for statement in _FORGET:
        await transaction.connection.execute(statement, {"days": days})
