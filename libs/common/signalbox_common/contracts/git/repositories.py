"""Repositories of a project: where they are, and with what they are reached."""

import uuid
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Self

from pydantic import AfterValidator, Field, SecretStr, StringConstraints, model_validator

from signalbox_common import remote_urls
from signalbox_common.contracts.base import Ask, Command, Empty, GrantScope, Message, Query, Reply, Text
from signalbox_common.contracts.events import Event
from signalbox_common.contracts.git.base import AREA, REPOSITORY_NOT_FOUND, RefName
from signalbox_common.contracts.git.policies import DeliveryPolicy
from signalbox_common.contracts.paging import Cursor
from signalbox_common.contracts.roles import ProjectRole

_NAMED = {"repository_exists": 409, "project_gone": 409, "key_needs_ssh": 422, "bad_signing_key": 422}
_LONGEST_TOKEN = 8_000


def _url(text: str) -> str:
    return str(remote_urls.parse(text))


RepositoryName = Annotated[
    Text, StringConstraints(max_length=100, pattern=r"^[A-Za-z0-9_](?:[A-Za-z0-9._-]*)$")
]
RepositoryUrl = Annotated[Text, StringConstraints(min_length=1, max_length=2000), AfterValidator(_url)]
"""`https://`, `ssh://`, `user@host:path`, or a path on the machine of the service."""
SetupCommand = Annotated[Text, StringConstraints(min_length=1, max_length=4000)]
SetupCommands = Annotated[tuple[SetupCommand, ...], Field(max_length=20)]
BranchPattern = Annotated[
    Text, StringConstraints(min_length=1, max_length=240, pattern=r"^[^\s~^:?\[\\\x00-\x1f\x7f]+$")
]
BranchPatterns = Annotated[tuple[BranchPattern, ...], Field(max_length=50)]
"""Branches by name, where `*` stands for anything: `release/*`."""
Username = Annotated[Text, StringConstraints(max_length=200, pattern=r"^[^\s:\x00-\x1f\x7f]+$")]


def _api_url(text: str) -> str:
    parsed = remote_urls.parse(text)
    if parsed.scheme not in (remote_urls.Scheme.HTTPS, remote_urls.Scheme.HTTP):
        raise ValueError("the address of an API begins with https://")
    return str(parsed)


ApiUrl = Annotated[Text, StringConstraints(min_length=1, max_length=2000), AfterValidator(_api_url)]
"""Where a forge answers that is not where its host says: `https://ghe.example/api/v3`."""


class Forge(StrEnum):
    """What is there beside git."""

    GITHUB = "github"
    GITEA = "gitea"
    GIT = "git"


class RepositoryStatus(StrEnum):
    PENDING = "pending"
    """Nothing of it is here yet."""
    READY = "ready"
    FAILED = "failed"
    """It could not be fetched when that was tried last."""


def one_line(secret: SecretStr) -> SecretStr:
    value = secret.get_secret_value()
    if not value or len(value) > _LONGEST_TOKEN or not value.isprintable():
        raise ValueError("a token is one line of printable characters")
    return secret


class RepositoryCredential(Message):
    """A token with its user, or a private key for ssh; with a token beside it, that is for the forge."""

    token: Annotated[SecretStr, AfterValidator(one_line)] | None = None
    username: Username | None = None
    private_key: Annotated[SecretStr, Field(min_length=1, max_length=32_000)] | None = None

    @model_validator(mode="after")
    def _is_something(self) -> Self:
        if self.token is None and self.private_key is None:
            raise ValueError("a credential is a token or a private key")
        return self


SigningKey = Annotated[SecretStr, Field(min_length=1, max_length=8000)]
"""An ed25519 key as `ssh-keygen` writes it, without a passphrase."""


class Repository(Reply):
    id: uuid.UUID
    project_id: uuid.UUID
    name: str
    url: str
    forge: Forge
    api_url: str | None = None
    """Where its forge answers, where that is not what its host says."""
    default_branch: str | None = None
    """None until it is known what the remote says."""
    has_credential: bool
    setup: tuple[str, ...] = ()
    """Commands that a run begins with."""
    protected: tuple[str, ...] | None = None
    """Branches that nothing is delivered to; None stands for the default branch alone."""
    policy: DeliveryPolicy = DeliveryPolicy()
    signed_by: str | None = None
    """The public key that commits are signed with, as a line of `allowed_signers` has it."""
    status: RepositoryStatus
    reason: str | None = None
    """Why it has failed, in a word."""
    detail: str | None = None
    host_keys: tuple[str, ...] = ()
    """Of a remote over ssh, the keys that it has to show."""
    fetched_at: datetime | None = None
    size_bytes: int | None = None
    """Of what is kept of it here."""
    created_by: uuid.UUID
    created_at: datetime
    updated_at: datetime


