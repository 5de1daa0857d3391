"""Hosts are read in one form, and no address that is not public is taken for one that is."""

import asyncio
import ipaddress
import socket
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signalbox_common.addresses import (
    BadHost,
    Lookups,
    NotPublic,
    PrivateHosts,
    Unresolved,
    addresses_of,
    host_and_port,
    host_of,
    is_of_this_machine,
    is_public,
    matches,
    resolve,
)


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("Example.COM", "example.com"),
        ("example.com.", "example.com"),
        ("under_score.example", "under_score.example"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("93.184.215.14", "93.184.215.14"),
        ("[2606:4700:0000::1111]", "2606:4700::1111"),
        ("2606:4700::1111", "2606:4700::1111"),
        ("1e100.example", "1e100.example"),
    ],
)
def test_a_host_has_one_form(text: str, host: str) -> None:
    assert host_of(text) == host


@pytest.mark.parametrize(
    ("text", "both"),
    [
        ("Example.COM.", ("example.com", None)),
        ("example.com:8443", ("example.com", 8443)),
        ("example.com:", ("example.com", None)),
        ("[2606:4700:0::1111]:080", ("2606:4700::1111", 80)),
        ("[2606:4700::1111]", ("2606:4700::1111", None)),
        ("93.184.215.14:1", ("93.184.215.14", 1)),
    ],
)
def test_a_host_with_its_port(text: str, both: tuple[str, int | None]) -> None:
    assert host_and_port(text) == both


@pytest.mark.parametrize(
    "text",
    [
        *("a:0", "a:65536", "a:999999", "a:-1", "a:+1", "a: 80", "a:8_0", "a:８０", "a:80:80", ":80", "::1"),
        *("[::1", "[::1]80", "[::1]]:80", "[a]:80", "a]:80", "user@a:80", "a:80/x"),
    ],
)
def test_whatever_else_has_no_port(text: str) -> None:
    with pytest.raises(BadHost):
        host_and_port(text)


@pytest.mark.parametrize(
    "text",
    [
        *("", ".", "..", "a..b", "-a.example", "a-.example", "a b", "a\0b", "a/b", "a@b", "a:80", "a%00b"),
        *("0177.0.0.1", "127.1", "2130706433", "0x7f.0.0.1", "0x7f000001", "1.2.3.4.5", "256.1.1.1", "a.0x1"),
        *(
            "127.000.000.001",
            "[127.0.0.1]",
            "[::1",
            "fe80::1%lo",
            "::g",
            "bücher.example",
            "１.2.3.4",
            "a" * 64,
        ),
        "a." * 127 + "a",
    ],
)
def test_whatever_else_is_none(text: str) -> None:
    with pytest.raises(BadHost):
        host_of(text)


@given(st.text(max_size=60))
def test_what_was_read_is_read_the_same_again(text: str) -> None:
    try:
        host = host_of(text)
    except BadHost:
        return
    assert host_of(host) == host
    assert host == host.lower()
    assert not set(host) & set(" /@#?\\%\0")


@given(st.ip_addresses(v=4))
def test_addresses_inside_others_are_what_counts(address: ipaddress.IPv4Address) -> None:
    number = int(address)
    inside = (
        ipaddress.IPv6Address((0xFFFF << 32) | number),
        ipaddress.IPv6Address((0x64FF9B << 96) | number),
        ipaddress.IPv6Address((0x2002 << 112) | (number << 80)),
    )
    for each in inside:
        assert is_public(each) == is_public(address), each


@given(
    st.sampled_from(
        [
            "10.0.0.0/8",
            "127.0.0.0/8",
            "169.254.0.0/16",
            "172.16.0.0/12",
            "192.168.0.0/16",
            "100.64.0.0/10",
            "224.0.0.0/4",
            "240.0.0.0/4",
            "0.0.0.0/8",
            "192.0.0.0/24",
            "192.88.99.0/24",
            "168.63.129.16/32",
        ]
    ),
    st.integers(0, 2**32 - 1),
)
def test_private_networks_are_not_public(network: str, number: int) -> None:
    found = ipaddress.ip_network(network)
    address = found[number % found.num_addresses]
    assert not is_public(address)
    assert PrivateHosts.parse(network).allow("any.example", address)
    assert not PrivateHosts.parse("203.0.113.0/24").allow("any.example", address)


def test_public_ones_are() -> None:
    for text in ("1.1.1.1", "93.184.215.14", "2606:4700:4700::1111"):
        assert is_public(ipaddress.ip_address(text))


async def test_all_that_it_resolves_to_must_be_public() -> None:
    with pytest.raises(NotPublic):
        await resolve("localhost", 80, PrivateHosts())
    assert await resolve("localhost", 80, PrivateHosts.parse("localhost"))
    assert await resolve("127.0.0.1", 80, PrivateHosts.parse("127.0.0.0/8"))
    assert await resolve("1.1.1.1", 80, PrivateHosts()) == [ipaddress.ip_address("1.1.1.1")]


def test_settings_that_say_nothing() -> None:
    for text in ("http://example.com", "10.0.0.0/33", "a b"):
        with pytest.raises(BadHost):
            PrivateHosts.parse(text)
    assert PrivateHosts.parse(" , ") == PrivateHosts()


def test_what_is_here() -> None:
    for text in ("127.0.0.1", "127.1.2.3", "0.0.0.0"):
        assert is_of_this_machine(ipaddress.ip_address(text))
    assert not is_of_this_machine(ipaddress.ip_address("1.1.1.1"))


def test_patterns() -> None:
    assert matches("a.example.com", ["*.example.com"])
    assert not matches("example.com", ["*.example.com"])
    assert not matches("badexample.com", ["*.example.com", "example.com"])
    assert matches("example.com", ["other.com", "example.com"])


async def test_one_name_is_asked_for_once_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the first who asked has gone; what comes of it is for all."""
    asked, go_on = [], threading.Event()
    told = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("93.184.215.14", 80))]

    def ask(host: str, port: int, **_: object) -> list[object]:
        asked.append((host, port))
        go_on.wait(30)
        return list(told)

    monkeypatch.setattr(socket, "getaddrinfo", ask)
    lookups = Lookups(2)
    with pytest.raises(Unresolved):
        await addresses_of("slow.example", 80, 0.05, lookups)
    others = [asyncio.create_task(addresses_of("slow.example", 80, 30, lookups)) for _ in range(3)]
    await asyncio.wait(others, timeout=0.05)
    go_on.set()
    assert await asyncio.gather(*others) == [[ipaddress.ip_address("93.184.215.14")]] * 3
    assert asked == [("slow.example", 80)]
    assert await addresses_of("slow.example", 80, 30, lookups)
    assert len(asked) == 2
