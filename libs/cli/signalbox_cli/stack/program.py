"""What the supervisor starts, its surroundings, and how to tell that it is ready."""

import asyncio
import random
import signal
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeVar

T = TypeVar("T")
PROBE_PATIENCE = 1.5
BACKLOG = 4096
SERVER_PORTS = range(15_000, 32_768)
"""Where servers get their ports: below those that systems give to outgoing connections, which come and go."""
PORT_TRIES = 200

Ready = Callable[[], Awaitable[bool]]
_given: set[int] = set()
"""Ports of servers that may not have started yet."""


@dataclass(frozen=True)
class Program:
    name: str
    kind: Literal["server", "service", "forkserver"]
    ready: Ready
    argv: list[str] = field(default_factory=list)
    """What is executed."""
    module: str | None = None
    """What is forked instead."""
    env: dict[str, str] = field(default_factory=dict)
    bare: bool = False
    """Whether it has no more in its environment than that, and nothing of ours."""
    cwd: Path | None = None
    user: str | None = None
    """Run as this user; only root can."""
    health_port: int | None = None
    """Where it tells its health and its metrics."""
    sockets: dict[str, int] = field(default_factory=dict)
    """Listening sockets for what is forked: the setting that names each, and its descriptor here."""
    is_edge: bool = False
    """Stopped before all others: nobody comes in any more."""
    stop_signal: int = signal.SIGTERM
    stop_patience: float = 15.0
    orphan_name: str | None = None
    """The name of child processes that may outlive a killed parent and would be in the way."""


def free_port() -> int:
    """A port for a server that starts later, or again: no outgoing connection takes it meanwhile."""
    for port in random.choices(SERVER_PORTS, k=PORT_TRIES):  # noqa: S311 - spreads, hides nothing
        if port not in _given and is_free(port):
            _given.add(port)
            return port
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def is_free(port: int) -> bool:
    """Whether a server could listen there now."""
    try:
        listening_socket("127.0.0.1", port).close()
    except (OSError, OverflowError):
        return False
    return True


def listening_socket(host: str, port: int) -> socket.socket:
    """A socket that is held here, so that nobody takes its port while the program restarts."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


class Sockets:
    """Listening sockets that outlive their programs: a restart refuses no connection."""

    def __init__(self) -> None:
        self._open: list[socket.socket] = []

    def listen(self, port: int = 0, host: str = "127.0.0.1") -> tuple[int, int]:
        """The descriptor and the port of a new one."""
        listener = listening_socket(host, port)
        self._open.append(listener)
        return listener.fileno(), int(listener.getsockname()[1])

    @property
    def ports(self) -> list[int]:
        return [int(listener.getsockname()[1]) for listener in self._open]

    def close(self) -> None:
        for listener in self._open:
            listener.close()


async def first_lines(port: int, request: bytes, count: int = 1) -> list[bytes]:
    """What somebody on a local port says first; nothing where nobody answers in time."""

    async def lines(reader: asyncio.StreamReader) -> list[bytes]:
        return [await reader.readline() for _ in range(count)]

    return await _answer(port, request, lines) or []


async def first_byte(port: int, request: bytes) -> bytes:
    """As `first_lines`, of those who do not speak in lines."""
    return await _answer(port, request, lambda reader: reader.read(1)) or b""


async def _answer(
    port: int, request: bytes, read: Callable[[asyncio.StreamReader], Awaitable[T]]
) -> T | None:
    try:
        async with asyncio.timeout(PROBE_PATIENCE):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                writer.write(request)
                return await read(reader)
            finally:
                writer.close()
                await writer.wait_closed()
    except (OSError, TimeoutError):
        return None
