"""What goes out of a sandbox: what is allowed and nothing else, tried from inside, and counted outside."""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

import pytest

from signalbox_common import addresses
from signalbox_common.testing import eventually
from signalbox_sandbox.egress.policy import Policy
from signalbox_sandbox.egress.proxy import Rules
from signalbox_sandbox.egress.server import MOST
from signalbox_sandbox.keeper.egress import PROXY_PORT
from tests.support.egress import Egress, Outside, egress_of, private
from tests.support.node import Node, Sandbox

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
    names = {
        "code.example": ["127.0.0.1"],
        "below.code.example": ["127.0.0.1"],
        "other.example": ["127.0.0.1"],
    }
    async with egress_of(node, monkeypatch, names, private("127.0.0.1")) as found:
        yield found


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


# -- what is allowed ---------------------------------------------------------------------------------------


async def test_a_host_that_is_allowed_is_reached_and_no_other(
    node: Node, outside: Outside, egress: Egress
) -> None:
    port = outside.port
    sandbox = await fresh(node, f"code.example:{port}")
    said = await ask(
        sandbox,
        get(f"code.example:{port}"),
        get(f"below.code.example:{port}"),
        get(f"other.example:{port}"),
        get("code.example"),
        get(f"127.0.0.1:{port}"),
    )
    assert [each.split()[1] for each in said] == ["200", "403", "403", "403", "403"]
    assert said[0].endswith("heard 0")
    assert "may not reach other.example" in said[2], "and says so"
    assert len(outside.heard) == 1
    assert egress.asked == ["code.example"], "what is not allowed is not even asked for"
    verdicts = [(each["host"], each["verdict"]) for each in await egress.of(sandbox.id, 5)]
    assert verdicts[0] == ("code.example", "allowed")
    assert {verdict for _, verdict in verdicts[1:]} == {"denied"}
    told = (await egress.of(sandbox.id))[0]
    assert told["sent"] > 30
    assert told["received"] > 30
    assert told["port"] == port


async def test_names_below_another(node: Node, outside: Outside, egress: Egress) -> None:
    sandbox = await fresh(node, f"*.code.example:{outside.port}")
    said = await ask(sandbox, get(f"below.code.example:{outside.port}"), get(f"code.example:{outside.port}"))
    assert [each.split()[1] for each in said] == ["200", "403"]
    _ = egress


async def test_tools_find_the_way_by_their_environment(node: Node, outside: Outside, egress: Egress) -> None:
    """curl, git and Python speak to the proxy without being told more."""
    port = outside.port
    sandbox = await fresh(node, f"code.example:{port}")
    script = (
        f"curl -sS -m 10 http://code.example:{port}/curl && echo && "
        f"curl -sS -m 10 --proxytunnel http://code.example:{port}/tunnel && echo && "
        "python3 -c 'import urllib.request as u; "
        f'print(u.urlopen("http://code.example:{port}/python", timeout=10).read().decode())\' ; '
        f"git ls-remote http://code.example:{port}/git 2>&1 | head -1"
    )
    ran = await sandbox.sh(script)
    assert ran.stdout.splitlines()[:3] == ["heard 0"] * 3, ran
    paths = [each.split(b" ", 2)[1].split(b"?")[0] for each in outside.heard]
    assert paths[:4] == [b"/curl", b"/tunnel", b"/python", b"/git/info/refs"]
    quiet = await fresh(node)
    assert (await quiet.sh("env | grep -ci proxy")).stdout.strip() == "0", (
        "where there is no way, none is named"
    )
    own = await node.keep(network={"hosts": ["x.example"]}, env={"HTTPS_PROXY": "http://mine:1"})
    assert (await own.sh("echo $HTTPS_PROXY")).stdout == "http://mine:1\n", "what its maker has said counts"
    _ = egress


async def test_without_the_proxy_there_is_nothing(node: Node, outside: Outside, egress: Egress) -> None:
    """Neither to what is allowed: a program that asks nobody finds no network."""
    port = outside.port
    sandbox = await node.keep(network={"public": True, "hosts": [f"code.example:{port}"]})
    script = f"""
import socket
def tried(kind, *to):
    try:
        with socket.socket(*kind) as line:
            line.settimeout(2)
            line.connect(*to) if kind[1] == socket.SOCK_STREAM else line.sendto(b"x", *to)
        return "sent"
    except OSError as error:
        return error.errno
print(tried((socket.AF_INET, socket.SOCK_STREAM), ("127.0.0.1", {port})),
      tried((socket.AF_INET, socket.SOCK_STREAM), ("1.1.1.1", 443)),
      tried((socket.AF_INET, socket.SOCK_DGRAM), ("1.1.1.1", 53)),
      tried((socket.AF_INET, socket.SOCK_DGRAM), ("169.254.169.254", 80)),
      tried((socket.AF_INET6, socket.SOCK_DGRAM), ("2606:4700:4700::1111", 53)))
try:
    print(socket.getaddrinfo("example.com", 443))
except OSError as error:
    print("no name")
"""
    ran = await sandbox.run("python3", "-c", script)
    assert ran.stdout.splitlines() == ["111 101 101 101 101", "no name"], ran
    assert outside.heard == []
    assert egress.asked == []


