"""Service accounts of a project: members for machines, with API tokens of their own."""

import uuid

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel
from starlette.responses import Response

from signalbox_common.contracts import auth as contract
from signalbox_common.contracts.base import Moment
from signalbox_gateway.routes.here import InProject
from signalbox_gateway.routes.router import Routes

routes = Routes("/api/v1/projects/{project_id}/service-accounts", "projects")


class NewToken(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, hide_input_in_errors=True)

    name: contract.TokenName
    scopes: contract.Scopes = ()
    expires_at: Moment | None = None


@routes.on("POST", "", contract.CreateServiceAccount, status=201)
async def create_service_account(here: InProject, body: contract.CreateServiceAccount) -> Response:
    """A member of this project alone, whom nobody signs in as. For maintainers."""
    return await here.send(body)


@routes.on("GET", "", contract.ListServiceAccounts)
async def list_service_accounts(here: InProject) -> Response:
    return await here.send(contract.ListServiceAccounts())


@routes.on("DELETE", "/{account_id}", contract.DeleteServiceAccount)
async def delete_service_account(here: InProject, account_id: uuid.UUID) -> Response:
    """Its tokens end at once."""
    return await here.send(contract.DeleteServiceAccount(account_id=account_id))


@routes.on("POST", "/{account_id}/tokens", contract.CreateServiceAccountToken, status=201)
async def create_service_account_token(here: InProject, account_id: uuid.UUID, body: NewToken) -> Response:
    """`token` is in this answer, and never shown again."""
    return await here.send(contract.CreateServiceAccountToken(account_id=account_id, **body.model_dump()))


@routes.on("GET", "/{account_id}/tokens", contract.ListServiceAccountTokens)
async def list_service_account_tokens(here: InProject, account_id: uuid.UUID) -> Response:
    return await here.send(contract.ListServiceAccountTokens(account_id=account_id))


@routes.on("DELETE", "/{account_id}/tokens/{token_id}", contract.RevokeServiceAccountToken)
async def revoke_service_account_token(
    here: InProject, account_id: uuid.UUID, token_id: uuid.UUID
) -> Response:
    return await here.send(contract.RevokeServiceAccountToken(account_id=account_id, token_id=token_id))