class AddRepository(Ask[Repository]):
    """It is fetched from then on; what the remote says of that stands in its status."""

    subject = "ask.git.v1.add-repository"
    grant = GrantScope.PROJECT
    least_role = ProjectRole.DEVELOPER
    area = AREA
    target = "url"
    refusals = _NAMED | {"quota_exceeded": 429}

    name: RepositoryName | None = None
    """By default that of its address."""
    url: RepositoryUrl
    forge: Forge | None = None
    """By default what the host says."""
    api_url: ApiUrl | None = None
    default_branch: RefName | None = None
    credential: RepositoryCredential | None = None
    setup: SetupCommands = ()
    protected: BranchPatterns | None = None
    policy: DeliveryPolicy | None = None
    """One that lets out more than the one by default is for maintainers."""
    signing_key: SigningKey | None = None


class UpdateRepository(Ask[Repository]):
    """What is not named stays; another host needs its credential again."""

    subject = "ask.git.v1.update-repository"
    grant = GrantScope.PROJECT
    least_role = ProjectRole.DEVELOPER
    area = AREA
    target = "repository"
    refusals = REPOSITORY_NOT_FOUND | _NAMED | {"credential_needed": 422, "nothing_to_change": 422}

    repository: uuid.UUID
    name: RepositoryName | None = None
    url: RepositoryUrl | None = None
    forge: Forge | None = None
    api_url: ApiUrl | None = None
    default_branch: RefName | None = None
    credential: RepositoryCredential | None = None
    remove_credential: bool = False
    forget_host_keys: bool = False
    """Whether the next key that the host shows counts."""
    setup: SetupCommands | None = None
    protected: BranchPatterns | None = None
    policy: DeliveryPolicy | None = None
    """In place of the one before, as a whole; one that lets out more is for maintainers."""
    signing_key: SigningKey | None = None
    remove_signing_key: bool = False


class DeleteRepository(Command[Empty]):
    """What was made of it stays where it is; nothing of it is kept here."""

    subject = "cmd.git.v1.delete-repository"
    grant = GrantScope.PROJECT
    least_role = ProjectRole.DEVELOPER
    area = AREA
    target = "repository"
    refusals = REPOSITORY_NOT_FOUND

    repository: uuid.UUID


class FetchRepository(Command[Repository]):
    """Answered when it is as it is at its remote, or cannot be."""

    subject = "cmd.git.v1.fetch-repository"
    grant = GrantScope.PROJECT
    least_role = ProjectRole.DEVELOPER
    area = AREA
    target = "repository"
    refusals = REPOSITORY_NOT_FOUND | {"fetch_failed": 409, "work_under_way": 409, "cancelled": 409}

    repository: uuid.UUID


class GetRepository(Query[Repository]):
    """By its id, or by its name."""

    subject = "qry.git.v1.get-repository"
    grant = GrantScope.PROJECT
    area = AREA
    refusals = REPOSITORY_NOT_FOUND

    repository: uuid.UUID | None = None
    name: RepositoryName | None = None


class RepositoryPage(Reply):
    items: tuple[Repository, ...]
    next_cursor: str | None = None


class ListRepositories(Query[RepositoryPage]):
    """Newest first."""

    subject = "qry.git.v1.list-repositories"
    grant = GrantScope.PROJECT
    area = AREA

    cursor: Cursor | None = None
    limit: int = Field(default=50, ge=1, le=200)


class RepositoryPlace(Reply):
    project: uuid.UUID


class FindRepository(Query[RepositoryPlace]):
    """In which project it is; asked by the gateway only, which then needs a grant for that project."""

    subject = "qry.git.v1.find-repository"
    grant = GrantScope.NONE
    refusals = REPOSITORY_NOT_FOUND

    repository: uuid.UUID


class RepositoryTest(Reply):
    ok: bool
    reason: str | None = None
    """In a word: `unresolved`, `private_address`, `unreachable`, `tls`, `unauthorized`, `not_found`, …"""
    detail: str | None = None
    default_branch: str | None = None
    branches: int | None = None


class TestRepository(Ask[RepositoryTest]):
    """Asks the remote now; changes nothing but the key that a host over ssh shows first."""

    subject = "ask.git.v1.test-repository"
    grant = GrantScope.PROJECT
    least_role = ProjectRole.DEVELOPER
    area = AREA
    once = False
    patience = 40.0
    refusals = REPOSITORY_NOT_FOUND

    repository: uuid.UUID


class RepositoryAdded(Event):
    subject = "evt.*.git.repository.added"

    repository: uuid.UUID
    name: str
    url: str


class RepositoryChanged(Event):
    """Its settings, or what is known of its remote."""

    subject = "evt.*.git.repository.changed"

    repository: uuid.UUID
    name: str
    status: RepositoryStatus
    reason: str | None = None


class RepositoryDeleted(Event):
    subject = "evt.*.git.repository.deleted"

    repository: uuid.UUID