# -- tricks ------------------------------------------------------------------------------------------------

PRIVATE = {
    "loopback": ["127.0.0.1"],
    "this host": ["0.0.0.0"],
    "ten": ["10.0.0.1"],
    "172": ["172.16.0.1"],
    "192": ["192.168.0.1"],
    "shared": ["100.64.0.1"],
    "link-local": ["169.254.1.1"],
    "metadata": ["169.254.169.254"],
    "multicast": ["224.0.0.1"],
    "broadcast": ["255.255.255.255"],
    "reserved": ["240.0.0.1"],
    "benchmark": ["198.18.0.1"],
    "documentation": ["192.0.2.1"],
    "loopback 6": ["::1"],
    "unspecified 6": ["::"],
    "link-local 6": ["fe80::1"],
    "unique local": ["fd00::1"],
    "metadata 6": ["fd00:ec2::254"],
    "multicast 6": ["ff02::1"],
    "site-local": ["fec0::1"],
    "mapped": ["::ffff:127.0.0.1"],
    "compatible": ["::127.0.0.1"],
    "nat64": ["64:ff9b::7f00:1"],
    "6to4": ["2002:7f00:1::"],
    "teredo": ["2001:0:7f00:1::"],
    "one of two": ["93.184.215.14", "127.0.0.1"],
}


