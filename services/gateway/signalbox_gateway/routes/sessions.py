"""One's own sessions: where one is signed in, and how to end it."""

import uuid

from fastapi import Request
from starlette.responses import Response

from signalbox_common.contracts import auth as contract
from signalbox_gateway.identity import CurrentAsker
from signalbox_gateway.routes.common import NO_CONTENT, ClientsHere, errors, passed_on, router
from signalbox_gateway.routes.operations import ACCEPTED

routes = router("/api/v1/auth/sessions", "auth")


@routes.get("", response_model=contract.SessionPage, responses=errors(401, 403, 503))
async def list_sessions(asker: CurrentAsker, clients: ClientsHere) -> Response:
    """The latest used first; `current` is the one that asks."""
    return passed_on(await clients.query(asker, contract.ListSessions()))


@routes.delete("", status_code=204, responses=NO_CONTENT | ACCEPTED | errors(401, 403, 503))
async def revoke_other_sessions(request: Request, asker: CurrentAsker, clients: ClientsHere) -> Response:
    """Ends all sessions but the one that asks."""
    return await clients.command(request, asker, contract.RevokeOtherSessions(), status=204)


@routes.delete(
    "/{session_id}", status_code=204, responses=NO_CONTENT | ACCEPTED | errors(401, 403, 404, 422, 503)
)
async def revoke_session(
    session_id: uuid.UUID, request: Request, asker: CurrentAsker, clients: ClientsHere
) -> Response:
    return await clients.command(request, asker, contract.RevokeSession(session_id=session_id), status=204)
