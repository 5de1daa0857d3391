"""Resources in the words of the contracts."""

from typing import Any

from signalbox_catalog.domain.diffs import Change
from signalbox_catalog.domain.kinds import by_name
from signalbox_catalog.domain.resources import SHORT_FORMS, Manifest, Resource
from signalbox_catalog.errors import field_errors
from signalbox_common.contracts import catalog as contract
from signalbox_manifests import API_VERSION


def reply_of(resource: Resource) -> contract.Resource:
    return contract.Resource(
        api_version=API_VERSION,
        kind=resource.kind,
        metadata=metadata_of(resource),
        spec=spec_of(resource),
        status=dict(resource.status),
    )


def spec_of(resource: Resource) -> dict[str, Any]:
    """With the short forms that it was sent with beside what they stand for."""
    kind, short = by_name(resource.kind), resource.status.get(SHORT_FORMS, ())
    return kind.shown(resource.spec, short) if kind is not None else dict(resource.spec)


def written_reply_of(resource: Resource, manifest: Manifest) -> contract.WrittenResource:
    """With what of its manifest is probably not what was meant."""
    warnings = field_errors(*manifest.warnings)
    return contract.WrittenResource(**dict(reply_of(resource)), warnings=warnings)


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
