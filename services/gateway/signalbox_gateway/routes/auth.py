"""Register, log in, stay logged in, and who am I."""

from typing import Annotated, Any

from fastapi import Query, Request
from pydantic import SecretStr, ValidationError
from starlette.responses import JSONResponse, Response

from signalbox_common.contracts import auth as contract
from signalbox_common.contracts.base import GrantScope, Message
from signalbox_common.errors import Unauthenticated, invalid
from signalbox_gateway import cookies
from signalbox_gateway.cookies import Cookies
from signalbox_gateway.errors import BadRefreshToken
from signalbox_gateway.identity import CurrentAsker
from signalbox_gateway.live.tickets import LIFE, Tickets
from signalbox_gateway.routes.bodies import FORM, JSON, fields_of
from signalbox_gateway.routes.here import Anybody, Here, passed_on
from signalbox_gateway.routes.router import Routes
from signalbox_gateway.routes.spelled import check_names

routes = Routes("/api/v1/auth", "auth")

WantsCookie = Annotated[
    bool, Query(description="`false` puts the refresh token into the body, and sets no cookies.")
]


class SessionTokens(Message):
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
    "required": True,
    "content": {
        JSON: {
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
        FORM: {
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
_OAUTH = ("grant_type", "scope", "client_id", "client_secret")
"""What OAuth2 clients send along, too."""
FOREIGN = (403, "origin_not_allowed")


@routes.on("POST", "/register", contract.Register, status=201)
async def register(here: Anybody, body: contract.Register) -> Response:
    """Makes a user with a personal project. The password never enters a stream, a log or a table in clear.

    Whether the address is known is not answered. Where people are invited, `invitation` is what the link of
    theirs ends with.
    """
    return await here.send(body)


@routes.on("POST", "/admin/register", contract.AdminRegister, status=201)
async def admin_register(here: Here, body: contract.AdminRegister) -> Response:
    """Makes a user with any role, by default an administrator, with a password or with its bcrypt or argon2id
    hash. Admins only."""
    if "role" not in body.model_fields_set:
        body = body.model_copy(update={"role": contract.PlatformRole.ADMIN})
    return await here.send(body)


@routes.on(
    "POST",
    "/login",
    contract.Login,
    reply=SessionTokens,
    response_model_exclude_none=True,
    takes=(JSON, FORM),
    body=_LOGIN_BODY,
    also=[FOREIGN],
)
async def login(request: Request, here: Anybody, cookie: WantsCookie = True) -> Response:
    """Changes a password for an access token. Takes JSON, or a form as OAuth2 clients send it."""
    jar: Cookies = request.app.state.cookies
    jar.origins.refuse_foreign(request)
    fields = await fields_of(request)
    if isinstance(fields, dict):
        check_names(fields, ("username", "email", "password", *_OAUTH))
    try:
        body = contract.Login.model_validate(fields)
    except ValidationError as error:
        raise invalid(error) from error
    return _signed_in(request, await here.value(body), cookie=cookie)


@routes.on(
    "POST",
    "/refresh",
    contract.Refresh,
    reply=SessionTokens,
    response_model_exclude_none=True,
    also=[FOREIGN, (401, Unauthenticated.code)],
)
async def refresh(request: Request, here: Anybody, body: RefreshBody | None = None) -> Response:
    """Changes the refresh token, from the cookie or the body, for a new pair; each is good once."""
    given = body.refresh_token if body is not None else None
    cookie = None if given is not None else request.cookies.get(cookies.REFRESH)
    if cookie is not None:
        jar: Cookies = request.app.state.cookies
        jar.origins.refuse_foreign(request)
        given = SecretStr(cookie)
    if given is None:
        raise Unauthenticated("A refresh token is needed.")
    try:
        ask = contract.Refresh(refresh_token=given)
    except ValidationError as error:
        raise BadRefreshToken from error
    return _signed_in(request, await here.value(ask), cookie=cookie is not None)


@routes.on("POST", "/logout", contract.Logout)
async def logout(request: Request, here: Here) -> Response:
    """Ends this session everywhere, its refresh token and its open streams included."""
    answer = await here.send(contract.Logout())
    jar: Cookies = request.app.state.cookies
    jar.clear(request, answer)
    return answer


@routes.on("GET", "/me", contract.GetMe)
async def me(here: Here) -> Response:
    return await here.send(contract.GetMe())


class MyChange(Message):
    """Another e-mail address takes the current password."""

    email: contract.Email | None = None
    display_name: contract.DisplayName | None = None
    current_password: contract.GivenPassword | None = None


@routes.on("PATCH", "/me", contract.UpdateMe, contract.ChangeEmail)
async def update_me(here: Here, body: MyChange) -> Response:
    """What is given is set. An address is one's own to say, and confirmed by a link that is mailed there."""
    if body.email is None or body.current_password is None:
        return await here.send(contract.UpdateMe(email=body.email, display_name=body.display_name))
    return await here.send(
        contract.ChangeEmail(
            email=body.email, current_password=body.current_password, display_name=body.display_name
        )
    )


@routes.on(
    "POST",
    "/password",
    contract.ChangePassword,
    status=204,
    shows={200: {"model": contract.PasswordChanged, "description": "With `endTokens`, true or false."}},
)
async def change_password(here: Here, body: contract.ChangePassword) -> Response:
    """Ends all other sessions of the person, and with `endTokens` their API tokens; says how many remain."""
    changed = await here.answer(body)
    return passed_on(changed, 200 if "end_tokens" in body.model_fields_set else 204)


@routes.on("POST", "/password/forgot", contract.ForgotPassword)
async def forgot_password(here: Anybody, body: contract.ForgotPassword) -> Response:
    """Mails a link to whoever is reached there. What is answered does not say whether anybody is."""
    return await here.send(body)


@routes.on("POST", "/password/reset", contract.ResetPassword)
async def reset_password(here: Anybody, body: contract.ResetPassword) -> Response:
    """Takes what a link ends with, once, and ends all sessions; with `endTokens`, API tokens, too."""
    return await here.send(body)


@routes.on("POST", "/email/confirm", contract.ConfirmEmail)
async def confirm_email(here: Anybody, body: contract.ConfirmEmail) -> Response:
    """Takes what a mailed link ends with: from then on it is known who is reached there."""
    return await here.send(body)


@routes.on("POST", "/ws-ticket", reply=Ticket, grant=GrantScope.PERSON)
async def ws_ticket(request: Request, asker: CurrentAsker) -> Response:
    """A ticket for `WS /api/v1/ws?ticket=`, good once and for half a minute."""
    tickets: Tickets = request.app.state.tickets
    ticket = Ticket(ticket=await tickets.issue(asker.token), expires_in=LIFE)
    return JSONResponse(ticket.model_dump(by_alias=True))


def _signed_in(request: Request, signed_in: contract.TokenPair, *, cookie: bool) -> Response:
    session = SessionTokens(
        access_token=signed_in.access_token,
        token_type=signed_in.token_type,
        expires_in=signed_in.expires_in,
        refresh_token=None if cookie else signed_in.refresh_token,
    )
    answer = JSONResponse(session.model_dump(by_alias=True, exclude_none=True))
    if cookie:
        jar: Cookies = request.app.state.cookies
        jar.set(request, answer, signed_in)
    return answer
