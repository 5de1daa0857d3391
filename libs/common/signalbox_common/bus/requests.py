"""Serves asks and queries over plain nats-py."""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any

from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from opentelemetry.trace import SpanKind
from pydantic import ValidationError

from signalbox_common import telemetry
from signalbox_common.bus import headers as h
from signalbox_common.bus.audit import AuditedRequest, AuditTrail
from signalbox_common.bus.calls import Call, Handled, Handler
from signalbox_common.bus.connection import Connection
from signalbox_common.contracts.base import Ask, GrantScope, Query, Request
from signalbox_common.contracts.streams import MAX_PAYLOAD
from signalbox_common.db import CommitUncertain, is_contention, is_outage
from signalbox_common.errors import (
    Invalid,
    OutcomeUnknown,
    ReplyTooLarge,
    ServiceOverloaded,
    SignalboxError,
    Unavailable,
    invalid,
)
from signalbox_common.inbox import Inbox, RequestKey
from signalbox_common.keys import is_canonical_uuid
from signalbox_common.outcomes import Deferred, Outcome
from signalbox_common.principal import GrantVerifier, Principal, authorize

log = telemetry.get_logger()


MAX_REPLY = MAX_PAYLOAD - 64 * 1024
"""Bytes of an answer; the rest of a message is for its headers."""


class _Admission:
    """So many at the same time, and a queue of sixteen times as many."""

    def __init__(self, concurrency: int) -> None:
        self._slots = asyncio.Semaphore(concurrency)
        self.limit = concurrency * 16
        self.waiting = 0

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        self.waiting += 1
        try:
            async with self._slots:
                yield
        finally:
            self.waiting -= 1


@dataclass(frozen=True)
class _Endpoint:
    """One subject, and who answers it."""

    contract: type[Request[Any]]
    handler: Handler
    own_transaction: bool


