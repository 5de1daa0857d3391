"""What is sent to triggers: checked, and made a task of, once for each delivery."""

import base64
import binascii
import hashlib
import hmac
import json
import time
import uuid
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import parse_qs

from signalbox_common.bus import Call
from signalbox_common.contracts import tasks as contract
from signalbox_common.contracts.tasks import LARGEST_PAYLOAD, Verification
from signalbox_common.db import Database, Transaction
from signalbox_common.errors import SignalboxError, Unavailable
from signalbox_common.limiter import ProjectLimiter
from signalbox_common.outcomes import Outcome
from signalbox_common.secrets import SecretNotFound
from signalbox_common.space import DiskSpace
from signalbox_tasks import errors
from signalbox_tasks.service.signing_secrets import SigningSecrets
from signalbox_tasks.service.starting import add_alone, started
from signalbox_tasks.service.turns import Turns
from signalbox_tasks.store import projects, triggers
from signalbox_tasks.store.triggers import Called
from signalbox_tasks.triggers import NotUsable, Trigger

_IN_TIME = 300
"""Seconds that a signed time may be away from ours."""
_FORM = b"payload="
STARTED, IGNORED, FAILED = "started", "ignored", "failed"
_FINAL = frozenset({403, 404, 409, 422})
"""Status of what stands against a task for good."""


@dataclass(frozen=True)
class Sent:
    """A payload that was checked."""

    payload: Any
    digest: bytes
    size: int
    once: str | None
    delivery: str | None


