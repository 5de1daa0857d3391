"""API tokens of people, and service accounts with tokens of their own."""

import uuid
from datetime import datetime
from typing import Annotated

from pydantic import Field, StringConstraints

from signalbox_common.contracts.base import Ask, Command, Empty, GrantScope, Moment, Query, Reply, Text
from signalbox_common.contracts.roles import ProjectRole

TokenName = Annotated[Text, StringConstraints(min_length=1, max_length=100, strip_whitespace=True)]
Scope = Annotated[Text, StringConstraints(max_length=60, pattern=r"^(?:\*|[a-z]+:(?:read|write|\*))$")]
Scopes = Annotated[tuple[Scope, ...], Field(max_length=50)]
AccountName = Annotated[Text, StringConstraints(max_length=40, pattern=r"^[a-z0-9](?:[a-z0-9-]*[a-z0-9])?$")]


class ApiToken(Reply):
    id: uuid.UUID
    name: str
    scopes: tuple[str, ...]
    """Empty where the token may do all that its holder may."""
    expires_at: datetime | None
    created_at: datetime
    last_used_at: datetime | None
    hint: str
    """Its last four characters, to tell it from others."""


class CreatedApiToken(ApiToken):
    token: str
    """Shown here, and never again."""


class CreateToken(Ask[CreatedApiToken]):
    subject = "ask.auth.v1.create-token"
    area = "account"
    in_person = True
    target = "name"
    refusals = {"quota_exceeded": 429}

    name: TokenName
    scopes: Scopes = ()
    expires_at: Moment | None = None


class ApiTokenPage(Reply):
    items: tuple[ApiToken, ...]
    next_cursor: str | None = None


class ListTokens(Query[ApiTokenPage]):
    subject = "qry.auth.v1.list-tokens"
    area = "account"


class RevokeToken(Command[Empty]):
    subject = "cmd.auth.v1.revoke-token"
    area = "account"
    in_person = True
    target = "token_id"
    refusals = {"token_not_found": 404}

    token_id: uuid.UUID


class ServiceAccount(Reply):
    id: uuid.UUID
    name: str
    username: str
    role: ProjectRole
    created_at: datetime


class ServiceAccountPage(Reply):
    items: tuple[ServiceAccount, ...]
    next_cursor: str | None = None


class CreateServiceAccount(Command[ServiceAccount]):
    """A member of one project that no person signs in as; it speaks with API tokens alone."""

    subject = "cmd.auth.v1.create-service-account"
    grant = GrantScope.PROJECT
    least_role = ProjectRole.MAINTAINER
    area = "projects"
    in_person = True
    target = "name"
    refusals = {"service_account": 403, "quota_exceeded": 429}

    name: AccountName
    role: ProjectRole = ProjectRole.DEVELOPER


class ListServiceAccounts(Query[ServiceAccountPage]):
    subject = "qry.auth.v1.list-service-accounts"
    grant = GrantScope.PROJECT
    least_role = ProjectRole.MAINTAINER
    area = "projects"


class DeleteServiceAccount(Command[Empty]):
    subject = "cmd.auth.v1.delete-service-account"
    grant = GrantScope.PROJECT
    least_role = ProjectRole.MAINTAINER
    area = "projects"
    in_person = True
    target = "account_id"
    refusals = {"service_account_not_found": 404}

    account_id: uuid.UUID


class CreateServiceAccountToken(Ask[CreatedApiToken]):
    subject = "ask.auth.v1.create-service-account-token"
    grant = GrantScope.PROJECT
    least_role = ProjectRole.MAINTAINER
    area = "projects"
    in_person = True
    target = "account_id"
    refusals = {"service_account_not_found": 404, "quota_exceeded": 429}

    account_id: uuid.UUID
    name: TokenName
    scopes: Scopes = ()
    expires_at: Moment | None = None


class ListServiceAccountTokens(Query[ApiTokenPage]):
    subject = "qry.auth.v1.list-service-account-tokens"
    grant = GrantScope.PROJECT
    least_role = ProjectRole.MAINTAINER
    area = "projects"
    refusals = {"service_account_not_found": 404}

    account_id: uuid.UUID


class RevokeServiceAccountToken(Command[Empty]):
    subject = "cmd.auth.v1.revoke-service-account-token"
    grant = GrantScope.PROJECT
    least_role = ProjectRole.MAINTAINER
    area = "projects"
    in_person = True
    target = "token_id"
    refusals = {"service_account_not_found": 404, "token_not_found": 404}

    account_id: uuid.UUID
    token_id: uuid.UUID
