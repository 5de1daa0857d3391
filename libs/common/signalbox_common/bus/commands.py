"""Durable commands, each verb behind its own durable consumer."""

import uuid
from dataclasses import replace
from typing import Any

from pydantic import ValidationError

from signalbox_common import telemetry
from signalbox_common.bus import headers as h
from signalbox_common.bus.audit import AuditedRequest, AuditTrail
from signalbox_common.bus.calls import Call, Handler
from signalbox_common.bus.connection import Connection
from signalbox_common.bus.durable import Delivery, DurableConsumer, PermanentFailure
from signalbox_common.contracts.base import Command, GrantScope, consumer_of
from signalbox_common.contracts.streams import COMMANDS
from signalbox_common.errors import SignalboxError
from signalbox_common.inbox import Inbox, RequestKey
from signalbox_common.outcomes import Outcome
from signalbox_common.principal import GrantVerifier, Principal, authorize
from signalbox_common.settings import OwnerSettings


class CommandConsumer(DurableConsumer):
    """Hands one verb to its handler: inbox first, then reply, then ack."""

    stream = COMMANDS.name

    def __init__(
        self,
        connection: Connection,
        settings: OwnerSettings,
        inbox: Inbox,
        contract: type[Command[Any]],
        handler: Handler,
        *,
        grants: GrantVerifier,
        audit: AuditTrail,
        own_transaction: bool = False,
    ) -> None:
        super().__init__(connection, settings, inbox)
        self.contract = contract
        self._own_transaction = own_transaction
        self.subject = contract.subject_for(settings.service)
        self.consumer = consumer_of(self.subject)
        self._handler = handler
        self._grants = grants
        self._audit = audit

    async def handle(self, delivery: Delivery) -> None:
        await self.inbox.checkpoint("received")
        outcome = await self.outcome_of(delivery)
        if not outcome.pending:
            await reply(self.connection, delivery, outcome)
        await self.inbox.checkpoint("replied")

    async def outcome_of(self, delivery: Delivery) -> Outcome[Any]:
        """The answer of a command: from its handler, from the inbox, or a final error."""
        try:
            command = self.contract.model_validate_json(delivery.body)
        except ValidationError as error:
            raise PermanentFailure(
                "malformed", f"{error.error_count()} errors: {error.errors()[0]['msg']}"
            ) from error
        if delivery.message.command_id is None:
            raise PermanentFailure("malformed", "the message carries no command id")
        asked = AuditedRequest(self.contract, command, None, delivery.headers.get(h.OPERATION))
        try:
            asked = replace(asked, principal=await self._principal(delivery))
            if asked.principal is not None:
                authorize(self.contract, asked.principal.standing)
            call = self._call(asked, delivery, delivery.message.command_id)
            if not self._own_transaction:
                return await call.take_effect(self._handler, command)
            outcome = await self._handler(call, command)
        except SignalboxError as error:
            heard_again = error.forgotten or error.passing
            if not error.final and not heard_again:
                raise
            if heard_again:
                if error.final:
                    await self._audit.refused(asked, error)
                return Outcome.failure(error)
            return await self._call(asked, delivery, delivery.message.command_id).refuse(error)
        if not isinstance(outcome, Outcome):
            raise TypeError(f"{self.subject} is answered outside its transaction")
        return outcome

    async def _principal(self, delivery: Delivery) -> Principal | None:
        if self.contract.grant is GrantScope.NONE:
            return None
        # What counts is the moment when the stream took the command, not when we come to it.
        principal = await self._grants.verify(
            delivery.headers.get(h.GRANT), self.contract.grant, at=delivery.accepted_at
        )
        if principal.project_id is not None:
            telemetry.project_id.set(str(principal.project_id))
        return principal

    def _call(self, asked: AuditedRequest, delivery: Delivery, command_id: uuid.UUID) -> Call:
        key = RequestKey(
            command_id=command_id,
            subject=self.subject,
            digest=delivery.headers.get(h.DIGEST, ""),
            user_id=asked.principal.user_id if asked.principal else None,
            project_id=asked.principal.project_id if asked.principal else None,
            reply_to=reply_subject(delivery),
        )
        return Call(
            asked,
            h.client.get(),
            inbox=self.inbox,
            key=key,
            audit=self._audit,
            grant=delivery.headers.get(h.GRANT),
            accepted_at=delivery.accepted_at,
        )


async def reply(connection: Connection, delivery: Delivery, outcome: Outcome[Any]) -> None:
    """Answers this delivery on its own reply subject; before the ack, so that an answer is never lost."""
    reply_to = reply_subject(delivery)
    if reply_to is not None:
        await answer(connection, reply_to, outcome)


async def answer(connection: Connection, reply_to: str, outcome: Outcome[Any]) -> None:
    await connection.client.publish(
        reply_to, outcome.body, headers={h.STATUS: h.FAILED if outcome.failed else h.OK}
    )


def reply_subject(delivery: Delivery) -> str | None:
    """Where its sender waits; None where it does not, or names what is no such subject."""
    named = delivery.headers.get(h.REPLY_TO, "")
    return named if h.is_reply_subject(named) else None
