"""What one WebSocket follows: many subscriptions on one connection, each under a name of the client's."""

import asyncio
import json
import uuid
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from signalbox_common.errors import Invalid, SignalboxError
from signalbox_gateway.identity import Asker
from signalbox_gateway.live.events import channel_of
from signalbox_gateway.live.node import Live
from signalbox_gateway.live.offsets import Offset
from signalbox_gateway.live.publication import Told, framed, resync
from signalbox_gateway.live.reach import allowed
from signalbox_gateway.live.subscriber import Behind, Watcher
from signalbox_gateway.live.transport import Connection

MAX_SUBSCRIPTIONS = 200
"""Of one connection."""
LONGEST_REF = 100


class Subscribe(BaseModel):
    """A client wants to follow a project, or one operation of it."""

    model_config = ConfigDict(alias_generator=to_camel, hide_input_in_errors=True)

    ref: str = Field(min_length=1, max_length=LONGEST_REF)
    project: uuid.UUID
    operation: str | None = Field(default=None, max_length=300)
    types: list[str] = Field(default_factory=list, max_length=20)
    resume_from: str | None = Field(default=None, max_length=100)


class Subscription:
    """One of them; `Following` for whoever takes rights away."""

    def __init__(self, subscriptions: "Subscriptions", wanted: Subscribe) -> None:
        self.projects: Sequence[uuid.UUID] = (wanted.project,)
        self.ref = wanted.ref
        self._subscriptions = subscriptions
        self._types = wanted.types
        channel = channel_of(wanted.project, wanted.operation)
        self.watcher = Watcher(frozenset({channel}), self.deliver, self._say_late)

    @property
    def asker(self) -> Asker:
        return self._subscriptions.asker

    def deliver(self, told: Told) -> None:
        if told.is_of(self._types):
            self._subscriptions.write(told.frame(self.ref))

    def _say_late(self, told: Told) -> None:
        epoch = self.watcher.epoch
        at, after = (Offset(epoch, number) for number in (self.watcher.position, told.sequence - 1))
        self.say_resync(at, after, "late")

    def say_resync(self, at: Offset, after: Offset | None, reason: str) -> None:
        self._subscriptions.say({"type": "resync", "ref": self.ref, **resync(at, after, reason)})

    def forbid(self) -> None:
        self._subscriptions.forbidden(self)


class Subscriptions:
    """All of one connection."""

    def __init__(self, live: Live, connection: Connection, asker: Asker) -> None:
        self.asker = asker
        """Who shows the newest token."""
        self.slow: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done when the client does not take what it is sent."""
        self._live = live
        self._connection = connection
        self._closed = False
        self._by_ref: dict[str, Subscription] = {}

    def write(self, frame: bytes) -> None:
        if self._closed or self.slow.done():
            return
        self._connection.write(frame)
        if self._connection.too_far_behind:
            self.slow.set_result(None)

    def say(self, message: dict[str, Any]) -> None:
        self.write(framed(json.dumps(message, ensure_ascii=False).encode()))

    def refuse(self, ref: Any, code: str, detail: str) -> None:
        named = {"ref": ref[:LONGEST_REF]} if isinstance(ref, str) else {}
        self.say({"type": "error", **named, "code": code, "detail": detail})

    async def subscribe(self, message: dict[str, Any]) -> None:
        """Answers `subscribed` and where it begins, then what came after that, then what comes."""
        ref = message.get("ref")
        try:
            await self._subscribe(_read(message))
        except SignalboxError as error:
            self.refuse(ref, error.code, error.detail)

    async def _subscribe(self, wanted: Subscribe) -> None:
        if wanted.ref in self._by_ref:
            raise Invalid("There is a subscription of that name on this connection.", code="ref_taken")
        if len(self._by_ref) >= MAX_SUBSCRIPTIONS:
            raise Invalid(
                f"A connection has at most {MAX_SUBSCRIPTIONS} subscriptions.", code="too_many_subscriptions"
            )
        heard = self._live.members.heard
        await allowed(self._live.clients, self.asker, wanted.project)
        resume = Offset.read(wanted.resume_from) if wanted.resume_from else None
        subscription = self._by_ref[wanted.ref] = Subscription(self, wanted)
        try:
            await self._begin(subscription, resume)
        except BaseException:
            self._by_ref.pop(wanted.ref, None)
            raise
        self._live.members.add(subscription, heard)

    async def _begin(self, subscription: Subscription, resume: Offset | None) -> None:
        hub, watcher = self._live.hub, subscription.watcher
        behind = False
        try:
            begin, past = await hub.join(watcher, resume)
        except Behind:
            begin, past = await hub.join(watcher, None)
            behind = True
        self.say({"type": "subscribed", "ref": subscription.ref, "at": str(begin)})
        if behind:
            after = resume if resume is not None and resume.epoch == begin.epoch else None
            subscription.say_resync(begin, after, "expired")
        for told in past:
            subscription.deliver(told)
        hub.go_live(watcher)

    async def unsubscribe(self, ref: Any) -> None:
        subscription = self._by_ref.pop(ref, None) if isinstance(ref, str) else None
        if subscription is None:
            self.refuse(ref, "unknown_ref", "There is no subscription of that name.")
            return
        await self._leave(subscription)
        self.say({"type": "unsubscribed", "ref": ref})

    def forbidden(self, subscription: Subscription) -> None:
        """The connection stays: there may be others on it."""
        if self._by_ref.pop(subscription.ref, None) is not None:
            self._live.release(subscription, subscription.watcher)
            self.refuse(subscription.ref, "project_not_found", "There is no such project.")

    async def close(self) -> None:
        self._closed = True
        for subscription in tuple(self._by_ref.values()):
            await self._leave(subscription)
        self._by_ref.clear()

    async def _leave(self, subscription: Subscription) -> None:
        self._live.members.remove(subscription)
        await self._live.hub.leave(subscription.watcher)


def _read(message: dict[str, Any]) -> Subscribe:
    try:
        return Subscribe.model_validate(message)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise Invalid(f"{where}: {first['msg']}", code="bad_subscription") from error
