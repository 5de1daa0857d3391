"""One's own API tokens."""

import uuid

from fastapi import Request
from starlette.responses import Response

from signalbox_common.contracts import auth as contract
from signalbox_gateway.identity import CurrentAsker
from signalbox_gateway.routes.common import (
    NO_CONTENT,
    ClientsHere,
    IdempotencyKey,
    errors,
    not_kept,
    passed_on,
    router,
)
from signalbox_gateway.routes.operations import ACCEPTED

routes = router("/api/v1/auth/tokens", "auth")


@routes.post(
    "",
    status_code=201,
    response_model=contract.CreatedApiToken,
    responses=errors(400, 401, 403, 409, 413, 415, 422, 503, 504),
)
async def create_token(
    request: Request,
    body: contract.CreateToken,
    asker: CurrentAsker,
    clients: ClientsHere,
    _key: IdempotencyKey = None,
) -> Response:
    """`token` is in this answer, and never shown again. No scopes: all that its holder may."""
    return not_kept(passed_on(await clients.ask(request, body, asker), 201))


@routes.get("", response_model=contract.ApiTokenPage, responses=errors(401, 403, 503))
async def list_tokens(asker: CurrentAsker, clients: ClientsHere) -> Response:
    return passed_on(await clients.query(asker, contract.ListTokens()))


@routes.delete(
    "/{token_id}", status_code=204, responses=NO_CONTENT | ACCEPTED | errors(401, 403, 404, 422, 503)
)
async def revoke_token(
    token_id: uuid.UUID, request: Request, asker: CurrentAsker, clients: ClientsHere
) -> Response:
    return await clients.command(request, asker, contract.RevokeToken(token_id=token_id), status=204)
