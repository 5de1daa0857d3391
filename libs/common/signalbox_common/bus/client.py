"""The sending side of the bus."""

import asyncio
import hashlib
import uuid
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from nats.aio.msg import Msg
from nats.errors import NoRespondersError, OutboundBufferLimitError
from nats.js.errors import APIError
from nats.js.errors import NoStreamResponseError as NoStream

from signalbox_common import cloudevents, telemetry
from signalbox_common.bus import headers as h
from signalbox_common.bus.buckets import SignedBuckets
from signalbox_common.bus.connection import Connection
from signalbox_common.bus.revocations import Follower
from signalbox_common.contracts.auth import AccessRevoked
from signalbox_common.contracts.base import Ask, Command, Failure, Query, Reply, Request
from signalbox_common.contracts.events import Event
from signalbox_common.contracts.streams import COMMANDS, MAX_PAYLOAD, stream_of
from signalbox_common.entries import TrustAnchor
from signalbox_common.errors import (
    BodyTooLarge,
    CommandUnconfirmed,
    OutcomeUnknown,
    QueueFull,
    SignalboxError,
    Unavailable,
)
from signalbox_common.keys import uuid7
from signalbox_common.revoked import Revocations
from signalbox_common.settings import ServiceSettings
from signalbox_common.tokens import KeyRing, PublishedKey

R = TypeVar("R", bound=Reply)
log = telemetry.get_logger()

REQUEST_TIMEOUT = 5.0
RECONNECT_PATIENCE = 3.0
STORE_TIMEOUT = 1.5
STORE_PATIENCE = 5.0
_FULL = frozenset({10077, 10047})  # maximum bytes reached, insufficient resources


@dataclass(frozen=True)
class Answer(Generic[R]):
    """An answer as it came; decoded only where somebody looks inside."""

    content: bytes
    reply: type[R]

    def value(self) -> R:
        return self.reply.model_validate_json(self.content)


@dataclass(frozen=True)
class Envelope:
    """What travels with a command beside its body."""

    command_id: uuid.UUID
    digest: str
    grant: str | None = None
    operation: str | None = None


@dataclass(frozen=True)
class StoredCommand:
    """A command as its sender keeps it before it is sent, so that each try sends the same."""

    subject: str
    body: bytes
    command_id: uuid.UUID

    @staticmethod
    def of(command: Command[Any], command_id: uuid.UUID, *, service: str | None = None) -> "StoredCommand":
        return StoredCommand(command.subject_for(service), _encoded(command), command_id)

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.body).hexdigest()


@dataclass(frozen=True)
class _Waiter:
    """Whose answer somebody waits for."""

    owner: str
    answered: asyncio.Future[Msg]


MAX_MESSAGE = MAX_PAYLOAD - 64 * 1024
"""Bytes of a body; the rest of a message is for its headers."""


def _encoded(request: Request[Any]) -> bytes:
    """As it travels: JSON may write what came in as more."""
    body = request.encode()
    if len(body) > MAX_MESSAGE:
        raise BodyTooLarge
    return body


def _command_headers(sending: Envelope) -> dict[str, str]:
    """The message id is new for each sending: the stream drops only what one sending stores twice."""
    headers = h.outgoing(sending.grant) | {
        cloudevents.MESSAGE_ID: uuid.uuid4().hex,
        h.COMMAND_ID: str(sending.command_id),
        h.DIGEST: sending.digest,
    }
    return headers | ({h.OPERATION: sending.operation} if sending.operation is not None else {})


