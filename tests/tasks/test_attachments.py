"""Files that people give to tasks, from their upload to the programs that read them."""

import asyncio
import hashlib
import os
import uuid
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import unquote

import httpx
import pytest

from signalbox_common import background
from signalbox_common.contracts.tasks import MAX_ATTACHMENT
from signalbox_common.db import Database
from signalbox_common.errors import Unavailable
from signalbox_common.runtime import Service
from signalbox_common.testing import eventually
from signalbox_tasks.service.attachments import content_of as read
from tests.support.installation import Installation
from tests.support.tasks import TaskScene, gathered, task_scene

pytestmark = pytest.mark.usefixtures("patient")

MIB = 1024 * 1024
ROOM = 40 * MIB
"""Of a project."""
PATH = "/api/v1/attachments"
SUMS = 'cd "$SIGNALBOX_ATTACHMENTS" && sha256sum -b *'
NAMES = ("ünï cödé 📎", "-rf", "a\\b", "$(touch x);'\"`", "..hidden", " ", "%2e%2e%2fup", "x" * 255)
NO_NAMES = (
    *("", ".", "..", "a/b", "/etc/passwd", "../up", "a\nb", "a\x1b[2J", "a\x7f", "\x00"),
    *("ü" * 128, "x" * 256),
)


@pytest.fixture(scope="module")
async def scene(
    shared_installation: Installation, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[TaskScene]:
    async with task_scene(shared_installation, tmp_path_factory.mktemp("tasks")) as scene:
        yield scene


@pytest.fixture(scope="module")
async def service(scene: TaskScene) -> AsyncIterator[Service]:
    async with scene.service(attachments_mb=ROOM // MIB) as service:
        yield service


@pytest.fixture(scope="module")
def there(scene: TaskScene, service: Service) -> TaskScene:
    assert service is not None
    return scene


async def given(there: TaskScene, name: str, content: bytes, *, status: int = 201, **more: Any) -> Any:
    params = {"projectId": there.project, "name": name} | more.pop("params", {})
    return await there.ask("POST", PATH, status=status, params=params, content=content, **more)


async def content_of(there: TaskScene, attachment: str, **params: Any) -> httpx.Response:
    return await there.http.get(f"{PATH}/{attachment}/content", headers=there.headers, params=params)


async def tidy(service: Service) -> None:
    async with service.database.transaction() as transaction:
        await service.tidy(transaction)


async def left(there: TaskScene, project: str | None = None) -> tuple[int, int, int]:
    """How many there are of the project, with drafts; how many parts; and what is counted for them."""
    async with there.installation.sql() as sql:
        found = await sql.fetchrow(
            """
            with found as (select id, size from tasks.attachments where project_id = $1)
            select count(*) as number, coalesce(sum(size), 0) + 4096 * count(*) as taken,
                (select count(*) from tasks.attachment_parts
                    where attachment_id in (select id from found)) as parts,
                (select coalesce(sum(length(content)), 0) from tasks.attachment_parts
                    where attachment_id in (select id from found)) + 4096 * count(*) as really,
                coalesce((select bytes from tasks.attachment_space where project_id = $1), 0) as counted
            from found
            """,
            project or there.project,
        )
    assert found["counted"] == found["taken"] == found["really"]
    return found["number"], found["parts"], int(found["taken"])


async def test_programs_find_what_they_were_given_byte_for_byte(there: TaskScene) -> None:
    files = {"some.bin": os.urandom(3 * MIB + 7), "empty": b"", "notes.txt": "Grüße\r\n".encode()}
    made = {name: await given(there, name, content) for name, content in files.items()}
    for name, content in files.items():
        about = {"name": name, "size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        assert made[name] | about == made[name]
        answer = await content_of(there, made[name]["id"])
        assert answer.content == content
        assert answer.headers["content-type"] == "application/octet-stream"
        assert answer.headers["content-disposition"] == f"attachment; filename*=UTF-8''{name}"
        assert answer.headers["x-content-type-options"] == "nosniff"
    rest = await content_of(there, made["some.bin"]["id"], **{"from": MIB + 1})
    assert rest.content == files["some.bin"][MIB + 1 :]
    ids = [each["id"] for each in made.values()]
    repository, _ = await there.repository({"a.txt": "1\n"})
    task = await there.create(
        repository=repository,
        attachments=ids,
        setup=[SUMS, 'stat -c "%a %n" /tmp/attachments/*'],
        exec={"script": f"{SUMS}; echo more > a.txt"},
    )
    assert [each["id"] for each in task["attachments"]] == task["spec"]["attachments"] == ids
    await there.ended(task)
    sums = "".join(f"{hashlib.sha256(files[name]).hexdigest()} *{name}\n" for name in sorted(files))
    modes = "".join(f"444 /tmp/attachments/{name}\n" for name in sorted(files))
    assert await there.log(task["runId"]) == f"{sums}{modes}{sums}"
    assert "attachments" not in await there.ask("GET", f"/api/v1/runs/{task['runId']}/changes")


async def test_without_any_nothing_is_said_of_them(there: TaskScene) -> None:
    task = await there.create(exec={"script": "env; ls /tmp"})
    await there.ended(task)
    assert task["attachments"] == []
    assert "ttachments" not in (await there.log(task["runId"])).lower()


async def test_names_are_one_part_of_a_path(there: TaskScene) -> None:
    for name in NO_NAMES:
        refused = await given(there, name, b"x", status=422)
        assert refused["code"] == "validation_failed", name
    made = [await given(there, name, name.encode()) for name in NAMES]
    shown = await content_of(there, made[0]["id"])
    assert unquote(shown.headers["content-disposition"].partition("''")[2]) == NAMES[0]
    script = """
        cd /tmp/attachments; ls -A | wc -l
        for each in ./* ./..?*; do test "${each#./}" = "$(cat "$each")" && echo same; done
    """
    task = await there.create(attachments=[each["id"] for each in made], exec={"script": script})
    await there.ended(task)
    assert await there.log(task["runId"]) == f"{len(NAMES)}\n" + "same\n" * len(NAMES)


async def test_what_a_task_may_be_given(there: TaskScene) -> None:
    one = (await given(there, "one", b"1"))["id"]
    another = (await given(there, "one", b"2"))["id"]
    other = await there.http.sign_up()
    project = await there.http.project(other)
    theirs = await given(there, "theirs", b"3", headers=other, params={"projectId": project})
    for ids, code in (
        ([one, theirs["id"]], "attachment_not_found"),
        ([one, there.project], "attachment_not_found"),
        ([one, another], "attachment_names_clash"),
        ([one, one], "attachment_names_clash"),
        ([one] * 21, "validation_failed"),
    ):
        assert await there.refused(422, noop={}, attachments=ids) == code
    refused = await there.ask(
        "POST",
        "/api/v1/tasks",
        status=422,
        json={"title": "x", "noop": {}, "projectId": there.project, "attachments": [theirs["id"]]},
    )
    assert theirs["id"] in refused["detail"]
    for method, path in (("GET", ""), ("GET", "/content"), ("DELETE", "")):
        answer = await there.ask(method, f"{PATH}/{theirs['id']}{path}", status=404)
        assert answer["code"] == "attachment_not_found"


async def test_one_too_large_is_refused_while_it_comes(there: TaskScene) -> None:
    """Whether it says its length or not; what was cut stays neither."""
    before = await left(there)

    async def pieces(size: int) -> AsyncIterator[bytes]:
        for _ in range(size // MIB):
            yield b"\0" * MIB
        yield b"\0"

    refused = await given(there, "large", b"\0" * (MAX_ATTACHMENT + 1), status=413)
    assert refused["code"] == "body_too_large"
    params = {"projectId": there.project, "name": "large"}
    refused = await there.ask("POST", PATH, status=413, params=params, content=pieces(MAX_ATTACHMENT))
    assert refused["code"] == "body_too_large"

    async def nothing() -> bool:
        return await left(there) == before

    await eventually(nothing, what="nothing of it is left")
    kept = await there.ask("POST", PATH, status=201, params=params, content=pieces(MAX_ATTACHMENT - MIB))
    assert kept["size"] == MAX_ATTACHMENT - MIB + 1
    await there.ask("DELETE", f"{PATH}/{kept['id']}", status=204)
    assert await left(there) == before


async def test_a_key_makes_it_one_upload(there: TaskScene) -> None:
    key = {**there.headers, "Idempotency-Key": "one-upload"}
    before = await left(there)
    content = os.urandom(MIB + 1)
    made = await gathered(*(given(there, "a", content, headers=key) for _ in range(5)))
    assert all(each == made[0] for each in made)
    assert (await left(there))[0] == before[0] + 1
    for name, words in (("b", content), ("a", content[1:])):
        refused = await given(there, name, words, headers=key, status=422)
        assert refused["code"] == "idempotency_key_reused"
    assert (await left(there))[0] == before[0] + 1


async def test_a_project_has_so_much_room_and_no_more(there: TaskScene) -> None:
    """However many come at the same time."""
    project = await there.http.project(there.headers)
    params = {"projectId": project}

    async def upload(number: int) -> int:
        answer = await there.http.post(
            PATH, headers=there.headers, params={**params, "name": f"{number}"}, content=b"x" * (3 * MIB)
        )
        if answer.status_code != 201:
            assert (answer.status_code, answer.json()["code"]) == (429, "attachments_full")
        return answer.status_code

    most = 0

    async def watch() -> None:
        nonlocal most
        while True:
            most = max(most, (await left(there, project))[2])

    watching = asyncio.create_task(watch())
    answers = await gathered(*map(upload, range(20)))
    await background.end(watching)
    assert 0 < most <= ROOM
    assert (await left(there, project))[0] == answers.count(201)
    while await upload(21) == 201:
        pass
    assert ROOM - (await left(there, project))[2] < 4 * MIB


async def test_what_no_task_takes_goes(there: TaskScene, service: Service) -> None:
    taken, unclaimed, new = [(await given(there, name, b"x" * 10))["id"] for name in ("taken", "not", "new")]
    task = await there.create(noop={}, attachments=[taken])
    await there.ended(task)
    await there.ask("DELETE", f"{PATH}/{taken}", status=409)
    cut = (await given(there, "cut", b"half"))["id"]
    aged = (
        "update tasks.attachments set created_at = created_at - cast($1 as text)::interval where id = any($2)"
    )
    async with there.installation.sql() as sql:
        await sql.execute(aged, "2 days", [taken, unclaimed])
        await sql.execute(aged, "2 hours", [cut])
        await sql.execute("update tasks.attachments set sha256 = null where id = $1", cut)
    await there.ask("GET", f"{PATH}/{cut}", status=404)
    await tidy(service)
    for each, status in ((taken, 200), (unclaimed, 404), (new, 200)):
        await there.ask("GET", f"{PATH}/{each}", status=status)
    assert await there.installation.count("tasks.attachments", f"id = '{cut}'") == 0
    await left(there)


async def test_those_of_tasks_stay_as_long_as_one_has_them(there: TaskScene) -> None:
    kept = (await given(there, "kept.txt", b"kept\n"))["id"]
    task = await there.create(attachments=[kept], exec={"script": "cat /tmp/attachments/kept.txt; exit 3"})
    await there.ended(task, "failed")
    again = await there.ask("POST", f"/api/v1/tasks/{task['id']}/retry", status=201)
    copy = await there.ask("POST", f"/api/v1/tasks/{task['id']}/duplicate", status=201)
    for each in (again, copy):
        assert [a["id"] for a in each["attachments"]] == [kept]
        await there.ended(each, "failed")
        assert await there.log(each["runId"]) == "kept\n"
    more = {"message": "Once more", "exec": {"script": "cat $SIGNALBOX_ATTACHMENTS/*"}}
    beyond = await there.ask("POST", f"/api/v1/tasks/{task['id']}/follow-up", status=201, json=more)
    await there.ended(beyond)
    assert await there.log(beyond["runId"]) == "kept\n"
    await there.ask("DELETE", f"/api/v1/tasks/{task['id']}", status=204)
    assert (await content_of(there, kept)).content == b"kept\n"
    await there.ask("DELETE", f"/api/v1/tasks/{copy['id']}", status=204)
    await there.ask("GET", f"{PATH}/{kept}", status=404)
    await left(there)


async def test_they_go_with_their_project(there: TaskScene, service: Service) -> None:
    project = await there.http.project(there.headers)
    params = {"projectId": project}
    taken = (await given(there, "taken", b"1", params=params))["id"]
    await given(there, "unclaimed", b"2", params=params)
    task = await there.create(noop={}, attachments=[taken], projectId=project)
    await there.ended(task)
    await there.ask("DELETE", f"/api/v1/projects/{project}", status=204)

    async def unclaimed_gone() -> bool:
        await tidy(service)
        return (await left(there, project))[0] == 1

    await eventually(unclaimed_gone, what="what no task had has gone")
    async with there.installation.sql() as sql:
        old = "update tasks.tasks set completed_at = completed_at - interval '91 days' where project_id = $1"
        await sql.execute(old, project)
    await tidy(service)
    await tidy(service)
    assert await left(there, project) == (0, 0, 0)


async def test_what_breaks_off_in_the_middle_is_laid_out_anew(
    there: TaskScene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whole, and before any program begins; each of those runs once."""
    files = {name: os.urandom(2 * MIB + 1) for name in ("first", "second")}
    ids = [(await given(there, name, content))["id"] for name, content in files.items()]
    cut: list[uuid.UUID] = []

    async def breaking_off(database: Database, attachment: uuid.UUID) -> AsyncIterator[bytes]:
        async for part in read(database, attachment):
            yield part
            if str(attachment) == ids[1] and not cut:
                cut.append(attachment)
                raise Unavailable

    monkeypatch.setattr("signalbox_tasks.work.steps.attachments.content_of", breaking_off)
    task = await there.create(attachments=ids, setup=[SUMS], exec={"script": "ls -A /tmp/attachments"})
    await there.ended(task)
    assert len(cut) == 1
    sums = "".join(f"{hashlib.sha256(content).hexdigest()} *{name}\n" for name, content in files.items())
    assert await there.log(task["runId"]) == f"{sums}first\nsecond\n"
