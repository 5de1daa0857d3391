"""Durable commands: accepted once means done once, whatever dies on the way."""

import asyncio
import signal
import uuid
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from signalbox_common.bus import Envelope
from signalbox_common.contracts.auth import CreateProject
from signalbox_common.errors import SignalboxError
from signalbox_common.keys import OperationRef, uuid7
from signalbox_common.testing import eventually, running
from signalbox_common.tokens import SigningKey
from tests.support.forgery import Signer
from tests.support.installation import Http, Installation
from tests.support.lab import Lab, Note
from tests.support.services import process, restarting

pytestmark = pytest.mark.fresh  # whole streams and tables are counted

PERSONAL = 1
"""Everybody who signs up has one project already."""


async def settled(http: Http, operation: str, me: dict[str, str]) -> dict[str, Any]:
    async def look() -> dict[str, Any]:
        answer = await http.get(f"/api/v1/operations/{operation}", headers=me)
        assert answer.status_code in (200, 503), "while auth is away there is no grant to look with"
        body: dict[str, Any] = answer.json()
        return body if answer.status_code == 200 and body["status"] != "pending" else {}

    return await eventually(look, what=f"operation {operation} settled")


@pytest.mark.parametrize("step", ["received", "in_transaction", "committed", "replied"])
async def test_sigkill_at_any_step_takes_effect_exactly_once(
    installation: Installation, tmp_path: Path, step: str
) -> None:
    armed = tmp_path / "armed"
    auth = process(
        installation,
        "auth",
        tmp_path / "auth.log",
        ["-m", "tests.support.dying_auth", step, str(armed)],
    )
    await auth.start()
    async with installation.gateway() as http:
        me = await http.sign_up()
        armed.touch()
        supervising = asyncio.create_task(restarting(auth))
        try:
            created = await http.post(
                "/api/v1/projects", json={"name": "Survivor"}, headers=me | {"Idempotency-Key": "k"}
            )
            assert not armed.exists(), "the service did not die"
            assert created.status_code in (201, 202), created.text
            operation = await settled(http, created.headers["X-Operation-ID"], me)
            assert operation["status"] == "succeeded"
            if created.status_code == 202:
                assert created.headers["Location"].endswith(created.headers["X-Operation-ID"])
            again = await http.post(
                "/api/v1/projects", json={"name": "Survivor"}, headers=me | {"Idempotency-Key": "k"}
            )
            assert again.json()["id"] == operation["resource"]

            async def published() -> bool:
                events = await installation.messages("EVENTS", "evt.*.auth.project.created")
                return len(events) == 1 + PERSONAL and await installation.count("auth.outbox") == 0

            await eventually(published, what="one event and an empty outbox")
            assert await installation.count("auth.projects") == 1 + PERSONAL
            assert (
                await installation.count("auth.inbox", "status = 'succeeded' and subject like 'cmd.%'") == 1
            )
            assert await installation.messages("DEAD_LETTERS") == []
        finally:
            supervising.cancel()
            with suppress(asyncio.CancelledError):
                await supervising
            await auth.stop()


async def test_one_key_fifty_times_in_parallel(installation: Installation) -> None:
    async with installation.running_auth(), installation.gateway() as http:
        me = await http.sign_up()
        key = {"Idempotency-Key": "the one"}
        answers = await asyncio.gather(
            *(http.post("/api/v1/projects", json={"name": "Once"}, headers=me | key) for _ in range(50))
        )
        assert {answer.status_code for answer in answers} == {201}
        assert len({answer.content for answer in answers}) == 1
        assert await installation.count("auth.projects") == 1 + PERSONAL

        other = await http.post("/api/v1/projects", json={"name": "Other"}, headers=me | key)
        assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
        spelled = await http.post(
            "/api/v1/projects",
            content=b'{ "description": "",  "name": "Once" }',
            headers=me | key | {"Content-Type": "application/json"},
        )
        assert spelled.status_code == 201, "the same words in another order are the same request"

        somebody = await http.sign_up()
        theirs = await http.post("/api/v1/projects", json={"name": "Once"}, headers=somebody | key)
        assert theirs.status_code == 201
        assert theirs.json()["id"] != answers[0].json()["id"]
        assert await installation.count("auth.projects") == 2 * (1 + PERSONAL)


