"""Typed messages that carry their own subject and reply.

A contract class is the only place where a subject is written down. `v1` only grows: readers ignore
fields that they do not know, and a break is a `v2` beside `v1`.
"""

import json
import re
from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Generic, TypeVar

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

from signalbox_common.contracts.roles import ProjectRole
from signalbox_common.contracts.secret import carries_secrets, revealed, secret_fields, without_secrets
from signalbox_common.programs import OWNERS

EVENTS_AREA = "events"
"""What API tokens are limited to where they follow or publish events, which no contract is asked for."""

PLATFORM = "_"
"""Stands for the project in the subject of an event that belongs to no project."""

MAX_BODY = 512 * 1024
"""The largest JSON body of a message, in bytes."""

TOKEN = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*")
_REQUEST = re.compile(r"(cmd|ask|qry)\.([a-z]+|\*)\.v([1-9][0-9]*)\.([a-z0-9-]+)")


class ContractError(ValueError):
    """A contract or an id that would make a wrong subject."""


def printable(text: str) -> str:
    """Refuses text that could not be stored or sent."""
    if "\x00" in text:
        raise ValueError("text must not contain NUL characters")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError("text must not contain halves of characters") from error
    return text


def _in_reach(moment: datetime) -> datetime:
    if not 1970 <= moment.year < 9999:
        raise ValueError("the time must lie between 1970 and 9998")
    return moment


Text = Annotated[str, AfterValidator(printable)]
"""Text that can be stored and sent: no NUL, and no half of a surrogate pair."""
Moment = Annotated[AwareDatetime, AfterValidator(_in_reach)]
"""A time that stays one in every time zone."""


class Message(BaseModel):
    """Anything that travels: camelCase on the wire, unknown fields ignored, immutable."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
    )

    carries_secrets: ClassVar[bool] = False
    """Whether there may be a secret anywhere in it, as its types say."""

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        cls.carries_secrets = carries_secrets(cls)

    def encode(self) -> bytes:
        """The JSON body that travels, secrets included."""
        if not self.carries_secrets:
            return self.model_dump_json(by_alias=True).encode()
        body = revealed(self, self.model_dump(mode="json", by_alias=True))
        try:
            return json.dumps(body, ensure_ascii=False).encode()
        except UnicodeEncodeError:  # halves of characters: whoever reads it refuses them
            return json.dumps(body).encode()

    def public_body(self) -> dict[str, Any]:
        """The JSON body without its secrets, for digests."""
        body = self.model_dump(mode="json", by_alias=True)
        return without_secrets(self, body) if self.carries_secrets else body


class Reply(Message):
    """What a request is answered with."""


class Empty(Reply):
    """The answer of a request that has nothing to say."""


R = TypeVar("R", bound=Reply)


class GrantScope(StrEnum):
    """Which proof of identity a request must bring."""

    NONE = "none"
    PERSON = "person"
    PROJECT = "project"


class Request(Message, Generic[R]):
    """A message to the one service that owns a subject, answered with `R`.

    Who may send it is said here too, and checked by the bus before any handler runs.
    """

    kind: ClassVar[str]
    subject: ClassVar[str]
    reply: ClassVar[type[Reply]]

    grant: ClassVar[GrantScope] = GrantScope.PERSON
    least_role: ClassVar[ProjectRole] = ProjectRole.VIEWER
    """The least role in the project; only where the grant is for a project."""
    admin: ClassVar[bool] = False
    """For administrators of the platform only."""
    in_person: ClassVar[bool] = False
    """Only with a session of one's own: not with an API token, nor under a delegation."""
    operator: ClassVar[bool] = False
    """For the operator's user of the bus only; the gateway may not send it."""
    caller: ClassVar[str | None] = None
    """The one service that may send it, for a person and under a delegation; not even the gateway may."""
    area: ClassVar[str | None] = None
    """What an API token's scope calls the things that this is about; the service's name by default."""
    target: ClassVar[str | None] = None
    """The field that names what a change is about, for the audit log."""
    unrecorded: ClassVar[frozenset[str]] = frozenset()
    """Codes of refusals that leave no line there: anybody could cause any number of them."""
    refusals: ClassVar[Mapping[str, int]] = {}
    """Codes of the final errors that are its own, with their status; `refusals.py` adds those of its kind."""

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        if "subject" not in cls.__dict__:
            return
        match = _REQUEST.fullmatch(cls.subject)
        if match is None or match.group(1) != cls.kind:
            raise ContractError(f"{cls.__name__}: {cls.subject!r} is no {cls.kind}.<service>.v<n>.<verb>")
        for base in cls.__mro__:
            arguments = base.__dict__.get("__pydantic_generic_metadata__", {}).get("args", ())
            if arguments:
                cls.reply = arguments[0]
                break
        else:
            raise ContractError(f"{cls.__name__} does not say what it is answered with")
        if cls.kind == "cmd" and cls.carries_secrets:
            raise ContractError(f"{cls.__name__} would store a secret in a stream: make it an Ask")
        if cls.kind != "ask" and cls.reply.carries_secrets:
            raise ContractError(f"{cls.__name__} would be answered with a secret: make it an Ask")
        if cls.target in secret_fields(cls):
            raise ContractError(f"{cls.__name__} would show {cls.target} in the audit log")
        register(cls, cls.subject)

    @classmethod
    def subject_for(cls, service: str | None = None) -> str:
        """The subject to send to; contracts that every owner answers name the service here."""
        if "*" not in cls.subject:
            return cls.subject
        if service not in OWNERS:
            raise ContractError(f"{cls.__name__} must be addressed to one of {', '.join(OWNERS)}")
        return cls.subject.replace("*", service)

    @classmethod
    def owner(cls) -> str:
        return cls.subject.split(".")[1]

    @classmethod
    def verb(cls, service: str | None = None) -> str:
        """What it is called in the audit log and in delegations: `auth.create-project`."""
        return f"{service or cls.owner()}.{cls.subject.rpartition('.')[2]}"

    @classmethod
    def scope(cls) -> str | None:
        """The scope that an API token needs for it: `projects:read`, `projects:write`.

        None where every owner answers it: only a handler can tell what it is about.
        """
        area = cls.area or cls.owner()
        return f"{area}:{'read' if cls.kind == 'qry' else 'write'}" if area != "*" else None


