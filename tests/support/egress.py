"""The role `egress` in a test's own process, with names that it says itself, who asks, and whom to reach."""

import asyncio
import ipaddress
import json
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Self

import pytest

from signalbox_common import addresses
from signalbox_common.addresses import PrivateHosts, Unresolved
from signalbox_common.testing import eventually
from signalbox_sandbox.egress.proxy import Proxy, Rules
from signalbox_sandbox.egress.server import CONTROL, EgressServer
from tests.support.node import Node, Sandbox

LEASE = 600.0

Names = Mapping[str, Sequence[str]]

EXAMPLES: Names = {
    "code.example": ["127.0.0.1"],
    "below.code.example": ["127.0.0.1"],
    "other.example": ["127.0.0.1"],
}
# Sends raw requests to the proxy, each on a connection of its own, and says what comes back of each.
ASK = """
import json, socket, sys
for request in json.loads(sys.stdin.read()):
    line = socket.create_connection(("127.0.0.1", 3128), 10)
    line.settimeout(15)
    try:
        line.sendall(request.encode("latin-1"))
        said = b""
        while data := line.recv(65536):
            said += data
    except OSError:
        pass  # it was cut
    print(json.dumps(said.decode("latin-1")))
"""


@dataclass
class Egress:
    """`told` are the connections that have ended."""

    server: EgressServer
    writer: asyncio.StreamWriter
    told: list[dict[str, Any]] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    """The names that were resolved."""

    def lease(self, seconds: float) -> None:
        self.writer.write(json.dumps({"lease": seconds}).encode() + b"\n")

    async def of(self, sandbox: str, count: int = 1) -> list[dict[str, Any]]:
        async def enough() -> list[dict[str, Any]]:
            found = [each for each in self.told if each["sandbox"] == sandbox]
            assert len(found) >= count, found
            return found

        return await eventually(enough, what=f"{count} connections are told")


@asynccontextmanager
async def egress_of(
    node: Node,
    monkeypatch: pytest.MonkeyPatch,
    names: Names,
    rules: Rules | None = None,
    *,
    hears: bool = True,
) -> AsyncIterator[Egress]:
    server = EgressServer(node.folder, Proxy(rules or Rules()), sandbox_uid=node.uid)
    await server.start()
    reader, writer = await asyncio.open_unix_connection(str(node.folder / CONTROL))
    found = Egress(server, writer)
    found.lease(LEASE)

    async def resolved(
        host: str, _port: int, _within: float | None = None, _lookup: addresses.Lookup | None = None
    ) -> list[addresses.Address]:
        found.asked.append(host)
        if host in names:
            return [ipaddress.ip_address(each) for each in names[host]]
        try:
            return [ipaddress.ip_address(host)]
        except ValueError:
            raise Unresolved(host) from None

    async def hear() -> None:
        while line := await reader.readline():
            found.told.append(json.loads(line))

    monkeypatch.setattr(addresses, "addresses_of", resolved)
    hearing = asyncio.create_task(hear()) if hears else None
    try:
        await eventually(lambda: _is(server.is_leased), what="the role has its lease")
        yield found
    finally:
        writer.close()
        await server.stop()
        if hearing is not None:
            await hearing


async def _is(so: bool) -> bool:
    return so


def private(*hosts: str) -> Rules:
    return Rules(PrivateHosts.parse(",".join(hosts)))


async def ask(sandbox: Sandbox, *requests: str) -> list[str]:
    key = f"ask-{uuid.uuid4().hex[:8]}"
    await sandbox.client.start(key, ["python3", "-c", ASK], stdin=True)
    await sandbox.client.write(key, 0, json.dumps(requests).encode(), close=True)
    ran = await sandbox.told(key)
    assert ran.code == 0, ran.stderr
    return [json.loads(line) for line in ran.stdout.splitlines()]


def get(host: str, more: str = "") -> str:
    return f"GET http://{host}/ HTTP/1.1\r\nHost: {host}\r\n{more}\r\n"


async def fresh(node: Node, *hosts: str, **more: Any) -> Sandbox:
    return await node.keep(network={"hosts": list(hosts)} if hosts else {}, **more)


class Outside:
    """A server on loopback that answers each request with what it has heard of it."""

    def __init__(self) -> None:
        self.heard: list[bytes] = []
        self.open = 0
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._server is not None:
            self._server.close()

    @property
    def port(self) -> int:
        assert self._server is not None
        return int(self._server.sockets[0].getsockname()[1])

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Says `hello`, and then what it hears, to whoever does not speak HTTP."""
        self.open += 1
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            self.heard.append(head)
            length = next(
                (line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), b":0"
            )
            body = await reader.readexactly(int(length.partition(b":")[2]))
            self.heard[-1] += body
            said = b"heard " + str(len(body)).encode()
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(said), said))
            await writer.drain()
            while data := await reader.read(65536):
                self.heard[-1] += data
                writer.write(data)
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            self.open -= 1
            writer.close()
