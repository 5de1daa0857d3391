"""What a sandbox may reach, and by which ways."""

import uuid
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from signalbox_common.addresses import LAST_PORT, host_and_port
from signalbox_common.contracts.base import Message, Text
from signalbox_common.contracts.events import Event

PROXY_PORT = 3128
"""Where programs inside find the proxy."""
_MOST_HOSTS, _MOST_DOORS = 200, 8


def _pattern(text: str) -> str:
    """In its one form: `name`, `*.name`, an address, each with a port or without."""
    if "/" in text:
        raise ValueError("that is no host: a name or an address, without a scheme and a path")
    is_bare = text.count(":") > 1 and not text.startswith("[")  # an address of version 6
    host, port = host_and_port(f"[{text}]" if is_bare else text.removeprefix("*."))
    host = f"[{host}]" if ":" in host else f"*.{host}" if text.startswith("*.") else host
    return f"{host}:{port}" if port else host


HostPattern = Annotated[Text, StringConstraints(min_length=1, max_length=300), AfterValidator(_pattern)]


class AllowedHosts(Message):
    """Of each host the ports 80 and 443, or the one that is named with it."""

    allow: Annotated[tuple[HostPattern, ...], Field(min_length=1, max_length=_MOST_HOSTS)]


Network = Literal["none", "public"] | AllowedHosts
"""`public` is every host at a public address, on ports 80 and 443."""


DoorName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$")]


class Door(Message):
    """A port inside that leads to one place outside."""

    name: DoorName
    port: Annotated[int, Field(ge=1024, le=LAST_PORT)]
    target: Literal["echo"]

    @model_validator(mode="after")
    def _is_free(self) -> Self:
        if self.port == PROXY_PORT:
            raise ValueError(f"{PROXY_PORT} is the port of the proxy")
        return self


def _differ(doors: tuple[Door, ...]) -> tuple[Door, ...]:
    for values in ([door.name for door in doors], [door.port for door in doors]):
        if len(set(values)) != len(values):
            raise ValueError("doors differ in name and port")
    return doors


Doors = Annotated[tuple[Door, ...], Field(max_length=_MOST_DOORS), AfterValidator(_differ)]


class SandboxConnected(Event):
    """A connection that came out of a sandbox, when it has ended, or was refused. The stream keeps it for a
    day."""

    subject = "evt.*.sandbox.sandbox.connected"

    sandbox: uuid.UUID
    kind: str
    """`network`, or the name of a door."""
    host: str
    port: int
    verdict: Literal["allowed", "denied", "failed", "cut"]
    reason: str
    sent: int
    """Bytes that went out."""
    received: int
    seconds: float
