"""Serves the sandboxes of a node: a line to each keeper, and one to each instance of the service."""

import asyncio
import json
import os
import socket
from collections import Counter, deque
from contextlib import suppress
from pathlib import Path
from typing import Any

from signalbox_sandbox.egress.connections import Streams, Traffic, Verdict
from signalbox_sandbox.egress.doors import TARGETS
from signalbox_sandbox.egress.policy import Policy
from signalbox_sandbox.egress.proxy import Proxy, Rights
from signalbox_sandbox.keeper import libc
from signalbox_sandbox.keeper.egress import LARGEST, NETWORK, SOCKET
from signalbox_sandbox.keeper.sockets import listen

CONTROL = "egress-control.sock"
MOST, MOST_OF_ALL = 256, 4_096
"""Connections of one sandbox at a time, and of all of the node."""
_LARGEST_LINE = 64 * 1024
_REMEMBERED, _REMEMBERED_OF_ONE = 10_000, 500
"""Ended connections that wait for somebody to tell them to."""


class EgressServer:
    """Without a lease of the service, everything is refused: its node may be lost for all others."""

    def __init__(self, folder: Path, proxy: Proxy, *, sandbox_uid: int | None = None) -> None:
        self._folder = folder
        self._proxy = proxy
        self._sandbox_uid = sandbox_uid
        self._sandboxes: set[_SandboxLine] = set()
        self._services: dict[asyncio.StreamWriter, asyncio.Task[None] | None] = {}
        """Who is told, the first one of them, and what serves each."""
        self._untold: deque[dict[str, Any]] = deque()
        self._waiting: Counter[str] = Counter()
        """How many of these are of which sandbox."""
        self.open = 0
        """Connections of all sandboxes."""
        self._ended: asyncio.TimerHandle | None = None
        self._listener: socket.socket | None = None
        self._control: asyncio.Server | None = None

    @property
    def is_leased(self) -> bool:
        return self._ended is not None

    async def start(self) -> None:
        self._listener = listen(self._folder, SOCKET, socket.SOCK_SEQPACKET)
        self._listener.settimeout(0)
        if self._sandbox_uid is not None:
            os.chown(self._folder / SOCKET, self._sandbox_uid, self._sandbox_uid)
        asyncio.get_running_loop().add_reader(self._listener, self._accept, self._listener)
        control = listen(self._folder, CONTROL)
        self._control = await asyncio.start_unix_server(self._converse, sock=control, limit=_LARGEST_LINE)

    async def stop(self) -> None:
        if self._listener is not None:
            asyncio.get_running_loop().remove_reader(self._listener)
            self._listener.close()
        if self._control is not None:
            self._control.close()
        conversations = [task for task in self._services.values() if task is not None]
        for writer in self._services:
            writer.close()
        await asyncio.gather(*conversations)
        for line in list(self._sandboxes):
            line.close()

    def _accept(self, listener: socket.socket) -> None:
        with suppress(OSError):
            connection, _ = listener.accept()
            connection.settimeout(0)
            self._sandboxes.add(_SandboxLine(self, connection))

    # -- the service -----------------------------------------------------------------------------------------

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """It says for how long it is alive, and is told of every connection that has ended."""
        self._services[writer] = asyncio.current_task()
        try:
            self._tell_untold(writer)
            while line := await reader.readline():
                said = json.loads(line)
                if "lease" in said:
                    self._lease(float(said["lease"]))
                if "totals" in said:
                    found = {"totals": said["totals"], **self._totals(said["totals"])}
                    writer.write(json.dumps(found).encode() + b"\n")
                # Nothing here waits for whoever reads: a lease must be heard whatever is to be told.
                self._tell_untold(writer)
        except (OSError, ValueError):
            pass
        finally:
            del self._services[writer]
            writer.close()

    def _lease(self, seconds: float) -> None:
        if self._ended is not None:
            self._ended.cancel()
        self._ended = asyncio.get_running_loop().call_later(seconds, self._end)

    def _end(self) -> None:
        self._ended = None
        for line in self._sandboxes:
            line.review()

    def _totals(self, sandbox: str) -> dict[str, int]:
        found = dict.fromkeys(("connections", "denied", "sent", "received"), 0)
        for line in self._sandboxes:
            if line.sandbox == sandbox:
                for name, value in line.totals().items():
                    found[name] += value
        return found

    def tell(self, event: dict[str, Any]) -> None:
        """One that has too much to tell pushes out nobody else."""
        if self._waiting[event["sandbox"]] >= _REMEMBERED_OF_ONE or len(self._untold) >= _REMEMBERED:
            return
        self._waiting[event["sandbox"]] += 1
        self._untold.append(event)
        if self._services:
            self._tell_untold(next(iter(self._services)))

    def _tell_untold(self, writer: asyncio.StreamWriter) -> None:
        while self._untold and writer.transport.get_write_buffer_size() < _LARGEST_LINE:
            event = self._untold.popleft()
            self._waiting[event["sandbox"]] -= 1
            if not self._waiting[event["sandbox"]]:
                del self._waiting[event["sandbox"]]
            writer.write(json.dumps(event).encode() + b"\n")

    # -- sandboxes -------------------------------------------------------------------------------------------

    def forget(self, line: "_SandboxLine") -> None:
        self._sandboxes.discard(line)

    async def serve(
        self, connection: socket.socket, door: str | None, rights: Rights, traffic: Traffic
    ) -> None:
        traffic.is_served = True
        inner = await Streams.of(connection)
        try:
            if door is None:
                await self._proxy.serve(inner, rights, traffic)
            elif door in TARGETS:
                await TARGETS[door](inner, traffic)
            else:
                traffic.judged(Verdict.DENIED, "unknown_target")
        finally:
            inner.abort()


