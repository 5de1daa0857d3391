"""What there is, and what it was before."""

from uuid import UUID

from pydantic import TypeAdapter
from sqlalchemy import Select

from signalbox_catalog.domain import kinds
from signalbox_catalog.domain.diffs import diff
from signalbox_catalog.domain.jsons import Json
from signalbox_catalog.domain.labels import parse_selector
from signalbox_catalog.domain.resources import Place, Revision, other_keys
from signalbox_catalog.domain.schemas import schema_of
from signalbox_catalog.errors import GenerationNotFound
from signalbox_catalog.service.access import own_place
from signalbox_catalog.service.finding import kind_called, living_one
from signalbox_catalog.service.replies import change_of, reply_of
from signalbox_catalog.store import resources, revisions
from signalbox_common.bus import Call
from signalbox_common.contracts import catalog as contract
from signalbox_common.contracts.base import Moment
from signalbox_common.db import Database
from signalbox_common.paging import (
    BadCursor,
    cut,
    number_cursor,
    read_number_cursor,
    read_words_cursor,
    words_cursor,
)
from signalbox_manifests import API_VERSION


class Reading:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, call: Call, query: contract.GetResource) -> contract.Resource:
        async with self._database.reading() as connection:
            return reply_of(await living_one(connection, own_place(call), query.plural, query.name))

    async def page(self, call: Call, query: contract.ListResources) -> contract.ResourcePage:
        place = own_place(call)
        statement = (_deleted if query.deleted else _living)(place, query)
        async with self._database.reading() as connection:
            found = await resources.page(connection, place, statement)
        where = _deleted_cursor if query.deleted else _living_cursor
        items, cursor = cut([reply_of(each) for each in found.resources], query.limit, where)
        if cursor is None and found.cut:
            cursor = where(items[-1])
        return contract.ResourcePage(items=items, next_cursor=cursor, resource_version=str(found.version))

    async def kinds(self, _call: Call, _query: contract.ListKinds) -> contract.KindList:
        entries = [
            contract.KindEntry(
                kind=kind.name,
                plural=kind.plural,
                singular=kind.singular,
                short_names=kind.short_names,
                api_version=API_VERSION,
                description=kind.description,
                refers_to=tuple(sorted(kind.refers_to)),
            )
            for kind in kinds.all_kinds()
        ]
        return contract.KindList(items=tuple(entries))

    async def schema(self, _call: Call, query: contract.GetSchema) -> contract.KindSchema:
        return contract.KindSchema(json_schema=schema_of(kind_called(query.plural)))

    # -- what it was before --------------------------------------------------------------------------

    async def generations(self, call: Call, query: contract.ListGenerations) -> contract.GenerationPage:
        place = own_place(call)
        below = read_number_cursor(query.cursor)
        async with self._database.reading() as connection:
            current = await living_one(connection, place, query.plural, query.name)
            found = await revisions.generations(
                connection, place, current.uid, limit=query.limit + 1, below=below
            )
        entries = [_entry(revision) for revision in found]
        items, cursor = cut(entries, query.limit, lambda entry: number_cursor(entry.generation))
        return contract.GenerationPage(items=items, next_cursor=cursor)

    async def generation(self, call: Call, query: contract.GetGeneration) -> contract.GenerationDetail:
        place = own_place(call)
        against = query.against or (query.generation - 1 or None)
        async with self._database.reading() as connection:
            current = await living_one(connection, place, query.plural, query.name)
            found = await revisions.generation(connection, place, current.uid, query.generation)
            before = await revisions.generation(connection, place, current.uid, against) if against else None
        if found is None or (before is None and query.against is not None):
            raise GenerationNotFound
        old: Json = {"spec": dict(before.resource.spec)} if before is not None else {}
        new: Json = {"spec": dict(found.resource.spec)}
        changes = list(diff(old, new))
        if before is not None:
            changes += other_keys(before.resource, found.resource)
        return contract.GenerationDetail(
            resource=reply_of(found.resource),
            changed_by=found.by,
            changed_at=found.at,
            against=against if before is not None else None,
            diff=tuple(change_of(change) for change in changes),
        )


_MOMENT = TypeAdapter(Moment)


def _living(place: Place, query: contract.ListResources) -> Select[tuple[object, ...]]:
    after = read_words_cursor(query.cursor, 1)
    return resources.page_statement(
        place.project_id,
        kind_called(query.plural).name,
        limit=query.limit + 1,
        after=after[0] if after else None,
        search=query.q,
        requirements=parse_selector(query.label_selector or ""),
    )


def _living_cursor(last: contract.Resource) -> str:
    return words_cursor(last.metadata.name)


def _deleted(place: Place, query: contract.ListResources) -> Select[tuple[object, ...]]:
    before = read_words_cursor(query.cursor, 2)
    try:
        moment = (_MOMENT.validate_python(before[0]), UUID(before[1])) if before else None
    except ValueError as error:
        raise BadCursor from error
    kind = kind_called(query.plural).name
    return resources.deleted_statement(
        place.project_id,
        kind,
        limit=query.limit + 1,
        before=moment,
        search=query.q,
        requirements=parse_selector(query.label_selector or ""),
    )


def _deleted_cursor(last: contract.Resource) -> str:
    deleted_at = last.metadata.deleted_at
    return words_cursor(deleted_at.isoformat() if deleted_at else "", str(last.metadata.uid))


def _entry(revision: Revision) -> contract.Generation:
    return contract.Generation(
        generation=revision.resource.generation,
        resource_version=str(revision.resource.version),
        changed_by=revision.by,
        changed_at=revision.at,
    )
