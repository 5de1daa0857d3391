"""Tasks, from what somebody wants to what came of it."""

import asyncio
import uuid
from typing import Any

import pytest
from sqlalchemy import text

from signalbox_common.testing import eventually
from signalbox_tasks.store import environments
from tests.support.checkouts import git
from tests.support.tasks import TaskScene

pytestmark = pytest.mark.usefixtures("patient")


async def test_what_does_nothing_has_done_it_at_once(there: TaskScene) -> None:
    made = await there.create(noop={})
    assert (made["status"], made["attempts"]) == ("pending", 1)
    found = await there.ended(made)
    assert found["completedAt"] is not None
    assert await there.steps(made["runId"]) == {"shell": "succeeded"}
    told = [each["state"] for each in await there.facts("changed", made["runId"])]
    assert told == ["queued", "running", "succeeded"]


async def test_a_script_without_a_repository(there: TaskScene) -> None:
    script = 'echo "to $WHOM"; echo oops >&2; test -f deep/er/notes.txt'
    made = await there.create(
        exec={
            "script": script,
            "env": {"WHOM": "canary-7f1"},
            "files": [{"path": "deep/er/notes.txt", "content": "a note\n"}],
        }
    )
    await there.ended(made)
    assert await there.log(made["runId"]) == "to canary-7f1\noops\n"
    run = await there.run(made["runId"])
    assert (run["result"]["exitCode"], run["sandboxId"] is not None) == (0, True)
    assert await there.steps(made["runId"]) == dict.fromkeys(("authority", "sandbox", "shell"), "succeeded")
    assert "canary-7f1" not in str(made)
    await there.nothing_is_left()


async def test_what_it_changes_becomes_a_branch(there: TaskScene) -> None:
    repository, remote = await there.repository({"a.txt": "1\n", "b.txt": "b\n"})
    made = await there.create(
        title="Count to two",
        description="As it should be.",
        repository=repository,
        setup=["echo set up"],
        exec={"script": "echo 2 > a.txt; git status --short"},
    )
    found = await there.ended(made)
    assert await there.log(made["runId"]) == "set up\n M a.txt\n"
    branch = found["gitBranch"]
    assert branch.startswith("signalbox/count-to-two-")
    assert git(remote, "show", f"{branch}:a.txt") == "2\n"
    assert git(remote, "show", "-s", "--format=%B", branch).strip() == "Count to two\n\nAs it should be."
    assert git(remote, "rev-list", "--count", f"main..{branch}").strip() == "1"
    diff = await there.ask("GET", f"/api/v1/runs/{made['runId']}/changes")
    assert "-1\n+2\n" in diff
    run = await there.run(made["runId"])
    assert (run["branch"], run["commit"]) == (branch, git(remote, "rev-parse", branch).strip())
    await there.nothing_is_left()


async def test_what_nobody_names_is_forgotten(there: TaskScene) -> None:
    """Variables that no task came for, and proofs of runs that came to nothing."""
    before = {"exec": {"script": "true", "env": {"A": "canary-88"}}, "dependsOn": [there.project]}
    assert await there.refused(404, **before) == "dependency_not_found"
    kept = await there.create(exec={"script": "sleep 600", "env": {"A": "b"}})
    async with there.installation.sql() as sql:
        assert await sql.fetchval("select count(*) from tasks.environments") >= 2
        await sql.execute("update tasks.environments set created_at = created_at - interval '2 days'")
        await sql.execute("update tasks.secrets set created_at = created_at - interval '2 hours'")
    async with there.service() as service, service.database.transaction() as transaction:
        await service.tidy(transaction)
    async with there.installation.sql() as sql:
        rows = await sql.fetch("select id from tasks.environments")
        used = await sql.fetch(
            "select environment from tasks.tasks where environment is not null union "
            "select (wish -> 'exec' ->> 'environment')::uuid from tasks.runs "
            "where wish -> 'exec' ->> 'environment' is not null"
        )
        names = await sql.fetch("select name from tasks.secrets where name like 'runs/%'")
    assert {row["id"] for row in rows} == {row["environment"] for row in used}
    assert {row["name"].split("/")[1] for row in names} == {kept["runId"].replace("-", "")}
    await there.cancel(kept["id"])
    await there.nothing_is_left()


