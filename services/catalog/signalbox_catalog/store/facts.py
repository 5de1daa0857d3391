"""What this service tells the others, in the transaction that made it true."""

from collections.abc import Sequence

from signalbox_catalog.domain.resources import ChangeKind, Resource, Revision
from signalbox_catalog.store.tables import SCHEMA
from signalbox_common import outbox
from signalbox_common.contracts.catalog import (
    ResourceCreated,
    ResourceDeleted,
    ResourceEvent,
    ResourcePurged,
    ResourceRestored,
    ResourceUpdated,
)
from signalbox_common.db import Transaction

_EVENTS: dict[ChangeKind, type[ResourceEvent]] = {
    ChangeKind.CREATED: ResourceCreated,
    ChangeKind.UPDATED: ResourceUpdated,
    ChangeKind.DELETED: ResourceDeleted,
    ChangeKind.RESTORED: ResourceRestored,
}


def record(transaction: Transaction, revisions: Sequence[Revision]) -> None:
    _tell(transaction, [(_EVENTS[each.change], each.resource) for each in revisions])


def purged(transaction: Transaction, resources: Sequence[Resource]) -> None:
    _tell(transaction, [(ResourcePurged, resource) for resource in resources])


def _tell(transaction: Transaction, happened: Sequence[tuple[type[ResourceEvent], Resource]]) -> None:
    for event, resource in happened:
        fact = event(
            kind=resource.kind,
            namespace=resource.place.namespace,
            name=resource.name,
            uid=resource.uid,
            generation=resource.generation,
            resource_version=str(resource.version),
        )
        outbox.emit(transaction, SCHEMA, fact, project=resource.place.project_id)
