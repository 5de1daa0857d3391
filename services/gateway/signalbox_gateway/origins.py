"""Who may use a browser's cookies: our own pages, and those of the origins that were configured.

A browser sends cookies along with requests that any page makes it send. So where cookies speak for somebody,
it must show where the request comes from: `Origin` or `Sec-Fetch-Site`, which no page can forge, or, for
clients that send neither, a token that only those can know who can read our cookies.
"""

import hashlib
import hmac
from collections.abc import Sequence
from uuid import UUID

from starlette.requests import HTTPConnection, Request

from signalbox_common.keys import derive
from signalbox_gateway.addresses import Addresses
from signalbox_gateway.errors import CsrfCheckFailed, OriginNotAllowed

HEADER = "X-CSRF-Token"
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})


class Origins:
    def __init__(self, secret_key: str, configured: Sequence[str], addresses: Addresses) -> None:
        self._key = derive(secret_key, "csrf")
        self._configured = frozenset(configured)
        self._addresses = addresses

    def token(self, session_id: UUID) -> str:
        """Of one session, so that a token that was planted for another does not help."""
        return hmac.digest(self._key, session_id.bytes, hashlib.sha256).hex()

    def check(self, request: Request, session_id: UUID) -> None:
        """For requests that a cookie speaks for."""
        headers = request.headers
        if request.method in _SAFE:
            return
        self.refuse_foreign(request)
        if "origin" in headers or headers.get("sec-fetch-site") == "same-origin":
            return
        if not hmac.compare_digest(headers.get(HEADER, "").encode(), self.token(session_id).encode()):
            raise CsrfCheckFailed(HEADER)

    def refuse_foreign(self, connection: HTTPConnection) -> None:
        """Refuses what a browser says another site has caused."""
        headers = connection.headers
        origin = headers.get("origin")
        if origin is not None:
            if not self._ours(origin, connection):
                raise OriginNotAllowed
        elif headers.get("sec-fetch-site") in ("cross-site", "same-site"):
            raise OriginNotAllowed("Another site has caused this request.")

    def _ours(self, origin: str, connection: HTTPConnection) -> bool:
        """With its scheme: a page that came without TLS may be anybody's."""
        host = connection.headers.get("host", "")
        scheme = self._addresses.scheme(connection.scope, connection.headers).replace("ws", "http", 1)
        return (bool(host) and origin == f"{scheme}://{host}") or origin in self._configured
