"""Services outside with users of their own on the bus: what they may do, how long, and who notices."""

import asyncio
import json
import shutil
import signal
import stat
import uuid
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nats
import pytest
from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.errors import NoRespondersError

from signalbox_cli.live import follow
from signalbox_cli.operator import Operator
from signalbox_cli.stack.home import Home
from signalbox_common.testing import eventually
from tests.support.installation import Http
from tests.support.stack import Stack, new_home

KIND = "ci.done"
SOME_PROJECT = "0a000000-0000-7000-8000-00000000000a"


@dataclass
class Made:
    """What `publisher create` has told."""

    name: str
    url: str
    subject: str
    inbox: str

    @property
    def project(self) -> str:
        return self.subject.split(".")[1]


def create(stack: Stack, project: str | None = None, *more: str) -> Made:
    name = f"p-{uuid.uuid4().hex[:8]}"
    where = ("--project", project or str(uuid.uuid4()), "--json", *more)
    done = stack.run("publisher", "create", name, *where)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["name"] == name
    return Made(name, told["url"], told["subject"], told["inboxPrefix"])


@asynccontextmanager
async def connected(made: Made, refused: list[str] | None = None) -> AsyncIterator[Client]:
    async def note(error: Exception) -> None:
        if refused is not None:
            refused.append(str(error))

    client = Client()
    try:
        await client.connect(
            made.url, inbox_prefix=made.inbox, allow_reconnect=False, connect_timeout=5, error_cb=note
        )
        yield client
    finally:
        await client.close()
        await asyncio.sleep(0)  # nats-py does not wait until its transport is closed


def event(number: str, **more: Any) -> dict[str, str]:
    return {"ce-specversion": "1.0", "ce-id": number, "ce-source": "/ci", "ce-type": f"ext.{KIND}"} | more


async def is_let_in(made: Made) -> bool:
    try:
        async with connected(made):
            return True
    except (NatsError, OSError):
        return False


async def test_what_it_publishes_arrives(stack: Stack) -> None:
    async with stack.client() as client:
        http = Http(client, None)  # type: ignore[arg-type]  # nothing here looks inside
        me = await http.sign_up()
        project = await http.project(me)
        begin = (await client.get(f"/api/v1/projects/{project}/events", headers=me)).json()["nextCursor"]
        made = create(stack, project)
        async with connected(made) as publisher:
            ack = await publisher.jetstream().publish(
                f"ext.{project}.{KIND}", b'{"ok": true}', headers=event("1")
            )
            assert (ack.stream, ack.seq > 0) == ("EXTERNAL", True)
        client.headers.update(me)
        async with aclosing(follow(client, project=project, after=begin, types=["ext.*"])) as each:
            seen = await asyncio.wait_for(anext(each), 20)
    assert (seen.event["type"], seen.event["id"], seen.event["data"]) == (f"ext.{KIND}", "1", {"ok": True})
    assert seen.event["source"] == f"/projects/{project}/publishers/{made.name}#/ci"
    assert seen.event["claimedsource"] == "/ci"


async def test_who_published_it_is_told_whatever_they_say(stack: Stack) -> None:
    """One publisher, another one and a user name each other as the source, with the same id: nobody is taken
    for another, and nobody's event takes another's away."""
    async with stack.client() as client:
        http = Http(client, None)  # type: ignore[arg-type]  # nothing here looks inside
        me = await http.sign_up()
        project = await http.project(me)
        user = (await client.get("/api/v1/auth/me", headers=me)).json()["id"]
        where = f"/api/v1/projects/{project}/events"
        begin = (await client.get(where, headers=me)).json()["nextCursor"]
        makers = [create(stack, project), create(stack, project)]
        names = [f"/projects/{project}/publishers/{made.name}" for made in makers]
        names.append(f"/projects/{project}/users/{user}")
        for made, forged in zip(makers, (names[1], names[2]), strict=True):
            async with connected(made) as publisher:
                for source in (forged, "/ci"):
                    headers = event("1", **{"ce-source": source, "ce-claimedsource": "/other"})
                    await publisher.jetstream().publish(f"ext.{project}.{KIND}", b"{}", headers=headers)
        for source in (names[0], "/ci"):
            body = {"type": f"ext.{KIND}", "id": "1", "source": source}
            assert (await client.post(where, json=body, headers=me)).status_code == 202
        client.headers.update(me)
        async with aclosing(follow(client, project=project, after=begin, types=["ext.*"])) as each:
            seen = [(await asyncio.wait_for(anext(each), 20)).event for _ in range(6)]
    assert [(one["source"], one["claimedsource"], one["id"]) for one in seen] == [
        (f"{name}#{claimed}", claimed, "1")
        for name, forged in zip(names, (names[1], names[2], names[0]), strict=True)
        for claimed in (forged, "/ci")
    ]