class Bus:
    """Sends typed messages; what is served is added by `ServiceBus`."""

    def __init__(self, settings: ServiceSettings) -> None:
        self.settings = settings
        self.connection = Connection(settings)
        self.buckets = SignedBuckets(self.connection, TrustAnchor(settings.trust_anchor))
        self.keys = KeyRing(self._fetch_key)
        self.revoked = Revocations()
        self.revoked.listeners.add(self._on_revoked)
        self._follower = Follower(self.connection, self.revoked)
        self._reply_prefix = f"reply.{settings.instance}"
        self._listening = False
        self._listening_lock = asyncio.Lock()
        self._waiting: dict[str, _Waiter] = {}
        """By the token of the reply subject."""

    async def start(self) -> None:
        await self.connection.connect()
        self._follower.start()

    async def stop(self) -> None:
        self.connection.stopping = True
        await self._follower.stop()
        await self.connection.broker.stop()

    # -- reads and secrets ---------------------------------------------------------------------------

    async def query(
        self,
        query: Query[R],
        *,
        grant: str | None = None,
        service: str | None = None,
        timeout: float = REQUEST_TIMEOUT,  # noqa: ASYNC109 - the deadline is part of the contract
    ) -> Answer[R]:
        """Asks for data. Nothing changes, so whatever goes wrong may be tried again."""
        try:
            return await self._request(query, query.subject_for(service), h.outgoing(grant), timeout)
        except TimeoutError as error:
            raise Unavailable("The service did not answer in time.") from error

    async def ask(self, ask: Ask[R], sending: Envelope, *, service: str | None = None) -> Answer[R]:
        """Asks for a change that must not be stored on the way: done at once, or not known."""
        headers = h.outgoing(sending.grant) | {
            h.COMMAND_ID: str(sending.command_id),
            h.DIGEST: sending.digest,
        }
        try:
            return await self._request(ask, ask.subject_for(service), headers, ask.patience)
        except TimeoutError as error:
            raise OutcomeUnknown from error

    async def _request(
        self,
        request: Query[R] | Ask[R],
        subject: str,
        headers: dict[str, str],
        timeout: float,  # noqa: ASYNC109 - as above
    ) -> Answer[R]:
        body = _encoded(request)
        await self.connection.ready(RECONNECT_PATIENCE)
        try:
            message = await self.connection.client.request(subject, body, timeout=timeout, headers=headers)
        except (NoRespondersError, OutboundBufferLimitError) as error:
            raise Unavailable from error
        return self._answer(type(request), message)

    # -- commands ------------------------------------------------------------------------------------

    async def send(
        self,
        command: Command[R],
        sending: Envelope,
        *,
        service: str | None = None,
        patience: float = 5.0,
    ) -> Answer[R] | None:
        """Stores a command and waits for its answer; None where it is accepted but not answered yet."""
        if not self._listening:
            await self._listen_for_replies()
        token = uuid.uuid4().hex
        headers = _command_headers(sending) | {h.REPLY_TO: f"{self._reply_prefix}.{token}"}
        answered: asyncio.Future[Msg] = asyncio.get_running_loop().create_future()
        subject = command.subject_for(service)
        self._waiting[token] = _Waiter(subject.split(".")[1], answered)
        try:
            await self._store_command(subject, _encoded(command), headers)
            message = await asyncio.wait_for(answered, patience)
        except TimeoutError:
            return None
        finally:
            self._waiting.pop(token, None)
        return self._answer(type(command), message)

    async def submit(
        self, command: StoredCommand, *, grant: str | None = None, operation: str | None = None
    ) -> None:
        """Returns when the stream has taken it. Nobody answers: its owner tells by facts what came of it.

        Sent again, it takes effect once; each time with a grant that is good at that time.
        """
        headers = _command_headers(Envelope(command.command_id, command.digest, grant, operation))
        await self._store_command(command.subject, command.body, headers)

    async def _store_command(self, subject: str, body: bytes, headers: dict[str, str]) -> None:
        """Publishes until the stream confirms, under one message id, so that a repeat is stored once."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + STORE_PATIENCE
        sent = False
        while (left := deadline - loop.time()) > 0:
            try:
                await self.connection.ready(left)
            except Unavailable:
                break
            try:
                sent = True
                await self.connection.jetstream.publish(
                    subject, body, timeout=min(STORE_TIMEOUT, left), stream=COMMANDS.name, headers=headers
                )
            except NoStream:
                await asyncio.sleep(0.1)  # JetStream is still starting
            except (TimeoutError, OutboundBufferLimitError) as error:
                log.warning("command not confirmed yet", subject=subject, reason=repr(error))
            except APIError as error:
                if error.err_code in _FULL:
                    raise QueueFull from error
                log.warning("command not confirmed yet", subject=subject, reason=repr(error))
                await asyncio.sleep(0.1)
            else:
                return
        if not sent:
            raise Unavailable("The message bus is not reachable.")
        raise CommandUnconfirmed

    async def _listen_for_replies(self) -> None:
        """Only those who send commands may, and need to, hear replies."""
        async with self._listening_lock:
            if not self._listening:
                await self.connection.ready(RECONNECT_PATIENCE)
                # With the owner before it from another account; as it is on a server with one for all.
                for subject in (f"*.{self._reply_prefix}.*", f"{self._reply_prefix}.*"):
                    await self.connection.client.subscribe(subject, cb=self._on_reply)
                self._listening = True

    async def _on_reply(self, message: Msg) -> None:
        *account, _, _, token = message.subject.split(".")
        waiting = self._waiting.get(token)
        if waiting is None or waiting.answered.done():
            return
        if account and account != [waiting.owner]:
            log.error("an answer from who was not asked", subject=message.subject)
            return
        waiting.answered.set_result(message)

    @staticmethod
    def _answer(contract: type[Any], message: Msg) -> Answer[Any]:
        if (message.headers or {}).get(h.STATUS) == h.OK:
            return Answer(message.data, contract.reply)
        raise SignalboxError.of(Failure.model_validate_json(message.data))

    # -- events --------------------------------------------------------------------------------------

    async def publish(
        self, event: Event, *, project: uuid.UUID | None, operation: str | None = None
    ) -> uuid.UUID:
        """Publishes progress straight to the stream. Facts go through the outbox instead."""
        event_id = uuid7()
        service = self.settings.service
        headers = cloudevents.headers_of(event, event_id, service, operation=operation)
        await self.store_event(event.subject_in(project, service), event.encode(), headers)
        return event_id

    async def store_event(self, subject: str, body: bytes, headers: dict[str, str]) -> bool:
        """Stores an encoded event; tells whether the stream had it already."""
        await self.connection.wait_up()
        ack = await self.connection.jetstream.publish(
            subject, body, timeout=STORE_TIMEOUT, stream=stream_of(subject).name, headers=headers
        )
        return bool(ack.duplicate)

    # -- keys ----------------------------------------------------------------------------------------

    def _on_revoked(self, what: AccessRevoked) -> None:
        if what.kid is not None:
            self.keys.look_again(what.kid)

    async def _fetch_key(self, kid: str) -> PublishedKey | None:
        found = await self.buckets.keys.newest(kid)
        if found.entry is not None:
            return PublishedKey.of(found.entry)
        if found.unsigned is not None:
            raise Unavailable("Auth does not vouch for this key, or not yet.")
        return None
