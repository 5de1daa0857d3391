"""Every change that was asked for is written down once, and nobody changes what is written."""

import json
from typing import Any

import asyncpg
import pytest

from signalbox_common.bus import Envelope
from signalbox_common.contracts.auth import CheckAudit
from signalbox_common.keys import decode_raw, uuid7
from signalbox_common.testing import eventually, running
from tests.support.installation import PASSWORD, Http, Installation
from tests.support.lab import Lab, Note

pytestmark = pytest.mark.fresh  # whole streams and tables are counted

PROJECTS = "/api/v1/projects"


async def admin_of(http: Http) -> dict[str, str]:
    body = {"username": "admin", "password": "the administrator's own"}
    session = await http.post("/api/v1/auth/login?cookie=false", json=body)
    return {"Authorization": f"Bearer {session.json()['accessToken']}"}


async def entries(http: Http, path: str, headers: dict[str, str], **filters: str) -> list[dict[str, Any]]:
    answer = await http.get(path, params={"limit": "200"} | filters, headers=headers)
    assert answer.status_code == 200, answer.text
    items: list[dict[str, Any]] = answer.json()["items"]
    return items


async def test_who_asked_for_what_and_what_came_of_it(installation: Installation) -> None:
    async with (
        installation.running_auth(admin=True),
        installation.gateway(trusted_proxies="127.0.0.1/32") as http,
    ):
        owner = await http.sign_up()
        owner_id, name = (await http.me(owner))["id"], (await http.me(owner))["username"]
        project = await http.project(owner)
        viewer = await http.join(owner, project, "viewer")
        where, audit = f"{PROJECTS}/{project}", f"{PROJECTS}/{project}/audit"
        seen = {"X-Forwarded-For": "192.0.2.44", "X-Correlation-ID": "audited-1", "Idempotency-Key": "k"}
        for _ in range(3):
            await http.patch(where, json={"name": "Renamed"}, headers=owner | seen)
        assert (await http.patch(where, json={"name": "x"}, headers=viewer)).status_code == 403
        for guess in ({"username": "typed here by mistake"}, {"email": f"{name}@example.com"}):
            await http.post("/api/v1/auth/login", json=guess | {"password": "guess"})

        async def written() -> bool:
            return len(await entries(http, audit, owner)) >= 3

        await eventually(written)
        renamed = await entries(http, audit, owner, action="auth.update-project", outcome="succeeded")
        assert len(renamed) == 1, "a repeat under one key is no change of its own"
        entry = renamed[0]
        assert (entry["actor"], entry["project"], entry["resource"]) == (owner_id, project, project)
        assert (entry["address"], entry["correlationId"]) == ("192.0.2.44", "audited-1")
        assert entry["credential"].startswith("session:")
        assert entry["operation"].startswith("op_")
        refused = await entries(http, audit, owner, outcome="refused")
        assert [(e["action"], e["code"]) for e in refused] == [("auth.update-project", "role_too_low")]
        assert (await http.get(audit, headers=viewer)).json()["code"] == "role_too_low"
        assert (await http.get("/api/v1/audit", headers=owner)).json()["code"] == "admin_required"

        admin = await admin_of(http)

        async def guess_written() -> list[dict[str, Any]]:
            return await entries(
                http, "/api/v1/audit", admin, action="auth.login", outcome="refused", resource=name
            )

        guesses = await eventually(guess_written)
        assert (guesses[0]["code"], guesses[0]["actor"]) == ("bad_credentials", None)
        everything = json.dumps(await entries(http, "/api/v1/audit", admin))
        assert PASSWORD not in everything
        assert "by mistake" not in everything, "it might have been a password"
        stranger = await http.sign_up()
        assert (await http.delete(where, headers=stranger)).status_code == 404

        async def stranger_written() -> list[dict[str, Any]]:
            return await entries(http, "/api/v1/audit", admin, action="auth.delete-project", resource=project)

        assert (await eventually(stranger_written))[0]["code"] == "project_not_found"
        assert "sbx_" not in everything

        lines = await http.get("/api/v1/audit", params={"format": "jsonl"}, headers=admin)
        assert lines.headers["content-type"].startswith("application/x-ndjson")
        exported = [json.loads(line) for line in lines.text.splitlines()]
        numbers = [entry["sequence"] for entry in exported]
        assert numbers == sorted(numbers, reverse=True)
        assert numbers[-1] == 1
        two = await http.get("/api/v1/audit", params={"limit": "2"}, headers=admin)
        after = {"limit": "2", "cursor": two.json()["nextCursor"]}
        more = await http.get("/api/v1/audit", params=after, headers=admin)
        assert more.json()["items"][0]["sequence"] == two.json()["items"][1]["sequence"] - 1


