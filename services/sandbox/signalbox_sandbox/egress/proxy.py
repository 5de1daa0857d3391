"""The proxy that programs inside speak with: HTTP to hosts by name, and CONNECT for all else."""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import h11

from signalbox_common import background
from signalbox_common.addresses import (
    Address,
    NotPublic,
    PrivateHosts,
    Unresolved,
    addresses_of,
    host_and_port,
    is_of_this_machine,
    resolve,
)
from signalbox_sandbox.egress.connections import Streams, Traffic, Verdict, relay
from signalbox_sandbox.egress.policy import Policy

HEAD_WITHIN = 20.0
CONNECT_WITHIN = 15.0
LOOKUP_WITHIN = 10.0
IDLE = 900.0
"""Seconds in which a request, or its answer, may say nothing."""
_LARGEST_HEAD = 64 * 1024
_PIECE = 64 * 1024
_HTTP = 80
_OWN_HEADERS = frozenset(
    (b"connection", b"keep-alive", b"proxy-authorization", b"proxy-connection", b"te", b"upgrade", b"host")
)
"""Of one hop, which we are the end of; the host is said anew, as we have read it."""


class Refusal(Exception):
    """What is answered instead, and why."""

    def __init__(self, status: int, reason: str, detail: str, verdict: Verdict = Verdict.DENIED) -> None:
        super().__init__(detail)
        self.status = status
        self.reason = reason
        self.detail = detail
        self.verdict = verdict


@dataclass(frozen=True)
class Rules:
    """What holds for all sandboxes of the node."""

    private: PrivateHosts = field(default_factory=PrivateHosts)
    own: tuple[tuple[str, int], ...] = ()
    """Hosts and ports of this installation, which nobody inside reaches, whatever is allowed."""

    async def are_own(self, addresses: list[Address], port: int) -> bool:
        """Also where nobody can say: what is not known to be somebody else's may be."""
        for host in {host for host, own_port in self.own if own_port == port}:
            try:
                theirs = await addresses_of(host, 0)
            except Unresolved:
                return True
            is_here = any(map(is_of_this_machine, theirs))
            if any(each in theirs or (is_here and is_of_this_machine(each)) for each in addresses):
                return True
        return False


LOOKUPS = 4
"""Names of one sandbox that are looked up at a time: they must not be all that others wait for."""


class Rights:
    """Of one sandbox."""

    def __init__(self, policy: Policy | None = None) -> None:
        self.policy = policy or Policy()
        self.lookups = asyncio.Semaphore(LOOKUPS)

    def looked_up(self, done: "asyncio.Future[list[Address]]") -> None:
        self.lookups.release()
        if not done.cancelled():
            done.exception()  # which nobody may be there to hear


