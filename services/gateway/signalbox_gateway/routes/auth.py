"""Register, log in, stay logged in, and who am I."""

from typing import Annotated, Any

from fastapi import Query, Request
from pydantic import SecretStr, ValidationError
from starlette.responses import JSONResponse, Response

from signalbox_common.contracts import auth as contract
from signalbox_common.contracts.base import Message
from signalbox_common.errors import Unauthenticated, invalid
from signalbox_gateway import cookies
from signalbox_gateway.cookies import Cookies
from signalbox_gateway.identity import CurrentAsker
from signalbox_gateway.live.tickets import LIFE, Tickets
from signalbox_gateway.routes.common import (
    FORM,
    NO_CONTENT,
    ClientsHere,
    IdempotencyKey,
    errors,
    passed_on,
    router,
)
from signalbox_gateway.routes.operations import ACCEPTED

routes = router("/api/v1/auth", "auth")

WantsCookie = Annotated[
    bool, Query(description="`false` puts the refresh token into the body, and sets no cookies.")
]


class Session(Message):
    """What a client goes on with; each token is shown once."""

    access_token: str
    token_type: str
    expires_in: int
    refresh_token: str | None = None


class RefreshBody(Message):
    refresh_token: contract.RefreshToken | None = None


class Ticket(Message):
    ticket: str
    expires_in: int


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
    responses=errors(400, 403, 409, 413, 415, 422, 503, 504),
)
async def register(
    request: Request, body: contract.Register, clients: ClientsHere, _key: IdempotencyKey = None
) -> Response:
    """Makes a user with a personal project. The password never enters a stream, a log or a table in clear."""
    return passed_on(await clients.ask(request, body), 201)


@routes.post(
    "/admin/register",
    status_code=201,
    response_model=contract.User,
    responses=errors(400, 401, 403, 409, 413, 415, 422, 503, 504),
)
async def admin_register(
    request: Request,
    body: contract.AdminRegister,
    asker: CurrentAsker,
    clients: ClientsHere,
    _key: IdempotencyKey = None,
) -> Response:
    """Makes a user with any role, with a password or with its bcrypt or argon2id hash. Admins only."""
    return passed_on(await clients.ask(request, body, asker), 201)


@routes.post(
    "/login",
    response_model=Session,
    response_model_exclude_none=True,
    responses=errors(400, 401, 403, 413, 415, 422, 429, 503, 504),
    openapi_extra=_LOGIN_BODY,
)
async def login(request: Request, clients: ClientsHere, cookie: WantsCookie = True) -> Response:
    """Changes a password for an access token. Takes JSON, or a form as OAuth2 clients send it."""
    jar: Cookies = request.app.state.cookies
    jar.origins.refuse_foreign(request.headers)
    form = request.headers.get("content-type", "").lower().startswith(FORM)
    fields = dict(await request.form()) if form else await request.json()
    try:
        body = contract.Login.model_validate(fields)
    except ValidationError as error:
        raise invalid(error) from error
    return _signed_in(request, (await clients.ask(request, body)).value(), cookie=cookie)


@routes.post(
    "/refresh",
    response_model=Session,
    response_model_exclude_none=True,
    responses=errors(400, 401, 403, 413, 415, 422, 503, 504),
)
async def refresh(request: Request, clients: ClientsHere, body: RefreshBody | None = None) -> Response:
    """Changes the refresh token, from the cookie or the body, for a new pair; each is good once."""
    given = body.refresh_token if body is not None else None
    cookie = None if given is not None else request.cookies.get(cookies.REFRESH)
    if cookie is not None:
        jar: Cookies = request.app.state.cookies
        jar.origins.refuse_foreign(request.headers)
        given = SecretStr(cookie)
    if given is None:
        raise Unauthenticated("A refresh token is needed.")
    try:
        ask = contract.Refresh(refresh_token=given)
    except ValidationError as error:
        raise Unauthenticated("The refresh token is malformed.", code="bad_refresh_token") from error
    return _signed_in(request, (await clients.ask(request, ask)).value(), cookie=cookie is not None)


@routes.post("/logout", status_code=204, responses=NO_CONTENT | errors(401, 403, 503, 504))
async def logout(request: Request, asker: CurrentAsker, clients: ClientsHere) -> Response:
    """Ends this session everywhere, its refresh token and its open streams included."""
    await clients.ask(request, contract.Logout(), asker)
    answer = Response(status_code=204)
    jar: Cookies = request.app.state.cookies
    jar.clear(request, answer)
    return answer


@routes.get("/me", response_model=contract.User, responses=errors(401, 503))
async def me(asker: CurrentAsker, clients: ClientsHere) -> Response:
    return passed_on(await clients.query(asker, contract.Me()))


@routes.patch(
    "/me", response_model=contract.User, responses=ACCEPTED | errors(400, 401, 403, 409, 413, 415, 422, 503)
)
async def update_me(
    request: Request,
    body: contract.UpdateMe,
    asker: CurrentAsker,
    clients: ClientsHere,
    _key: IdempotencyKey = None,
) -> Response:
    return await clients.command(request, asker, body, status=200)


@routes.post(
    "/password",
    status_code=204,
    responses=NO_CONTENT | errors(400, 401, 403, 413, 415, 422, 503, 504),
)
async def change_password(
    request: Request,
    body: contract.ChangePassword,
    asker: CurrentAsker,
    clients: ClientsHere,
    _key: IdempotencyKey = None,
) -> Response:
    """Ends all other sessions of the person."""
    await clients.ask(request, body, asker)
    return Response(status_code=204)


@routes.post("/ws-ticket", response_model=Ticket, responses=errors(401, 403, 503))
async def ws_ticket(request: Request, asker: CurrentAsker) -> Response:
    """A ticket for `WS /api/v1/ws?ticket=`, good once and for half a minute."""
    tickets: Tickets = request.app.state.tickets
    ticket = Ticket(ticket=await tickets.issue(asker.token), expires_in=LIFE)
    return JSONResponse(ticket.model_dump(by_alias=True), headers={"Cache-Control": "no-store"})


def _signed_in(request: Request, signed_in: contract.SignedIn, *, cookie: bool) -> Response:
    session = Session(
        access_token=signed_in.access_token,
        token_type=signed_in.token_type,
        expires_in=signed_in.expires_in,
        refresh_token=None if cookie else signed_in.refresh_token,
    )
    answer = JSONResponse(
        session.model_dump(by_alias=True, exclude_none=True), headers={"Cache-Control": "no-store"}
    )
    if cookie:
        jar: Cookies = request.app.state.cookies
        jar.set(request, answer, signed_in)
    return answer
