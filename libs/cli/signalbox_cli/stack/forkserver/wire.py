"""What the supervisor and the fork server say to each other.

They share a SOCK_SEQPACKET pair. For each fork, the supervisor makes a pair of its own, the line, and sends
the other end along. The child answers there itself, and goes on only when it is told to: so the supervisor
knows of every child that runs, whoever dies in between.
"""

import json
import socket
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

LARGEST = 64 * 1024
MOST_DESCRIPTORS = 16
GO = b"go"


@dataclass(frozen=True)
class Fork:
    """Comes with descriptors: the line, the log, and one for each setting in `sockets`."""

    number: int
    module: str
    environment: dict[str, str]
    """What the child has beside what all have."""
    sockets: list[str] = field(default_factory=list)
    """The settings that name a listening socket handed down."""


@dataclass(frozen=True)
class Ping:
    """Asks the fork server whether it has imported everything."""


@dataclass(frozen=True)
class Pong:
    warm: bool


@dataclass(frozen=True)
class Exited:
    """A child ended; negative is the signal that killed it."""

    number: int
    code: int


@dataclass(frozen=True)
class Forked:
    """On the line, from the child, with a descriptor of its own process."""

    pid: int


@dataclass(frozen=True)
class Refused:
    """On the line, from the fork server: it would have shared something that must not be shared."""

    reason: str


Message = Fork | Ping | Pong | Exited | Forked | Refused
_KINDS: dict[str, Any] = {kind.__name__: kind for kind in (Fork, Ping, Pong, Exited, Forked, Refused)}


def send(channel: socket.socket, message: Message, descriptors: Sequence[int] = ()) -> None:
    text = json.dumps({"kind": type(message).__name__, **asdict(message)}).encode()
    socket.send_fds(channel, [text], descriptors)


def receive(channel: socket.socket) -> tuple[Message | None, list[int]]:
    """The next message and its descriptors; none where the other end is gone."""
    try:
        text, descriptors, _flags, _address = socket.recv_fds(
            channel, LARGEST, MOST_DESCRIPTORS, socket.MSG_CMSG_CLOEXEC
        )
    except ConnectionError:
        return None, []
    if not text:
        return None, []
    fields = json.loads(text)
    return _KINDS[fields.pop("kind")](**fields), descriptors
