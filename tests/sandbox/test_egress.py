"""What goes out of a sandbox: what is allowed and nothing else, tried from inside, and counted outside."""

from collections.abc import AsyncIterator

import pytest

from tests.support.egress import EXAMPLES, Egress, Outside, ask, egress_of, fresh, get, private
from tests.support.node import Node


@pytest.fixture
async def outside() -> AsyncIterator[Outside]:
    async with Outside() as found:
        yield found


@pytest.fixture
async def egress(node: Node, outside: Outside, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Egress]:
    async with egress_of(node, monkeypatch, EXAMPLES, private("127.0.0.1")) as found:
        yield found


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
