"""Connections that go out of a sandbox: when they are cut, how many there may be, and who outlives whom."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from signalbox_common.testing import eventually
from signalbox_sandbox.egress.server import MOST
from signalbox_sandbox.keeper.egress import PROXY_PORT
from tests.support.egress import EXAMPLES, Egress, Outside, ask, egress_of, fresh, get, private
from tests.support.node import Node, Sandbox

# Opens a tunnel, says something through it, and tells how it ends.
TUNNEL = """
import socket, sys
line = socket.create_connection(("127.0.0.1", 3128), 10)
line.sendall(f"CONNECT {sys.argv[1]} HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n".encode())
head = b""
while not head.endswith(b"\\r\\n\\r\\n"):
    more = line.recv(1)
    if not more: break
    head += more
print(head.split(b"\\r\\n")[0].decode(), flush=True)
try:
    line.sendall(b"GET / HTTP/1.1\\r\\n\\r\\n")
    while data := line.recv(65536):
        print("heard", flush=True)
    print("ended")
except OSError as error:
    print("broken")
"""


@pytest.fixture
async def outside() -> AsyncIterator[Outside]:
    async with Outside() as found:
        yield found


@pytest.fixture
async def egress(node: Node, outside: Outside, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Egress]:
    async with egress_of(node, monkeypatch, EXAMPLES, private("127.0.0.1")) as found:
        yield found


async def opened(sandbox: Sandbox, egress: Egress, outside: Outside) -> None:
    """A tunnel that is in use."""
    before = outside.open
    await sandbox.client.start("tunnel", ["python3", "-c", TUNNEL, f"code.example:{outside.port}"])
    await eventually(lambda: _at_least(outside, before + 1), what="the tunnel is open")
    _ = egress


async def _at_least(outside: Outside, count: int) -> bool:
    return outside.open >= count


@pytest.mark.parametrize("how", ["set-network", "lease", "destroyed"])
async def test_an_open_connection_is_cut(node: Node, outside: Outside, egress: Egress, how: str) -> None:
    sandbox = await fresh(node, f"code.example:{outside.port}")
    other = await fresh(node, f"code.example:{outside.port}")
    await opened(sandbox, egress, outside)
    await opened(other, egress, outside)
    began = asyncio.get_running_loop().time()
    match how:
        case "set-network":
            await sandbox.client.ask("set-network", network={"hosts": ["other.example"]})
        case "lease":
            egress.lease(0.05)
        case _:
            await sandbox.client.ask("end")
    (told, *_) = await egress.of(sandbox.id)
    assert asyncio.get_running_loop().time() - began < 1.0
    assert told["verdict"] == "cut" or how == "destroyed", "there its program may have gone before"
    if how != "destroyed":
        assert "HTTP/1.1 200" in (await sandbox.told("tunnel")).stdout
    others = [each for each in egress.told if each["sandbox"] == other.id]
    assert len(others) == (1 if how == "lease" else 0), "what is allowed goes on"
    if how == "lease":
        assert (await ask(other, get(f"code.example:{outside.port}"))) == [""]
        assert (await egress.of(other.id, 2))[-1]["reason"] == "no_service"
        egress.lease(60.0)
        assert (await ask(other, get(f"code.example:{outside.port}")))[0].split()[1] == "200"


async def test_what_is_set_while_it_runs_holds_at_once(node: Node, outside: Outside, egress: Egress) -> None:
    sandbox = await fresh(node)
    request = get(f"code.example:{outside.port}")
    assert (await ask(sandbox, request))[0].split()[1] == "403"
    await sandbox.client.ask("set-network", network={"hosts": [f"code.example:{outside.port}"]})
    assert (await ask(sandbox, request))[0].split()[1] == "200"
    assert (await sandbox.sh("echo $http_proxy")).stdout == f"http://127.0.0.1:{PROXY_PORT}\n"
    await sandbox.client.ask("set-network", network={})
    assert (await ask(sandbox, request))[0].split()[1] == "403"
    _ = egress


async def test_the_role_may_die_and_come_back(
    node: Node, outside: Outside, monkeypatch: pytest.MonkeyPatch
) -> None:
    names, rules = {"code.example": ["127.0.0.1"]}, private("127.0.0.1")
    sandbox = await fresh(node, f"code.example:{outside.port}")
    request = get(f"code.example:{outside.port}")
    assert await ask(sandbox, request) == [""], "nobody is there yet"
    for _ in range(2):
        async with egress_of(node, monkeypatch, names, rules):
            assert (await ask(sandbox, request))[0].split()[1] == "200"
        assert await ask(sandbox, request) == [""]


async def test_one_sandbox_has_so_many_connections(node: Node, outside: Outside, egress: Egress) -> None:
    sandbox = await fresh(node, f"code.example:{outside.port}")
    other = await fresh(node, f"code.example:{outside.port}")
    script = f"""
import socket, sys
held = []
for _ in range({MOST + 100}):
    held.append(socket.create_connection(("127.0.0.1", 3128), 10))
print("held", flush=True)
sys.stdin.read()
"""
    await sandbox.client.start("many", ["python3", "-c", script], stdin=True)
    told = await egress.of(sandbox.id, 100)
    assert {each["reason"] for each in told} == {"too_many"}
    assert (await ask(other, get(f"code.example:{outside.port}")))[0].split()[1] == "200", "others are served"
    await sandbox.client.write("many", 0, b"", close=True)
    assert (await sandbox.told("many")).stdout == "held\n"
    assert (await ask(sandbox, get(f"code.example:{outside.port}")))[0].split()[1] == "200"


async def test_a_flood_that_nobody_hears_cuts_nobody_off(
    node: Node, outside: Outside, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is to be told waits, within bounds; leases are heard all the same."""
    names, rules = {"code.example": ["127.0.0.1"]}, private("127.0.0.1")
    async with egress_of(node, monkeypatch, names, rules, hears=False) as egress:
        egress.lease(3.0)
        flooder, other = await fresh(node), await fresh(node, f"code.example:{outside.port}")
        flood = (
            "import socket\nfor _ in range(1500):\n    socket.create_connection(('127.0.0.1', 3128)).close()"
        )
        await flooder.client.start("flood", ["python3", "-c", flood])
        for _ in range(8):
            egress.lease(3.0)
            await asyncio.sleep(0.5)
            assert egress.server.is_leased
        assert (await ask(other, get(f"code.example:{outside.port}")))[0].split()[1] == "200"
