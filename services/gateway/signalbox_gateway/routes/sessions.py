"""One's own sessions: where one is signed in, and how to end it."""

import uuid

from starlette.responses import Response

from signalbox_common.contracts import auth as contract
from signalbox_gateway.routes.here import Here
from signalbox_gateway.routes.router import Routes

routes = Routes("/api/v1/auth/sessions", "auth")


@routes.on("GET", "", contract.ListSessions)
async def list_sessions(here: Here) -> Response:
    """The latest used first; `current` is the one that asks."""
    return await here.send(contract.ListSessions())


@routes.on("DELETE", "", contract.RevokeOtherSessions)
async def revoke_other_sessions(here: Here) -> Response:
    """Ends all sessions but the one that asks."""
    return await here.send(contract.RevokeOtherSessions())


@routes.on("DELETE", "/{session_id}", contract.RevokeSession)
async def revoke_session(here: Here, session_id: uuid.UUID) -> Response:
    return await here.send(contract.RevokeSession(session_id=session_id))
