"""What has happened, as whoever wants to know reads it."""

import re
import uuid
from datetime import datetime
from typing import Any, ClassVar, Self

from signalbox_common.contracts.base import PLATFORM, ContractError, Message, register
from signalbox_common.programs import OWNERS

_EVENT = re.compile(r"(?:evt|rvk)\.\*\.([a-z]+|\*)\.([a-z0-9-]+)\.([a-z0-9-]+)|evt\.\*\.ext\.>")


class Event(Message):
    """A fact, a CloudEvent on the wire: `evt.<project>.<service>.<entity>.<past tense>`.

    Under `rvk` instead, it goes into the stream of revocations, which every process follows.
    """

    subject: ClassVar[str]
    schema_version: ClassVar[int] = 1
    of_platform: ClassVar[bool] = False
    """Whether it goes out under the platform always, whichever project it is about."""

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        if "subject" not in cls.__dict__:
            return
        if _EVENT.fullmatch(cls.subject) is None:
            raise ContractError(
                f"{cls.__name__}: {cls.subject!r} is no evt.*.<service>.<entity>.<past tense>"
            )
        if cls.carries_secrets:
            raise ContractError(f"{cls.__name__} would tell a secret to whoever reads events")
        register(cls, cls.subject)

    @classmethod
    def decoded(cls, body: bytes) -> Self:
        """Raises ValueError where it is none."""
        return cls.model_validate_json(body)

    @classmethod
    def type(cls, service: str | None = None) -> str:
        """The CloudEvents type: `<service>.<entity>.<past tense>`."""
        _, _, own, what = cls.subject.split(".", 3)
        return f"{service if own == '*' and service else own}.{what}"

    @classmethod
    def service(cls) -> str:
        return cls.subject.split(".")[2]

    @classmethod
    def schema_uri(cls, service: str | None = None) -> str:
        return f"urn:signalbox:{cls.type(service)}:v{cls.schema_version}"

    @classmethod
    def subject_in(cls, project: uuid.UUID | None, service: str | None = None) -> str:
        """Contracts that every owner emits name the service here."""
        if cls.of_platform and project is not None:
            raise ContractError(f"{cls.__name__} belongs to no project")
        prefix, _, own, what = cls.subject.split(".", 3)
        if own == "*":
            if service not in OWNERS:
                raise ContractError(f"{cls.__name__} comes from one of {', '.join(OWNERS)}")
            own = service
        return f"{prefix}.{project if project is not None else PLATFORM}.{own}.{what}"

    @classmethod
    def filter_subject(cls) -> str:
        """What whoever reads it subscribes to."""
        return cls.subject.replace("*", PLATFORM, 1) if cls.of_platform else cls.subject


class ProgressEvent(Event):
    """On the way to a fact: it goes straight into the stream, is forgotten after a day, and may be cut."""

    number: int = 0
    """Grows by one with each message of one source about one operation."""

    def joined(self, following: Self) -> Self | None:
        """Both in one, where that says the same; None where they must stay two."""
        _ = following
        return None


class ProgressOmitted(ProgressEvent):
    """The byte budget of an operation is spent: what else there was to tell, in all."""

    subject = "evt.*.*.progress.omitted"

    events: int
    bytes: int


class OutsideEvent(Event):
    """Of any type that begins with `ext.`: what it says is its publisher's."""

    subject = "evt.*.ext.>"

    body: bytes
    """JSON."""

    @classmethod
    def decoded(cls, body: bytes) -> Self:
        return cls(body=body)


class AuditRecorded(Event):
    """A change that was asked for: by whom, from where, and what came of it, refusals included.

    Every owner puts it into its outbox together with the change. It always goes out under the platform:
    what happened in a project is for its owners to read, not for all of its members.
    """

    subject = "evt.*.*.audit.recorded"
    of_platform = True

    action: str
    at: datetime
    outcome: str
    """`succeeded`, `refused` (the answer was a final error) or `failed`."""
    code: str | None = None
    actor: uuid.UUID | None = None
    actor_name: str | None = None
    credential: str | None = None
    """What spoke for the actor: `session:<id>`, `token:<id>` or `delegation:<id>`."""
    act: str | None = None
    """The service that acted for the actor, under a delegation."""
    resource: str | None = None
    project: uuid.UUID | None = None
    address: str | None = None
    correlation_id: str | None = None
    operation: str | None = None


class StorageMeasured(Event):
    """How much one service keeps of a project. What has no greater version than the last one is old news."""

    subject = "evt.*.*.storage.measured"
    of_platform = True

    project: uuid.UUID
    bytes: int
    version: int
