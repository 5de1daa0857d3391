"""Usage: what was counted, as far as whoever asks may see it."""

import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any

from sqlalchemy import RowMapping

from signalbox_common.bus import Call
from signalbox_common.contracts import tasks as contract
from signalbox_common.contracts.base import FieldError
from signalbox_common.contracts.roles import ProjectRole
from signalbox_common.contracts.tasks import UsageGroup, UsageRow
from signalbox_common.db import Database
from signalbox_common.errors import Invalid
from signalbox_common.paging import BadCursor, cut, read_words_cursor, words_cursor
from signalbox_tasks.store import usage
from signalbox_tasks.store.usage import NOBODY

_SHOWN_DAYS = 30
_READERS: Mapping[UsageGroup, Callable[[str], Any]] = {
    UsageGroup.DAY: date.fromisoformat,
    UsageGroup.AGENT: uuid.UUID,
    UsageGroup.MODEL: str,
    UsageGroup.PERSON: uuid.UUID,
}


class Usage:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def page(self, call: Call, query: contract.GetUsage) -> contract.UsagePage:
        who = call.principal
        until = query.until or datetime.now(UTC).date()
        since = query.since or _before(until)
        if not 0 <= (until - since).days < contract.LONGEST_USAGE:
            raise _bad_range()
        by = tuple(group for group in UsageGroup if group in query.by)
        role = who.project_role
        sees_all = role is not None and role.includes(ProjectRole.MAINTAINER)
        only = who.user_id if UsageGroup.PERSON in by and not sees_all else None
        async with self._database.reading() as connection:
            found = await usage.page(
                connection,
                who.project(),
                by=by,
                since=since,
                until=until,
                person=only,
                after=_read(query.cursor, by),
                limit=query.limit + 1,
            )
        items, cursor = cut([_row(row) for row in found], query.limit, lambda each: _after(each, by))
        return contract.UsagePage(
            since=since,
            until=until,
            by=by,
            persons="all" if sees_all else "own",
            items=items,
            next_cursor=cursor,
        )


def _before(until: date) -> date:
    try:
        return until - timedelta(days=_SHOWN_DAYS - 1)
    except OverflowError as error:
        raise _bad_range() from error


def _bad_range() -> Invalid:
    said = f"A range has up to {contract.LONGEST_USAGE} days, and begins before it ends."
    return Invalid(
        said, errors=[FieldError(field="from", message="is too early or too late", code="bad_range")]
    )


def _row(values: RowMapping) -> UsageRow:
    agent = values.get("agent")
    return UsageRow(
        day=values.get("day"),
        agent_id=agent if agent != NOBODY else None,
        model=values.get("model") or None,
        user_id=values.get("person"),
        runs=values["runs"],
        succeeded=values["succeeded"],
        failed=values["failed"],
        cancelled=values["cancelled"],
        timed_out=values["timed_out"],
        run_seconds=float(values["run_ms"]) / 1000,
        sandbox_seconds=float(values["sandbox_ms"]) / 1000,
        requests=values["requests"],
        input_tokens=values["input_tokens"],
        output_tokens=values["output_tokens"],
        cost=float(values["cost"]),
    )


def _after(last: UsageRow, by: tuple[UsageGroup, ...]) -> str:
    words = {
        UsageGroup.DAY: str(last.day),
        UsageGroup.AGENT: (last.agent_id or NOBODY).hex,
        UsageGroup.MODEL: last.model or "",
        UsageGroup.PERSON: (last.user_id or NOBODY).hex,
    }
    return words_cursor(*(words[group] for group in by))


def _read(cursor: str | None, by: tuple[UsageGroup, ...]) -> Mapping[UsageGroup, Any] | None:
    words = read_words_cursor(cursor, len(by))
    if words is None:
        return None
    try:
        return {group: _READERS[group](word) for group, word in zip(by, words, strict=True)}
    except ValueError as error:
        raise BadCursor from error
