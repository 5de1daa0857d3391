"""What one WebSocket follows: many subscriptions on one connection, each under a name of the client's."""

import asyncio
import json
import uuid
from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError

from signalbox_common.errors import SignalboxError
from signalbox_gateway.errors import BadSubscription, RefTaken, TooManySubscriptions
from signalbox_gateway.identity import Asker
from signalbox_gateway.live.node import Node
from signalbox_gateway.live.protocol import MAX_REF, Subscribe
from signalbox_gateway.live.publication import Publication, Resync, StreamPosition, channel_of
from signalbox_gateway.live.subscriber import Subscriber, UnrecoverablePosition
from signalbox_gateway.live.transport import Transport, text_frame

MAX_SUBSCRIPTIONS = 200
"""Of one connection."""


class Subscription:
    """One of them; a `Follower` for the access monitor."""

    def __init__(self, subscriptions: "Subscriptions", request: Subscribe) -> None:
        self.projects: Sequence[uuid.UUID] = (request.project,)
        self.ref = request.ref
        self._subscriptions = subscriptions
        self._types = request.types
        channel = channel_of(request.project, request.operation)
        self.subscriber = Subscriber(frozenset({channel}), self.deliver, self._deliver_late)

    @property
    def asker(self) -> Asker:
        return self._subscriptions.asker

    def deliver(self, publication: Publication) -> None:
        if publication.is_of(self._types):
            self._subscriptions.write(publication.frame(self.ref))

    def _deliver_late(self, publication: Publication) -> None:
        epoch = self.subscriber.epoch
        at = StreamPosition(epoch, self.subscriber.offset)
        self.deliver(Resync(at, StreamPosition(epoch, publication.offset - 1), "late"))

    def forbid(self, why: SignalboxError) -> None:
        self._subscriptions.forbid(self, why)


class Subscriptions:
    """All of one connection."""

    def __init__(self, node: Node, transport: Transport, asker: Asker) -> None:
        self.asker = asker
        """Who shows the newest token."""
        self.slow: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done when the client does not take what it is sent."""
        self._node = node
        self._transport = transport
        self._closed = False
        self._by_ref: dict[str, Subscription] = {}

    def write(self, frame: bytes) -> None:
        if self._closed or self.slow.done():
            return
        self._transport.write(frame)
        if self._transport.is_slow:
            self.slow.set_result(None)

    def send(self, message: dict[str, Any]) -> None:
        self.write(text_frame(json.dumps(message, ensure_ascii=False).encode()))

    def refuse(self, ref: Any, code: str, detail: str) -> None:
        named = {"ref": ref[:MAX_REF]} if isinstance(ref, str) else {}
        self.send({"type": "error", **named, "code": code, "detail": detail})

    async def subscribe(self, message: dict[str, Any]) -> None:
        """Answers `subscribed` and where it begins, then what was recovered, then what comes."""
        ref = message.get("ref")
        try:
            await self._subscribe(_parse(message))
        except SignalboxError as error:
            self.refuse(ref, error.code, error.detail)

    async def _subscribe(self, request: Subscribe) -> None:
        if request.ref in self._by_ref:
            raise RefTaken
        if len(self._by_ref) >= MAX_SUBSCRIPTIONS:
            raise TooManySubscriptions(MAX_SUBSCRIPTIONS)
        revocations = self._node.access.revocations
        await self._node.access.require(self.asker, [request.project])
        resume = StreamPosition.parse(request.resume_from) if request.resume_from else None
        subscription = self._by_ref[request.ref] = Subscription(self, request)
        try:
            await self._begin(subscription, resume)
        except BaseException:
            self._by_ref.pop(request.ref, None)
            raise
        self._node.access.add(subscription, revocations)

    async def _begin(self, subscription: Subscription, resume: StreamPosition | None) -> None:
        hub, subscriber = self._node.hub, subscription.subscriber
        unrecoverable = False
        try:
            begin, recovered = await hub.subscribe(subscriber, resume)
        except UnrecoverablePosition:
            begin, recovered = await hub.subscribe(subscriber, None)
            unrecoverable = True
        self.send({"type": "subscribed", "ref": subscription.ref, "at": str(begin)})
        if unrecoverable:
            after = resume if resume is not None and resume.epoch == begin.epoch else None
            subscription.deliver(Resync(begin, after, "expired"))
        for publication in recovered:
            subscription.deliver(publication)
        hub.go_live(subscriber)

    async def unsubscribe(self, ref: Any) -> None:
        subscription = self._by_ref.pop(ref, None) if isinstance(ref, str) else None
        if subscription is None:
            self.refuse(ref, "unknown_ref", "There is no subscription of that name.")
            return
        await self._leave(subscription)
        self.send({"type": "unsubscribed", "ref": ref})

    async def stand_on(self, asker: Asker) -> None:
        """From now on; what that does not cover ends."""
        self.asker = asker
        await asyncio.gather(*(self._node.access.check(each) for each in self._by_ref.values()))

    def forbid(self, subscription: Subscription, why: SignalboxError) -> None:
        """The connection stays: there may be others on it."""
        if self._by_ref.get(subscription.ref) is subscription:
            del self._by_ref[subscription.ref]
            self._node.release(subscription, subscription.subscriber)
            self.refuse(subscription.ref, why.code, why.detail)

    async def close(self) -> None:
        self._closed = True
        for subscription in tuple(self._by_ref.values()):
            await self._leave(subscription)
        self._by_ref.clear()

    async def _leave(self, subscription: Subscription) -> None:
        self._node.access.remove(subscription)
        await self._node.hub.unsubscribe(subscription.subscriber)


def _parse(message: dict[str, Any]) -> Subscribe:
    try:
        return Subscribe.model_validate(message)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise BadSubscription(f"{where}: {first['msg']}") from error
