"""Sends what others are to be told: for each notification one after the other, whatever else is slow or down.

The row of work of a notification is there as long as something of it waits. Whoever has it sends what is due
and notes what came of that; who dies in between is followed by one that sends the same again, under the same
id. A receiver that fails is left alone for a while, longer each time, with all that waits for it.
"""

import time
import uuid
from collections import Counter
from collections.abc import Sequence

from signalbox_common import telemetry
from signalbox_common.db import Database, Transaction
from signalbox_common.errors import SignalboxError
from signalbox_common.work import Job, Worker
from signalbox_common.work.kinds import Retry
from signalbox_tasks.domain import SHOWN
from signalbox_tasks.notifications import Attempt, Endpoint, Notice, Notification, signature
from signalbox_tasks.service.notices import SEND, WAKE
from signalbox_tasks.service.notifications import tell_of
from signalbox_tasks.service.signing_secrets import SigningSecrets
from signalbox_tasks.store import notifications, projects
from signalbox_tasks.work.webhooks import Webhooks

log = telemetry.get_logger()
MOST = 32
"""Requests that are under way at a time, in all instances together."""
MOST_IN_PROJECT = 8
MOST_TO_HOST = 4
"""The same of one instance to one host."""
_TURN = 20
"""Requests of one notification until others have their turn."""
_HOST_BUSY = 0.5
_AGENT = "Signalbox"


class Notifier:
    def __init__(
        self, database: Database, worker: Worker, secrets: SigningSecrets, webhooks: Webhooks
    ) -> None:
        self._database = database
        self._worker = worker
        self._secrets = secrets
        self._webhooks = webhooks
        self._busy: Counter[str] = Counter()

    def register(self) -> None:
        self._worker.on(WAKE, retry=Retry())(self.wake)
        self._worker.on(SEND, most=MOST, most_in_project=MOST_IN_PROJECT, retry=Retry(), failed=self._broken)(
            self.send
        )

    async def wake(self, job: Job) -> None:
        """In a transaction that holds nothing else: the sender may have its row at this moment."""
        for each in sorted(job.payload["notifications"]):
            async with self._database.transaction() as transaction:
                await self._worker.put(transaction, SEND, each, project=job.project, soonest=True)

    async def send(self, job: Job) -> None:
        for _ in range(_TURN):
            found = await self._next(job)
            if found is None:
                return
            notification, notice = found
            host = Endpoint.read(notification.url).host
            if self._busy[host] >= MOST_TO_HOST:
                async with job.transaction() as transaction:
                    await job.again(transaction, _HOST_BUSY)
                return
            self._busy[host] += 1
            try:
                attempt = await self._post(job, notification, notice)
            finally:
                self._busy[host] -= 1
                self._busy += Counter()  # those at 0 go
            await self._note(job, notice, attempt)
        async with job.transaction() as transaction:
            await job.again(transaction, 0.0)

    async def _next(self, job: Job) -> tuple[Notification, Notice] | None:
        """None where nothing is due; then the row is gone, or waits."""
        async with job.transaction() as transaction:
            notification = await self._locked(transaction, job)
            if notification is None or await projects.is_deleted(transaction, notification.project_id):
                await job.done(transaction)
                return None
            now, _ = await projects.moments(transaction)
            only = notification.paused or notification.is_resting(now)
            notice = await notifications.due(transaction, notification.id, pings_only=only)
            if notice is None:
                seconds = await notifications.next_in(transaction, notification)
                if seconds is None:
                    await job.done(transaction)
                else:
                    await job.again(transaction, seconds)
                return None
            return notification, notice

    async def _post(self, job: Job, notification: Notification, notice: Notice) -> Attempt:
        secrets = await self._secrets_of(notification)
        await job.keep()
        body, timestamp = notice.body(), int(time.time())
        headers = {
            "Content-Type": "application/json",
            "User-Agent": _AGENT,
            "webhook-id": str(notice.id),
            "webhook-timestamp": str(timestamp),
            "webhook-signature": signature(secrets, notice.id, timestamp, body),
        }
        return await self._webhooks.post(notification.url, body, headers)

    async def _secrets_of(self, notification: Notification) -> Sequence[str]:
        async with self._database.transaction() as transaction:
            now, _ = await projects.moments(transaction)
        return [
            (await self._secrets.get(notification.id, each)).decode() for each in notification.secrets(now)
        ]

    async def _note(self, job: Job, sent: Notice, attempt: Attempt) -> None:
        """What came of it: of the notice, and of the receiver."""
        async with job.transaction() as transaction:
            notification = await self._locked(transaction, job)
            notice = await notifications.lock_notice(transaction, sent.notification_id, sent.id)
            if notification is None or notice is None:
                return
            now, _ = await projects.moments(transaction)
            noted = notice.after(attempt, now)
            await notifications.note(transaction, noted)
            after = notification.after(attempt, now, is_ping=notice.is_ping)
            await notifications.keep(transaction, after)
            if after.paused and not notification.paused:
                tell_of(transaction, after)
        outcome = "failed" if noted.next_at is not None else str(noted.status)
        telemetry.NOTICES.labels(outcome).inc()
        if not attempt.is_good:
            log.warning("not notified", notification=job.key, status=attempt.status, attempts=noted.attempts)

    async def _broken(self, transaction: Transaction, job: Job, error: SignalboxError) -> None:
        """By faults on our own side, after the last try: somebody is to see that nothing is sent."""
        notification = await self._locked(transaction, job)
        if notification is None or notification.paused:
            return
        now, _ = await projects.moments(transaction)
        reason = f"It could not be sent: {error.detail}"[:SHOWN]
        paused = notification.changed(now, paused=True, reason=reason)
        await notifications.keep(transaction, paused)
        tell_of(transaction, paused)

    @staticmethod
    async def _locked(transaction: Transaction, job: Job) -> Notification | None:
        if job.project is None:
            raise SignalboxError("a notification is in a project")
        return await notifications.lock(transaction, job.project, uuid.UUID(job.key))