class Command(Request[R], Generic[R]):
    """Asks the owner to change something; durable: stored, retried, taking effect once."""

    kind: ClassVar[str] = "cmd"

    @classmethod
    def consumer(cls, service: str | None = None) -> str:
        """The name of the durable consumer that hands this verb to its owner."""
        return consumer_of(cls.subject_for(service))


class Ask(Request[R], Generic[R]):
    """A change that carries a secret: answered at once or not at all, never stored in a stream."""

    kind: ClassVar[str] = "ask"
    once: ClassVar[bool] = True
    """Whether an `Idempotency-Key` makes a repeat harmless; signing in ignores it."""
    patience: ClassVar[float] = 5.0
    """Seconds to wait for the answer."""


class Query(Request[R], Generic[R]):
    """A read; never changes anything."""

    kind: ClassVar[str] = "qry"


REGISTRY: dict[str, type[Message]] = {}
"""Every contract of this installation by its subject."""


def register(contract: type[Message], subject: str) -> None:
    """Raises where another contract has that subject."""
    known = REGISTRY.get(subject)
    if known is not None and known.__qualname__ != contract.__qualname__:
        raise ContractError(f"{subject} belongs to {known.__name__} already")
    REGISTRY[subject] = contract


def contracts_of(kind: type[Message]) -> list[Any]:
    """All registered contracts of one kind, in the order of their subjects."""
    return [REGISTRY[subject] for subject in sorted(REGISTRY) if issubclass(REGISTRY[subject], kind)]


def consumer_of(command_subject: str) -> str:
    """`cmd.auth.v1.create-project` is handed over by the durable consumer `auth-v1-create-project`."""
    return command_subject.removeprefix("cmd.").replace(".", "-")


class FieldError(Message):
    """One field of a refused request, and why it was refused."""

    field: str
    message: str
    code: str
    document: int | None = None
    """The number of the document, where a request holds many."""
    line: int | None = None
    """The line of the request's text, where it has any."""


class Failure(Message):
    """The wire form of an error; the gateway makes a problem of it."""

    code: str
    status: int
    detail: str
    errors: tuple[FieldError, ...] = ()
    resource: str | None = None
    retry_after: int | None = None
