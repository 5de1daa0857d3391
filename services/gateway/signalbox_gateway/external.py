"""Events of services outside: what they must look like, wherever they come in, and who published them.

Who it was is what the subject in the stream says, which nobody outside can choose: NATS puts the account of a
publisher there, and the gateway the user who was logged in.
"""

import hashlib
import json
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from signalbox_common.cloudevents import MESSAGE_ID
from signalbox_common.contracts.streams import BY_PUBLISHERS, BY_USERS
from signalbox_common.keys import OperationIds, is_canonical_uuid

MAX_DATA = 64 * 1024
"""Bytes of an event's data as JSON."""
MAX_TEXT = 300
"""Characters of an attribute."""
MAX_DEPTH = 64
STRUCTURED = "application/cloudevents+json"
OURS = "/signalbox/"
"""Sources below it are our own services."""
_TYPE = re.compile(r"ext(?:\.[A-Za-z0-9][A-Za-z0-9_-]{0,63}){1,4}")
_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:[Zz]|[+-]\d\d:\d\d)", re.ASCII)
_PLAIN = re.compile(r"[ -~]*")
_WHO = re.compile(r"[a-z]+(?:/[A-Za-z0-9][A-Za-z0-9_-]{0,63})?")
_UNNAMED = "publishers"
"""Somebody who may publish for the project, on a NATS server that does not say who."""
_IN_FRAGMENT = "/:?@!$&'()*+,;="
_TAKEN = frozenset(
    {"specversion", "id", "type", "source", "subject", "time", "datacontenttype", "dataschema", "data"}
)
_EXTENSIONS = frozenset({"operation", "project", "correlationid", "traceparent", "tracestate"})


class BadEvent(Exception):
    """What comes is no event that is passed on."""

    def __init__(self, attribute: str, code: str, detail: str) -> None:
        super().__init__(f"{attribute}: {detail}" if attribute else detail)
        self.attribute = attribute
        self.code = code
        self.detail = detail


@dataclass(frozen=True)
class ExternalEvent:
    """A checked event of a project, from outside."""

    project: uuid.UUID
    publisher: str
    """Who in the project: `publishers/<name>`, `users/<id>`."""
    type: str
    id: str
    claimed: str
    """What its publisher calls the source."""
    time: str
    subject: str | None
    operation: str | None
    data: bytes

    @property
    def source(self) -> str:
        """Who published it, and behind `#` the source that they name, if it is another."""
        stamp = stamp_of(self.project, self.publisher)
        return stamp if self.claimed == stamp else f"{stamp}#{quote(self.claimed, safe=_IN_FRAGMENT)}"

    @property
    def taken_in_on(self) -> str:
        whose = self.publisher.replace("/", ".")
        return f"ext.{whose}.{self.project}.{self.type.removeprefix('ext.')}"

    @property
    def told_on(self) -> str:
        return f"evt.{self.project}.{self.type}"

    @property
    def of_user(self) -> bool:
        """Whether it came over HTTP."""
        return self.publisher.startswith("users/")

    @property
    def size(self) -> int:
        """About how many bytes a stream keeps of it."""
        return 256 + len(self.data) + sum(len(name) + len(value) for name, value in self.stored().items())

    def headers(self) -> dict[str, str]:
        """As its publisher says it."""
        told = {
            "ce-specversion": "1.0",
            "ce-id": self.id,
            "ce-type": self.type,
            "ce-source": self.claimed,
            "ce-time": self.time,
            "content-type": "application/json",
        }
        if self.subject is not None:
            told["ce-subject"] = self.subject
        if self.operation is not None:
            told["ce-operation"] = self.operation
        return told

    @property
    def message_id(self) -> str:
        """The same for the same event of the same publisher, and for nobody else's."""
        digest = hashlib.sha256(f"{self.source}\0{self.id}".encode()).hexdigest()[:32]
        return f"ext:{self.project}:{digest}"

    def stored(self) -> dict[str, str]:
        """As everybody is told it."""
        stamped = {"ce-source": self.source, "ce-claimedsource": self.claimed}
        return self.headers() | stamped | {MESSAGE_ID: self.message_id}