async def test_other_services_tell_too(installation: Installation) -> None:
    async with (
        installation.running_auth(admin=True),
        running(Lab().service(installation.lab())),
        installation.gateway() as http,
        installation.bus() as bus,
    ):
        await bus.send(Note(text="a"), Envelope(uuid7(), "digest"))
        admin = await admin_of(http)

        async def told() -> list[dict[str, Any]]:
            return await entries(http, "/api/v1/audit", admin, action="tasks.")

        assert [entry["action"] for entry in await eventually(told)] == ["tasks.lab-note"]


def _number(signed: bytes) -> int:
    """Of an entry of a bucket, whoever has signed it."""
    return int(json.loads(decode_raw(signed.split(b".")[1].decode()))["number"])


async def test_tampering_shows(installation: Installation) -> None:
    async with installation.running_auth(admin=True), installation.gateway() as http:
        me = await http.sign_up()
        for number in range(5):
            await http.project(me, f"Project {number}")

        async def complete() -> bool:
            return await installation.count("auth.audit") >= 7

        await eventually(complete)

        async def noted() -> bool:
            heads = await installation.messages("KV_audit-head")
            return bool(heads) and _number(heads[-1].data) >= 7

        await eventually(noted, what="the bus knows how far it is")
        sound = await installation.operator(CheckAudit(limit=3))
        assert (sound.broken_at, sound.done, sound.last) == (None, False, 3)
        rest = await installation.operator(CheckAudit(after=3))
        assert (rest.broken_at, rest.done) == (None, True)

        async with installation.sql() as connection:
            for statement in (
                "update auth.audit set actor_name = 'somebody else'",
                "delete from auth.audit",
                "truncate auth.audit",
            ):
                with pytest.raises(asyncpg.RaiseError, match="append-only"):
                    await connection.execute(statement)
            # Even whoever owns the database leaves a trace.
            await connection.execute("alter table auth.audit disable trigger audit_append_only")
            await connection.execute("create table kept as select * from auth.audit where false")
            cut = "with cut as (delete from auth.audit where {} returning *) insert into kept table cut"
            paste = "with cut as (delete from kept returning *) insert into auth.audit table cut"
            note = (
                "update auth.audit_head set (sequence, hash) = "
                "(select sequence, hash from auth.audit where sequence = {})"
            )
            outcome = "update auth.audit set outcome = '{}' where sequence = 4"
            for forgery, undo, at in (
                (outcome.format("refused"), outcome.format("succeeded"), 4),
                (cut.format("sequence = 3"), paste, 3),
                (cut.format("sequence > 5"), paste, 6),
                # With the note of its end set back, too: the bus remembers how far it was.
                (f"{cut.format('sequence > 5')}; {note.format(5)}", f"{paste}; {note.format(7)}", 6),
            ):
                await connection.execute(forgery)
                found = await installation.operator(CheckAudit())
                assert found.broken_at == at, found.reason
                await connection.execute(undo)
                assert (await installation.operator(CheckAudit())).broken_at is None

            # What was cut stays missing, however much is written behind it.
            await connection.execute(f"{cut.format('sequence > 5')}; {note.format(5)}")
            for number in range(4):
                await http.project(me, f"Later {number}")

            async def longer() -> bool:
                return await installation.count("auth.audit") >= 8

            await eventually(longer)
            assert (await installation.operator(CheckAudit())).broken_at is not None


async def test_the_services_own_role_cannot_change_a_line(installation: Installation) -> None:
    url = installation.servers.credentials.database_url(
        installation.servers.endpoints, "auth", installation.database
    )
    connection = await asyncpg.connect(url)
    try:
        for statement in (
            "update auth.audit set actor_name = 'x'",
            "delete from auth.audit",
            "truncate auth.audit",
            "alter table auth.audit disable trigger audit_append_only",
        ):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(statement)
    finally:
        await connection.close()
