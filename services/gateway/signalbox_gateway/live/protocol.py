"""What is said on a WebSocket, as its document describes it; subscribing stands with subscriptions."""

import uuid
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter
from pydantic.alias_generators import to_camel


class ListedEvent(BaseModel):
    """An event as clients see it."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)

    id: str
    type: str
    source: str
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


class Subscribed(_Message):
    """What comes after that place is told from now on."""

    type: Literal["subscribed"]
    ref: str
    at: str


class Told(_Message):
    """Something has happened."""

    type: Literal["event"]
    ref: str
    id: str = Field(description="Its place in the stream: `resumeFrom` of whoever comes again.")
    event: ListedEvent


class Resync(_Message):
    """Events after one place were left out: they are asked for in pages, up to where the stream goes on."""

    type: Literal["resync"]
    ref: str
    at: str
    after: str | None = Field(description="None where nothing of what was before is known any more.")
    reason: Literal["expired", "late", "slow"]


class Unsubscribed(_Message):
    """Nothing more comes under that name."""

    type: Literal["unsubscribed"]
    ref: str


class Error(_Message):
    """A message that was refused, or a subscription that has ended; the connection stays."""

    type: Literal["error"]
    ref: str | None = None
    code: str
    detail: str


class Pong(_Message):
    """The answer to a `ping`."""

    type: Literal["pong"]


FROM_CLIENT: tuple[type[BaseModel], ...] = (Auth, Unsubscribe, Ping)
FROM_SERVER: tuple[type[BaseModel], ...] = (Ready, Subscribed, Told, Resync, Unsubscribed, Error, Pong)
SAID: TypeAdapter[BaseModel] = TypeAdapter(
    Annotated[Ready | Subscribed | Told | Resync | Unsubscribed | Error | Pong, Field(discriminator="type")]
)
"""Checks what a server says."""
