"""Notifications: declared, looked at, paused and resumed, and what was sent for them."""

import secrets as random
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

from pydantic import SecretStr
from sqlalchemy.ext.asyncio import AsyncConnection

from signalbox_common import outbox
from signalbox_common.addresses import PrivateHosts
from signalbox_common.bus import Call
from signalbox_common.contracts import tasks as contract
from signalbox_common.contracts.base import Empty
from signalbox_common.contracts.tasks import NoticeStatus, NotifiedStatus
from signalbox_common.db import Database, Transaction
from signalbox_common.keys import uuid7
from signalbox_common.limiter import ProjectLimiter
from signalbox_common.outcomes import Outcome
from signalbox_common.paging import cut, id_cursor, number_cursor
from signalbox_common.work import Worker
from signalbox_tasks import errors
from signalbox_tasks.notifications import PING, BadEndpoint, Endpoint, Notice, Notification, new_secret
from signalbox_tasks.replies import SCHEMA
from signalbox_tasks.service.notices import MOST_PENDING, wake
from signalbox_tasks.service.signing_secrets import SigningSecrets
from signalbox_tasks.service.turns import Turns
from signalbox_tasks.store import notifications, projects

MOST = 20
"""Of one project."""
_SECRET_BYTES = 32


class Notifications:
    def __init__(
        self,
        database: Database,
        secrets: SigningSecrets,
        worker: Worker,
        turns: Turns,
        private: PrivateHosts,
        limiter: ProjectLimiter,
    ) -> None:
        self._database = database
        self._secrets = secrets
        self._worker = worker
        self._turns = turns
        self._private = private
        self._limiter = limiter

    # -- declared ----------------------------------------------------------------------------------------

    async def create(self, call: Call, ask: contract.CreateNotification) -> Outcome[contract.NotificationKey]:
        url = self._checked(ask.url)
        identifier = uuid7()

        async def add(transaction: Transaction, secret: uuid.UUID) -> Notification:
            who = call.principal
            state = await self._turns.locked(transaction, who.project())
            if await notifications.count(transaction, state.project) >= MOST:
                raise errors.TooManyNotifications(MOST)
            found = Notification(
                id=identifier,
                project_id=state.project,
                name=ask.name.strip(),
                url=url,
                states=_each_once(ask.states),
                paused=ask.paused,
                secret=secret,
                created_by=who.user_id,
                created_at=state.moment,
                updated_at=state.moment,
            )
            await notifications.add(transaction, found)
            return found

        return await self._keyed(call, identifier, add)

    async def rotate(self, call: Call, ask: contract.RotateNotification) -> Outcome[contract.NotificationKey]:
        async def change(transaction: Transaction, secret: uuid.UUID) -> Notification:
            found = await notifications.lock(transaction, call.principal.project(), ask.notification)
            if found is None:
                raise errors.NotificationNotFound
            now, _ = await projects.moments(transaction)
            changed = found.changed(now, secret=secret, old_secret=found.secret, rotated_at=now)
            await notifications.save(transaction, changed)
            return changed

        return await self._keyed(call, ask.notification, change)

    async def _keyed(
        self,
        call: Call,
        notification: uuid.UUID,
        work: Callable[[Transaction, uuid.UUID], Awaitable[Notification]],
    ) -> Outcome[contract.NotificationKey]:
        text = new_secret(random.token_bytes(_SECRET_BYTES))

        async def keyed(opened: Call, secret: uuid.UUID) -> contract.NotificationKey:
            found = await work(opened.transaction, secret)
            tell_of(opened.transaction, found)
            return contract.NotificationKey(notification=notification_reply(found), secret=SecretStr(text))

        async with self._limiter.slots([call.principal.project()]):
            return await self._secrets.keyed(call, notification, text, keyed)

    async def update(self, call: Call, command: contract.UpdateNotification) -> contract.Notification:
        changes: dict[str, Any] = {}
        if command.url is not None:
            changes |= {"url": self._checked(command.url), "failures": 0, "rest_until": None}
        if command.name is not None:
            changes["name"] = command.name.strip()
        if command.states is not None:
            changes["states"] = _each_once(command.states)
        state = await self._turns.locked(call.transaction, call.principal.project())
        found = await self._locked(call, command.notification)
        return await self._changed(call, found.changed(state.moment, **changes))

    async def resume(self, call: Call, command: contract.ResumeNotification) -> contract.Notification:
        state = await self._turns.locked(call.transaction, call.principal.project())
        found = await self._locked(call, command.notification)
        if not found.paused:
            return notification_reply(found)
        changes = {"paused": False, "reason": None, "failures": 0, "rest_until": None}
        return await self._changed(call, found.changed(state.moment, **changes))

    async def pause(self, call: Call, command: contract.PauseNotification) -> contract.Notification:
        found = await self._locked(call, command.notification)
        if found.paused and found.reason is None:
            return notification_reply(found)
        moment, _ = await projects.moments(call.transaction)
        return await self._changed(call, found.changed(moment, paused=True, reason=None))

    async def delete(self, call: Call, command: contract.DeleteNotification) -> Empty:
        found = await self._locked(call, command.notification)
        await notifications.remove(call.transaction, found.id)
        await wake(self._worker, call.transaction, found.project_id, [found.id])  # its row of work goes
        event = contract.NotificationDeleted(notification=found.id)
        outbox.emit(call.transaction, SCHEMA, event, project=found.project_id)
        self._secrets.forget_after(call.transaction, found.id)
        return Empty()

    async def forget(self, transaction: Transaction, days: int) -> None:
        """What was sent so long ago, and those of projects that were deleted then."""
        for each in await notifications.forget(transaction, days):
            self._secrets.forget_after(transaction, each)

    def _checked(self, text: str) -> str:
        try:
            found = Endpoint.read(text)
        except BadEndpoint as error:
            raise errors.BadNotification(f"The address is not taken: {error}.") from error
        if not found.is_reachable(self._private):
            raise errors.BadNotification(f"{found.host} is no address that is public.")
        return str(found)

    async def _changed(self, call: Call, found: Notification) -> contract.Notification:
        await notifications.save(call.transaction, found)
        await wake(self._worker, call.transaction, found.project_id, [found.id])
        tell_of(call.transaction, found)
        return notification_reply(found)

    async def _locked(self, call: Call, notification: uuid.UUID) -> Notification:
        found = await notifications.lock(call.transaction, call.principal.project(), notification)
        if found is None:
            raise errors.NotificationNotFound
        return found

    # -- looked at ---------------------------------------------------------------------------------------

    async def get(self, call: Call, query: contract.GetNotification) -> contract.Notification:
        async with self._database.reading() as connection:
            return notification_reply(await _there(connection, call, query.notification))

    async def place(self, _call: Call, query: contract.FindNotification) -> contract.TaskPlace:
        async with self._database.reading() as connection:
            project = await notifications.place(connection, query.notification)
        if project is None:
            raise errors.NotificationNotFound
        return contract.TaskPlace(project=project)

    async def page(self, call: Call, query: contract.ListNotifications) -> contract.NotificationPage:
        async with self._database.reading() as connection:
            found = await notifications.page(
                connection,
                call.principal.project(),
                words=query.q,
                cursor=query.cursor,
                limit=query.limit + 1,
            )
        replies = list(map(notification_reply, found))
        items, cursor = cut(replies, query.limit, lambda each: id_cursor(each.id))
        return contract.NotificationPage(items=items, next_cursor=cursor)

    # -- what is sent ------------------------------------------------------------------------------------

    async def ping(self, call: Call, command: contract.PingNotification) -> contract.Notice:
        await self._check_room(call)
        found = await self._locked(call, command.notification)
        data = {"notificationId": str(found.id), "name": found.name}
        notice = await notifications.add_notice(call.transaction, found, uuid7(), PING, data)
        await wake(self._worker, call.transaction, found.project_id, [found.id])
        return notice_reply(notice)

    async def redeliver(self, call: Call, command: contract.RedeliverNotice) -> contract.Notice:
        await self._check_room(call)
        found = await self._locked(call, command.notification)
        notice = await notifications.lock_notice(call.transaction, found.id, command.notice)
        if notice is None:
            raise errors.NoticeNotFound
        if found.paused and not notice.is_ping:
            raise errors.NotificationPaused
        moment, _ = await projects.moments(call.transaction)
        again = notice.wanted_again(moment)
        await notifications.note(call.transaction, again)
        await notifications.keep(call.transaction, replace(found, rest_until=None))
        await wake(self._worker, call.transaction, found.project_id, [found.id])
        return notice_reply(again)

    async def _check_room(self, call: Call) -> None:
        """The project is locked for that, so that those who ask at the same time are counted."""
        state = await self._turns.locked(call.transaction, call.principal.project())
        if await notifications.is_full(call.transaction, state.project, MOST_PENDING):
            raise errors.TooManyNotices(MOST_PENDING)

    async def notice(self, call: Call, query: contract.GetNotice) -> contract.Notice:
        async with self._database.reading() as connection:
            found = await _there(connection, call, query.notification)
            notice = await notifications.notice_of(connection, found.id, query.notice)
        if notice is None:
            raise errors.NoticeNotFound
        return notice_reply(notice)

    async def notices(self, call: Call, query: contract.ListNotices) -> contract.NoticePage:
        async with self._database.reading() as connection:
            found = await _there(connection, call, query.notification)
            rows = await notifications.notices(
                connection, found.id, status=query.status, cursor=query.cursor, limit=query.limit + 1
            )
        replies = list(map(notice_reply, rows))
        items, cursor = cut(replies, query.limit, lambda each: number_cursor(each.sequence))
        return contract.NoticePage(items=items, next_cursor=cursor)


