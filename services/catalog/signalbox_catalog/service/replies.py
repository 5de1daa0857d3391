"""Resources in the words of the contracts."""

from signalbox_catalog.domain.diffs import Change
from signalbox_catalog.domain.resources import Resource
from signalbox_common.contracts import catalog as contract
from signalbox_manifests import API_VERSION


def reply_of(resource: Resource) -> contract.Resource:
    return contract.Resource(
        api_version=API_VERSION,
        kind=resource.kind,
        metadata=metadata_of(resource),
        spec=dict(resource.spec),
        status=dict(resource.status),
    )


def metadata_of(resource: Resource) -> contract.Metadata:
    return contract.Metadata(
        name=resource.name,
        namespace=resource.place.namespace,
        uid=resource.uid,
        display_name=resource.display_name,
        labels=dict(resource.labels),
        annotations=dict(resource.annotations),
        created_by=resource.created_by,
        created_at=resource.created_at,
        updated_at=resource.updated_at,
        deleted_at=resource.deleted_at,
        generation=resource.generation,
        resource_version=str(resource.version),
    )


def change_of(change: Change) -> contract.Change:
    return contract.Change(op=change.op, path=change.path, old=change.old, new=change.new)
