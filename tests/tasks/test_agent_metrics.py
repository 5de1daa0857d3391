"""What was counted of an agent's runs is what a recount of them gives, for any sequence of runs."""

import math
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from signalbox_common.contracts.tasks import RunError, RunState, StepName
from signalbox_common.runtime import Service
from signalbox_common.testing import running
from signalbox_tasks.agents import Agent, Workload, percentile
from signalbox_tasks.domain import Run
from signalbox_tasks.store import agents
from tests.support.installation import Installation

FIRST = datetime(2026, 3, 1, 23, 0, tzinfo=UTC)
ENDS = (RunState.SUCCEEDED, RunState.FAILED, RunState.CANCELLED, RunState.TIMED_OUT)
ENDED = st.tuples(
    st.sampled_from(ENDS),
    st.one_of(st.none(), st.floats(0.0, 3_000_000.0)),
    st.integers(0, 3 * 24 * 60),
)
"""How a run has ended, after how many seconds if it had begun, and how many minutes after the first."""


@pytest.fixture(scope="module")
async def service(shared_installation: Installation) -> AsyncIterator[Service]:
    async with running(Service(shared_installation.lab())) as found:
        yield found


def ended_run(agent: Agent, state: RunState, seconds: float | None, at: datetime) -> Run:
    identifier = uuid.uuid4()
    return Run(
        id=identifier,
        project_id=agent.project_id,
        task_id=uuid.uuid4(),
        attempt=1,
        plan=(StepName.SHELL,),
        rank=1,
        created_by=agent.created_by,
        created_by_name="somebody",
        queued_at=at,
        authority=identifier,
        agent=agent.id,
        state=state,
        started_at=at - timedelta(seconds=seconds) if seconds is not None else None,
        error=RunError(code="exec_failed", detail="exit code 1") if state is RunState.FAILED else None,
    )


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sequence=st.lists(ENDED, max_size=25))
async def test_metrics_are_a_recount(
    service: Service, sequence: Sequence[tuple[RunState, float | None, int]]
) -> None:
    who, project = uuid.uuid4(), uuid.uuid4()
    fresh = Agent(uuid.uuid4(), project, "Ada", "", who, FIRST, FIRST, bot="quick")
    async with service.database.transaction() as transaction:
        await agents.add(transaction, fresh)
        for state, seconds, minutes in sequence:
            at = FIRST + timedelta(minutes=minutes)
            await agents.count(transaction, ended_run(fresh, state, seconds, at), at)
    last = (FIRST + timedelta(days=4)).date()
    async with service.database.reading() as connection:
        found = await agents.get(connection, project, fresh.id)
        days = await agents.days(connection, fresh.id, FIRST.date(), last)
        durations = await agents.durations(connection, fresh.id, FIRST.date(), last)
    assert found is not None
    states = Counter(state for state, _, _ in sequence)
    lost = states[RunState.FAILED] + states[RunState.TIMED_OUT]
    assert (found.runs, found.succeeded, found.lost) == (len(sequence), states[RunState.SUCCEEDED], lost)
    assert found.failed_in_row == _in_row([state for state, _, _ in sequence])
    counted = Counter((FIRST + timedelta(minutes=minutes)).date() for _, _, minutes in sequence)
    assert {day["day"]: day["runs"] for day in days} == dict(counted)
    for name, state in zip(("succeeded", "failed", "cancelled", "timed_out"), ENDS, strict=True):
        assert sum(day[name] for day in days) == states[state]
    lasted = sorted(seconds for _, seconds, _ in sequence if seconds is not None)
    for share in (0.5, 0.95):
        shown = percentile(durations, share)
        if not lasted:
            assert shown is None
            continue
        real = lasted[math.ceil(len(lasted) * share) - 1]
        assert shown == pytest.approx(max(real, 0.001), rel=0.021, abs=0.001)


def _in_row(states: Sequence[RunState]) -> int:
    """Failures since the last success; what was cancelled does not count."""
    counted = [state for state in states if state is not RunState.CANCELLED]
    return next((n for n, state in enumerate(reversed(counted)) if state is RunState.SUCCEEDED), len(counted))


@pytest.mark.parametrize(
    ("changes", "load", "status"),
    [
        ({}, Workload(), "idle"),
        ({"failed_in_row": 2}, Workload(), "idle"),
        ({"failed_in_row": 3}, Workload(), "error"),
        ({"failed_in_row": 3, "missing": True}, Workload(), "offline"),
        ({"trouble": "It works as nobody does here."}, Workload(), "offline"),
        ({"missing": True}, Workload(queued=1), "waiting"),
        ({"failed_in_row": 9}, Workload(waiting=1), "waiting"),
        ({"missing": True}, Workload(running=1, waiting=1), "busy"),
    ],
)
def test_what_an_agent_comes_to(changes: dict[str, Any], load: Workload, status: str) -> None:
    agent = Agent(uuid.uuid4(), uuid.uuid4(), "Ada", "", uuid.uuid4(), FIRST, FIRST, bot="quick")
    assert replace(agent, **changes).status(load)[0] == status


async def test_whether_it_can_be_run(service: Service) -> None:
    """Of what is told late, the newest counts; a run that found its bot says that it is there."""
    who, project = uuid.uuid4(), uuid.uuid4()
    agent = Agent(uuid.uuid4(), project, "Ada", "", who, FIRST, FIRST, bot="quick")
    failed = ended_run(agent, RunState.FAILED, 1.0, FIRST)
    unknown = replace(failed, error=RunError(code="unknown_shell", detail="Nobody does this here."))
    found = replace(failed, facts={"members": []})

    async def status() -> tuple[str, str | None]:
        async with service.database.reading() as connection:
            there = await agents.get(connection, project, agent.id)
        assert there is not None
        return there.status(Workload())

    async def told(*, missing: bool, version: int, name: str = "quick", is_bot: bool = True) -> None:
        async with service.database.transaction() as transaction:
            await agents.set_missing(
                transaction, project, name, is_bot=is_bot, missing=missing, version=version
            )

    async def counted(run: Run) -> None:
        async with service.database.transaction() as transaction:
            await agents.count(transaction, run, FIRST)

    async with service.database.transaction() as transaction:
        await agents.add(transaction, agent)
    await told(missing=True, version=7)
    assert await status() == ("offline", "There is no bot quick.")
    await told(missing=False, version=9)
    await told(missing=True, version=8)
    await told(missing=True, version=10, name="other")
    await told(missing=True, version=10, is_bot=False)
    assert await status() == ("idle", None)
    await counted(unknown)
    assert await status() == ("offline", "Nobody does this here.")
    await counted(failed)
    assert await status() == ("offline", "Nobody does this here.")
    await counted(found)
    assert await status() == ("error", "Its last 3 runs have failed.")
    await told(missing=True, version=11)
    await counted(found)
    assert (await status())[0] == "error"