class RequestServer:
    """Answers requests at once, many at a time, and drains what it holds when it stops."""

    def __init__(
        self,
        connection: Connection,
        service: str,
        *,
        grants: GrantVerifier,
        inbox: Inbox,
        audit: AuditTrail,
        concurrency: int,
    ) -> None:
        self._connection = connection
        self._service = service
        self._grants = grants
        self._inbox = inbox
        self._audit = audit
        # Apart from each other: hashing passwords must not keep anybody from being granted anything.
        self._reads = _Admission(concurrency)
        self._asks = _Admission(concurrency * 4)
        self._running: set[asyncio.Task[None]] = set()
        self._handlers: dict[str, _Endpoint] = {}
        self._subscriptions: list[Any] = []

    def add(self, contract: type[Request[Any]], handler: Handler, *, own_transaction: bool = False) -> None:
        self._handlers[contract.subject_for(self._service)] = _Endpoint(contract, handler, own_transaction)

    async def start(self) -> None:
        for subject in self._handlers:
            self._subscriptions.append(
                await self._connection.client.subscribe(subject, queue=self._service, cb=self._accept)
            )

    async def stop(self, grace: float) -> None:
        """What has come already is answered, too."""
        with suppress(TimeoutError, NatsError):
            async with asyncio.timeout(grace):
                await self._connection.drain(self._subscriptions)
        if self._running:
            await asyncio.wait(self._running, timeout=grace)

    async def _accept(self, message: Msg) -> None:
        task = asyncio.create_task(self._serve(message))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _serve(self, message: Msg) -> None:
        endpoint = self._handlers[message.subject]
        sent = dict(message.headers or {})
        h.adopt_correlation(sent)
        started = time.perf_counter()
        with telemetry.tracer.start_as_current_span(
            message.subject, context=telemetry.extract(sent), kind=SpanKind.SERVER
        ):
            desk = self._reads if issubclass(endpoint.contract, Query) else self._asks
            if desk.waiting > desk.limit:
                outcome = Outcome.failure(ServiceOverloaded())
            else:
                async with desk.turn():
                    outcome = await self._answer(endpoint, message.data, sent)
        await self._respond(message, outcome)
        telemetry.HANDLING.labels(message.subject).observe(time.perf_counter() - started)
        telemetry.HANDLED.labels(message.subject, "failed" if outcome.failed else "ok").inc()

    async def _respond(self, message: Msg, outcome: Outcome[Any]) -> None:
        if not message.reply:
            return
        if len(outcome.body) > MAX_REPLY:
            log.error("answer too large", subject=message.subject, bytes=len(outcome.body))
            outcome = Outcome.failure(ReplyTooLarge())
        try:
            await self._connection.client.publish(
                message.reply, outcome.body, headers={h.STATUS: h.FAILED if outcome.failed else h.OK}
            )
        except NatsError as error:
            log.warning("answer not sent", subject=message.subject, reason=repr(error))

    async def _answer(self, endpoint: "_Endpoint", body: bytes, sent: dict[str, str]) -> Outcome[Any]:
        try:
            return await self._handle(endpoint, body, sent)
        except SignalboxError as error:
            return Outcome.failure(error)
        except CommitUncertain:
            return Outcome.failure(OutcomeUnknown())
        except Exception as error:
            if is_outage(error) or is_contention(error):
                return Outcome.failure(Unavailable("The data is not reachable at the moment."))
            log.exception("request failed", subject=endpoint.contract.subject)
            return Outcome.failure(SignalboxError())

    async def _handle(self, endpoint: "_Endpoint", body: bytes, sent: dict[str, str]) -> Outcome[Any]:
        contract = endpoint.contract
        try:
            request = contract.model_validate_json(body)
        except ValidationError as error:
            raise invalid(error) from error
        asked = AuditedRequest(contract, request, None)
        try:
            asked = replace(asked, principal=await self._principal(contract, sent))
            if asked.principal is not None:
                authorize(contract, asked.principal.standing)
            call = self._call(asked, sent)
            if issubclass(contract, Query):
                handled = await self._read(endpoint.handler, call, request)
            elif endpoint.own_transaction:
                handled = await endpoint.handler(call, request)
            else:
                handled = await call.take_effect(endpoint.handler, request)
        except SignalboxError as error:
            if error.final:
                await self._audit.refused(asked, error, error.about)
            raise
        if isinstance(handled, Deferred) or (isinstance(handled, Outcome) and handled.pending):
            raise TypeError(f"{contract.subject} is answered at once, or not at all")
        return handled if isinstance(handled, Outcome) else Outcome.of(handled)

    @staticmethod
    async def _read(handler: Handler, call: Call, request: Request[Any]) -> Handled:
        """A read that met a connection of before the database's restart is simply read again."""
        try:
            return await handler(call, request)
        except Exception as error:
            if isinstance(error, SignalboxError) or not is_outage(error):
                raise
            return await handler(call, request)

    async def _principal(self, contract: type[Request[Any]], sent: dict[str, str]) -> Principal | None:
        if contract.grant is GrantScope.NONE:
            return None
        principal = await self._grants.verify(sent.get(h.GRANT), contract.grant)
        if principal.project_id is not None:
            telemetry.project_id.set(str(principal.project_id))
        return principal

    def _call(self, asked: AuditedRequest, sent: dict[str, str]) -> Call:
        contract, principal = asked.contract, asked.principal
        if not issubclass(contract, Ask):
            return Call(asked, h.client.get(), grant=sent.get(h.GRANT))
        command_id = sent.get(h.COMMAND_ID, "")
        if not is_canonical_uuid(command_id):
            raise Invalid("The request has no command id.")
        key = RequestKey(
            command_id=uuid.UUID(command_id),
            subject=contract.subject,
            digest=sent.get(h.DIGEST, ""),
            user_id=principal.user_id if principal else None,
            project_id=principal.project_id if principal else None,
            keep_reply=False,
            remembered=contract.once,
            silent=contract.unrecorded,
        )
        return Call(
            asked,
            h.client.get(),
            inbox=self._inbox,
            key=key,
            audit=self._audit,
            grant=sent.get(h.GRANT),
        )
