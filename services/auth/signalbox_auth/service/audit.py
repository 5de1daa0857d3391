"""The audit log: written from what every service tells, read by owners and administrators."""

import hmac
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Row

from signalbox_auth.domain.audit import ADDED_FIELDS, BEGINNING, FIELDS, Chain
from signalbox_auth.service.anchor import Anchor
from signalbox_auth.store import audit as rows
from signalbox_common.bus import Call, FactCall
from signalbox_common.bus.durable import PermanentFailure
from signalbox_common.contracts import auth as contract
from signalbox_common.contracts.events import AuditRecorded
from signalbox_common.db import Database
from signalbox_common.paging import cut, number_cursor, read_number_cursor


class Audit:
    def __init__(self, database: Database, chain: Chain, anchor: Anchor) -> None:
        self._database = database
        self._chain = chain
        self._anchor = anchor

    async def record(self, facts: Sequence[tuple[FactCall, AuditRecorded]]) -> None:
        """Inside the transaction that remembers them: each is written once, in one order for all services."""
        for call, event in facts:
            if not event.action.startswith(f"{call.subject.split('.')[2]}."):
                # Each service tells of itself alone.
                raise PermanentFailure("malformed", f"{call.subject} tells of {event.action}")
        transaction = facts[0][0].transaction
        sequence, before = await rows.lock_head(transaction)
        lines = []
        for call, event in facts:
            sequence += 1
            line = event.model_dump() | {"sequence": sequence, "id": call.context.id}
            before = self._chain.seal(before, line)
            lines.append(line | {"hash": before})
        await rows.add(transaction, lines)

    async def page(self, _call: Call, query: contract.ListAudit) -> contract.AuditPage:
        return await self._page(query, query.project)

    async def project_page(self, call: Call, query: contract.ListProjectAudit) -> contract.AuditPage:
        return await self._page(query, call.principal.project())

    async def _page(self, query: contract.AuditFilter, project: Any) -> contract.AuditPage:
        async with self._database.reading() as connection:
            found = await rows.page(
                connection,
                limit=query.limit + 1,
                before=read_number_cursor(query.cursor),
                project=project,
                actor=query.actor,
                action=query.action,
                outcome=query.outcome,
                resource=query.resource,
                since=query.since,
                until=query.until,
            )
        items, cursor = cut(
            [_entry(row) for row in found], query.limit, lambda entry: number_cursor(entry.sequence)
        )
        return contract.AuditPage(items=items, next_cursor=cursor)

    async def check(self, _call: Call, query: contract.CheckAudit) -> contract.AuditReport:
        """Follows the chain for a while; asked again after where it got to."""
        async with self._database.reading() as connection:
            head, head_hash = await rows.head(connection)
            found = await rows.after(connection, query.after, query.limit)
            before = BEGINNING if not query.after else await rows.hash_of(connection, query.after)
            noted, noted_hash = await self._anchor.noted()
            there = await rows.hash_of(connection, noted)
        if before is None:
            return _broken(query.after, 0, query.after, "the line is missing")
        broken = self._walk(found, query.after, before)
        if broken is not None:
            return broken
        last = found[-1].sequence if found else query.after
        last_hash = bytes(found[-1].hash) if found else before
        done = len(found) < query.limit
        # Lines may have been added since the ends were read; none may be missing before them.
        wrong = {
            "lines are missing at the end": done and last < max(head, noted),
            "the end of the chain is not what was noted of it": last == head and last_hash != head_hash,
            "the chain is not the one that was noted": done and noted > 0 and there != noted_hash,
        }
        for reason, holds in wrong.items():
            if holds:
                return _broken(last + 1 if last < max(head, noted) else last, len(found), last, reason)
        ignored = self._anchor.ignored()
        warnings = (f"notes of the end: {ignored}",) if done and ignored is not None else ()
        return contract.AuditReport(checked=len(found), last=last, done=done, warnings=warnings)

    def _walk(self, found: Sequence[Row[Any]], after: int, before: bytes) -> contract.AuditReport | None:
        """The first line that does not follow from the one before."""
        expected = after + 1
        for row in found:
            checked = expected - after - 1
            if row.sequence != expected:
                return _broken(expected, checked, after, "the line is missing")
            sealed = self._chain.seal(before, {name: getattr(row, name) for name in (*FIELDS, *ADDED_FIELDS)})
            if not hmac.compare_digest(sealed, bytes(row.hash)):
                return _broken(expected, checked, after, "the line, or one before it, was changed")
            before = sealed
            expected += 1
        return None


def _broken(at: int, checked: int, last: int, reason: str) -> contract.AuditReport:
    return contract.AuditReport(checked=checked, last=last, done=True, broken_at=at, reason=reason)


def _entry(row: Row[Any]) -> contract.AuditEntry:
    values = {name: getattr(row, name) for name in (*FIELDS, *ADDED_FIELDS)}
    return contract.AuditEntry(**values, hash=bytes(row.hash).hex())