async def test_what_it_wants_acknowledged_elsewhere_goes_nowhere(stack: Stack) -> None:
    """NATS asks nobody whether the reply subject of a message may be published to."""
    made, other = create(stack), create(stack)
    targets = [
        f"evt.{other.project}.tasks.task.created",
        "evt._.auth.audit.recorded",
        f"ext.{other.project}.{KIND}",
        "cmd.auth.v1.create-project",
        "dlq.cmd.auth.v1.create-project",
        "rvk._.auth.access.revoked",
        "$KV.grant-keys.forged",
        "$KV.audit-head.forged",
        "$O.packages.M.forged",
        "$JS.API.STREAM.PURGE.EVENTS",
    ]
    async with Operator(Home(stack.path)).nats() as operator, connected(made) as publisher:
        jetstream = operator.jetstream()

        async def stored() -> dict[str, int]:
            return {str(info.config.name): info.state.last_seq for info in await jetstream.streams_info()}

        before = await stored()
        for number, target in enumerate(targets):
            subject = f"ext.{made.project}.{KIND}"
            await publisher.publish(subject, b"{}", reply=target, headers=event(str(number)))
        await publisher.flush()

        async def taken_in() -> bool:
            return (await stored())["EVENTS"] >= before["EVENTS"] + len(targets)

        await eventually(taken_in, what="the events themselves")
        after = await stored()
        grown = {name: after[name] - before[name] for name in after if after[name] != before[name]}
        assert grown == {"EXTERNAL": len(targets), "EVENTS": len(targets)}
        kinds = {
            str((await jetstream.get_msg("EVENTS", number, direct=True)).subject)
            for number in range(before["EVENTS"] + 1, after["EVENTS"] + 1)
        }
        assert kinds == {f"evt.{made.project}.ext.{KIND}"}


async def test_it_may_do_nothing_else(stack: Stack) -> None:
    made, other = create(stack), create(stack)
    forbidden = [
        f"ext.{other.project}.{KIND}",
        "ext.x",
        f"evt.{made.project}.ext.{KIND}",
        "cmd.auth.v1.create-project",
        "ask.auth.v1.x",
        "qry.auth.v1.health",
        "rvk._.auth.access.revoked",
        "dlq.x",
        "$KV.grant-keys.x",
        "$JS.API.STREAM.INFO.EVENTS",
        "$JS.API.STREAM.INFO.EXTERNAL",
        "$JS.API.STREAM.DELETE.EXTERNAL",
        "$JS.API.STREAM.MSG.GET.EXTERNAL",
        "$JS.API.DIRECT.GET.EXTERNAL",
        "$JS.API.CONSUMER.CREATE.EXTERNAL.x",
        "$JS.ACK.EXTERNAL.fanout-ingest.1.1.1.1.1",
        "$SYS.REQ.SERVER.PING",
        "reply.x.y",
        "_INBOX.gateway.x",
        f"{other.inbox}.x",
        "anything",
    ]
    refused: list[str] = []
    async with connected(made, refused) as client:
        for subject in forbidden:
            await client.publish(subject, b"{}")
        await client.flush()
        wanted = [
            f"evt.{made.project}.>",
            "ext.>",
            "_INBOX.>",
            f"{other.inbox}.>",
            ">",
            "$JS.EVENT.>",
            "dlq.>",
        ]
        for subject in wanted:
            await client.subscribe(subject)
        await client.flush()

        async def all_refused() -> bool:
            return len(refused) >= len(forbidden) + len(wanted)

        await eventually(all_refused)
    for subject in forbidden:
        assert any(f'publish to "{subject}"'.lower() in each.lower() for each in refused), subject
    for subject in wanted:
        assert any(f'subscription to "{subject}"'.lower() in each.lower() for each in refused), subject


async def test_it_is_gone_with_all_it_has_open(stack: Stack) -> None:
    gone, kept = create(stack), create(stack)
    operator = (stack.home.credentials / "operator" / "nats-url").read_text(encoding="utf-8")
    async with connected(gone) as first, connected(kept) as second:
        watching = await nats.connect(operator, inbox_prefix="_INBOX.operator", allow_reconnect=False)
        try:
            before = {(stack.pid(name), name) for name in ("nats", "gateway", "fanout", "auth")}
            done = stack.run("publisher", "delete", gone.name)
            assert done.returncode == 0, done.stderr

            async def closed() -> bool:
                return bool(first.is_closed)

            await eventually(closed, what="its connection is closed")
            assert not await is_let_in(gone)
            assert await is_let_in(kept)
            ack = await second.jetstream().publish(f"ext.{kept.project}.{KIND}", b"{}", headers=event("2"))
            assert ack.stream == "EXTERNAL"
            assert watching.is_connected
            assert await watching.jetstream().stream_info("EVENTS")
            assert before == {(stack.pid(name), name) for name in ("nats", "gateway", "fanout", "auth")}
        finally:
            await watching.close()
            await asyncio.sleep(0)
    again = stack.run("publisher", "delete", gone.name)
    assert (again.returncode, "there is no publisher" in again.stderr) == (1, True)
    assert gone.name not in stack.run("publisher", "list", "--json").stdout


