"""Notifications: whoever wants to know what becomes of tasks is told, signed, and whatever fails or dies."""

import asyncio
import socket
import threading
import uuid
from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from signalbox_common.bus.wakeups import ALL
from signalbox_common.runtime import Service
from signalbox_common.testing import eventually
from signalbox_tasks import notifications as rules
from signalbox_tasks.service import notices
from signalbox_tasks.work import webhooks
from tests.support.clocks import clock_of
from tests.support.installation import Installation
from tests.support.receiver import SILENCE, Receiver, answer, receiving
from tests.support.tasks import TaskScene, gathered, task_scene

pytestmark = pytest.mark.usefixtures("patient")

NOTIFICATIONS = "/api/v1/notifications"
LOOPBACK = "127.0.0.1"
ENDS = ["succeeded", "failed", "cancelled", "timed_out"]
BROKEN = answer(500, b"out of order")


@pytest.fixture(scope="module")
async def scene(
    shared_installation: Installation, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[TaskScene]:
    async with task_scene(shared_installation, tmp_path_factory.mktemp("tasks")) as found:
        yield found


@pytest.fixture(scope="module")
async def service(scene: TaskScene) -> AsyncIterator[Service]:
    async with scene.service(private_hosts=LOOPBACK) as found:
        yield found


@pytest.fixture(scope="module")
async def shared(scene: TaskScene, service: Service) -> TaskScene:
    _ = service
    return scene


@pytest.fixture
async def there(shared: TaskScene) -> TaskScene:
    """In a project of its own: what happens elsewhere is not told there."""
    shared.project = await shared.http.project(shared.headers)
    return shared


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as found:
        yield found


def pausing(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """So long each time."""
    monkeypatch.setattr(rules, "PAUSES", (seconds,) * len(rules.PAUSES))
    monkeypatch.setattr(rules, "RESTS", (0.01,))


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    pausing(monkeypatch, 0.01)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhooks, "DEADLINE", 1.0)


def given(there: TaskScene, url: str, **more: Any) -> dict[str, Any]:
    name = f"n {uuid.uuid4().hex[:8]}"
    return {"name": name, "states": ENDS, "url": url, "projectId": there.project} | more


async def notification(there: TaskScene, url: str, *, status: int = 201, **body: Any) -> Any:
    """With its secret."""
    headers = body.pop("headers", there.headers)
    wanted = given(there, url, **body)
    made = await there.ask("POST", NOTIFICATIONS, status=status, json=wanted, headers=headers)
    return made if status != 201 else made["notification"] | {"secret": made["secret"]}


async def look(there: TaskScene, found: Any) -> Any:
    return await there.ask("GET", f"{NOTIFICATIONS}/{found['id']}")


async def do(there: TaskScene, found: Any, what: str, *, status: int = 200) -> Any:
    return await there.ask("POST", f"{NOTIFICATIONS}/{found['id']}/{what}", status=status)


async def deliveries(there: TaskScene, found: Any, **params: Any) -> list[Any]:
    """The oldest first."""
    page = await there.ask("GET", f"{NOTIFICATIONS}/{found['id']}/deliveries", params=params)
    return list(reversed(page["items"]))


async def delivery(there: TaskScene, found: Any, status: str, number: int = 0) -> Any:
    """That one, once it is so."""

    async def so() -> Any:
        items = await deliveries(there, found)
        return items[number] if len(items) > number and items[number]["status"] == status else None

    return await eventually(so, what=f"it is {status}")


async def nothing(there: TaskScene, **body: Any) -> Any:
    """A task that has ended."""
    return await there.ended(await there.create(noop={}, **body))


# -- what is told ------------------------------------------------------------------------------------------


async def test_what_becomes_of_a_task_is_told(there: TaskScene, receiver: Receiver) -> None:
    found = await notification(there, receiver.url(), states=["failed", "running", "succeeded", "failed"])
    assert found["states"] == ["running", "succeeded", "failed"]
    ends = await notification(there, receiver.url("/ends"))
    await notification(there, receiver.url("/paused"), paused=True)
    good = await there.ended(await there.create(exec={"script": "true"}))
    bad = await there.ended(await there.create(exec={"script": "exit 3"}, title="Fail"), "failed")
    told = await receiver.told(4)
    assert [(each.data["taskId"], each.data["status"]) for each in told] == [
        (good["id"], "running"),
        (good["id"], "succeeded"),
        (bad["id"], "running"),
        (bad["id"], "failed"),
    ]
    assert all(each.signed_with(found["secret"]) for each in told)
    assert not told[0].signed_with(ends["secret"])
    assert [each.told["sequence"] for each in told] == sorted(each.told["sequence"] for each in told)
    last = told[-1].told
    assert last["data"] == {
        "projectId": there.project,
        "taskId": bad["id"],
        "runId": bad["runId"],
        "attempt": 1,
        "version": last["data"]["version"],
        "title": "Fail",
        "status": "failed",
        "waitingFor": None,
        "error": bad["error"],
        "branch": None,
        "commit": None,
        "pullRequestUrl": None,
        "agentId": None,
        "scheduleId": None,
        "triggerId": None,
    }
    assert (last["type"], last["subject"], last["operation"]) == (
        "tasks.task.failed",
        bad["id"],
        bad["runId"],
    )
    assert (last["id"], last["project"]) == (told[-1].id, there.project)
    assert told[-1].headers["content-type"] == "application/json"
    assert [each.data["status"] for each in await receiver.told(2, "/ends")] == ["succeeded", "failed"]
    assert receiver.at("/paused") == []
    noted = await delivery(there, found, "delivered", 3)
    assert (noted["id"], noted["attempts"], noted["httpStatus"]) == (told[-1].id, 1, 204)
    assert (noted["type"], noted["taskId"], noted["runId"]) == ("tasks.task.failed", bad["id"], bad["runId"])
    assert (await look(there, found))["deliveredAt"] >= noted["createdAt"]


async def test_a_commit_is_told_with_its_branch(there: TaskScene, receiver: Receiver) -> None:
    found = await notification(there, receiver.url())
    repository, _ = await there.repository({"a.txt": "1\n"})
    await there.ended(await there.create(repository=repository, exec={"script": "echo 2 > a.txt"}))
    (told,) = await receiver.told()
    task = await there.task(told.data["taskId"])
    assert told.data["branch"] == task["gitBranch"]
    assert told.data["commit"] == (await there.run(task["runId"]))["commit"]
    assert told.signed_with(found["secret"])


async def test_what_is_tried_again_by_itself_has_not_failed(there: TaskScene, receiver: Receiver) -> None:
    await notification(there, receiver.url(), states=["failed", "succeeded"])
    retry = {"attempts": 2, "on": ["exec_failed"]}
    await there.ended(await there.create(exec={"script": "exit 1"}, retry=retry), "failed")
    await there.ended(await there.create(noop={}))
    told = await receiver.told(2)
    assert [(each.data["status"], each.data["attempt"]) for each in told] == [("failed", 2), ("succeeded", 1)]


async def test_many_are_told_once_each(there: TaskScene, receiver: Receiver) -> None:
    """By two instances."""
    found = await notification(there, receiver.url())
    async with there.service(private_hosts=LOOPBACK):
        body = {"projectId": there.project, "tasks": [{"title": "Do nothing", "noop": {}}] * 20}
        made = await there.ask("POST", "/api/v1/tasks/bulk", status=201, json=body)
        told = await receiver.told(20)
        await delivery(there, found, "delivered", 19)
    assert {each.data["taskId"] for each in told} == {each["id"] for each in made["items"]}
    assert len({each.id for each in told}) == len(receiver.heard) == 20


# -- what fails --------------------------------------------------------------------------------------------


async def test_it_is_tried_again_under_the_same_id(
    there: TaskScene, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    pausing(monkeypatch, 1.0)
    receiver.says(BROKEN, answer(204))
    found = await notification(there, receiver.url())
    await nothing(there)
    first, second = await receiver.told(2)
    assert first.id == second.id
    assert first.body == second.body
    assert second.at - first.at > 0.85
    assert second.signed_with(found["secret"])
    noted = await delivery(there, found, "delivered")
    assert (noted["attempts"], noted["httpStatus"], noted["reason"]) == (2, 204, None)


@pytest.mark.usefixtures("hasty")
async def test_what_cannot_be_delivered_is_dead(there: TaskScene, receiver: Receiver) -> None:
    receiver.says(answer(503, b"\x1b[31mno\x00 \xe2\x80\xaeroom\r\n" + b"x" * 1000))
    found = await notification(there, receiver.url())
    await nothing(there)
    noted = await delivery(there, found, "dead")
    assert (noted["attempts"], noted["httpStatus"], noted["nextAttemptAt"]) == (12, 503, None)
    assert noted["reason"] == "It answered 503."
    assert noted["excerpt"].startswith("[31mno room xxx")
    assert len(noted["excerpt"]) == 500
    assert [each["id"] for each in await deliveries(there, found, status="dead")] == [noted["id"]]
    assert await deliveries(there, found, status="pending") == []
    assert (await look(there, found))["failures"] == 12
    receiver.says(answer(200, b"thanks"))
    again = await do(there, found, f"deliveries/{noted['id']}/redeliver")
    assert (again["status"], again["attempts"]) == ("pending", 12)
    after = await delivery(there, found, "delivered")
    assert (after["attempts"], after["excerpt"]) == (13, "thanks")
    assert {each.id for each in receiver.heard} == {noted["id"]}
    assert (await look(there, found))["failures"] == 0


async def test_a_receiver_says_when_to_come_again(there: TaskScene, receiver: Receiver) -> None:
    receiver.says(answer(429, retry_after="600"), path="/soon")
    receiver.says(answer(503, retry_after="86400"), path="/late")
    soon = await notification(there, receiver.url("/soon"))
    late = await notification(there, receiver.url("/late"))
    await nothing(there)
    for found, seconds in ((soon, 600), (late, 3600)):
        await receiver.told(1, "/late")

        async def waits(found: Any = found) -> Any:
            (noted,) = await deliveries(there, found)
            return noted if noted["attempts"] == 1 else None

        noted = await eventually(waits, what="it waits")
        at = datetime.fromisoformat(noted["nextAttemptAt"]) - datetime.fromisoformat(noted["attemptedAt"])
        assert seconds - 1 <= at.total_seconds() <= seconds + 1
    await nothing(there)
    await delivery(there, soon, "pending", 1)
    assert len(receiver.at("/soon")) == 1, "nothing else is sent meanwhile"


@pytest.mark.usefixtures("impatient")
async def test_who_is_slow_holds_up_nobody(there: TaskScene, receiver: Receiver) -> None:
    receiver.says(SILENCE, path="/slow")
    slow = [await notification(there, receiver.url("/slow")) for _ in range(3)]
    quick = await notification(there, receiver.url("/quick"))
    await nothing(there)
    await receiver.told(3, "/slow")
    first, *_ = await receiver.told(1, "/quick")
    assert first.at - receiver.at("/slow")[0].at < 0.8, "nobody has given up before"
    for number in range(5):
        await nothing(there)
        await receiver.told(number + 2, "/quick")
    await delivery(there, quick, "delivered", 5)

    async def given_up() -> Any:
        noted, *_ = await deliveries(there, slow[0])
        return noted if noted["attempts"] else None

    noted = await eventually(given_up, what="it is given up")
    assert (noted["httpStatus"], noted["reason"]) == (None, "It did not answer within 1 s.")
    assert 990 <= noted["durationMs"] < 5_000


@pytest.mark.usefixtures("hasty")
async def test_who_fails_for_long_is_paused(
    there: TaskScene, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rules, "MOST_FAILURES", 5)
    receiver.says(BROKEN)
    found = await notification(there, receiver.url())
    await nothing(there)

    async def paused() -> Any:
        after = await look(there, found)
        return after if after["paused"] else None

    after = await eventually(paused, what="it is paused")
    assert after["reason"] == "5 tries in a row have failed; the last one: It answered 500."
    await nothing(there)
    (waits,) = await deliveries(there, found)
    assert (waits["status"], waits["attempts"]) == ("pending", 5)
    assert (await do(there, found, f"deliveries/{waits['id']}/redeliver", status=409))["code"]
    receiver.says(answer(204))
    resumed = await do(there, found, "resume")
    assert (resumed["paused"], resumed["reason"], resumed["failures"]) == (False, None, 0)
    await delivery(there, found, "delivered")
    assert len(receiver.heard) == 6


async def test_who_is_gone_is_paused(there: TaskScene, receiver: Receiver) -> None:
    receiver.says(answer(410))
    found = await notification(there, receiver.url())
    await nothing(there)
    noted = await delivery(there, found, "dead")
    assert (noted["attempts"], noted["httpStatus"]) == (1, 410)
    after = await look(there, found)
    assert (after["paused"], after["reason"]) == (True, "Its receiver says that it is gone (410).")


# -- where it is sent --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "http://169.254.169.254/latest",
        "http://10.0.0.1/",
        "http://[::1]/",
        "http://[::ffff:10.0.0.1]/",
        "http://2130706433/",
        "http://0x7f000001/",
        "https://someone:secret@example.com/",
        "https://example.com@10.0.0.1/",
        "https://example.com\\@10.0.0.1/",
        "https://example.com/#part",
        "ftp://example.com/",
        "file:///etc/passwd",
        "https://",
        "https://exa mple.com/",
        "https://example.com:0/",
    ],
)
async def test_what_is_no_address(shared: TaskScene, url: str) -> None:
    refused = await notification(shared, url, status=422)
    assert refused["code"] in ("bad_notification", "validation_failed")


