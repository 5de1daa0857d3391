"""What routes share: strict JSON bodies, the clients, and the documented errors."""

import json
from collections.abc import Callable, Collection, Coroutine
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Depends, Header, Request
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.responses import Response

from signalbox_common.bus import Answer
from signalbox_common.contracts.base import Reply
from signalbox_gateway import problems
from signalbox_gateway.clients import Clients

R = TypeVar("R", bound=Reply)

FORM_PATHS = frozenset({"/api/v1/auth/login", "/api/v1/auth/device/code", "/api/v1/auth/device/token"})
"""OAuth2 clients send forms here."""
FORM = "application/x-www-form-urlencoded"


class StrictRequest(Request):
    """Takes JSON in UTF-8 only, and none that is nested or long beyond reason."""

    async def json(self) -> Any:
        try:
            return json.loads((await self.body()).decode("utf-8"))
        except (ValueError, RecursionError) as error:
            raise HTTPException(400) from error


JSON = "application/json"
MERGE_PATCH = "application/merge-patch+json"


class StrictRoute(APIRoute):
    """Refuses bodies that are not JSON in UTF-8 before anything reads them."""

    media = frozenset({JSON})

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def strict(request: Request) -> Response:
            if request.method in ("POST", "PUT", "PATCH"):
                _check_content_type(request, self.media)
            return await handle(StrictRequest(request.scope, request.receive))

        return strict


class MergePatchRoute(StrictRoute):
    """Takes merge patches under their own name, too."""

    media = frozenset({JSON, MERGE_PATCH})


def _check_content_type(request: Request, taken: Collection[str]) -> None:
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise HTTPException(415)
    declared = request.headers.get("content-type")
    if declared is None:
        if request.headers.get("content-length", "0") != "0" or "transfer-encoding" in request.headers:
            raise HTTPException(415)
        return
    media, _, parameters = declared.partition(";")
    media = media.strip().lower()
    if media == FORM and request.url.path in FORM_PATHS:
        return
    charset = parameters.lower().replace(" ", "").replace('"', "")
    if media not in taken or ("charset=" in charset and "charset=utf-8" not in charset):
        raise HTTPException(415)


async def _clients(request: Request) -> Clients:
    clients: Clients = request.app.state.clients
    return clients


ClientsHere = Annotated[Clients, Depends(_clients)]
IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        max_length=255,
        description="Makes a repeat of this request harmless: it is answered with the first one's answer.",
    ),
]


def router(prefix: str, tag: str) -> APIRouter:
    return APIRouter(prefix=prefix, tags=[tag], route_class=StrictRoute)


def errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The OpenAPI entries of the problems that a route may answer with."""
    return {
        status: {
            "description": "A problem (RFC 9457) with a stable `code`.",
            "content": {problems.MEDIA_TYPE: {"schema": problems.SCHEMA}},
        }
        for status in statuses
    }


def passed_on(answer: Answer[R], status: int = 200) -> Response:
    """The owner's JSON, untouched: it was made from the contract that OpenAPI shows."""
    if status == 204:
        return Response(status_code=status)
    return Response(answer.content, status, media_type="application/json")


def not_kept(response: Response) -> Response:
    """For answers that hold a secret."""
    response.headers["Cache-Control"] = "no-store"
    return response


NO_CONTENT: dict[int | str, dict[str, Any]] = {204: {"description": "Done."}}
