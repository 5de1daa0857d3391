"""Errors as RFC 9457 problems: a stable code, never a stack trace, SQL or an internal name."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from signalbox_common import telemetry
from signalbox_common.contracts.base import FieldError
from signalbox_common.errors import SignalboxError

MEDIA_TYPE = "application/problem+json"

_HTTP_CODES = {
    400: ("invalid_json", "The request body is not valid JSON in UTF-8."),
    404: ("route_not_found", "There is nothing at this address."),
    405: ("method_not_allowed", "This address does not take this method."),
    413: ("body_too_large", "The request body is too large."),
    415: ("unsupported_media_type", "The request body must be JSON (application/json)."),
    503: ("overloaded", "More is being sent at this moment than can be held."),
}
_TITLES = {
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    408: "Request Timeout",
    409: "Conflict",
    410: "Gone",
    412: "Precondition Failed",
    413: "Content Too Large",
    415: "Unsupported Media Type",
    422: "Unprocessable Content",
    429: "Too Many Requests",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    502: "Bad Gateway",
    503: "Service Unavailable",
    504: "Gateway Timeout",
    507: "Insufficient Storage",
}


def problem(
    status: int,
    code: str,
    detail: str,
    *,
    errors: Sequence[FieldError] = (),
    extra: Mapping[str, Any] | None = None,
    headers: Mapping[str, str] | None = None,
    correlation_id: str | None = None,
) -> Response:
    body: dict[str, Any] = {
        "type": f"urn:signalbox:problem:{code}",
        "title": _TITLES.get(status, "Error"),
        "status": status,
        "detail": detail,
        "code": code,
        "correlationId": correlation_id or telemetry.correlation_id.get(),
    }
    if errors:
        body["errors"] = [error.model_dump(by_alias=True, exclude_none=True) for error in errors]
    body |= extra or {}
    return Response(json.dumps(body), status, headers=dict(headers or {}), media_type=MEDIA_TYPE)


def of_error(error: SignalboxError, headers: Mapping[str, str] | None = None) -> Response:
    all_headers = dict(headers or {})
    if error.retry_after is not None:
        all_headers["Retry-After"] = str(error.retry_after)
    if error.status == 401:
        all_headers["WWW-Authenticate"] = "Bearer"
    extra = {"resource": error.resource} if error.resource else None
    return problem(
        error.status, error.code, error.detail, errors=error.errors, extra=extra, headers=all_headers
    )


def install(app: FastAPI) -> None:
    """Every error of this application leaves as a problem."""

    async def ours(request: Request, error: Exception) -> Response:
        assert isinstance(error, SignalboxError)  # noqa: S101 - registered for this type below
        return of_error(error, getattr(request.state, "error_headers", None))

    async def invalid(_request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)  # noqa: S101 - as above
        found = error.errors()
        fields = [
            FieldError(
                field=".".join(str(part) for part in item["loc"] if part != "body") or "body",
                message=str(item["msg"]).removeprefix("Value error, "),
                code=item["type"],
            )
            for item in found
        ]
        return problem(422, "validation_failed", "The request does not fit what is expected.", errors=fields)

    async def http(_request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)  # noqa: S101 - as above
        code, detail = _HTTP_CODES.get(error.status_code, ("http_error", str(error.detail)))
        return problem(error.status_code, code, detail, headers=error.headers)

    app.add_exception_handler(SignalboxError, ours)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, http)


def documented(status: int, codes: Sequence[str]) -> dict[str, Any]:
    """The OpenAPI entry of the problems with this status."""
    named = ", ".join(f"`{code}`" for code in codes)
    return {"$ref": f"#/components/responses/{NAME}", "description": f"{_TITLES[status]}: {named}."}


NAME = "Problem"
SCHEMA: dict[str, Any] = {
    "title": NAME,
    "type": "object",
    "required": ["type", "title", "status", "detail", "code"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "code": {"type": "string"},
        "correlationId": {"type": ["string", "null"]},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "field": {"type": "string"},
                    "message": {"type": "string"},
                    "code": {"type": "string"},
                    "document": {"type": "integer"},
                    "line": {"type": "integer"},
                },
            },
        },
    },
}
"""The schema of every error answer, for the OpenAPI document."""
RESPONSE: dict[str, Any] = {
    "description": "A problem (RFC 9457) with a stable `code`.",
    "content": {MEDIA_TYPE: {"schema": {"$ref": f"#/components/schemas/{NAME}"}}},
}
"""Every error answer."""
