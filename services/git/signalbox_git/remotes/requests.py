"""HTTP to a host beside git: at the address that was looked at, without redirects, no more than wanted."""

import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx

from signalbox_common.addresses import BadHost, host_and_port
from signalbox_common.remote_urls import RemoteUrl, Scheme
from signalbox_git.remotes.access import Reach, RemoteRefused, looked_at
from signalbox_git.remotes.credentials import Credential, scrubbed

PORTS = {Scheme.HTTPS: 443, Scheme.HTTP: 80}
_LONGEST = 8 * 1024


@dataclass(frozen=True)
class Target:
    url: httpx.URL
    place: RemoteUrl
    """Its host alone."""

    @staticmethod
    def read(text: str) -> "Target":
        """Strictly, but for what comes after the host; raises RemoteRefused."""
        if not (text.isascii() and text.isprintable()) or len(text) > _LONGEST:
            raise _bad_address()
        try:
            url = httpx.URL(text)
            scheme = Scheme(url.scheme)
            host, port = host_and_port(url.netloc.decode("ascii"))
        except (BadHost, ValueError, httpx.InvalidURL) as error:
            raise _bad_address() from error
        if url.userinfo or scheme not in PORTS:
            raise _bad_address()
        return Target(url, RemoteUrl(scheme, "", host, port or PORTS[scheme]))


def _bad_address() -> RemoteRefused:
    return RemoteRefused("bad_url", "The remote names an address that is not taken.")


@asynccontextmanager
async def answered(
    method: str,
    target: Target,
    reach: Reach,
    *,
    credential: Credential | None,
    headers: Mapping[str, str],
    patience: httpx.Timeout,
    body: object = None,
) -> AsyncIterator[httpx.Response]:
    """The credential is but kept out of what is said of it. Raises RemoteRefused, also while it is read."""
    url, place = target.url, target.place
    addresses = await looked_at(place, reach)
    verify: ssl.SSLContext | bool = place.scheme is Scheme.HTTPS
    if verify and reach.ca_file is not None:
        verify = ssl.create_default_context(cafile=str(reach.ca_file))
    sent = {**headers, "Host": url.netloc.decode("ascii"), "Accept-Encoding": "identity"}
    transport = httpx.AsyncHTTPTransport(verify=verify)
    try:
        async with (
            httpx.AsyncClient(transport=transport, timeout=patience, trust_env=False) as client,
            client.stream(
                method,
                url.copy_with(host=str(addresses[0])),
                json=body,
                headers=sent,
                extensions={"sni_hostname": place.host},
            ) as response,
        ):
            yield response
    except httpx.HTTPError as error:
        detail = scrubbed(str(error) or type(error).__name__, credential)
        raise RemoteRefused("unreachable", f"{place.host} does not answer: {detail}", passes=True) from None
    except UnicodeEncodeError:
        raise RemoteRefused("unauthorized", "The token has characters that no server takes.") from None


async def content_of(response: httpx.Response, most: int) -> bytes:
    """All of it, as it comes; raises RemoteRefused where that is more."""
    raw = bytearray()
    async for piece in response.aiter_raw():
        raw += piece
        if len(raw) > most:
            raise RemoteRefused("too_large", "The remote has answered too much.")
    return bytes(raw)
