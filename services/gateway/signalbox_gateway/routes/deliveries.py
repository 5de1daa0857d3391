"""Deliveries: what has come out of sandboxes, and what became of it."""

import uuid
from typing import Annotated

from fastapi import Query
from starlette.responses import Response

from signalbox_common.contracts import git as contract
from signalbox_common.contracts.base import GrantScope
from signalbox_common.contracts.paging import Cursor
from signalbox_gateway.routes.answers import Responses
from signalbox_gateway.routes.at_git import AtDelivery, AtRepository, GitBody, place_at
from signalbox_gateway.routes.router import Routes

routes = Routes("/api/v1", "deliveries")

_DIFF: Responses = {
    200: {
        "description": "A unified diff, which says where it was cut.",
        "content": {"text/x-diff": {"schema": {"type": "string", "format": "binary"}}},
    }
}


class DeliveryRetry(GitBody):
    """By default as it was asked for before."""

    workflow_files: contract.Rule | None = None
    findings: contract.Rule | None = None
    """`allow` is for maintainers."""


@routes.on("GET", "/repositories/{repository_id}/deliveries", contract.ListDeliveries)
async def list_deliveries(
    here: AtRepository,
    repository_id: uuid.UUID,
    cursor: Cursor | None = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> Response:
    """Newest first."""
    return await here.send(contract.ListDeliveries(repository=repository_id, cursor=cursor, limit=limit))


@routes.on("GET", "/deliveries/{delivery_id}", contract.GetDelivery)
async def get_delivery(here: AtDelivery, delivery_id: uuid.UUID) -> Response:
    return await here.send(contract.GetDelivery(delivery=delivery_id))


@routes.on("POST", "/deliveries/{delivery_id}/retry", contract.RetryDelivery, status=201)
async def retry_delivery(
    here: AtDelivery, delivery_id: uuid.UUID, body: DeliveryRetry | None = None
) -> Response:
    """A new delivery of the same, where this one has come to nothing."""
    wanted = body or DeliveryRetry()
    return await here.send(
        contract.RetryDelivery(
            delivery=delivery_id, workflow_files=wanted.workflow_files, findings=wanted.findings
        )
    )


@routes.on(
    "GET",
    "/deliveries/{delivery_id}/diff",
    shows=_DIFF,
    grant=GrantScope.PROJECT,
    response_class=Response,
    also=[
        (404, "delivery_not_found"),
        (404, "repository_not_found"),
        (404, "changes_not_found"),
        (404, "revision_not_found"),
        (413, "too_much"),
        (403, "insufficient_scope"),
    ],
)
async def read_delivery_diff(here: AtDelivery, delivery_id: uuid.UUID) -> Response:
    """What it changes, or would change."""
    place = await place_at(here, contract.READ_DELIVERY_DIFF, delivery=delivery_id)
    return await here.clients.bytes.download(here.someone, place, media_type="text/x-diff")
