"""Events from outside, as triggers hear of them: each becomes work, which starts what listens to it."""

import hashlib
from collections.abc import Sequence
from itertools import chain

from signalbox_common.bus import FactCall
from signalbox_common.contracts.events import OutsideEvent
from signalbox_common.db import Database
from signalbox_common.errors import SignalboxError, Unavailable
from signalbox_common.space import DiskSpace
from signalbox_common.work import Job, Worker
from signalbox_common.work.kinds import Retry
from signalbox_tasks import errors
from signalbox_tasks.service.calls import Calls, Sent, json_of
from signalbox_tasks.store import triggers
from signalbox_tasks.triggers import Trigger

OUTSIDE_EVENT = "outside event"
"""Its key is the event's id."""
_PREFIX = 2
"""Words of a subject before the type: `evt.<project>.`"""


class OutsideEvents:
    def __init__(self, database: Database, worker: Worker, calls: Calls, space: DiskSpace) -> None:
        self._database = database
        self._worker = worker
        self._calls = calls
        self._space = space

    def register(self, worker: Worker) -> None:
        worker.on(OUTSIDE_EVENT, most_in_project=4, retry=Retry())(self.start)

    async def tell(self, facts: Sequence[tuple[FactCall, OutsideEvent]]) -> None:
        """Only what is listened to becomes work: others publish as much as they want."""
        connection = facts[0][0].transaction.connection
        projects = {call.project for call, _ in facts if call.project is not None}
        listening = await triggers.listening(connection, projects)
        for call, event in facts:
            kind = _type_of(call.subject)
            if call.project is None or not any(
                each.listens_to(kind) for each in listening.get(call.project, ())
            ):
                continue
            payload = {"type": kind, "name": call.context.name, "body": event.body.decode()}
            await self._worker.put(
                call.transaction, OUTSIDE_EVENT, str(call.context.id), project=call.project, payload=payload
            )

    async def start(self, job: Job) -> None:
        """Whatever listens, each by itself and once; whoever may not act yet is asked again."""
        if self._space.degraded() is not None:
            raise Unavailable("There is no room on the disk.")
        body = str(job.payload["body"]).encode()
        sent = Sent(
            payload=json_of(body),
            digest=hashlib.sha256(body).digest(),
            size=len(body),
            once=f"event:{job.key}",
            delivery=str(job.payload["name"])[:200],
        )
        async with self._database.reading() as connection:
            found = await triggers.listening(connection, [job.project] if job.project is not None else [])
        waits: Unavailable | None = None
        for trigger in chain.from_iterable(found.values()):
            if trigger.listens_to(str(job.payload["type"])) and trigger.is_meant(sent.payload):
                try:
                    await self._take(job, trigger, sent)
                except Unavailable as error:
                    waits = error
        if waits is not None:
            raise waits

    async def _take(self, job: Job, trigger: Trigger, sent: Sent) -> None:
        try:
            async with job.transaction() as transaction:
                await self._calls.take(transaction, trigger.project_id, trigger.id, sent)
        except (errors.TriggerNotFound, errors.TriggerPaused):
            return  # meanwhile
        except SignalboxError as error:
            if not error.final:
                raise
            async with job.transaction() as transaction:
                await self._calls.refuse(transaction, trigger.id, sent, error)


def _type_of(subject: str) -> str:
    return subject.split(".", _PREFIX)[_PREFIX]