class _SandboxLine:
    """What one keeper says; its end is the end of all connections of its sandbox."""

    def __init__(self, server: EgressServer, connection: socket.socket) -> None:
        self.sandbox = ""
        self._server = server
        self._connection = connection
        self._rights = Rights()
        self._open: dict[asyncio.Task[None], Traffic] = {}
        self._begun: dict[asyncio.Task[None], socket.socket] = {}
        self._totals = dict.fromkeys(("connections", "denied", "sent", "received"), 0)
        asyncio.get_running_loop().add_reader(connection, self._hear)

    def totals(self) -> dict[str, int]:
        found = dict(self._totals)
        for traffic in self._open.values():
            found["sent"] += traffic.sent
            found["received"] += traffic.received
        return found

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._connection)
        self._connection.close()
        for task in list(self._open):
            task.cancel()
        self._server.forget(self)

    def review(self) -> None:
        """What would not be allowed any more is cut."""
        for task, traffic in list(self._open.items()):
            if self._server.is_leased and (
                traffic.kind != NETWORK
                or not traffic.host
                or self._rights.policy.allows(traffic.host, traffic.port)
            ):
                continue
            traffic.judged(Verdict.CUT, "not_allowed" if self._server.is_leased else "no_service")
            task.cancel()

    def _hear(self) -> None:
        descriptors: list[int] = []
        try:
            data, descriptors = libc.receive(self._connection, LARGEST, 1)
            if not data:
                self.close()
                return
            self._take(json.loads(data), descriptors)
        except BlockingIOError:
            return
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            self.close()
        finally:
            for descriptor in descriptors:
                os.close(descriptor)

    def _take(self, said: dict[str, Any], descriptors: list[int]) -> None:
        if "policy" in said:
            self.sandbox = str(said["sandbox"])
            self._rights.policy = Policy.of(said["policy"])
            self.review()
            self._connection.send(json.dumps({"taken": said["number"]}).encode())
        elif descriptors:
            self._begin(socket.socket(fileno=descriptors.pop()), said["kind"], said.get("target"))

    def _begin(self, connection: socket.socket, kind: str, target: str | None) -> None:
        traffic = Traffic(kind)
        connection.settimeout(0)
        if not self._server.is_leased or len(self._open) >= MOST or self._server.open >= MOST_OF_ALL:
            traffic.judged(Verdict.DENIED, "too_many" if self._server.is_leased else "no_service")
            connection.close()
            self._end(traffic)
            return
        task = asyncio.create_task(self._server.serve(connection, target, self._rights, traffic))
        self._open[task] = traffic
        self._begun[task] = connection
        self._server.open += 1
        task.add_done_callback(self._ended)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        traffic = self._open.pop(task)
        connection = self._begun.pop(task)
        if not traffic.is_served:  # it was cut before it began: else its transport closes it
            connection.close()
        self._server.open -= 1
        if not task.cancelled() and (error := task.exception()) is not None:
            traffic.judged(Verdict.FAILED, type(error).__name__)
        elif task.cancelled() and traffic.verdict is Verdict.ALLOWED:
            traffic.judged(Verdict.CUT, "ended")
        self._end(traffic)

    def _end(self, traffic: Traffic) -> None:
        self._totals["connections"] += 1
        self._totals["denied"] += traffic.verdict is Verdict.DENIED
        self._totals["sent"] += traffic.sent
        self._totals["received"] += traffic.received
        self._server.tell({"sandbox": self.sandbox, **traffic.described()})
