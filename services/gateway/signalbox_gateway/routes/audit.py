"""The audit log: of a project for its owners, of everything for administrators."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Annotated, Literal

from fastapi import Query
from starlette.responses import Response, StreamingResponse

from signalbox_common.contracts import auth as contract
from signalbox_gateway.routes.answers import Responses
from signalbox_gateway.routes.here import Here, InProject, Sender
from signalbox_gateway.routes.router import Routes

routes = Routes("/api/v1", "audit")

Format = Annotated[
    Literal["json", "jsonl"], Query(description="`jsonl` answers all pages at once, one entry a line.")
]
JSON_LINES = "application/x-ndjson"
EXPORT_PAGE = 500

_LINES: Responses = {
    200: {
        "content": {JSON_LINES: {"schema": {"type": "string"}}},
        "description": "A page, or with `format=jsonl` all that there is, newest first.",
    }
}


@routes.on("GET", "/audit", contract.ListAudit, shows=_LINES)
async def list_audit(
    here: Here,
    page: Annotated[contract.ListAudit, Query()],
    format: Format = "json",  # noqa: A002 - the name in the URL
) -> Response:
    """Every change that was asked for, refused ones included. Admins only."""
    return await _listed(here, page, format)


@routes.on("GET", "/projects/{project_id}/audit", contract.ListProjectAudit, shows=_LINES)
async def list_project_audit(
    here: InProject,
    page: Annotated[contract.ListProjectAudit, Query()],
    format: Format = "json",  # noqa: A002 - as above
) -> Response:
    """What was asked for in this project. For owners."""
    return await _listed(here, page, format)


async def _listed(
    here: Sender, page: contract.ListAudit | contract.ListProjectAudit, form: Literal["json", "jsonl"]
) -> Response:
    async def fetch(cursor: str | None) -> contract.AuditPage:
        return await here.value(page.model_copy(update={"cursor": cursor, "limit": EXPORT_PAGE}))

    return await (here.send(page) if form == "json" else _export(fetch, page.cursor))


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
