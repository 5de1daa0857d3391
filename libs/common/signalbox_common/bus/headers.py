"""The names of our message headers, and what is checked about their values."""

import ipaddress
import re
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass

from signalbox_common import telemetry

COMMAND_ID = "Signalbox-Command-Id"
DIGEST = "Signalbox-Digest"
REPLY_TO = "Signalbox-Reply-To"
GRANT = "Signalbox-Grant"
OPERATION = "Signalbox-Operation"
CORRELATION = "Signalbox-Correlation-Id"
STATUS = "Signalbox-Status"
ADDRESS = "Signalbox-Address"
AGENT = "Signalbox-Agent"

# Of a dead letter.
ORIGINAL_SUBJECT = "Signalbox-Original-Subject"
ACCEPTED_AT = "Signalbox-Accepted-At"
REASON = "Signalbox-Reason"
ATTEMPTS = "Signalbox-Attempts"
ERROR = "Signalbox-Error"
CONSUMER = "Signalbox-Consumer"
SEQUENCE = "Signalbox-Sequence"

OK, FAILED = "ok", "failed"

_REPLY_SUBJECT = re.compile(r"reply\.[a-z0-9]{8,32}\.[A-Za-z0-9]{8,40}")
_CORRELATION = re.compile(r"[A-Za-z0-9._:-]{1,128}")


@dataclass(frozen=True)
class Client:
    """Where a request came from, as the gateway saw it."""

    address: str | None = None
    agent: str | None = None

    @staticmethod
    def of(headers: Mapping[str, str]) -> "Client":
        """Nothing where the headers hold no sound address."""
        try:
            address = str(ipaddress.ip_address(headers.get(ADDRESS, "")))
        except ValueError:
            return NOWHERE
        return Client(address, headers.get(AGENT))


NOWHERE = Client()
client: ContextVar[Client] = ContextVar("client", default=NOWHERE)
"""Of the request that is handled at the moment."""
_AGENT_LENGTH = 200


def sound_agent(text: str | None) -> str | None:
    """What a program calls itself, fit for a header."""
    kept = "".join(character for character in text or "" if " " <= character <= "~")
    return kept[:_AGENT_LENGTH].strip() or None


def is_reply_subject(subject: str) -> bool:
    """Whether a reply may be published there: a subject of the sender's choice would lend it our rights."""
    return _REPLY_SUBJECT.fullmatch(subject) is not None


def is_correlation_id(text: str) -> bool:
    return _CORRELATION.fullmatch(text) is not None


def outgoing(grant: str | None = None) -> dict[str, str]:
    """What every request carries: correlation, trace and who asks."""
    headers: dict[str, str] = {}
    if grant is not None:
        headers[GRANT] = grant
    if (correlation := telemetry.correlation_id.get()) is not None:
        headers[CORRELATION] = correlation
    came_from = client.get()
    if came_from.address is not None:
        headers[ADDRESS] = came_from.address
    if came_from.agent is not None:
        headers[AGENT] = came_from.agent
    telemetry.inject(headers)
    return headers


def adopt_correlation(headers: Mapping[str, str]) -> None:
    """Goes on under the correlation id of the message, if it has a sound one, and for the same client."""
    client.set(Client.of(headers))
    adopt(headers.get(CORRELATION, headers.get("ce-correlationid")))


def adopt(correlation: str | None) -> None:
    """Goes on under that correlation id, if it is a sound one."""
    telemetry.correlation_id.set(correlation if is_correlation_id(correlation or "") else None)
