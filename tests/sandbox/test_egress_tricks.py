"""Tricks to get out of a sandbox to where nobody is allowed, each with somebody who must hear nothing."""

from collections.abc import AsyncIterator, Callable
from dataclasses import replace

import pytest

from signalbox_common import addresses
from signalbox_sandbox.egress.policy import Policy
from signalbox_sandbox.egress.proxy import Rules
from tests.support.egress import Outside, ask, egress_of, fresh, get, private
from tests.support.node import Node

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


@pytest.fixture
async def outside() -> AsyncIterator[Outside]:
    async with Outside() as found:
        yield found


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


async def test_where_nobody_can_say_what_is_ours_nothing_is_reached(
    node: Node, outside: Outside, monkeypatch: pytest.MonkeyPatch
) -> None:
    rules = replace(private("127.0.0.1"), own=(("no.such.host.invalid", outside.port),))
    async with egress_of(node, monkeypatch, {"code.example": ["127.0.0.1"]}, rules):
        sandbox = await fresh(node, f"code.example:{outside.port}")
        assert (await ask(sandbox, get(f"code.example:{outside.port}")))[0].split()[1] == "403"
