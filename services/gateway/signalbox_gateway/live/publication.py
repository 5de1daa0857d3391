"""Publications: events as clients see them, each at its position and encoded once for all who get it."""

import json
import re
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from signalbox_common.contracts.base import PLATFORM
from signalbox_common.keys import is_canonical_uuid
from signalbox_gateway.errors import BadPosition
from signalbox_gateway.live.transport import chunk, text_frame

MAX_OPERATION = 300
_POSITION = re.compile(r"([0-9a-f]{16}):([0-9]{1,18})")
_FRAMES = 4
"""For as many names of subscriptions a publication stays encoded."""


@dataclass(frozen=True)
class StreamPosition:
    """An offset in the stream `EVENTS`, and the epoch (incarnation) of the stream that it belongs to."""

    epoch: str
    offset: int

    def __str__(self) -> str:
        return f"{self.epoch}:{self.offset}"

    @staticmethod
    def parse(text: str) -> "StreamPosition":
        match = _POSITION.fullmatch(text.strip())
        if match is None:
            raise BadPosition
        return StreamPosition(match.group(1), int(match.group(2)))


@dataclass(frozen=True)
class Event:
    """One event of a project, with the JSON that every client of it is sent."""

    offset: int
    project: uuid.UUID
    type: str
    operation: str | None
    identity: str
    """Source and id: what makes a repeat a duplicate."""
    text: str

    @property
    def channels(self) -> tuple[str, ...]:
        whole = channel_of(self.project)
        return (whole,) if self.operation is None else (whole, channel_of(self.project, self.operation))

    def is_of(self, types: Sequence[str]) -> bool:
        return _matches(self.type, types)


class Publication:
    """An event of one channel on its way out."""

    def __init__(self, position: StreamPosition, channel: str, type_: str, text: bytes) -> None:
        self.position = position
        self.offset = position.offset
        self.channel = channel
        self.type = type_
        self.text = text
        self._frames: dict[str, bytes] = {}

    @cached_property
    def lines(self) -> bytes:
        """As a server-sent event."""
        return b"event: %b\nid: %b\ndata: %b\n\n" % (
            self.type.encode(),
            str(self.position).encode(),
            self.text,
        )

    @cached_property
    def chunk(self) -> bytes:
        return chunk(self.lines)

    def frame(self, ref: str) -> bytes:
        """As a message of a WebSocket, for the subscription of that name."""
        encoded = self._frames.get(ref)
        if encoded is None:
            head = json.dumps({"type": "event", "ref": ref, "id": str(self.position)}, separators=(",", ":"))
            encoded = text_frame(head[:-1].encode() + b',"event":' + self.text + b"}")
            if len(self._frames) < _FRAMES:  # clients name them as they like
                self._frames[ref] = encoded
        return encoded

    def is_of(self, types: Sequence[str]) -> bool:
        return _matches(self.type, types)


class Resync(Publication):
    """Stands in its order among publications for those that are left out.

    They come `after` one position and are to be asked for in pages; the stream goes on `at` the other.
    Without `after`, nothing of what was before is known any more.
    """

    def __init__(self, at: StreamPosition, after: StreamPosition | None, reason: str) -> None:
        self.fields = {"at": str(at), "after": str(after) if after is not None else None, "reason": reason}
        super().__init__(at, "", "resync", json.dumps(self.fields).encode())

    def is_of(self, types: object) -> bool:  # noqa: ARG002 - it concerns everybody
        return True

    def frame(self, ref: str) -> bytes:
        message = {"type": "resync", "ref": ref, **self.fields}
        return text_frame(json.dumps(message, ensure_ascii=False).encode())


def channel_of(project: uuid.UUID, operation: str | None = None) -> str:
    return f"progress:{project}" + (f":{operation}" if operation is not None else "")


def event_of(subject: str, headers: Mapping[str, str], body: bytes, offset: int) -> Event | None:
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
    shown: dict[str, Any] = {
        "id": identifier,
        "type": kind,
        "source": source,
        "time": headers.get("ce-time"),
        "subject": headers.get("ce-subject"),
        "project": str(project),
        "operation": operation,
        "data": data,
    }
    if tokens[2] == "ext" and (claimed := headers.get("ce-claimedsource")):
        shown["claimedsource"] = claimed
    text = json.dumps(shown, ensure_ascii=False, separators=(",", ":"))
    if not _is_encodable(text):
        text = json.dumps(shown, separators=(",", ":"))
    return Event(offset, project, kind, operation, ascii(f"{source} {identifier}"), text)


def _matches(kind: str, types: Sequence[str]) -> bool:
    """Whether one of the types is it, or begins it and ends in `*`; whether there is none."""
    return not types or any(
        kind == each or (each.endswith("*") and kind.startswith(each[:-1])) for each in types
    )


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
