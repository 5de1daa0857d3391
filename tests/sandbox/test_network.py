"""The network of sandboxes, as their owners ask for it and hear of it."""

import json
import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest

from signalbox_common.dataplane.frames import FrameKind
from signalbox_common.testing import eventually
from signalbox_sandbox.keeper.egress import PROXY_PORT
from signalbox_sandbox.work import egress
from tests.support.egress import Outside
from tests.support.installation import Installation
from tests.support.node import killed
from tests.support.sandboxes import SANDBOXES, SandboxScene, sandboxes_of

pytestmark = pytest.mark.usefixtures("patient")

CURL = "curl -sS -m 10 --noproxy '' -o /dev/null -w %{{http_code}} http://127.0.0.1:{port}/"


@pytest.fixture(scope="module")
async def scene(shared_installation: Installation) -> AsyncIterator[SandboxScene]:
    async with sandboxes_of(shared_installation) as scene:
        await scene.node.start_egress(SIGNALBOX_PRIVATE_HOSTS="127.0.0.1")
        async with scene.service():
            yield scene


@pytest.fixture
async def outside() -> AsyncIterator[Outside]:
    async with Outside() as found:
        yield found


async def told_of(scene: SandboxScene, sandbox: str, count: int) -> list[Any]:
    async def enough() -> list[Any]:
        messages = await scene.installation.messages("EVENTS", "evt.*.sandbox.sandbox.connected")
        found = [message for message in messages if json.loads(message.data)["sandbox"] == sandbox]
        assert len(found) >= count
        return found

    return await eventually(enough, what="connections are told")


async def test_what_is_allowed_is_reached_and_told(scene: SandboxScene, outside: Outside) -> None:
    network = {"allow": [f"127.0.0.1:{outside.port}", "Example.COM."]}
    made = await scene.create(network=network, doors=[{"name": "echo", "port": 5000, "target": "echo"}])
    identifier = made["id"]
    assert made["network"] == {"allow": [f"127.0.0.1:{outside.port}", "example.com"]}
    assert made["doors"] == [{"name": "echo", "port": 5000, "target": "echo"}]
    curl = CURL.format(port=outside.port)
    assert await scene.said(identifier, curl) == "200"
    spoken = "exec 3<>/dev/tcp/127.0.0.1/5000; echo hello >&3; head -n 1 <&3"
    assert await scene.said(identifier, f"bash -c '{spoken}'") == "hello\n"
    first, second = await told_of(scene, identifier, 2)
    said = json.loads(first.data)
    assert (said["host"], said["port"], said["verdict"]) == ("127.0.0.1", outside.port, "allowed")
    assert said["sent"] > 0
    assert first.subject.split(".")[1] == scene.project
    assert first.headers["Nats-TTL"] == f"{egress.KEPT}s"
    assert json.loads(second.data)["kind"] == "echo"
    changed = await scene.change(identifier, "network", network="none")
    assert changed["network"] == "none"
    assert await scene.said(identifier, curl + " -x http://127.0.0.1:3128") == "403"
    changed = await scene.change(identifier, "network", network=network)
    assert changed["network"] == made["network"]
    assert await scene.said(identifier, curl) == "200"
    states = [fact["state"] for fact in await scene.facts(identifier)]
    assert states == ["creating", *["running"] * 3], "each change is told"


async def test_it_holds_after_a_pause_too(scene: SandboxScene, outside: Outside) -> None:
    """Set while it is paused, with its keeper, and without."""
    curl = CURL.format(port=outside.port) + " -x http://127.0.0.1:3128"
    made = await scene.create(network="none")
    await scene.change(made["id"], "pause")
    await scene.change(made["id"], "network", network={"allow": [f"127.0.0.1:{outside.port}"]})
    await scene.change(made["id"], "resume")
    assert await scene.said(made["id"], curl) == "200"
    await scene.change(made["id"], "pause")
    await killed(await scene.keeper(made["id"]))
    await scene.change(made["id"], "network", network={"allow": ["example.com"]})
    await scene.change(made["id"], "resume")
    assert await scene.said(made["id"], curl) == "403"


