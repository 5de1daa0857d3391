"""Credentials of a project for a whole host, for repositories there that have none of their own."""

import uuid
from datetime import datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, SecretStr, StringConstraints

from signalbox_common.addresses import host_and_port
from signalbox_common.contracts.base import Ask, Command, Empty, GrantScope, Query, Reply, Text
from signalbox_common.contracts.git.base import AREA
from signalbox_common.contracts.git.repositories import ApiUrl, Forge, Username, one_line
from signalbox_common.contracts.roles import ProjectRole

_NOT_FOUND = {"credential_not_found": 404}


def _host(text: str) -> str:
    host, port = host_and_port(text.lower())
    named = f"[{host}]" if ":" in host else host
    return f"{named}:{port}" if port not in (None, 443) else named


HostName = Annotated[Text, StringConstraints(min_length=1, max_length=300), AfterValidator(_host)]
"""`github.com`, or `forge.example:3000`."""


class GitCredential(Reply):
    id: uuid.UUID
    project_id: uuid.UUID
    host: str
    forge: Forge
    api_url: str | None = None
    username: str | None = None
    created_by: uuid.UUID | None = None
    """None where the operator's environment gave it."""
    created_at: datetime


class AddGitCredential(Ask[GitCredential]):
    """In the place of the one that the project had for this host."""

    subject = "ask.git.v1.add-credential"
    grant = GrantScope.PROJECT
    least_role = ProjectRole.MAINTAINER
    area = AREA
    target = "host"
    refusals = {"project_gone": 409}

    host: HostName
    forge: Forge | None = None
    """By default what the host says."""
    api_url: ApiUrl | None = None
    token: Annotated[SecretStr, AfterValidator(one_line)]
    username: Username | None = None


class DeleteGitCredential(Command[Empty]):
    """Repositories that were reached with it are reached without."""

    subject = "cmd.git.v1.delete-credential"
    grant = GrantScope.PROJECT
    least_role = ProjectRole.MAINTAINER
    area = AREA
    target = "credential"
    refusals = _NOT_FOUND

    credential: uuid.UUID


class GitCredentialList(Reply):
    items: tuple[GitCredential, ...]


class ListGitCredentials(Query[GitCredentialList]):
    """By host; what they are is not shown."""

    subject = "qry.git.v1.list-credentials"
    grant = GrantScope.PROJECT
    area = AREA


class GitCredentialPlace(Reply):
    project: uuid.UUID


class FindGitCredential(Query[GitCredentialPlace]):
    """Whose it is, for whoever has only its id."""

    subject = "qry.git.v1.find-credential"
    grant = GrantScope.NONE
    refusals = _NOT_FOUND

    credential: uuid.UUID


class VisibleRepository(Reply):
    name: str
    url: str
    default_branch: str | None = None
    visibility: Literal["public", "private"]


class VisibleRepositoryList(Reply):
    items: tuple[VisibleRepository, ...]


class ListVisibleRepositories(Ask[VisibleRepositoryList]):
    """What its forge shows to whoever has it, a thousand at most; asked now."""

    subject = "ask.git.v1.list-visible-repositories"
    grant = GrantScope.PROJECT
    least_role = ProjectRole.DEVELOPER
    area = AREA
    target = "credential"
    once = False
    patience = 40.0
    refusals = _NOT_FOUND | {"forge_refused": 409, "forge_away": 409, "no_forge": 409}

    credential: uuid.UUID
    limit: int = Field(default=200, ge=1, le=1000)
