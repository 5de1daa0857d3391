"""Sandboxes of an installation that is upgraded: the first form of their records that landed is read on."""

import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import make_url, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from signalbox_common.contracts.sandbox import AtEnd, SandboxStatus
from signalbox_common.migrate import upgrade
from signalbox_sandbox.domain import Sandbox, Wish
from signalbox_sandbox.store import sandboxes
from tests.support.servers import TestServers

LANDED = "0005"
PROJECT, PERSON = uuid.uuid4(), uuid.uuid4()
CREATED = datetime(2026, 1, 2, 3, tzinfo=UTC)
DEADLINE = datetime(2026, 1, 2, 4, tzinfo=UTC)
ENDED = datetime(2026, 1, 2, 5, tzinfo=UTC)
INSERT = text(
    """
    insert into sandbox.sandboxes (
        id, project_id, created_by, template, limits, lifetime, at_end, network, labels, keep_for, has_env,
        wish, generation, lifetime_due, status, reason, node, epoch, version, not_enforced, deadline,
        created_at, ended_at
    ) values (
        :id, :project, :person, 'base', '{"pids": 40}', 3600, 'pause', 'none', '{"for": "a test"}', 60, true,
        :status, 2, false, :status, :reason, 'one', 3, 4, '["cpus"]', :deadline,
        :created, :ended
    )
    """
)
NEW: dict[str, Any] = {
    "network": {},
    "network_due": False,
    "doors": (),
    "layer": None,
    "builds": False,
    "keeps": None,
    "stopping": False,
    "grace": 0.0,
    "stop_due": False,
}
"""What is known of a sandbox that is older than these columns."""


@pytest.fixture
async def engine(postgres: TestServers) -> AsyncIterator[AsyncEngine]:
    """Of a database with nothing in it."""
    async with postgres.fresh_database("template0") as database:
        url = make_url(postgres.postgres_admin_url).set(drivername="postgresql+asyncpg", database=database)
        engine = create_async_engine(url)
        try:
            yield engine
        finally:
            await engine.dispose()


async def insert(
    connection: AsyncConnection,
    status: SandboxStatus,
    *,
    reason: str | None = None,
    deadline: datetime | None = DEADLINE,
    ended: datetime | None = None,
) -> uuid.UUID:
    made = uuid.uuid4()
    about = {"id": made, "project": PROJECT, "person": PERSON, "created": CREATED}
    await connection.execute(
        INSERT, about | {"status": status, "reason": reason, "deadline": deadline, "ended": ended}
    )
    return made


def expected(sandbox: uuid.UUID, status: SandboxStatus, since: datetime, **more: Any) -> Sandbox:
    return Sandbox(
        id=sandbox,
        project_id=PROJECT,
        created_by=PERSON,
        template="base",
        limits={"pids": 40},
        lifetime=3600,
        at_end=AtEnd.PAUSE,
        labels={"for": "a test"},
        keep_for=60,
        has_env=True,
        created_at=CREATED,
        wish=Wish(status),
        generation=2,
        status=status,
        since=since,
        node="one",
        epoch=3,
        version=4,
        not_enforced=("cpus",),
        **NEW | more,
    )


async def now(connection: AsyncConnection) -> datetime:
    moment: datetime = (await connection.execute(text("select clock_timestamp()"))).scalar_one()
    return moment


async def test_sandboxes_of_the_landed_form_are_read(engine: AsyncEngine) -> None:
    async with engine.begin() as connection:
        await connection.execute(text("create schema sandbox"))
        assert await connection.run_sync(upgrade, "sandbox", LANDED) == (None, LANDED)
        running = await insert(connection, SandboxStatus.RUNNING)
        paused = await insert(connection, SandboxStatus.PAUSED)
        destroyed = await insert(connection, SandboxStatus.DESTROYED, reason="asked", ended=ENDED)
    async with engine.begin() as connection:
        began = await now(connection)
        before, _ = await connection.run_sync(upgrade, "sandbox")
        over = await now(connection)
    assert before == LANDED
    async with engine.connect() as connection:
        found = {
            each: await sandboxes.get(connection, PROJECT, each) for each in (running, paused, destroyed)
        }
    runs = found[running]
    assert runs is not None
    assert began <= runs.since <= over, "since when it runs was not written down"
    assert runs == expected(running, SandboxStatus.RUNNING, runs.since, deadline=DEADLINE)
    assert found[paused] == expected(paused, SandboxStatus.PAUSED, DEADLINE, deadline=None)
    assert found[destroyed] == expected(
        destroyed, SandboxStatus.DESTROYED, ENDED, deadline=None, reason="asked"
    )
