"""CloudEvents 1.0 in NATS binary mode: attributes in headers, data as the body."""

import uuid
from dataclasses import dataclass
from datetime import UTC, datetime

from signalbox_common import telemetry
from signalbox_common.contracts.events import Event
from signalbox_common.keys import is_canonical_uuid

MESSAGE_ID = "Nats-Msg-Id"
_OUTSIDE = uuid.UUID("6b6c7a0e-4a53-5d0c-9f1e-6f3c3d0b7c11")
TTL = "Nats-TTL"
"""How long the stream keeps it, where that is not as long as it can."""


@dataclass(frozen=True)
class EventContext:
    """What the headers of a received event say, checked."""

    id: uuid.UUID
    type: str
    name: str
    """What its publisher calls it: its id, where it is one of ours."""
    correlation_id: str | None
    actor: uuid.UUID | None
    operation: str | None


def headers_of(
    event: Event,
    event_id: uuid.UUID,
    service: str,
    *,
    actor: uuid.UUID | None = None,
    operation: str | None = None,
) -> dict[str, str]:
    headers = {
        MESSAGE_ID: f"{service}:{event_id}",
        "ce-specversion": "1.0",
        "ce-id": str(event_id),
        "ce-type": event.type(service),
        "ce-source": f"/signalbox/{service}",
        "ce-time": datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z"),
        "ce-dataschema": event.schema_uri(service),
        "content-type": "application/json",
    }
    if actor is not None:
        headers["ce-actorid"] = str(actor)
    if operation is not None:
        headers["ce-operation"] = operation
    if (correlation := telemetry.correlation_id.get()) is not None:
        headers["ce-correlationid"] = correlation
    telemetry.inject(headers)
    return headers


def context_of(headers: dict[str, str]) -> EventContext:
    """Raises ValueError where the headers are no CloudEvent of ours."""
    if headers.get("ce-specversion") != "1.0" or not headers.get("ce-type"):
        raise ValueError("the message is no CloudEvent")
    name = headers.get("ce-id", "")
    actor = headers.get("ce-actorid")
    return EventContext(
        id=_id_of(name, headers),
        type=headers["ce-type"],
        name=name,
        correlation_id=headers.get("ce-correlationid"),
        actor=uuid.UUID(actor) if actor and is_canonical_uuid(actor) else None,
        operation=headers.get("ce-operation"),
    )


def _id_of(name: str, headers: dict[str, str]) -> uuid.UUID:
    """What somebody outside calls an event may be anything, and in another project another event: that one
    is known by what the stream knows it by."""
    if headers["ce-type"].startswith("ext."):
        if MESSAGE_ID not in headers:
            raise ValueError(f"an event from outside has no {MESSAGE_ID}")
        return uuid.uuid5(_OUTSIDE, headers[MESSAGE_ID])
    if not is_canonical_uuid(name):
        raise ValueError("ce-id is no canonical UUID")
    return uuid.UUID(name)
