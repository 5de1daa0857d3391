"""Runs, as they are looked at."""

import uuid

from signalbox_common.bus import Call
from signalbox_common.contracts import tasks as contract
from signalbox_common.contracts.tasks import RunState
from signalbox_common.db import Database
from signalbox_common.paging import cut, number_cursor, read_number_cursor
from signalbox_tasks import errors
from signalbox_tasks.domain import Run
from signalbox_tasks.replies import run_reply, steps_reply
from signalbox_tasks.store import logs, runs, steps, tasks


class Runs:
    def __init__(self, database: Database, *, url: str) -> None:
        self._database = database
        self._url = url

    async def get(self, call: Call, query: contract.GetRun) -> contract.Run:
        found = await self.found(call.principal.project(), query.run)
        return run_reply(found, waits_for=await self._why_queued(found))

    async def _why_queued(self, found: Run) -> str | None:
        if found.state is not RunState.QUEUED:
            return None
        async with self._database.reading() as connection:
            return await runs.why_queued(connection, found.id)

    async def found(self, project: uuid.UUID, run: uuid.UUID) -> Run:
        async with self._database.reading() as connection:
            found = await runs.get(connection, project, run)
        if found is None:
            raise errors.RunNotFound
        return found

    async def place(self, _call: Call, query: contract.FindRun) -> contract.TaskPlace:
        async with self._database.reading() as connection:
            project = await runs.place(connection, query.run)
        if project is None:
            raise errors.RunNotFound
        return contract.TaskPlace(project=project)

    async def page(self, call: Call, query: contract.ListRuns) -> contract.RunList:
        project = call.principal.project()
        async with self._database.reading() as connection:
            if await tasks.get(connection, project, query.task) is None:
                raise errors.TaskNotFound
            before = read_number_cursor(query.cursor)
            found = await runs.of_task(connection, project, query.task, limit=query.limit + 1, before=before)
        replies = [run_reply(each, waits_for=await self._why_queued(each)) for each in found]
        items, cursor = cut(replies, query.limit, lambda each: number_cursor(each.attempt))
        return contract.RunList(items=items, next_cursor=cursor)

    async def steps(self, call: Call, query: contract.GetRunSteps) -> contract.RunSteps:
        found = await self.found(call.principal.project(), query.run)
        async with self._database.reading() as connection:
            return steps_reply(found, await steps.of_run(connection, found.id))

    async def artifacts(self, call: Call, query: contract.ListArtifacts) -> contract.ArtifactList:
        found = await self.found(call.principal.project(), query.run)
        async with self._database.reading() as connection:
            kept = await logs.artifacts(connection, found.id)
        items = (
            contract.Artifact(
                name=each.name,
                media_type=each.media_type,
                size=each.size,
                sha256=each.sha256,
                created_at=each.created_at,
            )
            for each in kept
        )
        return contract.ArtifactList(items=tuple(items))

    async def locate(self, _call: Call, _query: contract.LocateTasks) -> contract.TasksPlace:
        return contract.TasksPlace(url=self._url)