async def test_a_final_error_is_the_answer_of_every_repeat(installation: Installation) -> None:
    async with installation.running_auth(), installation.gateway() as http:
        me = await http.sign_up()
        taken = {"name": "x", "slug": "taken"}
        first = await http.post("/api/v1/projects", json=taken, headers=me)
        assert first.status_code == 201
        key = {"Idempotency-Key": "refused"}
        refused = await http.post("/api/v1/projects", json=taken, headers=me | key)
        assert refused.status_code == 409
        async with installation.sql() as connection:
            await connection.execute("update auth.projects set slug = 'free' where slug = 'taken'")
        repeated = await http.post("/api/v1/projects", json=taken, headers=me | key)
        assert (repeated.status_code, repeated.json()["code"]) == (409, "slug_taken")
        operation = await settled(http, repeated.headers["X-Operation-ID"], me)
        assert operation["status"] == "failed"
        assert operation["error"]["code"] == "slug_taken"


async def test_an_absent_owner_means_202_and_the_work_is_done_when_it_is_back(
    installation: Installation,
) -> None:
    async with installation.gateway(command_patience=0.2) as http:
        async with installation.running_auth():
            me = await http.sign_up()
            # A first command, so that the gateway holds a grant while auth is away.
            assert (await http.post("/api/v1/projects", json={"name": "First"}, headers=me)).status_code in (
                201,
                202,
            )
        accepted = await http.post("/api/v1/projects", json={"name": "Later"}, headers=me)
        assert accepted.status_code == 202
        operation = accepted.json()
        assert operation["status"] == "pending"
        assert accepted.headers["Location"] == f"/api/v1/operations/{operation['id']}"

        async def told() -> Any:
            """503 where revocations have not been heard for a moment: auth would have to be asked then."""
            answer = await http.get(accepted.headers["Location"], headers=me)
            return answer.json() if answer.status_code == 200 else None

        assert (await eventually(told, what="the operation is looked up"))["status"] == "pending"
        async with installation.running_auth():
            done = await settled(http, operation["id"], me)
            project = await http.get(f"/api/v1/projects/{done['resource']}", headers=me)
            assert project.json()["name"] == "Later"


async def test_an_operation_that_was_never_accepted_says_so(installation: Installation) -> None:
    async with installation.running_auth(), installation.gateway() as http:
        me = await http.sign_up()
        who = uuid.UUID((await http.get("/api/v1/auth/me", headers=me)).json()["id"])

        async def status(sent_at: datetime, end: str = "") -> tuple[int, str | None]:
            ref = OperationRef(uuid7(), who, None, CreateProject.subject, sent_at)
            operation = http.clients.operation_ids.mint(ref)
            found = await http.get(f"/api/v1/operations/{operation[: -len(end) or None]}{end}", headers=me)
            return found.status_code, found.json().get("status")

        assert await status(datetime.now(UTC) - timedelta(minutes=1)) == (200, "not_accepted")
        assert await status(datetime.now(UTC)) == (200, "pending"), "it may still be on its way"
        assert (await status(datetime.now(UTC), end="xx"))[0] == 404


