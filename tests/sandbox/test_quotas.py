"""A project has as many sandboxes at a time as its quota says, however many are asked for at once."""

import os
import signal
import uuid
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from signalbox_common.testing import eventually
from tests.support.installation import Installation
from tests.support.quotas import crowd, set_quotas
from tests.support.sandboxes import SANDBOXES, SandboxScene, sandboxes_of

pytestmark = pytest.mark.usefixtures("patient")

MOST = 3


@pytest.fixture(scope="module")
async def scene(shared_installation: Installation) -> AsyncIterator[SandboxScene]:
    """With two instances of the service."""
    async with sandboxes_of(shared_installation) as scene, scene.service(), scene.service():
        await scene.with_api_token()
        yield scene


async def limited(scene: SandboxScene, project: str | None = None, **limits: Any) -> str:
    project = project or await scene.http.project(scene.headers)
    await set_quotas(scene.http, scene.installation, project, "sandbox", **limits)
    return project


def asking(scene: SandboxScene, project: str, **more: str) -> Any:
    async def ask() -> httpx.Response:
        body = {"projectId": project, "env": {"A": "1"}}
        return await scene.http.post(SANDBOXES, json=body, headers=scene.headers | more)

    return ask


async def living(scene: SandboxScene, project: str) -> int:
    async with scene.installation.sql() as sql:
        return int(
            await sql.fetchval(
                "select count(*) from sandbox.sandboxes where project_id = $1 "
                "and status in ('creating', 'running', 'paused')",
                uuid.UUID(project),
            )
        )


async def test_a_crowd_gets_as_many_as_there_is_room_for(scene: SandboxScene) -> None:
    """A paused one counts; one that has ended does not; a lower bound breaks nothing."""
    project = await limited(scene, liveSandboxes=MOST)
    given = await crowd(100, asking(scene, project))
    assert len(given) == MOST == await living(scene, project)
    refused = (await asking(scene, project)()).json()
    assert refused["detail"] == "The project has a quota of 3 for liveSandboxes, and 3 are used."
    assert refused["errors"][0]["field"] == "liveSandboxes"
    await scene.change(given[0]["id"], "pause")
    assert await crowd(2, asking(scene, project)) == []
    await scene.change(given[1]["id"], "destroy")
    (another,) = await crowd(10, asking(scene, project))
    await limited(scene, project, liveSandboxes=1)
    await scene.change(given[0]["id"], "resume")
    assert await scene.said(given[2]["id"], "echo well") == "well\n"
    assert await crowd(2, asking(scene, project)) == []
    for each in (given[0], given[2], another):
        await scene.change(each["id"], "destroy")
    (last,) = await crowd(5, asking(scene, project))
    await limited(scene, project)
    (free,) = await crowd(1, asking(scene, project))
    for each in (last, free):
        await scene.change(each["id"], "destroy")


async def test_what_is_refused_leaves_nothing(scene: SandboxScene) -> None:
    """No secret is kept; and under the same key it is made, once there is room."""
    project = await limited(scene, liveSandboxes=0)
    ask = asking(scene, project, **{"Idempotency-Key": uuid.uuid4().hex})
    before = await scene.installation.count("sandbox.secrets")
    assert await crowd(1, ask) == []
    assert await scene.installation.count("sandbox.secrets") == before
    await limited(scene, project, liveSandboxes=1)
    (made,) = await crowd(1, ask)
    (same,) = await crowd(1, ask)
    assert same["id"] == made["id"]
    await scene.change(made["id"], "destroy")


async def test_one_that_is_lost_gives_back_its_place(scene: SandboxScene) -> None:
    project = await limited(scene, liveSandboxes=1)
    (made,) = await crowd(5, asking(scene, project))
    os.kill(await scene.keeper(made["id"]), signal.SIGKILL)
    await scene.until(made["id"], "lost")

    async def room() -> Any:
        return await crowd(1, asking(scene, project))

    (another,) = await eventually(room, what="there is room again")
    await scene.change(another["id"], "destroy")


async def test_a_template_is_kept_where_there_is_storage(scene: SandboxScene) -> None:
    project = await limited(scene, storageBytes=0)
    made = await scene.create(projectId=project, builds=True)
    path = f"{SANDBOXES}/{made['id']}/template"
    refused = await scene.http.post(path, json={"name": "tools"}, headers=scene.headers)
    assert (refused.status_code, refused.json()["code"]) == (429, "quota_exceeded")
    assert refused.json()["errors"][0]["field"] == "storageBytes"
    await limited(scene, project, storageBytes=1_000_000)
    kept = await scene.http.post(path, json={"name": "tools"}, headers=scene.headers)
    assert kept.status_code == 201, kept.text
    await scene.change(made["id"], "destroy")
