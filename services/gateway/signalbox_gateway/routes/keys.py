"""The public keys that tokens are signed with (RFC 7517)."""

from typing import Any

from starlette.responses import JSONResponse, Response

from signalbox_common.contracts import auth as contract
from signalbox_common.contracts.base import Message
from signalbox_gateway.routes.here import Anybody
from signalbox_gateway.routes.router import Routes

routes = Routes("", "auth")

KEPT = 60
"""Seconds; the next key is public for much longer before it signs."""


class Jwk(Message):
    kty: str
    crv: str
    alg: str
    use: str
    kid: str
    x: str


class JwkSet(Message):
    keys: tuple[Jwk, ...]


@routes.on("GET", "/.well-known/jwks.json", contract.ListKeys, reply=JwkSet)
async def jwks(here: Anybody) -> Response:
    """The current key, the next one, and those that a token of today may still be signed with."""
    found = await here.value(contract.ListKeys())
    keys: list[dict[str, Any]] = [
        {"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig", "kid": key.kid, "x": key.x}
        for key in found.items
    ]
    return JSONResponse({"keys": keys}, headers={"Cache-Control": f"public, max-age={KEPT}"})
