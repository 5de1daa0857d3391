"""The audit log: of a project for its owners, of everything for administrators."""

import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from starlette.responses import Response, StreamingResponse

from signalbox_common.contracts import auth as contract
from signalbox_gateway.identity import CurrentAsker
from signalbox_gateway.routes.common import ClientsHere, StrictRoute, errors

routes = APIRouter(prefix="/api/v1", tags=["audit"], route_class=StrictRoute)

Format = Annotated[
    Literal["json", "jsonl"], Query(description="`jsonl` answers all pages at once, one entry a line.")
]
JSON_LINES = "application/x-ndjson"
EXPORT_PAGE = 500

_LINES: dict[int | str, dict[str, Any]] = {
    200: {
        "content": {JSON_LINES: {"schema": {"type": "string"}}},
        "description": "A page, or with `format=jsonl` all that there is, newest first.",
    }
}


@routes.get("/audit", response_model=contract.AuditPage, responses=_LINES | errors(401, 403, 422, 503))
async def list_audit(
    asker: CurrentAsker,
    clients: ClientsHere,
    page: Annotated[contract.ListAudit, Query()],
    format: Format = "json",  # noqa: A002 - the name in the URL
) -> Response:
    """Every change that was asked for, refused ones included. Admins only."""

    async def fetch(cursor: str | None) -> contract.AuditPage:
        wanted = page.model_copy(update={"cursor": cursor, "limit": EXPORT_PAGE})
        return (await clients.query(asker, wanted)).value()

    if format == "jsonl":
        return await _export(fetch, page.cursor)
    answer = await clients.query(asker, page)
    return Response(answer.content, media_type="application/json")


@routes.get(
    "/projects/{project_id}/audit",
    response_model=contract.AuditPage,
    responses=_LINES | errors(401, 403, 404, 422, 503),
)
async def list_project_audit(
    project_id: uuid.UUID,
    asker: CurrentAsker,
    clients: ClientsHere,
    page: Annotated[contract.ListProjectAudit, Query()],
    format: Format = "json",  # noqa: A002 - as above
) -> Response:
    """What was asked for in this project. For owners."""

    async def fetch(cursor: str | None) -> contract.AuditPage:
        wanted = page.model_copy(update={"cursor": cursor, "limit": EXPORT_PAGE})
        return (await clients.query(asker, wanted, project=project_id)).value()

    if format == "jsonl":
        return await _export(fetch, page.cursor)
    answer = await clients.query(asker, page, project=project_id)
    return Response(answer.content, media_type="application/json")


async def _export(
    fetch: Callable[[str | None], Awaitable[contract.AuditPage]], cursor: str | None
) -> Response:
    first = await fetch(cursor)  # a refusal is answered as one, not as a broken stream

    async def lines() -> AsyncIterator[bytes]:
        page = first
        while True:
            for entry in page.items:
                yield entry.encode() + b"\n"
            if page.next_cursor is None:
                return
            page = await fetch(page.next_cursor)

    return StreamingResponse(lines(), media_type=JSON_LINES)
