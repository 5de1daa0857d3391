"""Where a request really comes from, as far as that can be believed."""

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from starlette.datastructures import Headers
from starlette.types import Scope

from signalbox_common.bus.headers import Client, sound_agent

Network = IPv4Network | IPv6Network
_HOST_BITS = 64


class Addresses:
    """Believes what proxies say only where they are ours."""

    def __init__(self, proxies: Sequence[Network]) -> None:
        self._proxies = proxies

    def client(self, scope: Scope, headers: Headers) -> Client:
        address = self._of_peer(scope)
        if address is not None and self._trusted(address):
            # The nearest address that no proxy of ours has: everything left of it, anybody may have written.
            # A proxy may add a line of its own instead of a word to the line that is there.
            for hop in reversed(",".join(headers.getlist("x-forwarded-for")).split(",")):
                named = parsed(hop)
                if named is None:
                    break
                address = named
                if not self._trusted(named):
                    break
        return Client(str(address) if address is not None else None, sound_agent(headers.get("user-agent")))

    def scheme(self, scope: Scope, headers: Headers) -> str:
        """`https` also where a proxy of ours says that it was."""
        peer = self._of_peer(scope)
        if peer is not None and self._trusted(peer) and headers.get("x-forwarded-proto") in ("http", "https"):
            return headers["x-forwarded-proto"]
        return str(scope.get("scheme", "http"))

    def _trusted(self, address: IPv4Address | IPv6Address) -> bool:
        return any(address in network for network in self._proxies)

    @staticmethod
    def _of_peer(scope: Scope) -> IPv4Address | IPv6Address | None:
        peer = scope.get("client")
        return parsed(peer[0]) if peer else None


def neighbours(address: IPv4Address | IPv6Address) -> str:
    """Who is counted as one: a household, or a machine, has a whole network of IPv6 addresses."""
    if isinstance(address, IPv6Address):
        return str(IPv6Address(int(address) >> _HOST_BITS << _HOST_BITS))
    return str(address)


def parsed(text: str) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address(text.strip())
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address
