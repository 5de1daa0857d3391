"""Asks a forge over HTTP: at an address that was looked at, with its token, and no more than it wants."""

import asyncio
import json
import ssl
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

import httpx

from signalbox_common.addresses import NotPublic, Unresolved, resolve
from signalbox_git.forges.base import ForgeRefused
from signalbox_git.remotes.access import Reach
from signalbox_git.remotes.credentials import Credential, scrubbed

LARGEST = 8 * 1024 * 1024
_PATIENCE = httpx.Timeout(30.0, connect=10.0)
_LONGEST_WAIT = 3600.0
_UNSAID_WAIT = 60.0
"""What GitHub wants where it says nothing of how long."""
_BAD = 400
_UNAUTHORIZED, _FORBIDDEN, _NOT_FOUND, _TIMED_OUT, _TOO_MANY, _OWN_FAULTS = 401, 403, 404, 408, 429, 500
_WITHIN = 90.0
"""Seconds for all of one answer, however slowly it comes."""


@dataclass(frozen=True)
class Answered:
    status: int
    body: Any
    headers: Mapping[str, str] = field(default_factory=dict)


class ForgeClient:
    """Of one forge, below one address."""

    def __init__(
        self, base: str, credential: Credential | None, reach: Reach, headers: Mapping[str, str]
    ) -> None:
        self._base = base.rstrip("/")
        self._credential = credential
        self._reach = reach
        self._headers = dict(headers)

    async def ask(
        self, method: str, path: str, body: Any = None, *, known: tuple[int, ...] = (), **query: Any
    ) -> Answered:
        """What it answers; statuses that are not good and not known are raised as ForgeRefused."""
        parts = urlsplit(self._base + path)
        host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
        async with self._connected(parts.scheme, host, port) as (client, address):
            at = f"[{address}]" if ":" in address else address
            url = f"{parts.scheme}://{at}:{port}{parts.path}"
            try:
                async with (
                    asyncio.timeout(_WITHIN),
                    client.stream(
                        method,
                        url,
                        params={name: value for name, value in query.items() if value is not None},
                        json=body,
                        headers={**self._headers, "Host": parts.netloc},
                        extensions={"sni_hostname": host},
                    ) as response,
                ):
                    found = Answered(response.status_code, await _read(response), response.headers)
            except (httpx.HTTPError, TimeoutError) as error:
                detail = scrubbed(str(error) or type(error).__name__, self._credential)
                raise ForgeRefused(
                    "unreachable", f"The forge does not answer: {detail}", passes=True
                ) from None
        if found.status >= 300 and found.status not in known:
            raise self.refused(found)
        return found

    def refused(self, found: Answered) -> ForgeRefused:
        """What it means that this was answered; whatever it repeats, not what it was shown."""
        return _refused(found, scrubbed(_said(found.body) or "", self._credential))

    @asynccontextmanager
    async def _connected(
        self, scheme: str, host: str, port: int
    ) -> AsyncIterator[tuple[httpx.AsyncClient, str]]:
        try:
            addresses = await resolve(host, port, self._reach.private)
        except Unresolved as error:
            raise ForgeRefused("unresolved", f"There is no host called {host}.", passes=True) from error
        except NotPublic as error:
            raise ForgeRefused("private_address", f"{host} is at an address that is not public.") from error
        if scheme == "http" and not all(self._reach.private.allow(host, each) for each in addresses):
            raise ForgeRefused("insecure", "Over the internet a forge is asked by https.")
        verify: ssl.SSLContext | bool = scheme == "https"
        if verify and self._reach.ca_file is not None:
            verify = ssl.create_default_context(cafile=str(self._reach.ca_file))
        transport = httpx.AsyncHTTPTransport(verify=verify)
        async with httpx.AsyncClient(transport=transport, timeout=_PATIENCE, trust_env=False) as client:
            yield client, str(addresses[0])


async def _read(response: httpx.Response) -> Any:
    raw = bytearray()
    async for piece in response.aiter_bytes():
        raw += piece
        if len(raw) > LARGEST:
            raise ForgeRefused("too_large", "The forge has answered too much.")
    try:
        return json.loads(raw) if raw else None
    except (ValueError, RecursionError):
        return None


def _refused(found: Answered, said: str) -> ForgeRefused:
    detail = f"The forge says: {str(said)[:200]}" if said else f"The forge answers {found.status}."
    wait = _wait_of(found)
    if found.status < _BAD:
        return ForgeRefused("redirected", "The forge has moved to another address.")
    if found.status == _FORBIDDEN and wait is None and "rate limit" in detail.lower():
        wait = _UNSAID_WAIT
    if found.status == _TOO_MANY or (found.status == _FORBIDDEN and wait is not None):
        return ForgeRefused("rate_limited", detail, passes=True, retry_after=wait)
    if found.status in (_UNAUTHORIZED, _FORBIDDEN):
        return ForgeRefused("unauthorized", detail)
    if found.status == _NOT_FOUND:
        return ForgeRefused("not_found", detail)
    if found.status < _OWN_FAULTS and found.status != _TIMED_OUT:
        return ForgeRefused("refused", detail)
    return ForgeRefused("busy", detail, passes=True, retry_after=wait)


def _said(body: Any) -> str | None:
    """What it complains of, in its own words."""
    if not isinstance(body, dict):
        return None
    errors = body.get("errors")
    details = (
        [each.get("message") for each in errors if isinstance(each, dict)] if isinstance(errors, list) else []
    )
    words = [str(each) for each in (body.get("message"), *details) if each]
    return " ".join(words) or None


def _wait_of(found: Answered) -> float | None:
    """Seconds that it wants to be left alone: said itself, or by its limit being spent."""
    said = found.headers.get("retry-after", "")
    if said.isdecimal():
        return min(float(said), _LONGEST_WAIT)
    if said:
        with suppress(ValueError, OverflowError):
            return min(max(parsedate_to_datetime(said).timestamp() - time.time(), 1.0), _LONGEST_WAIT)
    reset = found.headers.get("x-ratelimit-reset", "")
    if found.headers.get("x-ratelimit-remaining") == "0" and reset.isdecimal():
        return min(max(float(reset) - time.time(), 1.0), _LONGEST_WAIT)
    return None