class Names:
    """What is said of names, one answer after the other, or nothing; all other ones are as they are."""

    def __init__(self, **answers: list[str]) -> None:
        self.answers = {f"{name}.example": iter(each) for name, each in answers.items()}
        self.asked: list[str] = []
        self.over = threading.Event()
        """Until then, whoever asks for a name that begins with `silent` waits."""
        self._there = socket.getaddrinfo

    def __call__(self, host: Any, port: Any, *more: Any, **named: Any) -> Any:
        if str(host).startswith("silent"):
            self.asked.append(host)
            self.over.wait(60)
            raise socket.gaierror(socket.EAI_AGAIN, "nobody says so")
        if host not in self.answers:
            return self._there(host, port, *more, **named)
        self.asked.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (next(self.answers[host]), port))]


async def test_who_is_sent_to_is_who_was_looked_at(
    there: TaskScene, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name that says another address each time: it is asked once for each request, and judged each time."""
    names = Names(rebind=["127.0.0.1", "127.0.0.2", "127.0.0.1"], inside=["10.1.2.3"])
    monkeypatch.setattr(socket, "getaddrinfo", names)
    inside = await notification(there, receiver.url(host="inside.example"))
    rebind = await notification(there, receiver.url("/rebind", host="rebind.example"))
    await do(there, inside, "test", status=201)
    refused = await delivery(there, inside, "dead")
    assert refused["reason"] == "inside.example is at an address that is not public."
    for number, status in enumerate(("delivered", "dead")):
        await do(there, rebind, "test", status=201)
        noted = await delivery(there, rebind, status, number)
        assert noted["attempts"] == 1
    assert noted["reason"] == "rebind.example is at an address that is not public."
    assert [each.path for each in receiver.heard] == ["/rebind"]
    assert receiver.heard[0].headers["host"] == f"rebind.example:{receiver.port}"
    assert names.asked == ["inside.example", *["rebind.example"] * 2]


@pytest.mark.usefixtures("impatient")
async def test_a_name_server_that_keeps_silent_holds_up_nobody(
    there: TaskScene, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither other receivers nor anything else that needs a thread; a name is asked for once at a time."""
    names = Names(quick=["127.0.0.1"] * 9)
    monkeypatch.setattr(socket, "getaddrinfo", names)
    try:
        for number in range(18):
            await notification(there, receiver.url(host=f"silent-{number % 9}.example"))
        quick = await notification(there, receiver.url("/quick", host="quick.example"))
        await nothing(there)

        async def all_are_asked() -> bool:
            return len({each for each in names.asked if each.startswith("silent")}) == 9

        await eventually(all_are_asked, what="all of them are looked up")
        await asyncio.wait_for(asyncio.to_thread(int), 5)
        await do(there, quick, "test", status=201)
        await receiver.told(1, "/quick")
        assert Counter(names.asked).most_common(1)[0][1] <= 2, "only that which speaks is asked again"
    finally:
        names.over.set()


async def test_no_more_is_read_than_wanted(there: TaskScene, receiver: Receiver) -> None:
    receiver.says(answer(302, location=receiver.url("/elsewhere")), path="/moved")
    endless = b"HTTP/1.1 200 Yes\r\ncontent-type: text/plain\r\n\r\n" + b"a" * (8 << 20)
    receiver.says(endless, path="/endless")
    receiver.says(b"HTTP/1.1 200 Yes\r\nx: " + b"a" * (1 << 20) + b"\r\n\r\n", path="/head")
    receiver.says(b"nonsense\r\n\r\n", path="/nonsense")
    for path, status, http in (
        ("/moved", "dead", 302),
        ("/endless", "delivered", 200),
        ("/head", "dead", None),
        ("/nonsense", "dead", None),
    ):
        found = await notification(there, receiver.url(path))
        await do(there, found, "test", status=201)
        noted = await delivery(there, found, status)
        assert noted["httpStatus"] == http, noted
    assert receiver.at("/elsewhere") == []


# -- who, and how many -------------------------------------------------------------------------------------


async def test_who_may_not(there: TaskScene, receiver: Receiver) -> None:
    found = await notification(there, receiver.url())
    await nothing(there)
    noted = await delivery(there, found, "delivered")
    path = f"{NOTIFICATIONS}/{found['id']}"
    stranger = await there.http.sign_up()
    for where in ("", "/deliveries", f"/deliveries/{noted['id']}"):
        refused = await there.ask("GET", path + where, status=404, headers=stranger)
        assert refused["code"] == "notification_not_found"
    assert (await there.ask("GET", NOTIFICATIONS, headers=stranger))["items"] == []
    theirs = await notification(there, receiver.url("/theirs"), projectId=None, headers=stranger)
    other = f"{NOTIFICATIONS}/{theirs['id']}/deliveries/{noted['id']}"
    assert (await there.ask("GET", other, status=404, headers=stranger))["code"] == "notice_not_found"
    again = await there.ask("POST", f"{other}/redeliver", status=404, headers=stranger)
    assert again["code"] == "notice_not_found"
    viewer = await there.http.join(there.headers, there.project, "viewer")
    developer = await there.http.join(there.headers, there.project, "developer")
    assert (await there.ask("GET", path, headers=viewer))["id"] == found["id"]
    for headers in (viewer, developer):
        for what in ("pause", "rotate", "test"):
            refused = await there.ask("POST", f"{path}/{what}", status=403, headers=headers)
            assert refused["code"] == "role_too_low"
    assert "secret" not in await look(there, found)
    async with there.installation.sql() as sql:
        for table in ("notifications", "notices", "outbox", "inbox", "work"):
            rows = await sql.fetch(f"select t::text as row from tasks.{table} t")
            assert not any(found["secret"][6:] in row["row"] for row in rows)


async def test_how_many(there: TaskScene, receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = [given(there, receiver.url(f"/{number}"), name=f"n {number}") for number in range(25)]
    made = await gathered(
        *(there.http.post(NOTIFICATIONS, json=each, headers=there.headers) for each in wanted)
    )
    assert sorted(each.status_code for each in made) == [201] * 20 + [429] * 5
    assert {each.json()["code"] for each in made if each.status_code == 429} == {"too_many_notifications"}
    left, *others = (each.json()["notification"] for each in made if each.status_code == 201)
    twice = given(there, receiver.url(), name=left["name"])
    await gathered(*(there.ask("DELETE", f"{NOTIFICATIONS}/{each['id']}", status=204) for each in others))
    assert (await there.ask("POST", NOTIFICATIONS, status=409, json=twice))["code"] == "notification_exists"
    monkeypatch.setattr(notices, "MOST_PENDING", 2)
    monkeypatch.setattr("signalbox_tasks.service.notifications.MOST_PENDING", 2)
    path = f"/{left['name'][2:]}"
    receiver.says(BROKEN, path=path)
    for _ in range(3):
        await nothing(there)
    items = await deliveries(there, left)
    assert [each["status"] for each in items] == ["pending", "pending", "dead"]
    assert (items[2]["attempts"], items[2]["reason"]) == (0, notices.FULL)
    assert (await do(there, left, "test", status=429))["code"] == "too_many_notices"
    again = f"deliveries/{items[2]['id']}/redeliver"
    assert (await do(there, left, again, status=429))["code"] == "too_many_notices"


async def test_a_ping_is_sent_also_where_it_is_paused(there: TaskScene, receiver: Receiver) -> None:
    found = await notification(there, receiver.url(), paused=True)
    sent = await do(there, found, "test", status=201)
    (told,) = await receiver.told()
    assert (told.id, told.told["type"]) == (sent["id"], "tasks.notification.ping")
    assert told.signed_with(found["secret"])
    assert (await delivery(there, found, "delivered"))["taskId"] is None
    receiver.says(BROKEN)
    await do(there, found, "test", status=201)
    failed = await delivery(there, found, "dead", 1)
    assert (failed["attempts"], (await look(there, found))["failures"]) == (1, 0)


async def test_a_new_secret_counts_beside_the_old_one_for_a_day(
    there: TaskScene, service: Service, receiver: Receiver
) -> None:
    found = await notification(there, receiver.url())
    new = await do(there, found, "rotate")
    assert new["secret"] != found["secret"]
    await do(there, found, "test", status=201)
    (told,) = await receiver.told()
    assert told.signed_with(new["secret"])
    assert told.signed_with(found["secret"])
    async with clock_of(there.installation, "tasks") as clock:
        await clock.set(datetime.now(UTC) + timedelta(days=1, minutes=1))
        await do(there, found, "test", status=201)
        service.work.look(ALL)
        *_, told = await receiver.told(2)
        await delivery(there, found, "delivered", 1)
    assert told.signed_with(new["secret"])
    assert not told.signed_with(found["secret"])


async def test_what_is_changed_counts_for_what_waits(
    there: TaskScene, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    pausing(monkeypatch, 1.0)
    receiver.says(BROKEN, path="/old")
    found = await notification(there, receiver.url("/old"))
    task = await nothing(there)
    await receiver.told(1, "/old")
    body = {"url": receiver.url("/new"), "name": "new"}
    changed = await there.ask("PATCH", f"{NOTIFICATIONS}/{found['id']}", json=body)
    assert (changed["url"], changed["name"], changed["states"]) == (body["url"], "new", found["states"])
    (told,) = await receiver.told(1, "/new")
    assert told.data["taskId"] == task["id"]
    await there.ask("DELETE", f"{NOTIFICATIONS}/{found['id']}", status=204)
    await nothing(there)

    async def gone() -> bool:
        async with there.installation.sql() as sql:
            key = found["id"]
            work = await sql.fetch("select kind from tasks.work where key = $1", key)
            secrets = await sql.fetch(
                "select name from tasks.secrets where name like $1", f"notifications/{uuid.UUID(key).hex}/%"
            )
        return not work and not secrets

    await eventually(gone, what="nothing is left of it")
    assert len(receiver.at("/new")) == 1


@pytest.mark.usefixtures("impatient")
async def test_a_deleted_project_tells_nobody(there: TaskScene, receiver: Receiver) -> None:
    receiver.says(BROKEN, answer(204))
    found = await notification(there, receiver.url(), states=["succeeded", "cancelled", "failed"])
    await nothing(there)
    await receiver.told()
    running = await there.create(exec={"script": "sleep 600"})
    await there.until(running, "running", step="shell")
    project = f"/api/v1/projects/{there.project}"
    await there.ask("DELETE", project, status=204)

    async def rests() -> bool:
        async with there.installation.sql() as sql:
            left = await sql.fetch("select kind from tasks.work where project = $1", uuid.UUID(there.project))
        return not left

    await eventually(rests, within=30, what="nothing goes on there")
    assert len(receiver.heard) == 1
    await there.ask("POST", f"{project}/restore")
    _, told = await receiver.told(2)
    assert told.id == receiver.heard[0].id
    await delivery(there, found, "delivered")
    assert len(await deliveries(there, found)) == 1


async def test_what_is_old_is_forgotten(
    there: TaskScene, service: Service, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was sent, and secrets that nothing is signed with."""
    monkeypatch.setattr("signalbox_tasks.service.signing_secrets.ON_THE_WAY", timedelta(0))
    found = await notification(there, receiver.url())
    for number in range(2):
        await do(there, found, "test", status=201)
        await delivery(there, found, "delivered", number)
        await do(there, found, "rotate")
    old, new = await deliveries(there, found)
    async with there.installation.sql() as sql:
        ago = "update tasks.notices set created_at = created_at - interval '91 days' where id = $1"
        await sql.execute(ago, uuid.UUID(old["id"]))
        async with service.database.transaction() as transaction:
            assert service.tidy is not None
            await service.tidy(transaction)
        named = f"notifications/{uuid.UUID(found['id']).hex}/%"
        left = await sql.fetchval("select count(*) from tasks.secrets where name like $1", named)
    assert left == 2, "the new one, and the one before, for a day"
    assert await deliveries(there, found) == [new]
    await do(there, found, "test", status=201)
    await delivery(there, found, "delivered", 1)
