"""Work that goes on without its person, for as long as the person may."""

import hashlib
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import pytest
from pydantic import SecretStr

from signalbox_common.bus import Bus, Envelope
from signalbox_common.contracts import auth
from signalbox_common.errors import SignalboxError
from signalbox_common.keys import uuid7
from signalbox_common.testing import eventually
from tests.support.factories import Person
from tests.support.forgery import Signer
from tests.support.installation import Http, Installation
from tests.support.pace import promptly

pytestmark = pytest.mark.fresh  # services come and go

VERBS = ("auth.get-project", "git.push")


async def ask(bus: Bus, question: auth.Delegate) -> auth.Delegation:
    return (await bus.ask(question, Envelope(uuid7(), "digest"))).value()


def delegate(proof: str, service: str = "tasks", **changes: object) -> auth.Delegate:
    given = {"service": service, "proof": SecretStr(proof), "run": "run-1", "verbs": VERBS}
    return auth.Delegate(**(given | changes))


async def test_a_delegation_lasts_as_long_as_the_role(installation: Installation) -> None:
    async with (
        installation.running_auth(),
        installation.gateway() as http,
        installation.bus() as gateway,
        installation.bus("tasks") as tasks,
    ):
        owner = await http.sign_up()
        project = await http.project(owner)
        member = await http.join(owner, project, "developer")
        member_id = (await http.me(member))["id"]
        token = SecretStr(member["Authorization"].removeprefix("Bearer "))
        where = uuid.UUID(project)
        proof = (
            (await gateway.query(auth.GetGrant(token=token, audience="tasks", project=where))).value().grant
        )

        delegation = await ask(tasks, delegate(proof))
        ended = await ask(tasks, delegate(proof, run="run-2"))
        await http.post("/api/v1/auth/logout", headers=member)  # its person goes home
        wanted = auth.DelegatedGrant(delegation=SecretStr(delegation.delegation), audience="auth")
        grant = (await tasks.query(wanted)).value().grant
        assert (await gateway.query(auth.GetProject(), grant=grant)).value().id == where
        with pytest.raises(SignalboxError, match="does not cover"):
            await gateway.query(auth.ListMembers(), grant=grant)

        over = auth.EndDelegation(delegation=SecretStr(ended.delegation))
        await tasks.ask(over, Envelope(uuid7(), "digest"))
        with pytest.raises(SignalboxError, match="has ended"):
            await tasks.query(auth.DelegatedGrant(delegation=over.delegation, audience="auth"))

        lowered = await http.patch(
            f"/api/v1/projects/{project}/members/{member_id}", json={"role": "viewer"}, headers=owner
        )
        assert lowered.status_code == 200
        with pytest.raises(SignalboxError, match="has ended"):
            await tasks.query(wanted)

        async def refused() -> bool:
            try:
                await gateway.query(auth.GetProject(), grant=grant)
            except SignalboxError as error:
                return error.code == "grant_revoked"
            return False

        await promptly(refused)


async def test_only_a_grant_for_the_very_service_proves_anything(installation: Installation) -> None:
    async with (
        installation.running_auth(),
        installation.gateway() as http,
        installation.bus() as gateway,
        installation.bus("tasks") as tasks,
    ):
        owner = await http.sign_up()
        project = uuid.UUID(await http.project(owner))
        token = SecretStr(owner["Authorization"].removeprefix("Bearer "))

        async def proof(audience: str, where: uuid.UUID | None) -> str:
            question = auth.GetGrant(token=token, audience=audience, project=where)
            return (await gateway.query(question)).value().grant

        for given, service, status in (
            (await proof("git", project), "tasks", 401),
            (await proof("tasks", project), "git", 401),
            (await proof("tasks", None), "tasks", 403),
            (token.get_secret_value(), "tasks", 401),
            ("nonsense", "tasks", 401),
        ):
            with pytest.raises(SignalboxError) as error:
                await ask(tasks, delegate(given, service))
            assert error.value.status == status
        good = await ask(tasks, delegate(await proof("tasks", project)))
        passed_on = auth.DelegatedGrant(delegation=SecretStr(good.delegation), audience="tasks")
        second_hand = (await tasks.query(passed_on)).value().grant
        with pytest.raises(SignalboxError, match="cannot be passed on"):
            await ask(tasks, delegate(second_hand))
        for wrong in ("sbx_dlg_nothing", ""):
            with pytest.raises(SignalboxError, match="has ended"):
                await tasks.query(auth.DelegatedGrant(delegation=SecretStr(wrong), audience="auth"))