async def test_two_at_once_lose_nothing(stack: Stack) -> None:
    with ThreadPoolExecutor(4) as at_once:
        made = list(at_once.map(lambda _: create(stack), range(6)))
    listed = {
        each["name"]: each["project"] for each in json.loads(stack.run("publisher", "list", "--json").stdout)
    }
    for each in made:
        assert listed[each.name] == each.project
        assert await is_let_in(each)
    assert stat.S_IMODE((stack.home.credentials / "secrets.json").stat().st_mode) == 0o600
    assert stat.S_IMODE((stack.home.data / "nats" / "nats.conf").stat().st_mode) == 0o600


async def test_it_survives_going_down_and_up_again() -> None:
    """Under the same address, too, in a home that may be called anything."""
    stack = Stack(new_home() / 'a "home" & [brackets]')
    try:
        stack.up()
        running = create(stack)
        assert await is_let_in(running)
        assert stack.down().returncode == 0
        while_down = create(stack)
        assert while_down.url.rpartition("@")[2] == running.url.rpartition("@")[2]
        stack.up()
        assert await is_let_in(running)
        assert await is_let_in(while_down)
        assert stack.down().returncode == 0
        assert stack.run("publisher", "delete", running.name).returncode == 0
        process = stack.foreground()
        try:
            await stack.wait_ready()
            assert not await is_let_in(running)
            assert await is_let_in(while_down)
        finally:
            process.send_signal(signal.SIGTERM)
            await asyncio.to_thread(process.communicate, None, 30)
    finally:
        stack.down()
        stack.remove()
        shutil.rmtree(stack.path.parent.parent, ignore_errors=True)


@pytest.mark.parametrize(
    ("name", "project", "said"),
    [
        ("Bad Name", SOME_PROJECT, "a name is"),
        ("-x", SOME_PROJECT, "-x"),
        ("x" * 41, SOME_PROJECT, "a name is"),
        ("x.>", SOME_PROJECT, "a name is"),
        ("fine", "my-project", "by its id"),
        ("fine", "*", "by its id"),
        ("fine", SOME_PROJECT.upper(), "by its id"),
    ],
)
def test_names_and_projects_that_are_none(stack: Stack, name: str, project: str, said: str) -> None:
    done = stack.run("publisher", "create", name, "--project", project)
    assert done.returncode != 0
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_name_is_given_once(stack: Stack) -> None:
    made = create(stack)
    again = stack.run("publisher", "create", made.name, "--project", made.project)
    assert (again.returncode, "delete it first" in again.stderr) == (1, True)


def test_for_people(stack: Stack) -> None:
    made = create(stack)
    name = f"{made.name}-2"
    done = stack.run("publisher", "create", name, "--project", made.project)
    assert done.stdout.splitlines()[1:] == [
        f"publish to   ext.{made.project}.<type>",
        f"inbox prefix _INBOX.publisher-{name}",
    ]
    assert done.stdout.startswith(f"NATS_URL=nats://publisher-{name}:")
    shown = stack.run("publisher", "list").stdout
    assert name in shown
    assert "nats://" not in shown


def test_for_containers(tmp_path: Path) -> None:
    stack = Stack(tmp_path / "unused")
    folder = tmp_path / "credentials"
    missing = stack.run("publisher", "list", "--dir", str(folder))
    assert (missing.returncode, "is missing" in missing.stderr) == (1, True)
    for shared, mode in (([], 0o600), (["--shared"], 0o644)):
        where = folder / str(mode)
        assert stack.run("credentials", "--dir", str(where), *shared).returncode == 0
        made = create(stack, None, "--dir", str(where))
        assert made.url.endswith("@nats:4222")
        secrets, config = where / "provision" / "secrets.json", where / "nats" / "nats.conf"
        for file in (secrets, config):
            assert f"{made.name}" in file.read_text(encoding="utf-8")
            assert stat.S_IMODE(file.stat().st_mode) == mode
        assert stat.S_IMODE(secrets.parent.stat().st_mode) == (0o755 if shared else 0o700)
        before = config.read_text(encoding="utf-8")
        assert 'listen: "0.0.0.0:4222"' in before
        assert stack.run("credentials", "--dir", str(where), *shared).returncode == 0
        assert config.read_text(encoding="utf-8") == before, "who may publish stays"
        assert stack.run("publisher", "delete", made.name, "--dir", str(where)).returncode == 0
        assert made.name not in config.read_text(encoding="utf-8")


def test_where_nats_is_somebody_elses(tmp_path: Path) -> None:
    stack = Stack(tmp_path / "home")
    (stack.home.credentials / "operator").mkdir(parents=True)
    (stack.home.credentials / "operator" / "nats-url").write_text("nats://u:p@elsewhere:4222")
    (stack.home.credentials / "secrets.json").write_text(
        json.dumps({"secret_key": "x", "admin_password": "x", "passwords": {}})
    )
    done = stack.run("publisher", "create", "x", "--project", str(uuid.uuid4()))
    assert done.returncode == 1
    assert "somebody else" in done.stderr
    assert "publishers" not in (stack.home.credentials / "secrets.json").read_text()


async def test_nobody_answers_for_it(stack: Stack) -> None:
    """What it asks into the void is told at once."""
    made = create(stack)
    async with connected(made) as client:
        with pytest.raises((NoRespondersError, NatsError)):
            await client.request("ext.nobody", b"", timeout=2)
