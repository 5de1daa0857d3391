"""Operations on repositories: begun, looked at, cancelled."""

import uuid
from typing import Annotated

from fastapi import Query
from starlette.responses import Response

from signalbox_common.contracts import git as contract
from signalbox_common.contracts.paging import Cursor
from signalbox_gateway.routes.at_git import AtRepository
from signalbox_gateway.routes.router import Routes

routes = Routes("/api/v1", "repository operations")


@routes.on("POST", "/repositories/{repository_id}/operations", contract.Operate, status=201)
async def begin_operation(here: AtRepository, repository_id: uuid.UUID, body: contract.GitAction) -> Response:
    """Answered when it is written down; what comes of it is looked up, or followed."""
    return await here.send(contract.Operate(repository=repository_id, action=body))


@routes.on("GET", "/repositories/{repository_id}/operations", contract.ListGitOperations)
async def list_repository_operations(
    here: AtRepository,
    repository_id: uuid.UUID,
    of_type: Annotated[contract.GitOperationType | None, Query(alias="type")] = None,
    status: contract.GitOperationStatus | None = None,
    cursor: Cursor | None = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> Response:
    """Newest first."""
    return await here.send(
        contract.ListGitOperations(
            repository=repository_id, type=of_type, status=status, cursor=cursor, limit=limit
        )
    )


@routes.on("GET", "/repositories/{repository_id}/operations/{git_operation_id}", contract.GetGitOperation)
async def get_repository_operation(
    here: AtRepository, repository_id: uuid.UUID, git_operation_id: uuid.UUID
) -> Response:
    return await here.send(contract.GetGitOperation(repository=repository_id, operation=git_operation_id))


@routes.on(
    "POST",
    "/repositories/{repository_id}/operations/{git_operation_id}/cancel",
    contract.CancelGitOperation,
)
async def cancel_repository_operation(
    here: AtRepository, repository_id: uuid.UUID, git_operation_id: uuid.UUID
) -> Response:
    """A push that is under way is finished first: `cancelling` says so."""
    return await here.send(contract.CancelGitOperation(repository=repository_id, operation=git_operation_id))
