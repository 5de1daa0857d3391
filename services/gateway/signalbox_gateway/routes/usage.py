"""Usage: what the runs of a project have come to and taken, to be looked at and to be taken away."""

import csv
import io
from collections.abc import AsyncIterator, Iterable, Sequence
from datetime import date
from functools import partial
from typing import Annotated, Any, Literal

from fastapi import Query, Request
from starlette.responses import Response, StreamingResponse

from signalbox_common.contracts import tasks as contract
from signalbox_common.contracts.base import FieldError
from signalbox_common.contracts.tasks import UsageGroup, UsagePage
from signalbox_common.errors import Invalid
from signalbox_gateway.routes.answers import Responses
from signalbox_gateway.routes.here import InProject, Sender
from signalbox_gateway.routes.router import Routes

routes = Routes("/api/v1", "usage")

Format = Literal["json", "csv", "jsonl"]
MEDIA: dict[Format, str] = {
    "json": "application/json",
    "csv": "text/csv",
    "jsonl": "application/x-ndjson",
}
_COLUMNS = {
    UsageGroup.DAY: "day",
    UsageGroup.AGENT: "agentId",
    UsageGroup.MODEL: "model",
    UsageGroup.PERSON: "userId",
}
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""What a spreadsheet would take for one."""
_FILES: Responses = {
    200: {
        "content": {MEDIA[form]: {"schema": {"type": "string"}} for form in ("csv", "jsonl")},
        "description": "A page, or as CSV or as lines of JSON all that there is.",
    }
}


@routes.on("GET", "/projects/{project_id}/usage", contract.GetUsage, shows=_FILES)
async def get_usage(
    request: Request,
    here: InProject,
    since: Annotated[date | None, Query(alias="from", description="By default 30 days.")] = None,
    until: Annotated[date | None, Query(alias="to", description="The last day; by default today.")] = None,
    by: Annotated[
        str, Query(max_length=100, description="Any of `day`, `agent`, `model`, `person`, by commas.")
    ] = "",
    format: Annotated[  # noqa: A002 - the name in the URL
        Format | None, Query(description="By default what `Accept` says; a file has all pages.")
    ] = None,
    cursor: Annotated[str | None, Query(max_length=600)] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 1000,
) -> Response:
    """Counted when its runs ended. By person, maintainers and owners see everybody, others themselves."""
    form = format or _accepted(request.headers.get("accept", ""))
    wanted = contract.GetUsage(since=since, until=until, by=_groups(by), cursor=cursor, limit=limit)
    if form == "json":
        return await here.send(wanted)
    return await _file(here, wanted, form)


def _accepted(accept: str) -> Format:
    """The first that is named; JSON where none of ours is."""
    named = (each.partition(";")[0].strip().lower() for each in accept.split(","))
    known: dict[str, Format] = {media: form for form, media in MEDIA.items()}
    return next((known[media] for media in named if media in known), "json")


def _groups(by: str) -> tuple[UsageGroup, ...]:
    names = [name.strip() for name in by.split(",") if name.strip()]
    if len(set(names)) < len(names) or not set(names) <= set(UsageGroup):
        said = f"Any of {', '.join(UsageGroup)}, each once, by commas."
        raise Invalid(errors=[FieldError(field="by", message=said, code="bad_groups")])
    return tuple(map(UsageGroup, names))


async def _file(here: Sender, wanted: contract.GetUsage, form: Format) -> Response:
    """A page at a time, each as it is then, so that it takes no more memory than one."""
    first = await here.value(wanted)  # a refusal is answered as one, not as a broken file
    names = _columns(first)
    written = partial(_as_csv, names) if form == "csv" else _as_lines

    async def pages() -> AsyncIterator[bytes]:
        if form == "csv":
            yield _lines([names])
        page = first
        yield written(page)
        while page.next_cursor is not None:
            page = await here.value(wanted.model_copy(update={"cursor": page.next_cursor}))
            yield written(page)

    name = f"usage-{first.since}-{first.until}.{form}"
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return StreamingResponse(pages(), media_type=MEDIA[form], headers=headers)


def _columns(page: UsagePage) -> list[str]:
    """The groups that were asked for, and all figures."""
    missing = {_COLUMNS[group] for group in UsageGroup if group not in page.by}
    names = (field.alias or name for name, field in contract.UsageRow.model_fields.items())
    return [name for name in names if name not in missing]


def _as_lines(page: UsagePage) -> bytes:
    return b"".join(row.encode() + b"\n" for row in page.items)


def _as_csv(names: Sequence[str], page: UsagePage) -> bytes:
    rows = (row.model_dump(mode="json", by_alias=True) for row in page.items)
    return _lines([_cell(row[name]) for name in names] for row in rows)


def _lines(rows: Iterable[Sequence[Any]]) -> bytes:
    written = io.StringIO()
    csv.writer(written).writerows(rows)
    return written.getvalue().encode()


def _cell(value: Any) -> Any:
    text = isinstance(value, str) and value.startswith(_FORMULA)
    return f"'{value}" if text else value
