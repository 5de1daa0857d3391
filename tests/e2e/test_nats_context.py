"""The context that `signalbox nats-context` writes for the stock tool, proved by connecting with it."""

import asyncio
import json
import stat
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import nats
import pytest
from nats.aio.client import Client
from nats.js.api import DeliverPolicy

from signalbox_common.testing import eventually
from tests.support.installation import Http
from tests.support.stack import Stack

KNOWN = {"description", "url", "user", "password", "inbox_prefix"}
"""Fields of a context that the tool has and that we fill; it ignores none of them."""


@pytest.fixture
def context(stack: Stack, tmp_path: Path) -> dict[str, str]:
    env = {**stack.env, "XDG_CONFIG_HOME": str(tmp_path)}
    done = Stack(stack.path, env=env).run("nats-context", "--select")
    assert done.returncode == 0, done.stderr
    file = tmp_path / "nats" / "context" / "signalbox.json"
    assert str(file) in done.stdout
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert (tmp_path / "nats" / "context.txt").read_text() == "signalbox"
    told: dict[str, str] = json.loads(file.read_text(encoding="utf-8"))
    assert set(told) == KNOWN
    assert told["password"] not in done.stdout
    return told


@asynccontextmanager
async def connected(context: dict[str, str], refused: list[str]) -> AsyncIterator[Client]:
    async def note(error: Exception) -> None:
        refused.append(str(error))

    client = await nats.connect(
        context["url"],
        user=context["user"],
        password=context["password"],
        inbox_prefix=context["inbox_prefix"],
        allow_reconnect=False,
        error_cb=note,
    )
    try:
        yield client
    finally:
        await client.close()
        await asyncio.sleep(0)  # nats-py does not wait until its transport is closed


async def test_what_an_operator_may(stack: Stack, context: dict[str, str]) -> None:
    refused: list[str] = []
    async with connected(context, refused) as client, stack.client() as http:
        subscription = await client.subscribe("evt.>")
        await client.flush()
        me = await Http(http, None).sign_up()  # type: ignore[arg-type]  # nothing here looks inside
        message = await subscription.next_msg(timeout=10)
        assert message.subject.startswith("evt.")
        jetstream = client.jetstream()
        info = await jetstream.stream_info("EVENTS")
        assert info.state.messages > 0
        assert "EVENTS" in [each.config.name for each in await jetstream.streams_info()]
        got = await jetstream.get_msg("EVENTS", info.state.last_seq, direct=True)
        assert str(got.subject).startswith("evt.")
        ordered = await jetstream.subscribe(
            "evt.>", stream="EVENTS", ordered_consumer=True, deliver_policy=DeliverPolicy.ALL
        )
        first = await ordered.next_msg(timeout=10)
        assert first.metadata.sequence.consumer == 1
        assert me
    assert refused == []


async def test_what_an_operator_may_not(stack: Stack, context: dict[str, str]) -> None:
    before = stack.status()["streams"]
    forbidden = [
        f"evt.{uuid.uuid4()}.tasks.task.created",
        "evt._.auth.user.registered",
        "ext.x.y",
        "rvk._.auth.access.revoked",
        "cmd.auth.v1.create-project",
        "$KV.grant-keys.x",
        "$O.packages.M.x",
        "$JS.API.STREAM.DELETE.EVENTS",
        "$JS.API.STREAM.PURGE.EVENTS",
        "$JS.API.STREAM.UPDATE.EVENTS",
        "$JS.API.STREAM.MSG.DELETE.EVENTS",
        "$JS.API.STREAM.CREATE.X",
        "$JS.API.CONSUMER.CREATE.COMMANDS.x.cmd.>",
        "$JS.API.CONSUMER.DELETE.COMMANDS.auth-v1-create-project",
        "$JS.API.CONSUMER.MSG.NEXT.COMMANDS.auth-v1-create-project",
    ]
    wanted = ["cmd.>", "ask.>", "qry.>", "_INBOX.gateway.>", "_INBOX.>", ">", "$KV.>"]
    refused: list[str] = []
    async with connected(context, refused) as client:
        for subject in forbidden:
            await client.publish(subject, b"{}")
        for subject in wanted:
            await client.subscribe(subject)
        await client.flush()

        async def all_refused() -> bool:
            return len(refused) >= len(forbidden) + len(wanted)

        await eventually(all_refused)
    told = " ".join(refused).lower()
    assert [subject for subject in forbidden if f'publish to "{subject}"'.lower() not in told] == []
    assert [subject for subject in wanted if f'subscription to "{subject}"'.lower() not in told] == []
    assert [each["name"] for each in stack.status()["streams"]] == [each["name"] for each in before]


@pytest.mark.parametrize("name", ["", "..", "a/b", "a b", "x" * 65])
def test_names_that_are_none(stack: Stack, tmp_path: Path, name: str) -> None:
    done = stack.run("nats-context", "--name", name, "--dir", str(tmp_path))
    assert done.returncode == 1
    assert "no name of a context" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_where_it_cannot_be_written(stack: Stack, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = stack.run("nats-context", "--dir", str(tmp_path / "file"))
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
