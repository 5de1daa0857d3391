"""Service accounts of a project: members for machines, with API tokens of their own."""

import uuid

from fastapi import Request
from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel
from starlette.responses import Response

from signalbox_common.contracts import auth as contract
from signalbox_common.contracts.base import Moment
from signalbox_gateway.identity import CurrentAsker
from signalbox_gateway.routes.common import (
    NO_CONTENT,
    ClientsHere,
    IdempotencyKey,
    errors,
    not_kept,
    passed_on,
    router,
)
from signalbox_gateway.routes.operations import ACCEPTED

routes = router("/api/v1/projects/{project_id}/service-accounts", "projects")


class NewToken(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, hide_input_in_errors=True)

    name: contract.TokenName
    scopes: contract.Scopes = ()
    expires_at: Moment | None = None


@routes.post(
    "",
    status_code=201,
    response_model=contract.ServiceAccount,
    responses=ACCEPTED | errors(400, 401, 403, 404, 409, 413, 415, 422, 503),
)
async def create_service_account(
    project_id: uuid.UUID,
    request: Request,
    body: contract.CreateServiceAccount,
    asker: CurrentAsker,
    clients: ClientsHere,
    _key: IdempotencyKey = None,
) -> Response:
    """A member of this project alone, whom nobody signs in as. For maintainers."""
    return await clients.command(request, asker, body, status=201, project=project_id)


@routes.get("", response_model=contract.ServiceAccountPage, responses=errors(401, 403, 404, 422, 503))
async def list_service_accounts(project_id: uuid.UUID, asker: CurrentAsker, clients: ClientsHere) -> Response:
    return passed_on(await clients.query(asker, contract.ListServiceAccounts(), project=project_id))


@routes.delete(
    "/{account_id}", status_code=204, responses=NO_CONTENT | ACCEPTED | errors(401, 403, 404, 422, 503)
)
async def delete_service_account(
    project_id: uuid.UUID, account_id: uuid.UUID, request: Request, asker: CurrentAsker, clients: ClientsHere
) -> Response:
    """Its tokens end at once."""
    command = contract.DeleteServiceAccount(account_id=account_id)
    return await clients.command(request, asker, command, status=204, project=project_id)


@routes.post(
    "/{account_id}/tokens",
    status_code=201,
    response_model=contract.CreatedApiToken,
    responses=errors(400, 401, 403, 404, 409, 413, 415, 422, 503, 504),
)
async def create_service_account_token(
    project_id: uuid.UUID,
    account_id: uuid.UUID,
    request: Request,
    body: NewToken,
    asker: CurrentAsker,
    clients: ClientsHere,
    _key: IdempotencyKey = None,
) -> Response:
    """`token` is in this answer, and never shown again."""
    ask = contract.CreateServiceAccountToken(account_id=account_id, **body.model_dump())
    return not_kept(passed_on(await clients.ask(request, ask, asker, project=project_id), 201))


@routes.get(
    "/{account_id}/tokens", response_model=contract.ApiTokenPage, responses=errors(401, 403, 404, 422, 503)
)
async def list_service_account_tokens(
    project_id: uuid.UUID, account_id: uuid.UUID, asker: CurrentAsker, clients: ClientsHere
) -> Response:
    query = contract.ListServiceAccountTokens(account_id=account_id)
    return passed_on(await clients.query(asker, query, project=project_id))


@routes.delete(
    "/{account_id}/tokens/{token_id}",
    status_code=204,
    responses=NO_CONTENT | ACCEPTED | errors(401, 403, 404, 422, 503),
)
async def revoke_service_account_token(
    project_id: uuid.UUID,
    account_id: uuid.UUID,
    token_id: uuid.UUID,
    request: Request,
    asker: CurrentAsker,
    clients: ClientsHere,
) -> Response:
    command = contract.RevokeServiceAccountToken(account_id=account_id, token_id=token_id)
    return await clients.command(request, asker, command, status=204, project=project_id)
