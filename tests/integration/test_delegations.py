"""Work that goes on without its person, for as long as the person may."""

import uuid

import pytest
from pydantic import SecretStr

from signalbox_common.bus import Bus, Envelope
from signalbox_common.contracts import auth
from signalbox_common.errors import SignalboxError
from signalbox_common.keys import uuid7
from tests.support.installation import Installation
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
