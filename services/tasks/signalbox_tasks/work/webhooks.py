"""One request to a receiver: to the address that was looked at, without redirects, and not for long."""

import asyncio
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

import httpx

from signalbox_common.addresses import Address, Lookups, NotPublic, PrivateHosts, Unresolved, resolve
from signalbox_tasks.notifications import Attempt, BadEndpoint, Endpoint, excerpt_of, retry_after

DEADLINE = 10.0
"""Seconds for all of it, from the name to the last byte."""
LONGEST_ANSWER = 64 * 1024
_ADDRESSES = 3
"""Of one name that are tried, where nobody listens at the first."""
_LOOKUPS = 64
"""Names that are looked up at a time; some of them for longer than anybody waits."""
_SHOWN = 200


@dataclass
class _Heard:
    """What has come of the answer so far."""

    status: int | None = None
    retry_after: float | None = None
    content: bytearray = field(default_factory=bytearray)


class Webhooks:
    def __init__(self, private: PrivateHosts) -> None:
        self._private = private
        self._lookups = Lookups(_LOOKUPS)
        self._tls: ssl.SSLContext | None = None

    async def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> Attempt:
        """Raises nothing: whatever it is, it is what came of it."""
        heard, begun = _Heard(), time.monotonic()
        reason = await self._reason(url, body, headers, heard)
        if heard.status is not None:  # what it has said counts, also where it has not ended in time
            reason = None if 200 <= heard.status < 300 else f"It answered {heard.status}."
        return Attempt(
            status=heard.status,
            duration_ms=int(1000 * (time.monotonic() - begun)),
            reason=reason,
            excerpt=excerpt_of(bytes(heard.content)),
            retry_after=heard.retry_after,
        )

    async def _reason(self, url: str, body: bytes, headers: Mapping[str, str], heard: _Heard) -> str | None:
        """Why there is no whole answer."""
        host = ""
        try:
            endpoint = Endpoint.read(url)
            host = endpoint.host
            async with asyncio.timeout(DEADLINE):
                addresses = await resolve(endpoint.host, endpoint.port, self._private, None, self._lookups)
                await self._send(endpoint, addresses, body, headers, heard)
        except TimeoutError:
            return f"It did not answer within {DEADLINE:g} s."
        except Unresolved:
            return f"There is no host called {host}."
        except NotPublic:
            return f"{host} is at an address that is not public."
        except BadEndpoint as error:
            return f"The address is not taken: {error}."
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            detail = excerpt_of(str(error).encode()) or type(error).__name__
            return f"{host} was not reached: {detail[:_SHOWN]}"
        return None

    async def _send(
        self,
        endpoint: Endpoint,
        addresses: list[Address],
        body: bytes,
        headers: Mapping[str, str],
        heard: _Heard,
    ) -> None:
        *others, last = addresses[:_ADDRESSES]
        for address in others:
            try:
                await self._send_to(address, endpoint, body, headers, heard)
            except httpx.ConnectError:  # nothing was sent
                continue
            return
        await self._send_to(last, endpoint, body, headers, heard)

    async def _send_to(
        self, address: Address, endpoint: Endpoint, body: bytes, headers: Mapping[str, str], heard: _Heard
    ) -> None:
        place = f"{endpoint.scheme}://{endpoint.authority_at(str(address))}{endpoint.rest}"
        sent = {**headers, "Host": endpoint.authority, "Accept-Encoding": "identity", "Connection": "close"}
        transport = httpx.AsyncHTTPTransport(verify=self._verify() if endpoint.scheme == "https" else False)
        async with (
            httpx.AsyncClient(transport=transport, timeout=DEADLINE, trust_env=False) as client,
            client.stream(
                "POST", place, content=body, headers=sent, extensions={"sni_hostname": endpoint.host}
            ) as response,
        ):
            heard.status = response.status_code
            heard.retry_after = retry_after(response.headers.get("retry-after"), datetime.now(UTC))
            async for piece in response.aiter_raw():
                heard.content += piece[: LONGEST_ANSWER - len(heard.content)]
                if len(heard.content) >= LONGEST_ANSWER:
                    return

    def _verify(self) -> ssl.SSLContext:
        """Made once: it takes as long as many requests."""
        if self._tls is None:
            self._tls = httpx.create_ssl_context()
        return self._tls
