"""From rows to resources and back."""

import json
import uuid
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Row

from signalbox_catalog.domain.resources import Place, Resource, Secrets, StoredSecret


def resource_of(row: Row[Any], namespace: str) -> Resource:
    return Resource(
        uid=row.uid,
        place=Place(row.project_id, namespace),
        kind=row.kind,
        name=row.name,
        display_name=row.display_name,
        labels=row.labels,
        annotations=row.annotations,
        spec=row.spec,
        secrets=secrets_of(row.secrets),
        status=row.status,
        generation=row.generation,
        version=row.version,
        created_by=row.created_by,
        created_at=row.created_at,
        updated_at=row.updated_at,
        deleted_at=row.deleted_at,
    )


def row_of(resource: Resource) -> dict[str, Any]:
    return {
        "uid": resource.uid,
        "project_id": resource.place.project_id,
        "kind": resource.kind,
        "name": resource.name,
        "display_name": resource.display_name,
        "labels": dict(resource.labels),
        "annotations": dict(resource.annotations),
        "spec": dict(resource.spec),
        "secrets": secrets_row(resource.secrets),
        "status": dict(resource.status),
        "size": size_of(resource),
        "generation": resource.generation,
        "version": resource.version,
        "created_by": resource.created_by,
        "created_at": resource.created_at,
        "updated_at": resource.updated_at,
        "deleted_at": resource.deleted_at,
    }


def size_of(resource: Resource) -> int:
    """About how many bytes an answer with it has."""
    return 512 + len(json.dumps([dict(resource.spec), dict(resource.annotations), dict(resource.status)]))


_IDS = ("uid", "project_id", "created_by")
_TIMES = ("created_at", "updated_at", "deleted_at")


def snapshot_of(resource: Resource) -> dict[str, Any]:
    """A resource as one JSON value, to be kept as it was."""
    row = row_of(resource)
    for name in _IDS:
        row[name] = str(row[name])
    for name in _TIMES:
        row[name] = row[name].isoformat() if row[name] is not None else None
    return row


def of_snapshot(snapshot: Mapping[str, Any], namespace: str) -> Resource:
    return Resource(
        uid=uuid.UUID(snapshot["uid"]),
        place=Place(uuid.UUID(snapshot["project_id"]), namespace),
        kind=snapshot["kind"],
        name=snapshot["name"],
        display_name=snapshot["display_name"],
        labels=snapshot["labels"],
        annotations=snapshot["annotations"],
        spec=snapshot["spec"],
        secrets=secrets_of(snapshot["secrets"]),
        status=snapshot["status"],
        generation=snapshot["generation"],
        version=snapshot["version"],
        created_by=uuid.UUID(snapshot["created_by"]),
        created_at=datetime.fromisoformat(snapshot["created_at"]),
        updated_at=datetime.fromisoformat(snapshot["updated_at"]),
        deleted_at=datetime.fromisoformat(snapshot["deleted_at"]) if snapshot["deleted_at"] else None,
    )


def secrets_of(stored: Mapping[str, Any]) -> Secrets:
    return {pointer: StoredSecret(entry["bundle"], entry["mark"]) for pointer, entry in stored.items()}


def secrets_row(secrets: Secrets) -> dict[str, Any]:
    return {pointer: {"bundle": entry.bundle, "mark": entry.mark} for pointer, entry in secrets.items()}