async def test_names_at_private_addresses_are_refused(
    node: Node, outside: Outside, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the name is, and whoever has allowed it: all of its addresses are looked at."""
    names = {f"n{number}.example": found for number, found in enumerate(PRIVATE.values())}
    async with egress_of(node, monkeypatch, names) as egress:
        sandbox = await node.keep(network={"hosts": [f"{name}:{outside.port}" for name in names]})
        said = await ask(sandbox, *(get(f"{name}:{outside.port}") for name in names))
        refused = dict(zip(PRIVATE, said, strict=True))
        for kind, answer in refused.items():
            assert answer.split()[1] == "403", kind
            assert "private" in answer, kind
        assert {each["reason"] for each in await egress.of(sandbox.id, len(names))} == {"private"}
    assert outside.heard == []


def tricks(port: int) -> dict[str, str]:
    """By name, what is sent to the proxy; none of it may reach who listens on loopback."""
    address = f"127.0.0.1:{port}"
    return {
        "loopback": get(address),
        "decimal": get(f"2130706433:{port}"),
        "octal": get(f"0177.0.0.1:{port}"),
        "hexadecimal": get(f"0x7f.0.0.1:{port}"),
        "hexadecimal, whole": get(f"0x7f000001:{port}"),
        "short": get(f"127.1:{port}"),
        "zero": get(f"0:{port}"),
        "padded": get(f"127.000.000.001:{port}"),
        "trailing dot": get(f"127.0.0.1.:{port}"),
        "two trailing dots": get(f"code.example..:{port}"),
        "version 6": get(f"[::1]:{port}"),
        "mapped": get(f"[::ffff:127.0.0.1]:{port}"),
        "mapped, hexadecimal": get(f"[::ffff:7f00:1]:{port}"),
        "zone": get(f"[fe80::1%25lo]:{port}"),
        "without brackets": get(f"::1:{port}"),
        "unspecified": get(f"[::]:{port}"),
        "localhost": get(f"localhost:{port}"),
        "capitals": get(f"LOCALHOST:{port}"),
        "user": get(f"code.example@{address}"),
        "user and password": get(f"a:b@{address}"),
        "backslash": get(f"code.example\\@{address}"),
        "fragment": get(f"{address}#@code.example"),
        "null byte": get(f"code.example\0.{address}"),
        "encoded": get(f"%31%32%37.0.0.1:{port}"),
        "full width": get(f"\uff11\uff12\uff17.0.0.1:{port}".encode().decode("latin-1")),
        "other scheme": get(address).replace("http://", "ftp://"),
        "file": "GET file:///etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n",
        "no scheme": f"GET / HTTP/1.1\r\nHost: {address}\r\n\r\n",
        "port beyond": get(f"127.0.0.1:{port + 65536}"),
        "negative port": get("127.0.0.1:-1"),
        "port in letters": get("127.0.0.1:http"),
        "tunnel": f"CONNECT {address} HTTP/1.1\r\nHost: {address}\r\n\r\n",
        "tunnel to a name of it": f"CONNECT localhost:{port} HTTP/1.1\r\nHost: code.example\r\n\r\n",
        "tunnel by another host": f"CONNECT {address} HTTP/1.1\r\nHost: code.example:443\r\n\r\n",
        "tunnel without a port": "CONNECT code.example HTTP/1.1\r\nHost: code.example\r\n\r\n",
        "tunnel, version 6": f"CONNECT [::1]:{port} HTTP/1.1\r\nHost: x\r\n\r\n",
        "two hosts": get(f"code.example:{port}", f"Host: {address}\r\n"),
        "two lengths": get(f"code.example:{port}", "Content-Length: 1\r\nContent-Length: 2\r\n"),
        "length of letters": get(f"code.example:{port}", "Content-Length: x\r\n"),
        "folded": get(f"code.example:{port}", "X: a\r\n b\r\n") + get(address),
        "bare line feed": get(address).replace("\r\n", "\n"),
        "endless head": get(f"code.example:{port}", "X: " + "a" * 70_000 + "\r\n"),
        "no request": "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        "second request": get(f"code.example:{port}") + get(address),
        "bodies of two kinds": get(
            f"code.example:{port}", "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n"
        )
        + "0\r\n\r\n"
        + get(address),
    }


async def test_tricks_reach_nobody(node: Node, outside: Outside, monkeypatch: pytest.MonkeyPatch) -> None:
    """`code.example` is allowed at a public address where nobody answers, and all that is public, too."""
    async with egress_of(node, monkeypatch, {"localhost": ["127.0.0.1", "::1"]}) as egress:
        sandbox = await node.keep(network={"public": True, "hosts": [f"code.example:{outside.port}"]})
        wanted = tricks(outside.port)
        said = dict(zip(wanted, await ask(sandbox, *wanted.values()), strict=True))
        for trick, answer in said.items():
            assert answer == "" or answer.split()[1] in ("400", "403", "408", "431", "502"), (trick, answer)
        assert outside.heard == []
        _ = egress


async def test_who_listens_is_who_was_looked_at(
    node: Node, outside: Outside, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name that says another address each time it is asked: it is asked once."""
    answers = iter([["127.0.0.1"], ["127.0.0.2"], ["127.0.0.2"]])

    class Rebinding(dict[str, list[str]]):
        def __contains__(self, name: object) -> bool:
            return name == "rebind.example"

        def __getitem__(self, name: str) -> list[str]:
            return next(answers)

    async with egress_of(node, monkeypatch, Rebinding(), private("127.0.0.1")) as egress:
        sandbox = await fresh(node, f"rebind.example:{outside.port}")
        first, second = await ask(sandbox, *[get(f"rebind.example:{outside.port}")] * 2)
        assert (first.split()[1], second.split()[1]) == ("200", "403")
        assert len(outside.heard) == 1
        assert egress.asked == ["rebind.example"] * 2, "once for each connection"


def _judges_no_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(addresses, "is_public", lambda _address: True)


def _judges_no_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Policy, "allows", lambda *_: True)


@pytest.mark.parametrize(
    ("hosts", "switched_off"),
    [(["secret.example"], _judges_no_address), (["public.example"], _judges_no_name)],
    ids=["addresses", "names"],
)
async def test_each_of_both_is_what_keeps_it_in(
    node: Node,
    outside: Outside,
    monkeypatch: pytest.MonkeyPatch,
    hosts: list[str],
    switched_off: Callable[[pytest.MonkeyPatch], None],
) -> None:
    """A name that is not allowed, at an address that the operator has opened; one that is, at another."""
    names = {"secret.example": ["127.0.0.1"], "public.example": ["127.0.0.1"]}
    rules = private("127.0.0.1") if hosts == ["public.example"] else Rules()
    async with egress_of(node, monkeypatch, names, rules):
        sandbox = await fresh(node, *(f"{host}:{outside.port}" for host in hosts))
        request = get(f"secret.example:{outside.port}")
        assert (await ask(sandbox, request))[0].split()[1] == "403"
        switched_off(monkeypatch)
        assert (await ask(sandbox, request))[0].split()[1] == "200", "the test would see it"


