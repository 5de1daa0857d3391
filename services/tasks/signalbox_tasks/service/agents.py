"""Agents: declared, looked at, and what they have done."""

import json
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from signalbox_common import outbox
from signalbox_common.bus import Call, FactCall
from signalbox_common.contracts import tasks as contract
from signalbox_common.contracts.base import Empty
from signalbox_common.contracts.catalog import (
    ResourceCreated,
    ResourceDeleted,
    ResourceEvent,
    ResourceRestored,
)
from signalbox_common.db import Database, Transaction
from signalbox_common.errors import Invalid
from signalbox_common.keys import uuid7
from signalbox_common.paging import BadCursor, cut, id_cursor, number_cursor, read_words_cursor, words_cursor
from signalbox_tasks import errors
from signalbox_tasks.agents import Agent, Workload, percentile
from signalbox_tasks.replies import SCHEMA
from signalbox_tasks.service.turns import Turns
from signalbox_tasks.store import agents, projects

MOST = 10_000
_LARGEST_DATA = 16 * 1024
_SHOWN_DAYS = 30
_KINDS = {"Bot": True, "Team": False}
"""The kinds that an agent works as, and whether that is a bot."""


class Agents:
    def __init__(self, database: Database, turns: Turns) -> None:
        self._database = database
        self._turns = turns

    # -- declared ----------------------------------------------------------------------------------------

    async def create(self, call: Call, command: contract.CreateAgent) -> contract.Agent:
        transaction, who = call.transaction, call.principal
        state = await self._turns.locked(transaction, who.project())
        if await agents.of_project(transaction, state.project) >= MOST:
            raise errors.TooManyAgents(MOST)
        agent = Agent(
            id=uuid7(),
            project_id=state.project,
            name=command.name.strip(),
            role=command.role,
            avatar_url=command.avatar_url,
            bot=command.bot,
            team=command.team,
            concurrency=command.concurrency,
            created_by=who.user_id,
            created_at=state.moment,
            updated_at=state.moment,
        )
        await agents.add(transaction, agent)
        _tell(transaction, agent)
        return agent_reply(agent, Workload())

    async def update(self, call: Call, command: contract.UpdateAgent) -> contract.Agent:
        """With its project locked: how much it may do counts when something begins."""
        transaction = call.transaction
        state = await projects.lock(transaction, call.principal.project())
        found = await self._locked(call, command.agent)
        names = ("name", "role", "avatar_url", "bot", "team", "concurrency")
        changes = {name: value for name in names if (value := getattr(command, name)) is not None}
        if command.name is not None:
            changes["name"] = command.name.strip()
        changes |= dict.fromkeys(command.clear)
        agent = found.changed(state.moment, **changes)
        await agents.save(transaction, agent)
        _tell(transaction, agent)
        await self._turns.admit(transaction, state)
        loads = await agents.workloads(transaction.connection, [agent.id])
        return agent_reply(agent, loads.get(agent.id, Workload()))

    async def delete(self, call: Call, command: contract.DeleteAgent) -> Empty:
        transaction = call.transaction
        await projects.lock(transaction, call.principal.project())
        found = await self._locked(call, command.agent)
        if await agents.workloads(transaction.connection, [found.id]):
            raise errors.AgentBusy
        await agents.remove(transaction, found.id)
        event = contract.AgentDeleted(agent=found.id)
        outbox.emit(transaction, SCHEMA, event, project=found.project_id)
        return Empty()

    async def _locked(self, call: Call, agent: uuid.UUID) -> Agent:
        found = await agents.lock(call.transaction, call.principal.project(), agent)
        if found is None:
            raise errors.AgentNotFound
        return found

    # -- looked at ---------------------------------------------------------------------------------------

    async def get(self, call: Call, query: contract.GetAgent) -> contract.Agent:
        async with self._database.reading() as connection:
            found = await _there(connection, call, query.agent)
            loads = await agents.workloads(connection, [found.id])
        return agent_reply(found, loads.get(found.id, Workload()))

    async def place(self, _call: Call, query: contract.FindAgent) -> contract.TaskPlace:
        async with self._database.reading() as connection:
            project = await agents.place(connection, query.agent)
        if project is None:
            raise errors.AgentNotFound
        return contract.TaskPlace(project=project)

    async def page(self, call: Call, query: contract.ListAgents) -> contract.AgentPage:
        """Two questions, however many there are."""
        async with self._database.reading() as connection:
            project = call.principal.project()
            found = await agents.page(
                connection, project, words=query.q, cursor=query.cursor, limit=query.limit + 1
            )
            loads = await agents.workloads(connection, [agent.id for agent in found])
        replies = [agent_reply(agent, loads.get(agent.id, Workload())) for agent in found]
        items, cursor = cut(replies, query.limit, lambda each: id_cursor(each.id))
        return contract.AgentPage(items=items, next_cursor=cursor)

    # -- what it did -------------------------------------------------------------------------------------

    async def append(self, call: Call, command: contract.AppendActivity) -> contract.Activity:
        data = json.dumps(command.data)
        if len(data) > _LARGEST_DATA:
            raise errors.ActivityTooLarge
        await self._locked(call, command.agent)
        moment, _ = await projects.moments(call.transaction)
        number = await agents.note(
            call.transaction,
            command.agent,
            type_=command.type,
            message=command.message,
            data=data,
            by=call.principal.user_id,
            at=moment,
        )
        if number is None:
            raise errors.AgentNotFound
        return contract.Activity(
            id=number,
            type=command.type,
            message=command.message,
            data=command.data,
            created_by=call.principal.user_id,
            created_at=moment,
        )

    async def activity(self, call: Call, query: contract.ListActivity) -> contract.ActivityPage:
        async with self._database.reading() as connection:
            await _there(connection, call, query.agent)
            found = await agents.activity(connection, query.agent, cursor=query.cursor, limit=query.limit + 1)
        items, cursor = cut(found, query.limit, lambda each: number_cursor(each.id))
        return contract.ActivityPage(items=items, next_cursor=cursor)

    async def executions(self, call: Call, query: contract.ListExecutions) -> contract.ExecutionPage:
        async with self._database.reading() as connection:
            await _there(connection, call, query.agent)
            rows = await agents.executions(
                connection, query.agent, last=_read(query.cursor), limit=query.limit + 1
            )
        items, cursor = cut([_execution(row) for row in rows], query.limit, _after)
        return contract.ExecutionPage(items=items, next_cursor=cursor)

    async def metrics(self, call: Call, query: contract.GetAgentMetrics) -> contract.AgentMetrics:
        until = query.until or datetime.now(UTC).date()
        since = query.since or until - timedelta(days=_SHOWN_DAYS - 1)
        if not 0 <= (until - since).days <= contract.LONGEST_RANGE:
            raise Invalid(f"A range has up to {contract.LONGEST_RANGE} days, and begins before it ends.")
        async with self._database.reading() as connection:
            await _there(connection, call, query.agent)
            days = await agents.days(connection, query.agent, since, until)
            durations = await agents.durations(connection, query.agent, since, until)
        names = ("runs", "succeeded", "failed", "cancelled", "timed_out", "tokens", "cost")
        totals: dict[str, Any] = {name: sum(day[name] for day in days) for name in names}
        counted = totals["succeeded"] + totals["failed"] + totals["timed_out"]
        return contract.AgentMetrics(
            since=since,
            until=until,
            **totals,
            success_rate=totals["succeeded"] / counted if counted else None,
            duration_p50=percentile(durations, 0.5),
            duration_p95=percentile(durations, 0.95),
            days=tuple(contract.AgentDay.model_validate(day) for day in days),
        )

    # -- whether it can be run ---------------------------------------------------------------------------

    async def resource_there(self, call: FactCall, event: ResourceCreated | ResourceRestored) -> None:
        await self._note(call, event, missing=False)

    async def resource_gone(self, call: FactCall, event: ResourceDeleted) -> None:
        await self._note(call, event, missing=True)

    @staticmethod
    async def _note(call: FactCall, event: ResourceEvent, *, missing: bool) -> None:
        if event.kind in _KINDS and call.project is not None:
            await agents.set_missing(
                call.transaction,
                call.project,
                event.name,
                is_bot=_KINDS[event.kind],
                missing=missing,
                version=int(event.resource_version),
            )


