"""The messages of a WebSocket: what clients send, and the replies and pushes of the server."""

import uuid
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter
from pydantic.alias_generators import to_camel

MAX_REF = 100


class ListedEvent(BaseModel):
    """An event as clients see it."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)

    id: str
    type: str
    source: str = Field(
        description="A service of ours, or who published it: `/projects/<id>/users/<id>` or"
        " `/projects/<id>/publishers/<name>`, then, behind `#`, the source that they name,"
        " percent-encoded where it must be."
    )
    claimedsource: str | None = Field(
        default=None, description="Of events from outside alone: the source as their publisher names it."
    )
    time: str | None = None
    subject: str | None = None
    project: uuid.UUID
    operation: str | None = None
    data: Any = None


class _Message(BaseModel):
    model_config = ConfigDict(extra="forbid", populate_by_name=True)


class Auth(_Message):
    """The first word of a client that has shown nothing yet; later a newer token, so that it may stay."""

    type: Literal["auth"]
    token: str


class Subscribe(BaseModel):
    """A client wants to follow a project, or one operation of it."""

    model_config = ConfigDict(alias_generator=to_camel, hide_input_in_errors=True)

    ref: str = Field(min_length=1, max_length=MAX_REF)
    project: uuid.UUID
    operation: str | None = Field(default=None, max_length=300)
    types: list[str] = Field(default_factory=list, max_length=20)
    resume_from: str | None = Field(default=None, max_length=100)


class Unsubscribe(_Message):
    """Lets go of the subscription of that name."""

    type: Literal["unsubscribe"]
    ref: str


class Ping(_Message):
    """Asks for a `pong`."""

    type: Literal["ping"]


class Ready(_Message):
    """The client is known: it may subscribe."""

    type: Literal["ready"]


class SubscribeReply(_Message):
    """What comes after that position is pushed from now on."""

    type: Literal["subscribed"]
    ref: str
    at: str


class EventPush(_Message):
    """Something has happened."""

    type: Literal["event"]
    ref: str
    id: str = Field(description="Its position in the stream: `resumeFrom` of whoever comes again.")
    event: ListedEvent


class ResyncPush(_Message):
    """Events after one position were left out: they are asked for in pages, up to where it goes on."""

    type: Literal["resync"]
    ref: str
    at: str
    after: str | None = Field(description="None where nothing of what was before is known any more.")
    reason: Literal["expired", "late", "slow"]


class UnsubscribeReply(_Message):
    """Nothing more comes under that name."""

    type: Literal["unsubscribed"]
    ref: str


class ErrorReply(_Message):
    """A message that was refused, or a subscription that has ended; the connection stays."""

    type: Literal["error"]
    ref: str | None = None
    code: str
    detail: str


class Pong(_Message):
    """The answer to a `ping`."""

    type: Literal["pong"]


FROM_CLIENT: tuple[type[BaseModel], ...] = (Subscribe, Auth, Unsubscribe, Ping)
FROM_SERVER: tuple[type[BaseModel], ...] = (
    Ready,
    SubscribeReply,
    EventPush,
    ResyncPush,
    UnsubscribeReply,
    ErrorReply,
    Pong,
)
SERVER_MESSAGE: TypeAdapter[BaseModel] = TypeAdapter(
    Annotated[
        Ready | SubscribeReply | EventPush | ResyncPush | UnsubscribeReply | ErrorReply | Pong,
        Field(discriminator="type"),
    ]
)
"""Checks what a server sends."""
