"""What has changed since a version, as somebody who watches is told."""

from collections.abc import Sequence

from signalbox_catalog.domain.labels import Requirement, matches, parse_selector
from signalbox_catalog.domain.resources import ChangeKind, Revision
from signalbox_catalog.errors import VersionExpired
from signalbox_catalog.service.access import own_place
from signalbox_catalog.service.finding import kind_called
from signalbox_catalog.service.replies import reply_of
from signalbox_catalog.store import revisions
from signalbox_catalog.store.revisions import ChangesSince
from signalbox_common.bus import Call
from signalbox_common.contracts import catalog as contract
from signalbox_common.contracts.base import MAX_BODY
from signalbox_common.contracts.catalog import ChangeType
from signalbox_common.db import Database

_DIGITS = 18


class Watching:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def changes(self, call: Call, query: contract.ListChanges) -> contract.ChangePage:
        place = own_place(call)
        kind = kind_called(query.plural)
        requirements = parse_selector(query.label_selector or "")
        if not (query.after.isascii() and query.after.isdecimal() and len(query.after) <= _DIGITS):
            raise VersionExpired
        after = int(query.after)
        async with self._database.reading() as connection:
            since = await revisions.since(connection, place, kind.name, after, query.limit)
        if after < since.floor or after > since.reached:
            raise VersionExpired
        return _page(since, requirements)


def _page(since: ChangesSince, requirements: Sequence[Requirement]) -> contract.ChangePage:
    """As many as an answer can hold."""
    items: list[contract.WatchedChange] = []
    size = 0
    found = since.found
    for number, revision in enumerate(found):
        kind = _type_of(revision, requirements)
        if kind is None:
            continue
        item = contract.WatchedChange(type=kind, object=reply_of(revision.resource))
        size += len(item.encode())
        if items and size > MAX_BODY:
            stopped = str(found[number - 1].resource.version)
            return contract.ChangePage(items=tuple(items), resource_version=stopped, complete=False)
        items.append(item)
    last = since.reached if since.complete else found[-1].resource.version
    return contract.ChangePage(items=tuple(items), resource_version=str(last), complete=since.complete)


def _type_of(revision: Revision, requirements: Sequence[Requirement]) -> ChangeType | None:
    """None for what does not concern who watches with that selector."""
    before = revision.labels_before is not None and matches(requirements, revision.labels_before)
    after = revision.change is not ChangeKind.DELETED and matches(requirements, revision.resource.labels)
    match before, after:
        case True, True:
            return ChangeType.MODIFIED
        case False, True:
            return ChangeType.ADDED
        case True, False:
            return ChangeType.DELETED
        case _:
            return None
