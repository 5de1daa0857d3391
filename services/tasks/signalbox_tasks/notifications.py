"""Notifications as records: where they are sent, how they are signed, and what follows from an answer."""

import base64
import binascii
import hashlib
import hmac
import ipaddress
import json
import random
import re
import unicodedata
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

from signalbox_common.addresses import BadHost, PrivateHosts, host_and_port, is_public
from signalbox_common.contracts.tasks import NoticeStatus, NotifiedStatus

PING = "tasks.notification.ping"
SECRET_PREFIX = "whsec_"  # noqa: S105 - what secrets of Standard Webhooks begin with
PAUSES = (5.0, 30.0, 120.0, 300.0, 900.0, 1800.0, 3600.0, 7200.0, 14400.0, 21600.0, 28800.0)
"""Seconds between the tries of one notice: twelve tries in 22 hours."""
RESTS = (1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
"""Seconds in which nothing at all is sent to a receiver that has failed so often in a row."""
LONGEST_WAIT = 3600.0
"""Seconds that a receiver may ask for with `Retry-After`."""
MOST_FAILURES = 100
"""In a row, until it is paused."""
GONE = 410
SIGNED_WITH_OLD = timedelta(days=1)
"""How long the secret before counts, too."""
EXCERPT = 500
_SPREAD = 0.1
_URL = re.compile(r"(?i:(https?)://)([^/?#]+)([/?][^#\\]*)?")
_PORTS = {"https": 443, "http": 80}
_GOOD = range(200, 300)


class BadEndpoint(ValueError):
    """Carries what is wrong with it."""


@dataclass(frozen=True)
class Endpoint:
    """An address, read strictly and put together anew."""

    scheme: str
    host: str
    port: int
    rest: str
    """The path with its query."""

    @staticmethod
    def read(text: str) -> "Endpoint":
        """Raises BadEndpoint."""
        if not (text.isascii() and text.isprintable()) or " " in text:
            raise BadEndpoint("an address has printable ASCII characters, without spaces")
        found = _URL.fullmatch(text)
        if found is None:
            raise BadEndpoint("an address begins with https:// or http://, and has no fragment and no \\")
        scheme, authority, rest = found[1].lower(), found[2], found[3] or "/"
        if "@" in authority:
            raise BadEndpoint("an address has no user and no password: whoever sends signs it")
        try:
            host, port = host_and_port(authority)
        except BadHost as error:
            raise BadEndpoint(str(error)) from error
        return Endpoint(scheme, host, port or _PORTS[scheme], rest if rest.startswith("/") else f"/{rest}")

    @property
    def authority(self) -> str:
        """As the header `Host` has it."""
        return self.authority_at(self.host)

    def authority_at(self, host: str) -> str:
        name = f"[{host}]" if ":" in host else host
        return name if self.port == _PORTS[self.scheme] else f"{name}:{self.port}"

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}{self.rest}"

    def is_reachable(self, private: PrivateHosts) -> bool:
        """As far as that shows before its name is resolved."""
        with suppress(ValueError):
            address = ipaddress.ip_address(self.host)
            return is_public(address) or private.allow(self.host, address)
        return True


@dataclass(frozen=True)
class Attempt:
    """What came of one request."""

    status: int | None
    """That of the answer; None without one."""
    duration_ms: int
    reason: str | None = None
    excerpt: str | None = None
    retry_after: float | None = None

    @property
    def is_good(self) -> bool:
        return self.status in _GOOD


@dataclass(frozen=True)
class Notification:
    id: uuid.UUID
    project_id: uuid.UUID
    name: str
    url: str
    states: tuple[NotifiedStatus, ...]
    paused: bool
    secret: uuid.UUID
    """What that is called which is signed with."""
    created_by: uuid.UUID
    created_at: datetime
    updated_at: datetime
    reason: str | None = None
    old_secret: uuid.UUID | None = None
    rotated_at: datetime | None = None
    failures: int = 0
    rest_until: datetime | None = None
    delivered_at: datetime | None = None
    version: int = 1

    def changed(self, now: datetime, **changes: Any) -> "Notification":
        return replace(self, **changes, updated_at=now, version=self.version + 1)

    def is_resting(self, now: datetime) -> bool:
        return self.rest_until is not None and self.rest_until > now

    def secrets(self, now: datetime) -> tuple[uuid.UUID, ...]:
        """What is signed with, the newest first."""
        if self.old_secret is None or self.rotated_at is None or now - self.rotated_at >= SIGNED_WITH_OLD:
            return (self.secret,)
        return self.secret, self.old_secret

    def after(self, attempt: Attempt, now: datetime, *, is_ping: bool) -> "Notification":
        """A ping that fails says nothing that its sender does not see."""
        if attempt.is_good:
            return replace(self, failures=0, rest_until=None, delivered_at=now)
        if is_ping:
            return self
        failures = self.failures + 1
        rest = max(RESTS[min(failures, len(RESTS)) - 1], attempt.retry_after or 0.0)
        failed = replace(self, failures=failures, rest_until=now + timedelta(seconds=rest))
        reason = None
        if attempt.status == GONE:
            reason = "Its receiver says that it is gone (410)."
        elif failures >= MOST_FAILURES:
            reason = f"{failures} tries in a row have failed; the last one: {attempt.reason}"
        return failed.changed(now, paused=True, reason=reason) if reason and not self.paused else failed


