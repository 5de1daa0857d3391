"""Triggers: declared, looked at, paused and resumed."""

import hashlib
import secrets as random
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

from pydantic import SecretStr
from sqlalchemy.ext.asyncio import AsyncConnection

from signalbox_common import outbox
from signalbox_common.bus import Call
from signalbox_common.contracts import tasks as contract
from signalbox_common.contracts.base import Empty
from signalbox_common.contracts.tasks import NewTask, TriggeredTask, TriggerRules, Verification
from signalbox_common.db import Database, Transaction
from signalbox_common.keys import uuid7
from signalbox_common.limiter import ProjectLimiter
from signalbox_common.outcomes import Outcome
from signalbox_common.paging import cut, id_cursor, number_cursor
from signalbox_tasks import errors
from signalbox_tasks.replies import SCHEMA
from signalbox_tasks.service.attachments import held
from signalbox_tasks.service.authorities import Authorities, given
from signalbox_tasks.service.signing_secrets import SigningSecrets
from signalbox_tasks.service.tasks import checked
from signalbox_tasks.service.turns import Turns
from signalbox_tasks.store import projects, triggers
from signalbox_tasks.triggers import BadPath, Trigger, parsed

MOST = 1_000
_KEYED = frozenset({Verification.GITHUB, Verification.STANDARD})
_PREFIX = {Verification.GITHUB: "", Verification.STANDARD: "whsec_"}