async def test_a_stopping_service_finishes_the_command_in_its_hands(
    installation: Installation, tmp_path: Path
) -> None:
    auth = process(installation, "auth", tmp_path / "auth.log")
    await auth.start()
    async with installation.gateway(command_patience=15.0) as http, installation.sql() as connection:
        me = await http.sign_up()
        await http.get("/api/v1/auth/me", headers=me)  # so that the grant is at hand
        lock = connection.transaction()
        await lock.start()
        await connection.execute("lock table auth.projects in access exclusive mode")
        creating = asyncio.create_task(http.post("/api/v1/projects", json={"name": "Held"}, headers=me))

        async def waits() -> bool:
            return bool(await connection.fetchval("select count(*) from pg_locks where not granted"))

        await eventually(waits, what="the command waits inside its transaction")
        auth.signal(signal.SIGTERM)
        assert auth.alive
        await lock.rollback()
        assert await auth.wait() == 0
        assert (await creating).status_code == 201
        assert len(await installation.messages("EVENTS", "evt.*.auth.project.created")) == 1 + PERSONAL
        assert await installation.count("auth.outbox") == 0
    async with installation.nats() as client:
        info = await client.jetstream().consumer_info("COMMANDS", "auth-v1-create-project")
        assert (info.num_pending, info.num_ack_pending) == (0, 0), "the message was acknowledged, too"


async def test_an_expired_grant_still_counts_for_what_was_accepted_in_time(
    installation: Installation,
) -> None:
    """A service that was away for a day must not refuse what was rightly accepted."""
    async with installation.gateway() as http, installation.bus() as bus:
        async with installation.running_auth():
            me = (await http.get("/api/v1/auth/me", headers=await http.sign_up())).json()
        signer = Signer()
        await signer.publish(installation)
        key = SigningKey(signer.kid, signer.private)
        about = {"sub": me["id"], "usr": me["username"], "rol": "user", "ver": 1}
        short = key.sign("grant+jwt", "auth", timedelta(seconds=1), about)
        ends = datetime.now(UTC) + timedelta(seconds=1)
        accepted = Envelope(uuid7(), "digest", short)
        assert await bus.send(CreateProject(name="Accepted in time"), accepted, patience=0.0) is None

        async def expired() -> bool:
            return datetime.now(UTC) > ends

        await eventually(expired)
        async with installation.running_auth():

            async def there() -> bool:
                return await installation.count("auth.projects", "name = 'Accepted in time'") == 1

            await eventually(there, what="the project exists")
            with pytest.raises(SignalboxError) as late:
                await bus.send(CreateProject(name="Too late"), Envelope(uuid7(), "digest", short))
            assert late.value.code == "token_expired"


async def test_a_forged_or_foreign_grant_opens_nothing(installation: Installation) -> None:
    async with installation.running_auth(), installation.bus() as bus:
        for grant in (None, "", "nonsense", "eyJhbGciOiJub25lIn0.e30.", "a.b.c"):
            with pytest.raises(SignalboxError) as refused:
                await bus.send(CreateProject(name="x"), Envelope(uuid7(), "d", grant))
            assert refused.value.status == 401
        assert await installation.count("auth.projects") == 0
        assert await installation.count("auth.inbox") == 0


async def test_a_reply_subject_of_the_senders_choice_is_not_used(installation: Installation) -> None:
    lab = Lab()
    async with running(lab.service(installation.lab())), installation.nats() as client:
        heard: list[object] = []

        async def hear(message: object) -> None:
            heard.append(message)

        await client.subscribe("evt.>", cb=hear)
        await client.subscribe("reply.>", cb=hear)
        await client.jetstream().publish(
            Note.subject,
            Note(text="a").encode(),
            headers={
                "Signalbox-Command-Id": str(uuid7()),
                "Signalbox-Digest": "d",
                "Signalbox-Reply-To": "evt._.tasks.lab.forged",
            },
        )

        async def event_came() -> bool:
            return any(getattr(m, "subject", "") == "evt._.tasks.lab.taken" for m in heard)

        await eventually(event_came)
        heard_of = {getattr(m, "subject", "") for m in heard}
        assert heard_of <= {"evt._.tasks.lab.taken", "evt._.tasks.audit.recorded"}