class Reader:
    """Checks what comes; what an event says of operations is believed only with our own mark on them."""

    def __init__(self, secret_key: str) -> None:
        self._operations = OperationIds(secret_key)

    def of_message(self, subject: str, headers: Mapping[str, str], body: bytes) -> ExternalEvent:
        """As NATS carries them: attributes in headers, or all of it as one JSON object."""
        project, publisher, words = _whose(subject)
        kind = ".".join(("ext", *(words if words[0] != "ext" else words[1:])))
        lowered = {name.lower(): str(value) for name, value in headers.items()}
        media = lowered.get("content-type", lowered.get("ce-datacontenttype", "application/json"))
        if media.partition(";")[0].strip().lower() == STRUCTURED:
            document = _json(body, MAX_DATA * 2)
            if not isinstance(document, dict):
                raise BadEvent("", "bad_event", "a structured event is one JSON object")
        else:
            document = {
                name.removeprefix("ce-"): value
                for name, value in lowered.items()
                if name.startswith("ce-") and name.removeprefix("ce-") in _TAKEN | _EXTENSIONS
            }
            document |= {"datacontenttype": media, "data": _json(body, MAX_DATA) if body else None}
        if "id" not in document or "source" not in document or document.get("specversion") != "1.0":
            raise BadEvent("", "bad_event", "an event has specversion 1.0, an id and a source")
        return self._checked(project, publisher, document, kind)

    def of_json(self, project: uuid.UUID, document: Any, *, user: uuid.UUID, event_id: str) -> ExternalEvent:
        """As HTTP carries them; whoever names no source is the source, and the id is what is given here."""
        if not isinstance(document, dict):
            raise BadEvent("", "bad_event", "an event is one JSON object")
        publisher = f"users/{user}"
        given = {"id": event_id, "source": stamp_of(project, publisher)} | document
        if given.get("specversion", "1.0") != "1.0":
            raise BadEvent("specversion", "bad_version", "only 1.0 is known")
        return self._checked(project, publisher, given, None)

    def _checked(
        self, project: uuid.UUID, publisher: str, document: dict[str, Any], kind: str | None
    ) -> ExternalEvent:
        unknown = sorted(str(name) for name in document.keys() - _TAKEN - _EXTENSIONS)
        if unknown:
            raise BadEvent(unknown[0][:MAX_TEXT], "unknown_attribute", "there is no such attribute")
        said = _text(document, "type") or ""
        if _TYPE.fullmatch(said) is None:
            raise BadEvent("type", "bad_type", "a type is `ext.` and one to four words, with dots between")
        if kind is not None and said != kind:
            raise BadEvent("type", "bad_type", "the type is not what the subject says")
        media = (_text(document, "datacontenttype") or "application/json").partition(";")[0].strip().lower()
        if media != "application/json":
            raise BadEvent("datacontenttype", "bad_media", "data is application/json")
        source = _text(document, "source")
        if not source or source.lower().startswith(OURS):
            raise BadEvent("source", "bad_source", f"a source is not empty, and not below {OURS}")
        event_id = _text(document, "id")
        if not event_id:
            raise BadEvent("id", "bad_id", "an id is not empty")
        if document.get("project") not in (None, str(project)):
            raise BadEvent("project", "bad_project", "the project is not the one that this was sent to")
        return ExternalEvent(
            project=project,
            publisher=publisher,
            type=said,
            id=event_id,
            claimed=source,
            time=_time(_text(document, "time")),
            subject=_text(document, "subject"),
            operation=self._operation(project, _text(document, "operation")),
            data=_encoded(document.get("data")),
        )

    def _operation(self, project: uuid.UUID, text: str | None) -> str | None:
        if text is None:
            return None
        ref = self._operations.read(text)
        if ref is None or ref.project_id != project:
            raise BadEvent("operation", "bad_operation", "there is no such operation in this project")
        return text


def stamp_of(project: uuid.UUID, publisher: str) -> str:
    return f"/projects/{project}/{publisher}"


def _whose(subject: str) -> tuple[uuid.UUID, str, list[str]]:
    """The project, who in it, and the words of the type, by where in the stream a message is."""
    tokens, publisher = subject.split(".")[1:], _UNNAMED
    if subject.startswith((f"{BY_PUBLISHERS}.", f"{BY_USERS}.")):
        publisher, tokens = "/".join(tokens[:2]), tokens[2:]
    if len(tokens) < 2 or not is_canonical_uuid(tokens[0]) or _WHO.fullmatch(publisher) is None:
        raise BadEvent("", "bad_subject", "the subject is ext.<project>.<type>")
    return uuid.UUID(tokens[0]), publisher, tokens[1:]


def project_of(subject: str) -> uuid.UUID | None:
    """Whose it is, whatever else is wrong with it."""
    try:
        project, _, _ = _whose(subject)
    except BadEvent:
        return None
    return project


def plain(text: str) -> str:
    """What a header can hold: the beginning, in printable ASCII."""
    return "".join(each if " " <= each <= "~" else "?" for each in text[:MAX_TEXT])


def _text(document: Mapping[str, Any], name: str) -> str | None:
    value = document.get(name)
    if value is None:
        return None
    if not isinstance(value, str) or len(value) > MAX_TEXT or _PLAIN.fullmatch(value) is None:
        raise BadEvent(name, "bad_attribute", f"is a text of at most {MAX_TEXT} printable ASCII characters")
    return value


def _time(text: str | None) -> str:
    if text is None:
        return datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    try:
        moment = datetime.fromisoformat(text.upper()).astimezone(UTC)
    except (ValueError, OverflowError):
        moment = None
    if moment is None or _TIME.fullmatch(text) is None:
        raise BadEvent("time", "bad_time", "a time is written as RFC 3339 says, with its zone")
    return text


def _json(body: bytes, most: int) -> Any:
    if len(body) > most:
        raise BadEvent("data", "too_large", f"an event's data has at most {MAX_DATA} bytes")
    try:
        return json.loads(body.decode("utf-8"), parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise BadEvent("data", "bad_json", "data is JSON in UTF-8") from error


def _refuse(constant: str) -> Any:
    raise ValueError(constant)


def _encoded(data: Any) -> bytes:
    if _deeper(data, MAX_DEPTH):
        raise BadEvent("data", "too_deep", f"data is nested at most {MAX_DEPTH} deep")
    try:
        text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
    except (ValueError, UnicodeEncodeError) as error:
        raise BadEvent("data", "bad_json", "data is JSON in UTF-8") from error
    if len(text) > MAX_DATA:
        raise BadEvent("data", "too_large", f"an event's data has at most {MAX_DATA} bytes")
    return text


def _deeper(value: Any, levels: int) -> bool:
    waiting = [(value, levels)]
    while waiting:
        each, left = waiting.pop()
        if isinstance(each, dict | list):
            if left == 0:
                return True
            waiting += [(below, left - 1) for below in (each.values() if isinstance(each, dict) else each)]
    return False