def agent_reply(agent: Agent, load: Workload) -> contract.Agent:
    status, reason = agent.status(load)
    return contract.Agent(
        id=agent.id,
        project_id=agent.project_id,
        name=agent.name,
        role=agent.role,
        status=status,
        reason=reason,
        bot=agent.bot,
        team=agent.team,
        concurrency=agent.concurrency,
        current_task_id=load.task,
        sandbox_id=load.sandbox,
        running=load.running + load.waiting,
        queued=load.queued,
        runs=agent.runs,
        success_rate=agent.success_rate,
        avatar_url=agent.avatar_url,
        created_by=agent.created_by,
        created_at=agent.created_at,
        updated_at=agent.updated_at,
    )


async def _there(connection: AsyncConnection, call: Call, agent: uuid.UUID) -> Agent:
    found = await agents.get(connection, call.principal.project(), agent)
    if found is None:
        raise errors.AgentNotFound
    return found


def _tell(transaction: Transaction, agent: Agent) -> None:
    event = contract.AgentChanged(agent=agent.id, name=agent.name, version=agent.version)
    outbox.emit(transaction, SCHEMA, event, project=agent.project_id)


def _execution(row: Any) -> contract.Execution:
    ended, facts = row.finished_at, row.facts
    lasted = ended - row.started_at if ended is not None and row.started_at is not None else None
    return contract.Execution(
        id=row.id,
        task_id=row.task_id,
        title=row.title,
        attempt=row.attempt,
        status=row.state,
        error=row.error["code"] if row.error else None,
        branch=facts.get("pushedBranch"),
        pull_request_url=facts.get("pullRequestUrl"),
        queued_at=row.queued_at,
        started_at=row.started_at,
        finished_at=ended,
        duration_ms=round(lasted.total_seconds() * 1000) if lasted is not None else None,
    )


def _after(last: contract.Execution) -> str:
    return words_cursor(last.queued_at.isoformat(), str(last.id))


def _read(cursor: str | None) -> tuple[datetime, uuid.UUID] | None:
    words: Sequence[str] | None = read_words_cursor(cursor, 2)
    if words is None:
        return None
    try:
        return datetime.fromisoformat(words[0]), uuid.UUID(words[1])
    except ValueError as error:
        raise BadCursor from error
