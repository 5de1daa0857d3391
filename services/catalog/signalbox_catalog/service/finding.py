"""What most use cases begin with: the kind, and the resource of that name."""

from sqlalchemy.ext.asyncio import AsyncConnection

from signalbox_catalog.domain import kinds
from signalbox_catalog.domain.kinds import Kind
from signalbox_catalog.domain.resources import Key, Place, Resource
from signalbox_catalog.errors import KindNotFound, ResourceNotFound
from signalbox_catalog.store import resources


def kind_called(plural: str) -> Kind:
    kind = kinds.by_plural(plural)
    if kind is None:
        raise KindNotFound(plural)
    return kind


def not_found(kind: Kind, name: str, place: Place) -> ResourceNotFound:
    return ResourceNotFound(f"{kind.singular} {name}", place.namespace)


async def living_one(connection: AsyncConnection, place: Place, plural: str, name: str) -> Resource:
    kind = kind_called(plural)
    found = await resources.get(connection, Key(place.project_id, kind.name, name))
    if found is None:
        raise not_found(kind, name, place)
    return found