class Proxy:
    def __init__(self, rules: Rules) -> None:
        self._rules = rules

    async def serve(self, inner: Streams, rights: Rights, traffic: Traffic) -> None:
        """One request: what follows on the same connection would not have been looked at."""
        server = h11.Connection(h11.SERVER, max_incomplete_event_size=_LARGEST_HEAD)
        try:
            try:
                request = await self._head(server, inner)
                traffic.host, traffic.port, target = _destination(request)
                addresses = await self._judge(rights, traffic.host, traffic.port)
                traffic.judged(Verdict.ALLOWED)
                outer = await _connected(addresses, traffic.port)
            except Refusal as refusal:
                traffic.judged(refusal.verdict, refusal.reason)
                await _refuse(server, inner, refusal)
                return
            try:
                if target is None:
                    await _tunnel(server, inner, outer, traffic)
                else:
                    await _Exchange(server, inner, outer, traffic).run(request, target)
            finally:
                outer.abort()
        except (h11.RemoteProtocolError, h11.LocalProtocolError, OSError, TimeoutError) as error:
            if traffic.verdict is Verdict.ALLOWED:
                traffic.judged(Verdict.FAILED, type(error).__name__)

    async def _head(self, server: h11.Connection, inner: Streams) -> h11.Request:
        try:
            async with asyncio.timeout(HEAD_WITHIN):
                event = await _next(server, inner)
        except h11.RemoteProtocolError as error:
            raise Refusal(400, "malformed", "That is no request to a proxy.") from error
        except TimeoutError as error:
            raise Refusal(408, "too_slow", "The request did not come in time.") from error
        if not isinstance(event, h11.Request):
            raise Refusal(400, "malformed", "That is no request to a proxy.")
        return event

    async def _judge(self, rights: Rights, host: str, port: int) -> list[Address]:
        """What is not allowed by its name is not even resolved: names carry messages, too."""
        if not rights.policy.allows(host, port):
            reason = "no_network" if rights.policy.is_none else "not_allowed"
            raise Refusal(403, reason, f"This sandbox may not reach {host}:{port}.")
        try:
            addresses = await self._looked_up(rights, host, port)
        except Unresolved as error:
            raise Refusal(502, "unresolved", f"{host} is not known.", Verdict.FAILED) from error
        except NotPublic as error:
            raise Refusal(403, "private", f"{host} is at an address that is not public.") from error
        if await self._rules.are_own(addresses, port):
            raise Refusal(403, "own", f"{host}:{port} is a part of this installation.")
        return addresses

    async def _looked_up(self, rights: Rights, host: str, port: int) -> list[Address]:
        """Its turn is over when the lookup is, not when nobody waits for it any more."""
        await rights.lookups.acquire()
        looking = asyncio.ensure_future(resolve(host, port, self._rules.private, None))
        looking.add_done_callback(rights.looked_up)
        try:
            async with asyncio.timeout(LOOKUP_WITHIN):
                return await asyncio.shield(looking)
        except TimeoutError as error:
            raise Unresolved(host) from error


def _destination(request: h11.Request) -> tuple[str, int, bytes | None]:
    """Host, port, and what is asked of it; None for a tunnel."""
    text = request.target.decode("latin-1")
    if request.method == b"CONNECT":
        name, port = _authority(text)
        if port is None:
            raise Refusal(400, "malformed", "CONNECT names a host and a port.")
        return name, port, None
    try:
        parts = urlsplit(text)
    except ValueError as error:
        raise Refusal(400, "malformed", "That is no address.") from error
    if parts.scheme != "http" or not parts.netloc or "@" in parts.netloc:
        raise Refusal(400, "malformed", "A proxy is asked for http://<host>/… or by CONNECT.")
    name, port = _authority(parts.netloc)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return name, port or _HTTP, target.encode("latin-1")


def _authority(text: str) -> tuple[str, int | None]:
    try:
        return host_and_port(text)
    except ValueError as error:
        raise Refusal(400, "bad_host", "That is no host, or no port.") from error


async def _connected(addresses: list[Address], port: int) -> Streams:
    """With one of those that were looked at: nobody resolves the name again."""
    with suppress(TimeoutError):
        async with asyncio.timeout(CONNECT_WITHIN):
            for address in addresses:
                with suppress(OSError):
                    return Streams(*await asyncio.open_connection(str(address), port, limit=_PIECE))
    raise Refusal(502, "unreachable", "Nobody answers there.", Verdict.FAILED)


async def _refuse(server: h11.Connection, inner: Streams, refusal: Refusal) -> None:
    body = f"{refusal.detail}\n".encode()
    headers = [
        ("Content-Type", "text/plain; charset=utf-8"),
        ("Content-Length", str(len(body))),
        ("Connection", "close"),
        ("Proxy-Status", f"signalbox; error=http_request_denied; details={refusal.reason}"),
    ]
    with suppress(h11.LocalProtocolError, OSError):
        answer = h11.Response(status_code=refusal.status, headers=headers)
        said = [server.send(each) or b"" for each in (answer, h11.Data(data=body), h11.EndOfMessage())]
        await inner.send(b"".join(said))
        await inner.close()