class Triggers:
    def __init__(
        self,
        database: Database,
        secrets: SigningSecrets,
        turns: Turns,
        authorities: Authorities,
        limiter: ProjectLimiter,
    ) -> None:
        self._database = database
        self._secrets = secrets
        self._turns = turns
        self._authorities = authorities
        self._limiter = limiter

    # -- declared ----------------------------------------------------------------------------------------

    async def create(self, call: Call, ask: contract.CreateTrigger) -> Outcome[contract.TriggerKey]:
        identifier, secret = uuid7(), _new_secret(ask.verify)

        async def add(opened: Call, key: uuid.UUID | None) -> contract.TriggerKey:
            return await self._add(opened, ask, identifier, key, secret)

        return await self._keyed(call, identifier, secret, add)

    async def rotate(self, call: Call, ask: contract.RotateTrigger) -> Outcome[contract.TriggerKey]:
        async with self._database.reading() as connection:
            secret = _new_secret((await _there(connection, call, ask.trigger)).verify)

        async def change(opened: Call, key: uuid.UUID | None) -> contract.TriggerKey:
            return await self._renew(opened, ask.trigger, key, secret)

        return await self._keyed(call, ask.trigger, secret, change)

    async def _keyed(
        self,
        call: Call,
        trigger: uuid.UUID,
        secret: str | None,
        work: Callable[[Call, uuid.UUID | None], Awaitable[contract.TriggerKey]],
    ) -> Outcome[contract.TriggerKey]:
        async with self._limiter.slots([call.principal.project()]):
            if secret is not None:
                return await self._secrets.keyed(call, trigger, secret, work)
            return await call.take_effect(lambda opened, _: work(opened, None), call.asked.request)

    async def _add(
        self,
        call: Call,
        ask: contract.CreateTrigger,
        identifier: uuid.UUID,
        key: uuid.UUID | None,
        secret: str | None,
    ) -> contract.TriggerKey:
        transaction, who = call.transaction, call.principal
        state = await self._turns.locked(transaction, who.project())
        if await triggers.of_project(transaction, state.project) >= MOST:
            raise errors.TooManyTriggers(MOST)
        _check(ask.rules)
        token = _new_token() if ask.event is None else None
        trigger = Trigger(
            id=identifier,
            project_id=state.project,
            name=ask.name.strip(),
            event=ask.event,
            verify=ask.verify,
            secret=key,
            task=await self._checked(call, ask.task),
            rules=ask.rules,
            paused=False,
            token=_hash(token) if token is not None else None,
            allowance=ask.rules.per_minute,
            refilled_at=state.moment,
            created_by=who.user_id,
            created_at=state.moment,
            updated_at=state.moment,
            **given(call, state.moment),
        )
        await triggers.add(transaction, trigger)
        await self._authorities.keep(call, trigger.authority)
        _tell(transaction, trigger)
        return _key(trigger, token, secret)

    async def _renew(
        self, call: Call, trigger: uuid.UUID, key: uuid.UUID | None, secret: str | None
    ) -> contract.TriggerKey:
        found = await self._locked(call, trigger)
        moment, _ = await projects.moments(call.transaction)
        token = _new_token() if found.event is None else None
        changed = found.changed(moment, token=_hash(token) if token is not None else None, secret=key)
        await triggers.save(call.transaction, changed)
        _tell(call.transaction, changed)
        if found.secret is not None:
            self._secrets.forget_after(call.transaction, found.id, found.secret)
        return _key(changed, token, secret)

    async def update(self, call: Call, command: contract.UpdateTrigger) -> contract.Trigger:
        found = await self._locked(call, command.trigger)
        state = await self._turns.locked(call.transaction, found.project_id)
        changes: dict[str, Any] = {}
        if command.name is not None:
            changes["name"] = command.name.strip()
        if command.event is not None:
            if found.event is None:
                raise errors.BadTrigger("It has an address: it does not listen to events.")
            changes["event"] = command.event
        if command.task is not None:
            changes["task"] = await self._checked(call, command.task)
        names = ("when", "parameters", "per_minute")
        rules = {name: value for name in names if (value := getattr(command, name)) is not None}
        if rules:
            changes["rules"] = found.rules.model_copy(update=rules)
            _check(changes["rules"])
        return await self._acting_for(call, found, found.changed(state.moment, **changes))

    async def resume(self, call: Call, command: contract.ResumeTrigger) -> contract.Trigger:
        found = await self._locked(call, command.trigger)
        state = await self._turns.locked(call.transaction, found.project_id)
        if not found.paused:
            return trigger_reply(found)
        return await self._acting_for(call, found, found.changed(state.moment, paused=False, reason=None))

    async def pause(self, call: Call, command: contract.PauseTrigger) -> contract.Trigger:
        found = await self._locked(call, command.trigger)
        if found.paused and found.reason is None:
            return trigger_reply(found)
        moment, _ = await projects.moments(call.transaction)
        paused = found.changed(moment, paused=True, reason=None)
        await triggers.save(call.transaction, paused)
        _tell(call.transaction, paused)
        return trigger_reply(paused)

    async def delete(self, call: Call, command: contract.DeleteTrigger) -> Empty:
        found = await self._locked(call, command.trigger)
        await triggers.remove(call.transaction, found.id)
        await self._authorities.let_go(call.transaction, found.authority, found.project_id)
        event = contract.TriggerDeleted(trigger=found.id)
        outbox.emit(call.transaction, SCHEMA, event, project=found.project_id)
        self._secrets.forget_after(call.transaction, found.id)
        return Empty()

    async def forget(self, transaction: Transaction, days: int) -> None:
        """What was sent so long ago, and those of projects that were deleted then."""
        for authority in await triggers.forget(transaction, days):
            await self._authorities.let_go(transaction, authority)

    async def _checked(self, call: Call, task: NewTask) -> TriggeredTask:
        """What it refers to is there, and stays as long as it does."""
        project = call.principal.project()
        await checked(call.transaction, project, task.spec)
        await held(call.transaction, project, task.spec.attachments)
        return TriggeredTask(**dict(task))

    async def _acting_for(self, call: Call, before: Trigger, trigger: Trigger) -> contract.Trigger:
        trigger = replace(trigger, **given(call, trigger.updated_at))
        await triggers.save(call.transaction, trigger)
        await self._authorities.let_go(call.transaction, before.authority, before.project_id)
        await self._authorities.keep(call, trigger.authority)
        _tell(call.transaction, trigger)
        return trigger_reply(trigger)

    async def _locked(self, call: Call, trigger: uuid.UUID) -> Trigger:
        project, known = call.principal.project(), None
        while True:
            found = await triggers.get(call.transaction.connection, project, trigger)
            if found is not None and found.authority != known:
                known = found.authority
                await self._authorities.lock(call.transaction, known)
            found = await triggers.lock(call.transaction, project, trigger)
            if found is None:
                raise errors.TriggerNotFound
            if found.authority == known:
                return found

    # -- looked at ---------------------------------------------------------------------------------------

    async def get(self, call: Call, query: contract.GetTrigger) -> contract.Trigger:
        async with self._database.reading() as connection:
            return trigger_reply(await _there(connection, call, query.trigger))

    async def place(self, _call: Call, query: contract.FindTrigger) -> contract.TaskPlace:
        async with self._database.reading() as connection:
            project = await triggers.place(connection, query.trigger)
        if project is None:
            raise errors.TriggerNotFound
        return contract.TaskPlace(project=project)

    async def page(self, call: Call, query: contract.ListTriggers) -> contract.TriggerPage:
        async with self._database.reading() as connection:
            found = await triggers.page(
                connection,
                call.principal.project(),
                words=query.q,
                cursor=query.cursor,
                limit=query.limit + 1,
            )
        items, cursor = cut(list(map(trigger_reply, found)), query.limit, lambda each: id_cursor(each.id))
        return contract.TriggerPage(items=items, next_cursor=cursor)

    async def calls(self, call: Call, query: contract.ListCalls) -> contract.TriggerCallPage:
        async with self._database.reading() as connection:
            found = await _there(connection, call, query.trigger)
            rows = await triggers.calls(connection, found.id, cursor=query.cursor, limit=query.limit + 1)
        items, cursor = cut(rows, query.limit, lambda each: number_cursor(each.id))
        return contract.TriggerCallPage(items=items, next_cursor=cursor)


