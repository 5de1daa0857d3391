"""Signing in on a device that shows a code (RFC 8628); its names are that standard's."""

from typing import Annotated, Any

from fastapi import Query, Request
from pydantic import BaseModel, SecretStr, ValidationError
from starlette.responses import JSONResponse, Response

from signalbox_common.contracts import auth as contract
from signalbox_common.errors import Invalid, SignalboxError, invalid
from signalbox_gateway import problems
from signalbox_gateway.errors import UnsupportedGrantType
from signalbox_gateway.pages import DEVICE
from signalbox_gateway.routes.bodies import FORM, JSON, fields_of
from signalbox_gateway.routes.here import Anybody, Here
from signalbox_gateway.routes.router import Routes
from signalbox_gateway.routes.spelled import check_names

routes = Routes("/api/v1/auth/device", "auth")

GRANT_TYPE = "urn:ietf:params:oauth:grant-type:device_code"
_OF_CLIENT = ("client_id", "client_secret", "scope")
_POLL_ERRORS = frozenset({"authorization_pending", "slow_down", "access_denied", "expired_token"})


class DeviceAuthorization(BaseModel):
    device_code: str
    user_code: str
    verification_uri: str
    verification_uri_complete: str
    expires_in: int
    interval: int


class DeviceToken(BaseModel):
    access_token: str
    token_type: str
    expires_in: int
    refresh_token: str


def _body(properties: dict[str, Any], required: list[str]) -> dict[str, Any]:
    schema = {"type": "object", "properties": properties, "required": required}
    return {"required": bool(required), "content": {JSON: {"schema": schema}, FORM: {"schema": schema}}}


@routes.on(
    "POST",
    "/code",
    contract.StartDevice,
    reply=DeviceAuthorization,
    takes=(JSON, FORM),
    body=_body({"client_name": {"type": "string", "maxLength": 100}}, []),
)
async def start_device(request: Request, here: Anybody) -> Response:
    """A code for the device to keep, and one for its person to type at `verification_uri`."""
    fields = await _fields(request, "client_name")
    name = fields.get("client_name") or fields.get("client_id")
    try:
        ask = contract.StartDevice(client_name=name) if name else contract.StartDevice()
    except ValidationError as error:
        raise invalid(error) from error
    started = await here.value(ask)
    page = (request.app.state.settings.public_url or str(request.base_url)).rstrip("/") + DEVICE
    answer = DeviceAuthorization(
        device_code=started.device_code,
        user_code=started.user_code,
        verification_uri=page,
        verification_uri_complete=f"{page}?user_code={started.user_code}",
        expires_in=started.expires_in,
        interval=started.interval,
    )
    return JSONResponse(answer.model_dump())


@routes.on(
    "POST",
    "/token",
    contract.PollDevice,
    reply=DeviceToken,
    takes=(JSON, FORM),
    body=_body({"grant_type": {"const": GRANT_TYPE}, "device_code": {"type": "string"}}, ["device_code"]),
    also=[(422, "unsupported_grant_type")],
)
async def poll_device(request: Request, here: Anybody) -> Response:
    """The session, once somebody has approved; until then 400 with `error: authorization_pending`."""
    fields = await _fields(request, "grant_type", "device_code")
    if fields.get("grant_type", GRANT_TYPE) != GRANT_TYPE:
        raise UnsupportedGrantType(GRANT_TYPE)
    try:
        ask = contract.PollDevice(device_code=SecretStr(str(fields.get("device_code", ""))))
    except ValidationError as error:
        raise invalid(error) from error
    try:
        signed_in = await here.value(ask)
    except SignalboxError as error:
        if error.code not in _POLL_ERRORS:
            raise
        extra = {"error": error.code, "error_description": error.detail}
        return problems.problem(error.status, error.code, error.detail, extra=extra)
    token = DeviceToken(
        access_token=signed_in.access_token,
        token_type=signed_in.token_type,
        expires_in=signed_in.expires_in,
        refresh_token=signed_in.refresh_token,
    )
    return JSONResponse(token.model_dump())


@routes.on("GET", "", contract.GetDevice)
async def get_device(here: Here, query: Annotated[contract.GetDevice, Query()]) -> Response:
    """Which device shows this code, so that nobody approves another one."""
    return await here.send(query)


@routes.on("POST", "/decision", contract.DecideDevice)
async def decide_device(here: Here, body: contract.DecideDevice) -> Response:
    """Approves or refuses; the device then gets a session of its own for the person who decided."""
    return await here.send(body)


async def _fields(request: Request, *known: str) -> dict[str, Any]:
    """OAuth clients send forms; everybody else here sends JSON; nothing at all is fine too.

    A form may have parameters that we do not know: the standard wants them ignored.
    """
    fields = await fields_of(request) if await request.body() else {}
    if not isinstance(fields, dict):
        raise Invalid("An object is needed.")
    if request.headers.get("content-type", "").lower().startswith(JSON):
        check_names(fields, (*known, *_OF_CLIENT))
    return fields
