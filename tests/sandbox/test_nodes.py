"""Where sandboxes are: nodes that are full, without their service, or gone."""

import asyncio
import time
from pathlib import Path

import pytest

from signalbox_common.secrets import KeyFile, LocalSecrets
from signalbox_common.testing import eventually
from signalbox_sandbox.runtime.base import SandboxPlan
from signalbox_sandbox.runtime.bubblewrap import BubblewrapRuntime
from signalbox_sandbox.service.news import News
from signalbox_sandbox.work.observer import Observer
from signalbox_sandbox.work.records import Records
from tests.support.installation import Installation
from tests.support.node import is_gone
from tests.support.sandboxes import node_of, sandboxes_of

pytestmark = pytest.mark.usefixtures("patient")


async def test_with_no_service_alive_its_keeper_ends_it(installation: Installation) -> None:
    async with sandboxes_of(installation) as scene:
        async with scene.service():
            made = await scene.create(timeout=1)
            paused = await scene.create(timeout=1, atEnd="pause")
            keepers = [await scene.keeper(each["id"]) for each in (made, paused)]

        async def ended() -> bool:
            return all(map(is_gone, keepers))

        await eventually(ended, within=10, what="their keepers have ended")
        async with scene.service():
            assert (await scene.until(made["id"], "destroyed"))["reason"] == "deadline"
            assert (await scene.until(paused["id"], "paused"))["reason"] == "deadline"
            await scene.nothing_is_left(made["id"])
            assert (await scene.change(paused["id"], "resume"))["status"] == "running"
            await scene.change(paused["id"], "destroy")


async def test_without_room_it_waits_until_there_is_some(installation: Installation) -> None:
    async with sandboxes_of(installation) as scene, scene.service(sandbox_capacity=1):
        first = await scene.create()
        second = await scene.create(status=202)
        assert second["status"] == "creating"
        await scene.change(first["id"], "destroy")
        await scene.until(second["id"], "running")
        await scene.change(second["id"], "destroy")
        await scene.nothing_is_left()


async def test_without_room_for_too_long_it_has_failed(installation: Installation) -> None:
    async with sandboxes_of(installation) as scene, scene.service(sandbox_capacity=1, sandbox_wait=0.5):
        first = await scene.create()
        second = await scene.create()
        assert (second["status"], second["reason"]) == ("failed", "no_capacity")
        await scene.change(first["id"], "destroy")


async def test_a_node_without_service_is_lost_and_clears_up_when_it_comes_back(
    installation: Installation,
) -> None:
    async with sandboxes_of(installation) as scene, node_of() as other:
        process = scene.process(other, other.folder.with_suffix(".service.log"))
        await process.start()
        try:
            made, paused = await scene.create(env={"KEY": "secret"}), await scene.create()
            await scene.change(paused["id"], "pause")
            assert await installation.count("sandbox.secrets") == 1
            process.kill()
            since = time.monotonic()
            async with scene.service():
                assert (await scene.until(made["id"], "lost"))["reason"] == "node_lost"
                assert time.monotonic() - since < 10 + 2

                async def forgotten() -> bool:
                    return await installation.count("sandbox.secrets") == 0

                await eventually(forgotten, what="the environment of what was lost is forgotten")
                assert (await scene.get(paused["id"]))["status"] == "paused"
                here = await scene.create()
                assert here["node"] != made["node"]
                await process.start()

                async def cleared() -> bool:
                    return not (other.folder / made["id"]).exists()

                await eventually(cleared, what="what was lost is cleared away")

                async def only_the_living() -> bool:
                    return await installation.count("sandbox.instances") == 2

                await eventually(only_the_living, what="the dead instance is forgotten")
                assert (await scene.change(paused["id"], "resume"))["status"] == "running"
                for each in (here, paused):
                    await scene.change(each["id"], "destroy")
        finally:
            await process.stop()


async def test_what_others_gave_up_meanwhile_is_begun_anew(
    installation: Installation, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A node that was so slow that others took it for lost: what it has seen before counts no more."""
    begun, goes_on = asyncio.Event(), asyncio.Event()
    begin = BubblewrapRuntime.begin

    async def slowly(runtime: BubblewrapRuntime, plan: SandboxPlan) -> None:
        await begin(runtime, plan)
        if plan.epoch == 1:
            begun.set()
            await goes_on.wait()

    monkeypatch.setattr(BubblewrapRuntime, "begin", slowly)
    async with sandboxes_of(installation) as scene, scene.service() as service:
        creating = asyncio.create_task(scene.create(status=202))
        await begun.wait()
        made = await creating
        assert made["node"] is not None
        records = Records(LocalSecrets(service.database, KeyFile(tmp_path / "keys", "key")), News())
        other = Observer(service.database, service.work, records, node="another", instance="another-one")
        await other.give_up(made["node"])
        goes_on.set()
        await scene.until(made["id"], "running")
        assert (await scene.node.keepers.of(made["id"]).ask("status"))["epoch"] == 2
        await other.give_up(made["node"])
        assert (await scene.until(made["id"], "lost"))["reason"] == "node_lost"
        await scene.nothing_is_left(made["id"])
