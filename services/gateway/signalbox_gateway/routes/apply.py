"""Many documents at once, as `kubectl apply` takes them."""

from typing import Annotated

from fastapi import Query, Request
from pydantic import SecretStr
from starlette.exceptions import HTTPException
from starlette.responses import Response

from signalbox_common.contracts import catalog as contract
from signalbox_common.contracts import git
from signalbox_gateway.errors import NotUtf8
from signalbox_gateway.routes import applied_tasks
from signalbox_gateway.routes.here import HOME, Here, NamespaceHere
from signalbox_gateway.routes.router import Routes

routes = Routes("/api/v1", "catalog")

TAKEN = (
    "application/yaml",
    "application/json",
    "application/x-yaml",
    "text/yaml",
    "text/x-yaml",
    "text/plain",
    "application/octet-stream",
    "application/x-www-form-urlencoded",  # what curl says of --data-binary
)
_BODY = {"required": True, "content": {media: {"schema": {"type": "string"}} for media in TAKEN[:2]}}


@routes.on(
    "POST",
    "/apply",
    contract.Apply,
    *applied_tasks.SENDS,
    git.GetRepository,
    response_model_exclude_none=True,
    takes="anything",
    max_body=contract.MAX_TEXT,
    body=_BODY,
    also=[(422, "not_utf8")],
)
async def apply(
    request: Request,
    here: Here,
    namespace: NamespaceHere = HOME,
    dry_run: Annotated[bool, Query(alias="dryRun", description="Says what would change.")] = False,
    prune: Annotated[
        bool, Query(description="Deletes what the selector finds and the documents do not have.")
    ] = False,
    label_selector: Annotated[contract.LabelSelector | None, Query(alias="labelSelector")] = None,
) -> Response:
    """YAML or JSON, up to 1,000 documents and 1 MiB: all are applied, or none.

    A 4xx answer names document, line and field of everything that was wrong. Documents of other systems
    are skipped with a warning; tasks are created after the resources, each once however often it is applied.
    `namespace` is for documents that do not name one.
    """
    ask = contract.Apply(
        text=SecretStr(_text(await request.body(), request.headers.get("content-type"))),
        namespace=namespace,
        dry_run=dry_run,
        prune=prune,
        label_selector=label_selector,
    )
    applied = await here.value(ask)
    if not dry_run:
        applied = await applied_tasks.created(here, ask.text.get_secret_value(), namespace, applied)
    return Response(applied.encode(), media_type="application/json")


def _text(body: bytes, content_type: str | None) -> str:
    media = (content_type or TAKEN[0]).partition(";")[0].strip().lower()
    if media not in TAKEN:
        raise HTTPException(415)
    try:
        return body.decode("utf-8")
    except UnicodeDecodeError as error:
        line = body.count(b"\n", 0, error.start) + 1
        raise NotUtf8(line) from error