async def test_variables_of_a_follow_up_stay_for_when_it_is_tried_again(there: TaskScene) -> None:
    made = await there.create(exec={"script": "true"})
    await there.ended(made)
    more = {"message": "And more", "exec": {"script": 'echo "$A"; exit 3', "env": {"A": "b"}}}
    beyond = await there.ask("POST", f"/api/v1/tasks/{made['id']}/follow-up", status=201, json=more)
    await there.ended(beyond, "failed")
    async with there.installation.sql() as sql:
        await sql.execute("update tasks.environments set created_at = created_at - interval '2 days'")
    async with there.service() as service, service.database.transaction() as transaction:
        await service.tidy(transaction)
    again = await there.ask("POST", f"/api/v1/tasks/{made['id']}/retry", status=201)
    await there.ended(again, "failed")
    assert await there.log(again["runId"]) == "b\n"


async def test_variables_that_are_named_at_the_last_moment_stay(there: TaskScene) -> None:
    """Whoever clears away waits for the task that is about to name them, and sees it."""
    made = await there.create(exec={"script": "true", "env": {"A": "b"}})
    await there.ended(made)
    async with there.service() as service:
        async with service.database.transaction() as transaction:
            found = await transaction.connection.execute(
                text("select environment from tasks.tasks where id = :id"), {"id": uuid.UUID(made["id"])}
            )
            environment = found.scalar_one()
            unnamed = text("update tasks.tasks set environment = null where id = :id")
            await transaction.connection.execute(unnamed, {"id": uuid.UUID(made["id"])})

        async def cleared() -> bool:
            async with service.database.transaction() as transaction:
                return await environments.remove(transaction, environment)

        async def waits() -> bool:
            async with there.installation.sql() as sql:
                waiting = "wait_event_type = 'Lock' and datname = current_database()"
                return bool(await sql.fetchval(f"select count(*) from pg_stat_activity where {waiting}"))

        async with service.database.transaction() as transaction:
            assert await environments.hold(transaction, uuid.UUID(there.project), environment)
            clearing = asyncio.create_task(cleared())
            await eventually(waits, what="it waits for the task")
            named = text("update tasks.tasks set environment = :environment where id = :id")
            values = {"environment": environment, "id": uuid.UUID(made["id"])}
            await transaction.connection.execute(named, values)
        assert await clearing is False
    assert await there.installation.count("tasks.environments", f"id = '{environment}'") == 1


async def test_no_secret_leaves_the_secret_store(there: TaskScene) -> None:
    """Neither the value of a variable, nor what a run acts with: in no stream and in no row."""
    canary = "canary-3b0e51"
    made = await there.create(exec={"script": 'test -n "$TOKEN"', "env": {"TOKEN": canary}})
    await there.until(made, "running")
    async with there.installation.sql() as sql:
        proof_names = await sql.fetch("select name from tasks.secrets where name like 'runs/%'")
        assert proof_names
        await there.ended(made)
        tables = await sql.fetch("select tablename from pg_tables where schemaname = 'tasks'")
        for table in tables:
            rows = await sql.fetch(f"select row_to_json(x)::text as row from tasks.{table['tablename']} x")
            assert not [row for row in rows if canary in row["row"]], table
    token = there.headers["Authorization"].removeprefix("Bearer ")
    for stream in ("COMMANDS", "EVENTS", "DEAD_LETTERS"):
        for message in await there.installation.messages(stream):
            said = message.data + str(message.headers).encode()
            assert canary.encode() not in said
            assert token.encode() not in said
    shown = str(await there.task(made["id"])) + str(await there.run(made["runId"]))
    assert canary not in shown


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"exec": {"script": "true"}, "noop": {}},
        {"exec": {"script": "true", "argv": ["true"]}},
        {"exec": {}},
        {"exec": {"script": "true"}, "base": "main"},
    ],
)
async def test_what_does_not_fit_together_is_said(there: TaskScene, body: dict[str, Any]) -> None:
    assert await there.refused(422, **body) == "validation_failed"
