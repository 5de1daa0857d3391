"""Events as clients see them: what the stream holds, and nobody's word about where they belong."""

import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from signalbox_common.contracts.base import PLATFORM
from signalbox_common.keys import is_canonical_uuid

MAX_OPERATION = 300


@dataclass(frozen=True)
class Event:
    """One event of a project, with the JSON that every client of it is sent."""

    sequence: int
    project: uuid.UUID
    type: str
    operation: str | None
    identity: str
    """What makes it the same as another one: source and id."""
    text: str

    @property
    def channels(self) -> tuple[str, ...]:
        whole = channel_of(self.project)
        return (whole,) if self.operation is None else (whole, channel_of(self.project, self.operation))

    def is_of(self, types: Sequence[str]) -> bool:
        return matches(self.type, types)


def matches(kind: str, types: Sequence[str]) -> bool:
    """Whether one of the types is it, or begins it and ends in `*`; whether there is none."""
    return not types or any(
        kind == each or (each.endswith("*") and kind.startswith(each[:-1])) for each in types
    )


def channel_of(project: uuid.UUID, operation: str | None = None) -> str:
    return f"progress:{project}" + (f":{operation}" if operation is not None else "")


def event_of(subject: str, headers: Mapping[str, str], body: bytes, sequence: int) -> Event | None:
    """None for what concerns no project, or is no event.

    Project and service are what the subject says, never what the headers do.
    """
    tokens = subject.split(".")
    if len(tokens) < 4 or tokens[0] != "evt" or tokens[1] == PLATFORM or not is_canonical_uuid(tokens[1]):
        return None
    try:
        data = json.loads(body, parse_constant=_refuse) if body else None
    except (ValueError, RecursionError):
        return None
    project = uuid.UUID(tokens[1])
    kind = ".".join(tokens[2:])
    operation = headers.get("ce-operation")
    if operation is not None and not (0 < len(operation) <= MAX_OPERATION and operation.isascii()):
        operation = None
    identifier, source = headers.get("ce-id"), headers.get("ce-source")
    if not identifier or not source:
        return None
    told: dict[str, Any] = {
        "id": identifier,
        "type": kind,
        "source": source,
        "time": headers.get("ce-time"),
        "subject": headers.get("ce-subject"),
        "project": str(project),
        "operation": operation,
        "data": data,
    }
    text = json.dumps(told, ensure_ascii=False, separators=(",", ":"))
    if not _is_encodable(text):
        text = json.dumps(told, separators=(",", ":"))
    return Event(sequence, project, kind, operation, ascii(f"{source} {identifier}"), text)


def _refuse(constant: str) -> Any:
    """JSON has no NaN, and browsers stop at one."""
    raise ValueError(constant)


def _is_encodable(text: str) -> bool:
    """Half a pair of surrogates can be written down in JSON, but is no character."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