async def stop_under(transaction: Transaction, authority: uuid.UUID, reason: str) -> bool:
    """The trigger that acts under it starts nothing more, and says why; False where there is none."""
    found = await triggers.lock_under(transaction, authority)
    if found is None or found.paused:
        return found is not None
    moment, _ = await projects.moments(transaction)
    stopped = found.changed(moment, paused=True, reason=reason)
    await triggers.save(transaction, stopped)
    _tell(transaction, stopped)
    return True


async def _there(connection: AsyncConnection, call: Call, trigger: uuid.UUID) -> Trigger:
    found = await triggers.get(connection, call.principal.project(), trigger)
    if found is None:
        raise errors.TriggerNotFound
    return found


def _new_secret(verify: Verification) -> str | None:
    return _PREFIX[verify] + random.token_urlsafe(32) if verify in _KEYED else None


def _new_token() -> str:
    return random.token_urlsafe(32)


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


def _check(rules: TriggerRules) -> None:
    try:
        for path in (*rules.when, *rules.parameters.values()):
            parsed(path)
    except BadPath as error:
        raise errors.BadTrigger(str(error)) from error


def _key(trigger: Trigger, token: str | None, secret: str | None) -> contract.TriggerKey:
    return contract.TriggerKey(
        trigger=trigger_reply(trigger),
        token=SecretStr(token) if token is not None else None,
        secret=SecretStr(secret) if secret is not None else None,
    )


def _tell(transaction: Transaction, trigger: Trigger) -> None:
    event = contract.TriggerChanged(
        trigger=trigger.id,
        name=trigger.name,
        paused=trigger.paused,
        reason=trigger.reason,
        version=trigger.version,
    )
    outbox.emit(transaction, SCHEMA, event, project=trigger.project_id)


def trigger_reply(found: Trigger) -> contract.Trigger:
    return contract.Trigger(
        id=found.id,
        project_id=found.project_id,
        name=found.name,
        event=found.event,
        verify=found.verify if found.event is None else None,
        task=found.task,
        when=found.rules.when,
        parameters=found.rules.parameters,
        per_minute=found.rules.per_minute,
        paused=found.paused,
        reason=found.reason,
        last_task_id=found.last_task,
        acts_for=found.acts_for,
        created_by=found.created_by,
        created_at=found.created_at,
        updated_at=found.updated_at,
        version=found.version,
    )
