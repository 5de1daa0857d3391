"""Ways out of a sandbox: listeners inside, whose connections the role `egress` takes over.

A keeper accepts them, and hands each one on with its sandbox; it reads not a byte of what comes out.
"""

import json
import socket
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from signalbox_sandbox.keeper import libc
from signalbox_sandbox.keeper.loop import Loop, Timer
from signalbox_sandbox.keeper.sockets import BACKLOG, reached

SOCKET = "egress.sock"
LARGEST = 64 * 1024
"""Bytes of one message to or from the role."""
NETWORK = "network"
PROXY_PORT = 3128
"""Where programs inside find the proxy."""
_PROXY = f"http://127.0.0.1:{PROXY_PORT}"
_NOT_PROXIED = "localhost,127.0.0.1,::1"
VARIABLES = {
    **dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), _PROXY),
    **dict.fromkeys(("ALL_PROXY", "all_proxy"), _PROXY),
    **dict.fromkeys(("NO_PROXY", "no_proxy"), _NOT_PROXIED),
    "NODE_USE_ENV_PROXY": "1",
    "npm_config_proxy": _PROXY,
    "npm_config_https_proxy": _PROXY,
    "CARGO_HTTP_PROXY": _PROXY,
    "PIP_PROXY": _PROXY,
}
"""As tools read them. What asks nobody for a proxy has no way out, and finds no network."""
_TAKEN_WITHIN = 1.0

Done = Callable[[], None]


def listeners(ports: Sequence[int]) -> list[socket.socket]:
    """Made by whoever is in the network of the sandbox, before any program is."""
    made = []
    for port in ports:
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        listener.listen(BACKLOG)
        made.append(listener)
    return made


def ports_of(request: Mapping[str, Any]) -> list[int]:
    """Of the proxy, and of each door that was asked for."""
    return [PROXY_PORT, *(int(door["port"]) for door in request.get("doors", ()))]


class Egress:
    def __init__(
        self, loop: Loop, folder: Path, listening: Sequence[socket.socket], request: Mapping[str, Any]
    ) -> None:
        """`request` is what the role was asked for: `id`, `network` and `doors`."""
        self._loop = loop
        self._folder = folder
        self._sandbox = request["id"]
        self._policy: Mapping[str, Any] = request.get("network", {})
        self._line: socket.socket | None = None
        self._number = 0
        self._waiting: dict[int, tuple[Done, Timer]] = {}
        kinds = [{"kind": NETWORK}]
        kinds += [{"kind": door["name"], "target": door["target"]} for door in request.get("doors", ())]
        self._listening = list(zip(listening, kinds, strict=True))
        self._held: tuple[Mapping[str, str], socket.socket] | None = None
        """A connection for which there is no room on the line, yet."""
        self._listen()

    @property
    def variables(self) -> Mapping[str, str]:
        """For each program that is started now."""
        return VARIABLES if self._policy.get("public") or self._policy.get("hosts") else {}

    def set_policy(self, policy: Mapping[str, Any], done: Done) -> None:
        """Done when it holds: for open connections, too."""
        self._policy = policy
        if self._line is None:
            done()
            return
        timer = self._loop.after(_TAKEN_WITHIN, self._drop)  # with it all connections go
        number = self._say_policy()
        if number:
            self._waiting[number] = (done, timer)
        else:
            timer.cancel()
            done()

    def _listen(self) -> None:
        for listener, kind in self._listening:
            self._loop.on_readable(listener.fileno(), partial(self._accept, listener, kind))

    def _accept(self, listener: socket.socket, kind: Mapping[str, str]) -> None:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        if self._line is None:
            self._connect()
        self._hand_over(kind, connection)

    def _hand_over(self, kind: Mapping[str, str], connection: socket.socket) -> None:
        """Where nobody takes it over, it ends here; where there is no room yet, nobody else is let in."""
        if self._line is not None and not self._send(kind, [connection.fileno()]):
            self._held = (kind, connection)
            for listener, _ in self._listening:
                self._loop.on_readable(listener.fileno(), None)
            self._loop.on_writable(self._line.fileno(), self._go_on)
        else:
            connection.close()

    def _go_on(self) -> None:
        if self._line is not None:
            self._loop.on_writable(self._line.fileno(), None)
        if self._held is not None:
            (kind, connection), self._held = self._held, None
            self._listen()
            self._hand_over(kind, connection)

    def _connect(self) -> None:
        line = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)
        try:
            with reached(self._folder) as short:
                line.connect(str(short / SOCKET))
        except OSError:
            line.close()
            return
        self._line = line
        self._loop.on_readable(line.fileno(), self._hear)
        self._say_policy()

    def _say_policy(self) -> int:
        """Its number; 0 where nobody is told."""
        self._number += 1
        said = {"sandbox": self._sandbox, "policy": self._policy, "number": self._number}
        if not self._send(said, []):
            self._drop()  # what it does not hear of must not go on
        return self._number if self._line is not None else 0

    def _send(self, message: Mapping[str, Any], descriptors: list[int]) -> bool:
        """False where there is no room."""
        if self._line is None:
            return True
        try:
            socket.send_fds(self._line, [json.dumps(message).encode()], descriptors)
        except BlockingIOError:
            return False
        except OSError:
            self._drop()
        return True

    def _hear(self) -> None:
        if self._line is None:
            return
        data = b""
        with suppress(OSError, ValueError):
            data, _ = libc.receive(self._line, LARGEST, 1)
            if data:
                self._settle(json.loads(data)["taken"])
                return
        self._drop()

    def _settle(self, number: int) -> None:
        done, timer = self._waiting.pop(number, (None, None))
        if done is not None and timer is not None:
            timer.cancel()
            done()

    def _drop(self) -> None:
        """All that was open there ends with it."""
        if self._line is not None:
            self._loop.forget(self._line.fileno())
            self._line.close()
            self._line = None
            self._go_on()
        for number in list(self._waiting):
            self._settle(number)