async def test_our_own_ports_are_nobodys(
    node: Node, outside: Outside, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the operator has opened the address: by any name and address of this machine."""
    rules = replace(private("127.0.0.0/8", "::1", "0.0.0.0/8"), own=(("127.0.0.1", outside.port),))
    names = {
        "a.example": ["127.0.0.1"],
        "b.example": ["127.8.8.8"],
        "c.example": ["0.0.0.0"],
        "d.example": ["::1"],
    }
    async with egress_of(node, monkeypatch, names, rules) as egress:
        sandbox = await fresh(node, *(f"{name}:{outside.port}" for name in names))
        for answer in await ask(sandbox, *(get(f"{name}:{outside.port}") for name in names)):
            assert answer.split()[1] == "403", answer
        assert {each["reason"] for each in await egress.of(sandbox.id, 4)} == {"own"}
        assert outside.heard == []


# -- HTTP --------------------------------------------------------------------------------------------------


async def test_requests_are_said_anew(node: Node, outside: Outside, egress: Egress) -> None:
    """The host that was judged is the one that is named; what is for us goes no further."""
    port = outside.port
    sandbox = await fresh(node, f"code.example:{port}")
    (said,) = await ask(
        sandbox,
        f"POST http://code.example:{port}/p?q=1 HTTP/1.1\r\nHost: secret.internal\r\n"
        "Proxy-Authorization: mine\r\nConnection: close, X-Hop\r\nX-Hop: 1\r\nX-Kept: 2\r\n"
        "Content-Length: 4\r\n\r\nbody",
    )
    assert said.endswith("heard 4")
    (heard,) = outside.heard
    head = heard.decode().lower()
    assert head.startswith("post /p?q=1 http/1.1\r\n")
    assert f"\r\nhost: code.example:{port}\r\n" in head
    assert "x-kept: 2" in head
    for hidden in ("secret.internal", "mine", "x-hop"):
        assert hidden not in head
    assert egress.asked == ["code.example"]


async def test_much_goes_through(node: Node, outside: Outside, egress: Egress) -> None:
    port = outside.port
    sandbox = await fresh(node, f"code.example:{port}")
    ran = await sandbox.sh(
        f"head -c 50000000 /dev/zero | curl -sS -m 60 --data-binary @- http://code.example:{port}/"
    )
    assert ran.stdout == "heard 50000000", ran
    (told,) = await egress.of(sandbox.id)
    assert told["sent"] > 50_000_000


# -- changes -----------------------------------------------------------------------------------------------


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


async def test_where_nobody_can_say_what_is_ours_nothing_is_reached(
    node: Node, outside: Outside, monkeypatch: pytest.MonkeyPatch
) -> None:
    rules = replace(private("127.0.0.1"), own=(("no.such.host.invalid", outside.port),))
    async with egress_of(node, monkeypatch, {"code.example": ["127.0.0.1"]}, rules):
        sandbox = await fresh(node, f"code.example:{outside.port}")
        assert (await ask(sandbox, get(f"code.example:{outside.port}")))[0].split()[1] == "403"


# -- doors -------------------------------------------------------------------------------------------------


async def test_a_door_leads_to_its_target(node: Node, egress: Egress) -> None:
    """Also where there is no network; of another sandbox it is not there."""
    doors = [
        {"name": "one", "port": 5000, "target": "echo"},
        {"name": "two", "port": 5001, "target": "nobody"},
    ]
    sandbox = await node.keep(doors=doors)
    speak = "exec 3<>/dev/tcp/127.0.0.1/{}; echo through >&3; head -n 1 <&3"
    assert (await sandbox.run("bash", "-c", speak.format(5000))).stdout == "through\n"
    assert (await sandbox.run("bash", "-c", speak.format(5001))).stdout == ""
    told = await egress.of(sandbox.id, 2)
    assert [(each["kind"], each["verdict"]) for each in told] == [("one", "allowed"), ("two", "denied")]
    assert (told[0]["sent"], told[0]["received"]) == (8, 8)
    other = await node.keep()
    assert (await other.run("bash", "-c", speak.format(5000))).code != 0


async def test_nobody_inside_is_there_before_the_listeners(node: Node, egress: Egress) -> None:
    """A program cannot take the place of a door or of the proxy."""
    sandbox = await node.keep(doors=[{"name": "one", "port": 5000, "target": "echo"}])
    script = """
import socket
for port in (3128, 5000):
    with socket.socket() as line:
        line.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        line.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        try:
            line.bind(("127.0.0.1", port)); line.listen(); print("taken")
        except OSError as error:
            print(error.errno)
"""
    assert (await sandbox.run("python3", "-c", script)).stdout.split() == ["98", "98"]
    _ = egress