@pytest.mark.fresh
async def test_a_node_that_says_nothing_reaches_nobody(
    installation: Installation, outside: Outside, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its programs go on without the service, and without a network."""
    monkeypatch.setattr(egress, "LEASE", 1.5)
    async with sandboxes_of(installation) as scene:
        await scene.node.start_egress(SIGNALBOX_PRIVATE_HOSTS="127.0.0.1")
        async with scene.service() as service:
            made = await scene.create(network={"allow": [f"127.0.0.1:{outside.port}"]})
            assert service.health.degraded_by["egress"]() is None
        client = scene.node.keepers.of(made["id"])

        async def code() -> str:
            key = uuid.uuid4().hex
            await client.start(key, ["sh", "-c", CURL.format(port=outside.port) + " || true"])
            frames = [frame async for frame in client.frames(key)]
            return b"".join(each.content for each in frames if each.kind is FrameKind.STDOUT).decode()

        async def is_cut() -> bool:
            return await code() == "000"

        async def is_back() -> bool:
            return await code() == "200"

        await eventually(is_cut, what="nothing goes out")
        async with scene.service():
            await eventually(is_back, what="the node is alive again")


async def test_a_role_that_died_is_found_again(scene: SandboxScene, outside: Outside) -> None:
    made = await scene.create(network={"allow": [f"127.0.0.1:{outside.port}"]})
    curl = CURL.format(port=outside.port)
    assert await scene.said(made["id"], curl) == "200"
    scene.node.kill_egress()
    assert (await scene.exec(made["id"], curl))["exitCode"] != 0
    await scene.node.start_egress(SIGNALBOX_PRIVATE_HOSTS="127.0.0.1")

    async def again() -> bool:
        return bool((await scene.exec(made["id"], curl))["stdout"] == "200")

    await eventually(again, what="the service has said that it is alive")


@pytest.mark.fresh
async def test_the_operator_says_how_much_may_be_asked_for(installation: Installation) -> None:
    async with sandboxes_of(installation) as scene, scene.service(sandbox_network="allow"):
        made = await scene.create(network={"allow": ["example.com"]})
        for refused in (
            await scene.create(network="public", status=403),
            await scene.change(made["id"], "network", network="public", status=403),
        ):
            assert refused["code"] == "network_not_allowed"
        assert (await scene.get(made["id"]))["network"] == {"allow": ["example.com"]}


@pytest.mark.parametrize(
    "bad",
    [
        {"network": "everything"},
        {"network": {"allow": []}},
        {"network": {"allow": ["https://example.com"]}},
        {"network": {"allow": ["example.com/path"]}},
        {"network": {"allow": ["*"]}},
        {"network": {"allow": ["*.*.example.com"]}},
        {"network": {"allow": ["2130706433"]}},
        {"network": {"allow": ["example.com:0"]}},
        {"network": {"allow": ["example.com:65536"]}},
        {"network": {"allow": ["a b"]}},
        {"network": {"allow": ["a.example"] * 201}},
        {"doors": [{"name": "a", "port": 80, "target": "echo"}]},
        {"doors": [{"name": "a", "port": PROXY_PORT, "target": "echo"}]},
        {"doors": [{"name": "a", "port": 5000, "target": "postgres"}]},
        {"doors": [{"name": "a", "port": port, "target": "echo"} for port in (5000, 5001)]},
        {"doors": [{"name": name, "port": 5000, "target": "echo"} for name in "ab"]},
        {"doors": [{"name": f"n{port}", "port": port, "target": "echo"} for port in range(5000, 5009)]},
    ],
)
async def test_what_says_nothing_is_refused(scene: SandboxScene, bad: dict[str, Any]) -> None:
    refused = await scene.create(status=422, **bad)
    assert refused["code"] == "validation_failed"
    assert refused["errors"][0]["field"].startswith(next(iter(bad)))


async def test_others_change_nothing(scene: SandboxScene) -> None:
    made = await scene.create()
    stranger = await scene.http.sign_up()
    answer = await scene.http.put(
        f"{SANDBOXES}/{made['id']}/network", json={"network": "public"}, headers=stranger
    )
    assert (answer.status_code, answer.json()["code"]) == (404, "sandbox_not_found")


async def test_what_was_asked_for_before_it_was_written_down_is_told(scene: SandboxScene) -> None:
    """Its keeper was begun by somebody who did not come to say so; meanwhile something else was wanted."""
    made = await scene.create(network="public")
    assert await scene.said(made["id"], "echo $http_proxy") == "http://127.0.0.1:3128\n"
    async with scene.installation.sql() as connection:
        await connection.execute(
            "update sandbox.sandboxes set status = 'creating', network = '{}', network_due = true, "
            "generation = generation + 1 where id = $1",
            uuid.UUID(made["id"]),
        )
    changed = await scene.change(made["id"], "timeout", timeout=600)
    assert (changed["status"], changed["network"]) == ("running", "none")
    assert await scene.said(made["id"], "env | grep -ci proxy || true") == "0\n"