async def _tunnel(server: h11.Connection, inner: Streams, outer: Streams, traffic: Traffic) -> None:
    early, _ = server.trailing_data
    said = server.send(h11.Response(status_code=200, reason=b"Connection established", headers=[]))
    await inner.send(said or b"")
    if early:
        await outer.send(early)
        traffic.count_sent(len(early))
    await relay(inner, outer, traffic)


async def _next(connection: h11.Connection, streams: Streams) -> Any:
    while (event := connection.next_event()) is h11.NEED_DATA:
        connection.receive_data(await streams.reader.read(_PIECE))
    return event


class _Exchange:
    """One request and its answer, said anew as they were read: so nobody reads something else there."""

    def __init__(self, server: h11.Connection, inner: Streams, outer: Streams, traffic: Traffic) -> None:
        self._server = server
        self._client = h11.Connection(h11.CLIENT)
        self._inner = inner
        self._outer = outer
        self._traffic = traffic

    async def run(self, request: h11.Request, target: bytes) -> None:
        passed = h11.Request(
            method=request.method,
            target=target,
            headers=[(b"Host", self._host()), *_passed(request.headers), (b"Connection", b"close")],
        )
        await self._out(passed)
        asking = asyncio.create_task(self._ask())
        try:
            await self._answer()
        finally:
            await background.end(asking)

    def _host(self) -> bytes:
        host, port = self._traffic.host, self._traffic.port
        name = f"[{host}]" if ":" in host else host
        return (name if port == _HTTP else f"{name}:{port}").encode()

    async def _ask(self) -> None:
        try:
            while True:
                async with asyncio.timeout(IDLE):
                    event = await _next(self._server, self._inner)
                if not isinstance(event, h11.Data | h11.EndOfMessage):
                    break  # it has gone
                await self._out(event)
                if isinstance(event, h11.EndOfMessage):
                    return
        except (h11.RemoteProtocolError, h11.LocalProtocolError, OSError, TimeoutError):
            pass
        self._outer.abort()  # a request without its end must not be taken for whole

    async def _answer(self) -> None:
        while True:
            async with asyncio.timeout(IDLE):
                event = await _next(self._client, self._outer)
            match event:
                case h11.InformationalResponse():
                    await self._back(event)
                case h11.Response():
                    headers = [*_passed(event.headers), (b"Connection", b"close")]
                    await self._back(h11.Response(status_code=event.status_code, headers=headers))
                case h11.Data():
                    await self._back(event)
                case h11.EndOfMessage():
                    await self._back(event)
                    await self._inner.close()
                    return
                case _:
                    raise h11.RemoteProtocolError("it ended in the middle of its answer")

    async def _out(self, event: Any) -> None:
        data = self._client.send(event) or b""
        await self._outer.send(data)
        self._traffic.count_sent(len(data))

    async def _back(self, event: Any) -> None:
        data = self._server.send(event) or b""
        await self._inner.send(data)
        self._traffic.count_received(len(data))


def _passed(headers: Any) -> list[tuple[bytes, bytes]]:
    named = {
        name.strip().lower() for key, value in headers if key == b"connection" for name in value.split(b",")
    }
    return [(key, value) for key, value in headers if key not in _OWN_HEADERS and key not in named]


def rules_of(environment: Mapping[str, str]) -> Rules:
    """Raises ValueError for settings that say nothing."""
    said = environment.get("SIGNALBOX_OWN_ADDRESSES", "").split(",")
    own = [host_and_port(each.strip()) for each in said if each.strip()]
    return Rules(
        PrivateHosts.parse(environment.get("SIGNALBOX_PRIVATE_HOSTS", "")),
        tuple((host, _named(port)) for host, port in own),
    )


def _named(port: int | None) -> int:
    if port is None:
        raise ValueError("each has its port")
    return port