@dataclass
class Run:
    """A person in a project, and the service tasks that goes on for them."""

    http: Http
    gateway: Bus
    tasks: Bus
    owner: dict[str, str]
    project: str

    async def proof(self, token: str | None = None) -> str:
        """As it comes with a command: a grant for tasks."""
        secret = SecretStr(token or self.owner["Authorization"].removeprefix("Bearer "))
        asked = auth.GetGrant(token=secret, audience="tasks", project=uuid.UUID(self.project))
        return (await self.gateway.query(asked)).value().grant

    async def grant(self, secret: str, audience: str = "auth") -> str:
        asked = auth.DelegatedGrant(delegation=SecretStr(secret), audience=audience)
        return (await self.tasks.query(asked)).value().grant

    async def ended(self, secret: str) -> bool:
        try:
            await self.grant(secret)
        except SignalboxError as error:
            return error.code == "delegation_ended"
        return False


@pytest.fixture
async def run(installation: Installation) -> AsyncIterator[Run]:
    async with (
        installation.running_auth(),
        installation.gateway() as http,
        installation.bus() as gateway,
        installation.bus("tasks") as tasks,
    ):
        owner = await http.sign_up()
        yield Run(http, gateway, tasks, owner, await http.project(owner))


def hash_of(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


async def test_a_lost_answer_loses_nothing(run: Run) -> None:
    """The secret is the asker's own; a repeat is told that it is done, under whatever command id."""
    secret, command_id = "sbx_dlg_made-by-tasks", uuid7()
    asked = delegate(await run.proof(), hash=hash_of(secret))
    given = (await run.tasks.ask(asked, Envelope(command_id, "digest"))).value()
    assert given.delegation == ""
    assert await run.grant(secret)
    for again, code in ((command_id, "already_done"), (uuid7(), "delegation_exists")):
        with pytest.raises(SignalboxError) as refused:
            await run.tasks.ask(asked, Envelope(again, "digest"))
        assert (refused.value.code, refused.value.status) == (code, 409)


@pytest.mark.parametrize(
    ("accepted", "good"),
    [
        (timedelta(hours=1), True),
        (timedelta(days=6, hours=23), True),
        (timedelta(days=7, minutes=1), False),
        (timedelta(minutes=-1), False),
        (None, False),
    ],
)
async def test_a_command_that_waited_can_still_delegate(
    installation: Installation, run: Run, accepted: timedelta | None, good: bool
) -> None:
    """Its proof was good for a minute, at the time when the stream took the command."""
    signer = Signer()
    await signer.publish(installation)
    me = await run.http.me(run.owner)
    then = datetime.now(UTC) - (accepted or timedelta(hours=1))
    session = jwt.decode(run.owner["Authorization"].split()[1], options={"verify_signature": False})["sid"]
    person = Person(me["id"], me["username"], run.owner["Authorization"].split()[1], "")
    assert person.session_id == session
    claims = {
        "aud": "tasks",
        "prj": run.project,
        "prr": "owner",
        "iat": int(then.timestamp()) - 10,
        "exp": int(then.timestamp()) + 50,
    }
    asked = delegate(signer.grant(person, claims), accepted_at=then if accepted is not None else None)
    if good:
        assert await run.grant((await ask(run.tasks, asked)).delegation)
    else:
        with pytest.raises(SignalboxError) as refused:
            await ask(run.tasks, asked)
        assert refused.value.status == 401


async def test_what_was_taken_back_since_counts(installation: Installation, run: Run) -> None:
    """A proof that was good then, of somebody who is no member any more."""
    member = await run.http.join(run.owner, run.project, "developer")
    member_id = (await run.http.me(member))["id"]
    proof = await run.proof(member["Authorization"].removeprefix("Bearer "))
    accepted = datetime.now(UTC)
    gone = await run.http.delete(f"/api/v1/projects/{run.project}/members/{member_id}", headers=run.owner)
    assert gone.status_code in (200, 202, 204)
    with pytest.raises(SignalboxError) as refused:
        await ask(run.tasks, delegate(proof, accepted_at=accepted))
    assert refused.value.status in (401, 403)


async def test_a_token_that_may_write_tasks_may_start_a_run(run: Run) -> None:
    """Its scopes say nothing of other areas; under the delegation, the verbs count."""
    made = await run.http.post(
        "/api/v1/auth/tokens", json={"name": "ci", "scopes": ["tasks:write"]}, headers=run.owner
    )
    assert made.status_code == 201, made.text
    proof = await run.proof(made.json()["token"])
    delegation = (await ask(run.tasks, delegate(proof))).delegation
    grant = await run.grant(delegation)
    assert (await run.gateway.query(auth.GetProject(), grant=grant)).value().id == uuid.UUID(run.project)
    with pytest.raises(SignalboxError, match="does not cover"):
        await run.gateway.query(auth.ListMembers(), grant=grant)
    revoked = await run.http.delete(f"/api/v1/auth/tokens/{made.json()['id']}", headers=run.owner)
    assert revoked.status_code in (200, 202, 204)

    async def over() -> bool:
        return await run.ended(delegation)

    await promptly(over)


async def test_a_schedule_lives_for_a_month_and_ends_with_the_role(
    installation: Installation, run: Run
) -> None:
    """Renewed at two thirds of its life, again and again, for 31 days; the person goes home on the first."""
    member = await run.http.join(run.owner, run.project, "developer")
    member_id = (await run.http.me(member))["id"]
    secret = "sbx_dlg_of-a-schedule"
    proof = await run.proof(member["Authorization"].removeprefix("Bearer "))
    await ask(run.tasks, delegate(proof, run="schedule-1", hash=hash_of(secret), hours=24))
    await run.http.post("/api/v1/auth/logout", headers=member)
    renew = auth.RenewDelegation(delegation=SecretStr(secret), hours=24)
    lived = timedelta()
    async with installation.sql() as connection:
        while lived < timedelta(days=31):
            # Sixteen hours pass.
            await connection.execute(
                "update auth.delegations set expires_at = expires_at - interval '16 hours', "
                "created_at = created_at - interval '16 hours'"
            )
            renewed = (await run.tasks.ask(renew, Envelope(uuid7(), "digest"))).value()
            assert renewed.expires_at > datetime.now(UTC) + timedelta(hours=23)
            assert await run.grant(secret)
            lived += timedelta(hours=16)
    lowered = await run.http.patch(
        f"/api/v1/projects/{run.project}/members/{member_id}", json={"role": "viewer"}, headers=run.owner
    )
    assert lowered.status_code == 200

    async def over() -> bool:
        return await run.ended(secret)

    await promptly(over)
    with pytest.raises(SignalboxError, match="has ended"):
        await run.tasks.ask(renew, Envelope(uuid7(), "digest"))


async def test_one_that_has_run_out_is_not_renewed(installation: Installation, run: Run) -> None:
    secret = (await ask(run.tasks, delegate(await run.proof()))).delegation
    async with installation.sql() as connection:
        await connection.execute("update auth.delegations set expires_at = now() - interval '1 second'")
    with pytest.raises(SignalboxError, match="has ended"):
        await run.tasks.ask(auth.RenewDelegation(delegation=SecretStr(secret)), Envelope(uuid7(), "digest"))


async def test_who_acted_for_whom_is_written_down(installation: Installation, run: Run) -> None:
    verbs = ("auth.update-project",)
    secret = (await ask(run.tasks, delegate(await run.proof(), verbs=verbs))).delegation
    grant = await run.grant(secret)
    command = auth.UpdateProject(name="Renamed by a run")
    answer = await run.gateway.send(command, Envelope(uuid7(), "digest", grant))
    assert answer is not None
    me = await run.http.me(run.owner)

    async def written() -> list[dict[str, Any]]:
        page = await run.http.get(
            f"/api/v1/projects/{run.project}/audit?action=auth.update-project", headers=run.owner
        )
        found: list[dict[str, Any]] = page.json()["items"]
        return found

    (line,) = await eventually(written)
    assert (line["actor"], line["act"]) == (me["id"], "tasks")
    assert line["credential"].startswith("delegation:")

    async def sound() -> bool:
        report = await installation.operator(auth.CheckAudit())
        return report.broken_at is None and report.done

    assert await sound()
    async with installation.sql() as connection:
        await connection.execute("alter table auth.audit disable trigger audit_append_only")
        await connection.execute("update auth.audit set act = null where act is not null")
    assert not await sound(), "who acted is sealed, too"
