"""An end to what goes on, for whoever asked for it."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr

from signalbox_common.bus import Envelope
from signalbox_common.contracts.auth import GetGrant
from signalbox_common.contracts.operations import CancelOperation
from signalbox_common.errors import SignalboxError
from signalbox_common.keys import OperationRef
from signalbox_common.testing import eventually, running
from signalbox_common.work import Job
from signalbox_gateway.clients import OPERATION_HEADER
from tests.support import lab_routes
from tests.support.installation import Http, Installation
from tests.support.lab import Order
from tests.support.works import Workshop, World

pytestmark = pytest.mark.fresh  # whole streams are looked through


@dataclass
class Site:
    """A workshop whose work waits until it is told to go on, and somebody who may order there."""

    http: Http
    workshop: Workshop
    goes_on: asyncio.Event
    let_go: asyncio.Event
    """Somebody at work was stopped."""
    owner: dict[str, str]
    project: str

    async def order(self, name: str, who: dict[str, str] | None = None, **more: bool) -> str:
        """Its operation, of which nobody waits for the answer any more."""
        path = f"/api/v1/lab/{self.project}/orders"
        patience, self.http.clients.patience = self.http.clients.patience, 0.2
        try:
            answer = await self.http.post(path, json={"name": name, **more}, headers=who or self.owner)
        finally:
            self.http.clients.patience = patience
        assert answer.status_code == 202, answer.text
        return answer.headers[OPERATION_HEADER]

    async def cancel(self, operation: str, who: dict[str, str] | None = None) -> httpx.Response:
        return await self.http.post(f"/api/v1/operations/{operation}/cancel", headers=who or self.owner)

    async def status(self, operation: str) -> str:
        answer = await self.http.get(f"/api/v1/operations/{operation}", headers=self.owner)
        return str(answer.json()["status"])


@pytest.fixture
async def site(installation: Installation, tmp_path: Path) -> AsyncIterator[Site]:
    goes_on, let_go = asyncio.Event(), asyncio.Event()

    async def at(step: str, _job: Job) -> None:
        if step == "begun":
            try:
                await goes_on.wait()
            except asyncio.CancelledError:
                let_go.set()
                raise

    workshop = Workshop(World(tmp_path / "world"), at)
    async with (
        installation.running_auth(),
        installation.gateway(lab_routes.routes, command_patience=20.0) as http,
        running(workshop.service(installation.lab(), lease=3600.0)),  # no heartbeat is waited for
    ):
        owner = await http.sign_up()
        yield Site(http, workshop, goes_on, let_go, owner, await http.project(owner))


async def test_whoever_asked_may_end_it(site: Site, installation: Installation) -> None:
    operation = await site.order("house")
    await site.workshop.begun.wait()
    cancelled = await site.cancel(operation)
    assert cancelled.status_code == 200, cancelled.text
    found = (await site.http.get(f"/api/v1/operations/{operation}", headers=site.owner)).json()
    for operation_now in (cancelled.json(), found):
        assert (operation_now["status"], operation_now["error"]["code"]) == ("failed", "cancelled")
    await asyncio.wait_for(site.let_go.wait(), 20)
    again = await site.cancel(operation)
    assert (again.status_code, again.json()["code"]) == (409, "already_ended")
    assert site.workshop.world.made == []

    await installation.all_told("tasks")
    notes = await installation.messages("EVENTS", "evt._.tasks.lab.taken")
    assert [note.data for note in notes] == [b'{"text":"no house"}']
    lines = await installation.messages("EVENTS", "evt._.tasks.audit.recorded")
    said = b"".join(line.data for line in lines)
    assert said.count(b'"action":"tasks.lab-order"') == 1, "its end, once"
    assert said.count(b'"code":"cancelled"') == 1
    assert said.count(b'"action":"tasks.cancel-operation"') == 2


async def test_the_answer_goes_to_who_waits(site: Site) -> None:
    path = f"/api/v1/lab/{site.project}/orders"
    waiting = asyncio.create_task(site.http.post(path, json={"name": "house"}, headers=site.owner))
    await site.workshop.begun.wait()
    other = await site.order("shed")
    assert (await site.cancel(other)).status_code == 200
    assert not waiting.done()
    await asyncio.wait_for(site.let_go.wait(), 20)
    site.goes_on.set()
    assert (await waiting).json()["id"] == "house"
    assert site.workshop.world.made == ["house"]


async def test_what_its_owner_does_not_allow_goes_on(site: Site) -> None:
    operation = await site.order("castle", firm=True)
    await site.workshop.begun.wait()
    refused = await site.cancel(operation)
    assert (refused.status_code, refused.json()["code"]) == (409, "not_cancellable")
    site.goes_on.set()

    async def done() -> bool:
        return await site.status(operation) == "succeeded"

    await eventually(done)
    ended = await site.cancel(operation)
    assert (ended.status_code, ended.json()["code"]) == (409, "already_ended")


async def test_nobody_else_may(site: Site) -> None:
    developer = await site.http.join(site.owner, site.project, "developer")
    viewer = await site.http.join(site.owner, site.project, "viewer")
    maintainer = await site.http.join(site.owner, site.project, "maintainer")
    stranger = await site.http.sign_up()
    operation = await site.order("house")
    theirs = await site.order("shed", developer)
    await site.workshop.begun.wait()
    for who, status, code in (
        (developer, 404, "operation_not_found"),
        (viewer, 403, "role_too_low"),
        (stranger, 404, "operation_not_found"),
    ):
        refused = await site.cancel(operation, who)
        assert (refused.status_code, refused.json()["code"]) == (status, code)
    assert await site.status(operation) == "pending"
    assert (await site.cancel(theirs, maintainer)).status_code == 200
    unknown = await site.cancel("op_nonsense")
    assert (unknown.status_code, unknown.json()["code"]) == (404, "operation_not_found")


async def test_a_grant_for_another_project_ends_nothing(site: Site, installation: Installation) -> None:
    """Not even for who asked for it."""
    operation = await site.order("house")
    await site.workshop.begun.wait()
    ref = site.http.clients.operation_ids.read(operation)
    assert ref is not None
    token = SecretStr(site.owner["Authorization"].removeprefix("Bearer "))
    async with installation.bus() as bus:
        for project, code in (
            (await site.http.project(site.owner), "operation_not_found"),
            (site.project, None),
        ):
            asked = GetGrant(token=token, audience="tasks", project=uuid.UUID(project))
            sending = Envelope(uuid.uuid4(), "digest", (await bus.query(asked)).value().grant)
            cancel = CancelOperation(command_id=ref.command_id)
            try:
                await bus.ask(cancel, sending, service="tasks")
                assert code is None
            except SignalboxError as error:
                if error.code != code:
                    raise


async def test_what_has_not_been_handled_yet_is_no_less_theirs(site: Site) -> None:
    """It is pending for who asks about it, so it is not unknown to who would cancel it."""
    me = await site.http.me(site.owner)
    waits = OperationRef(
        uuid.uuid4(), uuid.UUID(me["id"]), uuid.UUID(site.project), Order.subject, datetime.now(UTC)
    )
    operation = site.http.clients.operation_ids.mint(waits)
    assert await site.status(operation) == "pending"
    refused = await site.cancel(operation)
    assert (refused.status_code, refused.json()["code"]) == (409, "not_cancellable")
    stranger = await site.http.sign_up()
    created = await site.http.post("/api/v1/projects", json={"name": "x"}, headers=site.owner)
    for who, status, code in ((site.owner, 409, "not_cancellable"), (stranger, 404, "operation_not_found")):
        refused = await site.cancel(created.headers[OPERATION_HEADER], who)
        assert (refused.status_code, refused.json()["code"]) == (status, code)
    assert (await site.cancel(operation, stranger)).status_code == 404


@pytest.mark.parametrize(
    ("scope", "status"), [("tasks:read", 403), ("catalog:write", 403), ("tasks:write", 200)]
)
async def test_a_token_may_cancel_what_it_may_ask_for(site: Site, scope: str, status: int) -> None:
    operation = await site.order("house")
    await site.workshop.begun.wait()
    made = await site.http.post(
        "/api/v1/auth/tokens", json={"name": str(uuid.uuid4()), "scopes": [scope]}, headers=site.owner
    )
    assert made.status_code == 201, made.text
    token = {"Authorization": f"Bearer {made.json()['token']}"}
    assert (await site.cancel(operation, token)).status_code == status


async def test_what_ends_meanwhile_ended(site: Site) -> None:
    """Cancel and end at the same moment, many times: one of them, and everybody is told the same."""
    for number in range(20):
        site.workshop.begun.clear()
        site.goes_on.clear()
        operation = await site.order(f"house-{number}")
        await site.workshop.begun.wait()
        site.goes_on.set()
        cancelled = await site.cancel(operation)
        code = cancelled.json().get("code")
        assert cancelled.status_code == 200 or code == "already_ended"

        async def ended(operation: str = operation) -> bool:
            return await site.status(operation) != "pending"

        await eventually(ended)
        expected = "failed" if cancelled.status_code == 200 else "succeeded"
        assert await site.status(operation) == expected