async def _there(connection: AsyncConnection, call: Call, notification: uuid.UUID) -> Notification:
    found = await notifications.get(connection, call.principal.project(), notification)
    if found is None:
        raise errors.NotificationNotFound
    return found


def _each_once(states: tuple[NotifiedStatus, ...]) -> tuple[NotifiedStatus, ...]:
    return tuple(each for each in NotifiedStatus if each in states)


def tell_of(transaction: Transaction, found: Notification) -> None:
    event = contract.NotificationChanged(
        notification=found.id,
        name=found.name,
        paused=found.paused,
        reason=found.reason,
        version=found.version,
    )
    outbox.emit(transaction, SCHEMA, event, project=found.project_id)


def notification_reply(found: Notification) -> contract.Notification:
    return contract.Notification(
        id=found.id,
        project_id=found.project_id,
        name=found.name,
        url=found.url,
        states=found.states,
        paused=found.paused,
        reason=found.reason,
        failures=found.failures,
        delivered_at=found.delivered_at,
        created_by=found.created_by,
        created_at=found.created_at,
        updated_at=found.updated_at,
        version=found.version,
    )


def notice_reply(found: Notice) -> contract.Notice:
    return contract.Notice(
        id=found.id,
        notification_id=found.notification_id,
        sequence=found.sequence,
        type=found.type,
        task_id=found.task_id,
        run_id=found.run_id,
        status=found.status,
        attempts=found.attempts,
        http_status=found.http_status,
        duration_ms=found.duration_ms,
        reason=found.reason,
        excerpt=found.excerpt,
        created_at=found.created_at,
        attempted_at=found.attempted_at,
        next_attempt_at=found.next_at if found.status is NoticeStatus.PENDING else None,
    )
