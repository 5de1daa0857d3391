"""Contracts of the auth service: users, sessions, grants, projects."""

import uuid
from datetime import datetime
from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import Field, SecretStr, StringConstraints

from signalbox_common.contracts.base import (
    Ask,
    Command,
    Event,
    GrantScope,
    Query,
    Reply,
    Text,
)


class PlatformRole(StrEnum):
    USER = "user"
    ADMIN = "admin"


class ProjectRole(StrEnum):
    VIEWER = "viewer"
    DEVELOPER = "developer"
    MAINTAINER = "maintainer"
    OWNER = "owner"


Username = Annotated[
    Text, StringConstraints(min_length=2, max_length=64, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
]
Email = Annotated[
    Text,
    StringConstraints(
        min_length=3,
        max_length=254,
        pattern=r"^[^@\s\x00-\x1f\x7f]+@[^@\s\x00-\x1f\x7f]+\.[^@\s\x00-\x1f\x7f.]+$",
    ),
]
DisplayName = Annotated[Text, StringConstraints(min_length=1, max_length=200, strip_whitespace=True)]


class User(Reply):
    id: uuid.UUID
    username: str
    email: str
    display_name: str
    role: PlatformRole
    created_at: datetime


class Register(Ask[User]):
    subject = "ask.auth.v1.register"
    grant = GrantScope.NONE
    secret_fields: ClassVar[frozenset[str]] = frozenset({"password"})

    username: Username
    email: Email
    password: SecretStr = Field(min_length=12, max_length=1024)
    display_name: DisplayName | None = None


class Session(Reply):
    """An access token, shown to its owner once."""

    access_token: str
    token_type: str = "bearer"  # noqa: S105 - the name of a scheme, no secret
    expires_in: int


class Login(Ask[Session]):
    subject = "ask.auth.v1.login"
    grant = GrantScope.NONE
    once: ClassVar[bool] = False
    secret_fields: ClassVar[frozenset[str]] = frozenset({"password"})

    username: Annotated[Text, StringConstraints(max_length=254)] | None = None
    email: Annotated[Text, StringConstraints(max_length=254)] | None = None
    password: SecretStr = Field(max_length=1024)


class Me(Query[User]):
    subject = "qry.auth.v1.me"


class Grant(Reply):
    """A signed statement for one service: who asks, and for which project."""

    grant: str
    expires_at: datetime


class GetGrant(Query[Grant]):
    """Auth takes nobody's word for a person: the person's own token comes along."""

    subject = "qry.auth.v1.grant"
    grant = GrantScope.NONE
    secret_fields: ClassVar[frozenset[str]] = frozenset({"token"})

    token: SecretStr
    audience: Annotated[Text, StringConstraints(pattern=r"^[a-z]+$")]
    project: uuid.UUID | None = None


class Project(Reply):
    id: uuid.UUID
    name: str
    slug: str
    description: str
    role: ProjectRole
    created_at: datetime
    updated_at: datetime


class CreateProject(Command[Project]):
    subject = "cmd.auth.v1.create-project"

    name: Annotated[Text, StringConstraints(min_length=1, max_length=200, strip_whitespace=True)]
    slug: (
        Annotated[Text, StringConstraints(max_length=63, pattern=r"^[a-z0-9](?:[a-z0-9-]*[a-z0-9])?$")] | None
    ) = None
    description: Annotated[Text, StringConstraints(max_length=4000)] = ""


class ProjectPage(Reply):
    items: tuple[Project, ...]
    next_cursor: str | None = None


class ListProjects(Query[ProjectPage]):
    subject = "qry.auth.v1.list-projects"

    limit: int = Field(default=50, ge=1, le=200)
    cursor: Annotated[Text, StringConstraints(max_length=200)] | None = None
    q: Annotated[Text, StringConstraints(max_length=200)] | None = None


class GetProject(Query[Project]):
    subject = "qry.auth.v1.get-project"
    grant = GrantScope.PROJECT


class UserRegistered(Event):
    subject = "evt.*.auth.user.registered"

    id: uuid.UUID
    username: str


class ProjectCreated(Event):
    subject = "evt.*.auth.project.created"

    id: uuid.UUID
    name: str
    slug: str
    created_by: uuid.UUID
