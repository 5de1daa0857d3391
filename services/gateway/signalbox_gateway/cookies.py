"""The cookies of a browser's session."""

from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response

from signalbox_common.contracts.auth import TokenPair
from signalbox_gateway.addresses import Addresses
from signalbox_gateway.origins import Origins

ACCESS, REFRESH, CSRF = "sbx_access", "sbx_refresh", "sbx_csrf"
API_PATH, REFRESH_PATH = "/api/v1", "/api/v1/auth/refresh"


@dataclass(frozen=True)
class Cookies:
    """No script reads them but the one that is meant to be; no other site makes a browser send them."""

    origins: Origins
    addresses: Addresses
    secure: bool | None
    development: bool

    def set(self, request: Request, response: Response, signed_in: TokenPair) -> None:
        token = self.origins.token(signed_in.session_id)
        self._set(request, response, ACCESS, signed_in.access_token, signed_in.expires_in, API_PATH)
        self._set(
            request, response, REFRESH, signed_in.refresh_token, signed_in.refresh_expires_in, REFRESH_PATH
        )
        self._set(request, response, CSRF, token, signed_in.refresh_expires_in, "/", readable=True)

    def clear(self, request: Request, response: Response) -> None:
        for name, path in ((ACCESS, API_PATH), (REFRESH, REFRESH_PATH), (CSRF, "/")):
            self._set(request, response, name, "", 0, path, readable=name == CSRF)

    def _set(
        self,
        request: Request,
        response: Response,
        name: str,
        value: str,
        life: int,
        path: str,
        *,
        readable: bool = False,
    ) -> None:
        response.set_cookie(
            name,
            value,
            max_age=life,
            path=path,
            secure=self._secure(request),
            httponly=not readable,
            samesite="strict",
        )

    def _secure(self, request: Request) -> bool:
        if self.secure is not None:
            return self.secure
        return not self.development or self.addresses.scheme(request.scope, request.headers) == "https"
