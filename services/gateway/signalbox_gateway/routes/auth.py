"""Register, log in, and who am I."""

from typing import Any

from fastapi import Request
from pydantic import ValidationError
from starlette.responses import Response

from signalbox_common.contracts import auth as contract
from signalbox_common.errors import invalid
from signalbox_gateway.identity import CurrentAsker
from signalbox_gateway.routes.common import FORM, ClientsHere, IdempotencyKey, errors, passed_on, router

routes = router("/api/v1/auth", "auth")

_LOGIN_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["password"],
                    "properties": {
                        "username": {"type": "string"},
                        "email": {"type": "string"},
                        "password": {"type": "string", "format": "password"},
                    },
                }
            },
            "application/x-www-form-urlencoded": {
                "schema": {
                    "type": "object",
                    "required": ["username", "password"],
                    "properties": {
                        "username": {"type": "string"},
                        "password": {"type": "string", "format": "password"},
                    },
                }
            },
        },
    }
}


@routes.post(
    "/register",
    status_code=201,
    response_model=contract.User,
    responses=errors(400, 409, 413, 415, 422, 503, 504),
)
async def register(
    request: Request, body: contract.Register, clients: ClientsHere, _key: IdempotencyKey = None
) -> Response:
    """Makes a user. The password never enters a stream, a log or a table in clear."""
    return passed_on(await clients.ask(request, body), 201)


@routes.post(
    "/login",
    response_model=contract.Session,
    responses=errors(400, 401, 413, 415, 422, 503, 504),
    openapi_extra=_LOGIN_BODY,
)
async def login(request: Request, clients: ClientsHere) -> Response:
    """Changes a password for an access token. Takes JSON, or a form as OAuth2 clients send it."""
    form = request.headers.get("content-type", "").lower().startswith(FORM)
    fields = dict(await request.form()) if form else await request.json()
    try:
        body = contract.Login.model_validate(fields)
    except ValidationError as error:
        raise invalid(error) from error
    answer = passed_on(await clients.ask(request, body))
    answer.headers["Cache-Control"] = "no-store"
    return answer


@routes.get("/me", response_model=contract.User, responses=errors(401, 503))
async def me(asker: CurrentAsker, clients: ClientsHere) -> Response:
    return passed_on(await clients.query(asker, contract.Me()))
