"""Which addresses may be reached where somebody else says where to go: remotes, webhooks, hosts from inside.

A name is read strictly before it is resolved, and each address that it resolves to is looked at: whoever
connects then uses that address, and asks nobody again.
"""

import asyncio
import ipaddress
import re
import socket
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

LAST_PORT = 65535
_LONGEST_NAME = 253
_AUTHORITY = re.compile(r"(\[[^\[\]]*\]|[^:\[\]]*)(?::([0-9]{0,5}))?")
_NAME = re.compile(r"(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.)*[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
_LIKE_A_NUMBER = re.compile(r"(?:.*\.)?(?:[0-9]+|0x[0-9a-f]*)")
"""What ends so is an address for some, in other bases or with fewer parts; only one form is taken."""
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_COMPATIBLE = ipaddress.IPv6Network("::/96")
_GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")
_OF_NOBODY = tuple(
    ipaddress.IPv4Network(text) for text in ("192.0.0.0/24", "192.88.99.0/24", "168.63.129.16/32")
)
"""Protocol assignments, relays, and services that clouds put before each of their machines."""
_RESOLVED_WITHIN = 10.0


class BadHost(ValueError):
    """Carries what is wrong with it."""


class Unresolved(OSError):
    """There is no such name, or nobody says so in time."""


class NotPublic(Exception):
    """It is an address that nobody from outside may name."""

    def __init__(self, address: Address) -> None:
        super().__init__(f"{address} is not public")
        self.address = address


def host_of(text: str) -> str:
    """A name or an address in its one form; raises BadHost for whatever else it is."""
    host = text.lower()
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
        if ":" not in host:
            raise BadHost("brackets are for addresses of version 6")
    if ":" in host:
        return _address_of(host).compressed
    host = host.removesuffix(".")
    if len(host) > _LONGEST_NAME or not _NAME.fullmatch(host):
        raise BadHost("that is no name of a host")
    if _LIKE_A_NUMBER.fullmatch(host):
        return str(_address_of(host))
    return host


def host_and_port(text: str) -> tuple[str, int | None]:
    """The host in its one form, and the port where there is one; an address of version 6 is in brackets.

    Raises BadHost.
    """
    read = _AUTHORITY.fullmatch(text)
    if read is None:
        raise BadHost("that is no host with a port")
    host, port = host_of(read[1]), int(read[2]) if read[2] else None
    if port is not None and not 1 <= port <= LAST_PORT:
        raise BadHost(f"a port is a number from 1 to {LAST_PORT}")
    return host, port


def _address_of(text: str) -> Address:
    try:
        found = ipaddress.ip_address(text)
    except ValueError as error:
        raise BadHost("that is no address") from error
    if isinstance(found, ipaddress.IPv6Address) and found.scope_id is not None:
        raise BadHost("an address has no zone")
    return found


def is_public(address: Address) -> bool:
    """Whether anybody on the internet may have it; with one inside another, both."""
    if isinstance(address, ipaddress.IPv4Address):
        special = address.is_multicast or address.is_reserved or any(address in each for each in _OF_NOBODY)
        return address.is_global and not special
    within = _within(address)
    if within is not None:
        return all(is_public(each) for each in within)
    return address.is_global and address in _GLOBAL_UNICAST


def _within(address: ipaddress.IPv6Address) -> tuple[ipaddress.IPv4Address, ...] | None:
    """Addresses of version 4 that this one leads to."""
    if address.ipv4_mapped is not None:
        return (address.ipv4_mapped,)
    if address.sixtofour is not None:
        return (address.sixtofour,)
    if address.teredo is not None:
        return address.teredo
    if address in _NAT64 or address in _COMPATIBLE:
        return (ipaddress.IPv4Address(int(address) & 0xFFFFFFFF),)
    return None


@dataclass(frozen=True)
class PrivateHosts:
    """What may be reached all the same: names with all that they resolve to, addresses, networks."""

    names: frozenset[str] = frozenset()
    networks: tuple[Network, ...] = ()

    @staticmethod
    def parse(text: str) -> "PrivateHosts":
        """Separated by commas; raises BadHost."""
        names, networks = set(), []
        for part in filter(None, (part.strip() for part in text.split(","))):
            try:
                networks.append(ipaddress.ip_network(part.strip("[]")))
            except ValueError:
                names.add(host_of(part))
        return PrivateHosts(frozenset(names), tuple(networks))

    def allow(self, host: str, address: Address) -> bool:
        return host in self.names or any(address in network for network in self.networks)


Lookup = Callable[[str, int], Awaitable[list[Any]]]
"""What `getaddrinfo` says of a host and a port."""


async def _looked_up(host: str, port: int) -> list[Any]:
    return await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)


class Lookups:
    """In threads of their own: a name server that keeps silent takes one for as long as the system waits, and
    whoever else in this process needs a thread is not to wait for that. One name takes one at a time."""

    def __init__(self, most: int) -> None:
        self._threads = ThreadPoolExecutor(most, thread_name_prefix="lookup")
        self._under_way: dict[tuple[str, int], asyncio.Future[list[Any]]] = {}

    async def __call__(self, host: str, port: int) -> list[Any]:
        place = (host, port)
        found = self._under_way.get(place)
        if found is None:
            loop = asyncio.get_running_loop()
            found = loop.run_in_executor(self._threads, _ask_system, host, port)
            self._under_way[place] = found
            found.add_done_callback(lambda done: self._ended(place, done))
        return await asyncio.shield(found)

    def _ended(self, place: tuple[str, int], done: "asyncio.Future[list[Any]]") -> None:
        del self._under_way[place]
        if not done.cancelled():
            done.exception()  # whoever asked may have gone


def _ask_system(host: str, port: int) -> list[Any]:
    return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)


async def resolve(
    host: str,
    port: int,
    private: PrivateHosts,
    within: float | None = _RESOLVED_WITHIN,
    lookup: Lookup = _looked_up,
) -> list[Address]:
    """Each may be connected to: where one may not, none may. Raises Unresolved and NotPublic."""
    found = await addresses_of(host, port, within, lookup)
    for address in found:
        if not is_public(address) and not private.allow(host, address):
            raise NotPublic(address)
    return found


async def addresses_of(
    host: str, port: int, within: float | None = _RESOLVED_WITHIN, lookup: Lookup = _looked_up
) -> list[Address]:
    """All that it resolves to, itself where it is an address; raises Unresolved."""
    with suppress(ValueError):
        return [ipaddress.ip_address(host)]
    try:
        async with asyncio.timeout(within):
            told = await lookup(host, port)
    except (OSError, UnicodeError, TimeoutError) as error:
        raise Unresolved(f"{host} is not resolved") from error
    return list(dict.fromkeys(_plain(each[4][0]) for each in told))


def _plain(text: str | int) -> Address:
    return ipaddress.ip_address(str(text).partition("%")[0])


def is_of_this_machine(address: Address) -> bool:
    """Whether what listens there is here: only such an address can be bound to."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        try:
            probe.bind((str(address), 0))
        except OSError:
            return False
    return True


def matches(host: str, patterns: Iterable[str]) -> bool:
    """Whether it is one of these; `*.name` stands for all names below it."""
    return any(
        host.endswith(pattern[1:]) if pattern.startswith("*.") else host == pattern for pattern in patterns
    )
