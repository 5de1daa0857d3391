"""What a request's body may be: each route says what it takes, and how much of it."""

import json
import re
from collections.abc import Callable, Collection, Coroutine, Iterable, Iterator, Sequence
from typing import Any, ClassVar

from fastapi import APIRouter, Request
from fastapi.routing import APIRoute
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from signalbox_common.contracts.base import Message, Reply
from signalbox_common.errors import invalid

JSON = "application/json"
MERGE_PATCH = "application/merge-patch+json"
FORM = "application/x-www-form-urlencoded"

Limits = Sequence[tuple[re.Pattern[str], int]]
"""How many bytes a body may have, by paths, where that is not what it is everywhere."""


class StrictRequest(Request):
    """Takes JSON in UTF-8 only, and none that is nested or long beyond reason."""

    async def json(self) -> Any:
        if not hasattr(self, "_read"):
            try:
                self._read = json.loads((await self.body()).decode("utf-8"))
            except (ValueError, RecursionError) as error:
                raise HTTPException(400) from error
        return self._read


class Route(APIRoute):
    """Refuses bodies that it does not take before anything reads them."""

    takes: ClassVar[Collection[str]] = (JSON,)
    """Media types; none where the route looks for itself, at its time."""
    max_body: ClassVar[int | None] = None
    """Bytes, where it takes another amount than all routes."""
    sends: ClassVar[Collection[type[Message]]] = ()
    """The contracts that its documentation follows from."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()
        takes = self.takes

        async def strict(request: Request) -> Response:
            if takes and request.method in ("POST", "PUT", "PATCH"):
                _check_content_type(request, takes)
            try:
                return await handle(StrictRequest(request.scope, request.receive) if takes else request)
            except ValidationError as error:  # what a contract says of its fields together
                if error.title in {answer.__name__ for answer in _below(Reply)}:
                    raise  # not what was asked is wrong, but what was answered
                raise invalid(error) from error

        return strict


def _below(kind: type[Message]) -> Iterator[type[Message]]:
    for each in kind.__subclasses__():
        yield each
        yield from _below(each)


def taking(
    takes: Collection[str], max_body: int | None = None, sends: Collection[type[Message]] = ()
) -> type[Route]:
    return type("Route", (Route,), {"takes": takes, "max_body": max_body, "sends": sends})


def limits(routers: Iterable[APIRouter]) -> Limits:
    """What their routes say; the bound counts for the address, whatever the method is."""
    return tuple(
        (route.path_regex, route.max_body)
        for router in routers
        for route in router.routes
        if isinstance(route, Route) and route.max_body is not None
    )


async def fields_of(request: Request) -> Any:
    """The fields of a form, or what the JSON says."""
    if request.headers.get("content-type", "").lower().startswith(FORM):
        return dict(await request.form())
    return await request.json()


def _check_content_type(request: Request, takes: Collection[str]) -> None:
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise HTTPException(415)
    declared = request.headers.get("content-type")
    if declared is None:
        if request.headers.get("content-length", "0") != "0" or "transfer-encoding" in request.headers:
            raise HTTPException(415)
        return
    media, _, parameters = declared.partition(";")
    media = media.strip().lower()
    if media not in takes:
        raise HTTPException(415)
    charset = parameters.lower().replace(" ", "").replace('"', "")
    if media != FORM and "charset=" in charset and "charset=utf-8" not in charset:
        raise HTTPException(415)