class Calls:
    def __init__(
        self,
        database: Database,
        secrets: SigningSecrets,
        turns: Turns,
        space: DiskSpace,
        limiter: ProjectLimiter,
    ) -> None:
        self._database = database
        self._limiter = limiter
        self._secrets = secrets
        self._turns = turns
        self._space = space

    async def call(self, call: Call, ask: contract.CallTrigger) -> Outcome[contract.TriggerCall]:
        """Nobody is known to ask: what counts is the address, and the signature where there is one."""
        self._space.require()
        token = hashlib.sha256(ask.token.get_secret_value().encode()).digest()
        async with self._database.reading() as connection:
            trigger = await triggers.called(connection, token)
        if trigger is None:
            raise errors.TriggerNotFound
        sent = await self._checked(trigger, ask)

        async def take(opened: Call, _ask: contract.CallTrigger) -> contract.TriggerCall:
            return await self.take(opened.transaction, trigger.project_id, trigger.id, sent)

        async with self._limiter.slots([trigger.project_id]):
            return await call.take_effect(take, ask)

    async def take(
        self, transaction: Transaction, project: uuid.UUID, trigger: uuid.UUID, sent: Sent
    ) -> contract.TriggerCall:
        """The trigger first, and then its project; what came before is answered as it was."""
        locked = await triggers.lock(transaction, project, trigger)
        if locked is None:
            raise errors.TriggerNotFound
        if sent.once is not None:
            before = await triggers.known(transaction.connection, locked.id, sent.once)
            if before is not None:
                return before
        state = await self._turns.locked(transaction, locked.project_id)
        locked = locked.refilled(state.moment)

        if locked.paused:
            raise errors.TriggerPaused
        if not locked.delegated:  # a moment ago it was not there, or acted for somebody else
            raise Unavailable("It may not act yet.")
        called = Called(
            trigger=locked.id,
            digest=sent.digest,
            size=sent.size,
            outcome=IGNORED,
            reason="no_match",
            called_at=state.moment,
            once=sent.once,
            delivery=sent.delivery,
        )
        if not locked.is_meant(sent.payload):
            return await triggers.note(transaction, called)
        if locked.allowance < 1:
            raise errors.TooManyCalls(locked.rules.per_minute)
        await triggers.spend(transaction, replace(locked, allowance=locked.allowance - 1))
        try:
            self._turns.check_room(state, 1)
            new = locked.task_for(sent.payload)
            task, run = await started(transaction, new, locked, state.moment, trigger=locked.id)
            await add_alone(transaction, self._turns, state, task, run)
        except NotUsable as error:
            called = replace(called, outcome=FAILED, reason=error.code, detail=str(error))
            return await triggers.note(transaction, called)
        except SignalboxError as error:
            if error.status not in _FINAL:
                raise  # it is worth to be sent again
            called = replace(called, outcome=FAILED, reason=error.code, detail=error.detail)
            return await triggers.note(transaction, called)
        await self._turns.admit(transaction, state)
        await triggers.follow(transaction, locked.id, task.id)
        called = replace(called, outcome=STARTED, reason=None, task_id=task.id, run_id=task.run)
        return await triggers.note(transaction, called)

    async def refuse(
        self, transaction: Transaction, trigger: uuid.UUID, sent: Sent, error: SignalboxError
    ) -> None:
        """What nobody waits for: that it came to nothing stands in the history, of too many once a minute."""
        moment, _ = await projects.moments(transaction)
        too_many = isinstance(error, errors.TooManyCalls)
        await triggers.note_once(
            transaction,
            Called(
                trigger=trigger,
                digest=sent.digest,
                size=sent.size,
                outcome=FAILED,
                reason=error.code,
                detail=error.detail,
                called_at=moment,
                once=f"{error.code}:{moment:%Y-%m-%dT%H:%M}" if too_many else sent.once,
                delivery=sent.delivery,
            ),
        )

    async def _checked(self, trigger: Trigger, ask: contract.CallTrigger) -> Sent:
        try:
            body = base64.b64decode(ask.payload.get_secret_value(), validate=True)
        except binascii.Error as error:
            raise errors.BadPayload from error
        if len(body) > LARGEST_PAYLOAD:
            raise errors.BadPayload
        once = f"id:{ask.delivery}" if ask.delivery is not None else None
        digest = hashlib.sha256(body).digest()
        if trigger.verify is Verification.GITHUB:
            await self._check_github(trigger, body, ask)
            once = f"body:{digest.hex()}"  # what is called its delivery is not signed
        elif trigger.verify is Verification.STANDARD:
            await self._check_standard(trigger, body, ask)
        return Sent(json_of(body), digest, len(body), once, ask.delivery)

    async def _check_github(self, trigger: Trigger, body: bytes, ask: contract.CallTrigger) -> None:
        expected = "sha256=" + hmac.digest(await self._secret(trigger), body, "sha256").hex()
        if not hmac.compare_digest(expected, ask.signature or ""):
            raise errors.BadSignature

    async def _check_standard(self, trigger: Trigger, body: bytes, ask: contract.CallTrigger) -> None:
        if ask.delivery is None or ask.sent_at is None or not ask.sent_at.isdecimal():
            raise errors.BadSignature
        secret = (await self._secret(trigger)).removeprefix(b"whsec_")
        signed = f"{ask.delivery}.{ask.sent_at}.".encode() + body
        key = base64.urlsafe_b64decode(secret + b"=" * (-len(secret) % 4))
        expected = "v1," + base64.b64encode(hmac.digest(key, signed, "sha256")).decode()
        given = (ask.signature or "").split()
        if not any(hmac.compare_digest(expected, each) for each in given):
            raise errors.BadSignature
        if abs(time.time() - int(ask.sent_at)) > _IN_TIME:
            raise errors.TooLate

    async def _secret(self, trigger: Trigger) -> bytes:
        if trigger.secret is None:
            raise errors.BadSignature
        try:
            return await self._secrets.get(trigger.id, trigger.secret)
        except SecretNotFound:
            raise errors.BadSignature from None


def json_of(body: bytes) -> Any:
    """JSON, or what a form has as its `payload`; nothing where nothing was sent."""
    if not body:
        return {}
    try:
        text = body.decode()
        if body.startswith(_FORM):
            (text,) = parse_qs(text, strict_parsing=True)["payload"]
        return json.loads(text)
    except (ValueError, KeyError, RecursionError) as error:
        raise errors.BadPayload from error
