"""What nobody comes back for ends, and what has ended is forgotten; nothing before its time."""

import time
import uuid
from typing import Any

import pytest

from signalbox_common.keys import uuid7
from tests.support.installation import Installation
from tests.support.sandboxes import SANDBOXES, SandboxScene, sandboxes_of

pytestmark = pytest.mark.usefixtures("patient")

KEPT = 30
"""Days that a record, or a paused sandbox, is kept."""


async def test_what_is_over_for_long_is_forgotten_and_what_is_paused_for_long_ends(
    shared_installation: Installation,
) -> None:
    async with sandboxes_of(shared_installation) as scene, scene.service() as service:
        gone, ended, left, paused, running = [await scene.create() for _ in range(5)]
        for each in (gone, ended):
            await scene.change(each["id"], "destroy")
        for each in (left, paused):
            await scene.change(each["id"], "pause")
        for each in (gone, left, running):
            await _age(scene, each, days=KEPT + 1)
        for each in (ended, paused):
            await _age(scene, each, days=KEPT - 1)
        async with service.database.transaction() as transaction:
            await service.tidy(transaction)
        assert (await scene.until(left["id"], "destroyed"))["reason"] == "destroyed"
        await scene.nothing_is_left(left["id"])
        found = await scene.http.get(f"{SANDBOXES}/{gone['id']}", headers=scene.headers)
        assert (found.status_code, found.json()["code"]) == (404, "sandbox_not_found")
        now = [(await scene.get(each["id"]))["status"] for each in (ended, paused, running)]
        assert now == ["destroyed", "paused", "running"]
        for each in (paused, running):
            await scene.change(each["id"], "destroy")


async def test_environments_of_nobody_are_forgotten(shared_installation: Installation) -> None:
    """Not those of sandboxes that live, nor what belongs to one that is about to be made."""
    async with sandboxes_of(shared_installation) as scene, scene.service() as service:
        made = [await scene.create(env={"KEY": "value"}) for _ in range(3)]
        old = uuid.UUID(bytes=int((time.time() - 7200) * 1000).to_bytes(6, "big") + uuid7().bytes[6:])
        fresh, living = uuid7(), uuid.UUID(made[2]["id"])
        async with scene.installation.sql() as connection:
            for sandbox, now in zip(made, (old, fresh), strict=False):
                await connection.execute(
                    "update sandbox.secrets set name = $1 where name = $2",
                    _name(now),
                    _name(uuid.UUID(sandbox["id"])),
                )
            async with service.database.transaction() as transaction:
                await service.tidy(transaction)
            rows = await connection.fetch(
                "select name from sandbox.secrets where name = any($1)", [*map(_name, (old, fresh, living))]
            )
            assert {row[0] for row in rows} == {_name(fresh), _name(living)}
            await connection.execute("delete from sandbox.secrets where name = $1", _name(fresh))
        for each in made:
            await scene.change(each["id"], "destroy")


def _name(sandbox: uuid.UUID) -> str:
    return f"sandboxes/{sandbox.hex}"


async def _age(scene: SandboxScene, sandbox: Any, *, days: int) -> None:
    async with scene.installation.sql() as connection:
        await connection.execute(
            "update sandbox.sandboxes set since = since - $1 * interval '1 day' where id = $2",
            days,
            uuid.UUID(sandbox["id"]),
        )