@dataclass(frozen=True)
class Notice:
    id: uuid.UUID
    notification_id: uuid.UUID
    project_id: uuid.UUID
    sequence: int
    type: str
    data: Mapping[str, Any]
    status: NoticeStatus
    created_at: datetime
    attempts: int = 0
    tries: int = 0
    """Attempts since somebody wanted it sent."""
    task_id: uuid.UUID | None = None
    run_id: uuid.UUID | None = None
    next_at: datetime | None = None
    http_status: int | None = None
    duration_ms: int | None = None
    reason: str | None = None
    excerpt: str | None = None
    attempted_at: datetime | None = None

    @property
    def is_ping(self) -> bool:
        return self.type == PING

    def body(self) -> bytes:
        """The same for each try."""
        envelope = {
            "specversion": "1.0",
            "id": str(self.id),
            "type": self.type,
            "source": "/signalbox/tasks",
            "time": self.created_at.astimezone(UTC).isoformat().replace("+00:00", "Z"),
            "subject": str(self.task_id or self.notification_id),
            "project": str(self.project_id),
            "operation": str(self.run_id) if self.run_id is not None else None,
            "sequence": f"{self.sequence:020}",
            "datacontenttype": "application/json",
            "data": self.data,
        }
        return json.dumps(envelope, ensure_ascii=False, separators=(",", ":")).encode()

    def after(self, attempt: Attempt, now: datetime) -> "Notice":
        tried = replace(
            self,
            attempts=self.attempts + 1,
            tries=self.tries + 1,
            http_status=attempt.status,
            duration_ms=attempt.duration_ms,
            reason=attempt.reason,
            excerpt=attempt.excerpt,
            attempted_at=now,
            next_at=None,
        )
        if attempt.is_good:
            return replace(tried, status=NoticeStatus.DELIVERED)
        if self.is_ping or attempt.status == GONE or tried.tries > len(PAUSES):
            return replace(tried, status=NoticeStatus.DEAD)
        pause = PAUSES[tried.tries - 1] * random.uniform(1 - _SPREAD, 1 + _SPREAD)  # noqa: S311 - spreads, hides nothing
        pause = max(pause, attempt.retry_after or 0.0)
        return replace(tried, next_at=now + timedelta(seconds=pause))

    def wanted_again(self, now: datetime) -> "Notice":
        return replace(self, status=NoticeStatus.PENDING, tries=0, next_at=now, reason=None)


def new_secret(random_bytes: bytes) -> str:
    return SECRET_PREFIX + base64.b64encode(random_bytes).decode()


def signature(secrets: Sequence[str], notice: uuid.UUID, timestamp: int, body: bytes) -> str:
    """By each of these secrets, as Standard Webhooks has it."""
    content = f"{notice}.{timestamp}.".encode() + body
    keys = (base64.b64decode(secret.removeprefix(SECRET_PREFIX)) for secret in secrets)
    digests = (hmac.digest(key, content, hashlib.sha256) for key in keys)
    return " ".join(f"v1,{binascii.b2a_base64(digest, newline=False).decode()}" for digest in digests)


def excerpt_of(raw: bytes) -> str | None:
    """How a text begins, without what a terminal would obey."""
    text = raw[: EXCERPT * 4].decode("utf-8", "replace")
    plain = "".join(" " if unicodedata.category(each)[0] in "CZ" else each for each in text)
    return " ".join(plain.split())[:EXCERPT] or None


def retry_after(header: str | None, now: datetime) -> float | None:
    """Seconds, or a date; no longer than anybody waits."""
    if header is None:
        return None
    seconds: float | None = None
    if re.fullmatch(r"[0-9]{1,9}", header.strip()):
        seconds = float(header)
    else:
        with suppress(ValueError, TypeError):
            moment = parsedate_to_datetime(header)
            moment = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
            seconds = (moment - now).total_seconds()
    return min(max(seconds, 0.0), LONGEST_WAIT) if seconds is not None else None
