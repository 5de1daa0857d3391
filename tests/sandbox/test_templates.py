"""Templates: built once in a sandbox, kept as a layer that others read and nobody writes."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from signalbox_common.testing import eventually
from signalbox_sandbox import layers as module
from signalbox_sandbox.work import tidying
from tests.support.installation import Installation
from tests.support.node import killed
from tests.support.sandboxes import SANDBOXES, SandboxScene, sandboxes_of

pytestmark = pytest.mark.usefixtures("patient")

TEMPLATES = "/api/v1/templates"
INSTALL = (
    "mkdir -p /opt/template/bin && cd /opt/template/bin && "
    "printf '#!/bin/sh\\necho {}\\n' > tool && chmod 755 tool"
)


@pytest.fixture(scope="module")
async def scene(shared_installation: Installation) -> AsyncIterator[SandboxScene]:
    async with sandboxes_of(shared_installation) as scene, scene.service():
        yield scene


async def keep(scene: SandboxScene, sandbox: str, name: str, status: int = 201, **more: Any) -> Any:
    answer = await scene.http.post(
        f"{SANDBOXES}/{sandbox}/template", json={"name": name} | more, headers=scene.headers
    )
    assert answer.status_code == status, answer.text
    return answer.json()


async def built(scene: SandboxScene, name: str, says: str = "one", **more: Any) -> Any:
    made = await scene.create(builds=True)
    await scene.said(made["id"], INSTALL.format(says))
    return await keep(scene, made["id"], name, **more)


async def of(scene: SandboxScene, name: str, status: int = 200) -> Any:
    params = {"projectId": scene.project}
    found = await scene.http.get(f"{TEMPLATES}/{name}", params=params, headers=scene.headers)
    assert found.status_code == status, found.text
    return found.json()


async def delete(scene: SandboxScene, name: str) -> int:
    params = {"projectId": scene.project}
    return (await scene.http.delete(f"{TEMPLATES}/{name}", params=params, headers=scene.headers)).status_code


def layers(scene: SandboxScene) -> list[Path]:
    return list((scene.node.folder.parent / "templates" / scene.project).glob("[!.]*"))


async def test_what_was_built_once_is_in_all_that_are_made_of_it(scene: SandboxScene) -> None:
    digest = "ab" * 32
    kept = await built(scene, "tools", env={"FLAVOUR": "vanilla"}, digest=digest)
    assert (kept["name"], kept["digest"], kept["env"]) == ("tools", digest, {"FLAVOUR": "vanilla"})
    assert kept["sizeBytes"] > 0
    assert await of(scene, "tools") == kept
    one, other = [await scene.create(template="tools", env={"OWN": "1"}) for _ in range(2)]
    assert one["template"] == "tools"
    assert await scene.said(one["id"], "tool; echo $FLAVOUR $OWN") == "one\nvanilla 1\n"
    refused = await scene.exec(one["id"], "echo x > /opt/template/bin/tool; rm -rf /opt/template/bin; id -u")
    assert "Read-only" in refused["stderr"]
    chmod = await scene.exec(one["id"], "chmod 777 /opt/template/bin")
    assert chmod["exitCode"] != 0
    assert await scene.said(other["id"], "tool") == "one\n", "nobody has changed it for others"
    listed = await scene.http.get(TEMPLATES, params={"projectId": scene.project}, headers=scene.headers)
    names = [each["name"] for each in listed.json()["items"]]
    assert names[0] == "base"
    assert "tools" in names
    assert await of(scene, "base") == {
        **dict.fromkeys(("digest", "createdBy", "createdAt")),
        "name": "base",
        "env": {},
        "sizeBytes": 0,
    }


async def test_built_anew_it_is_another_for_those_that_come(scene: SandboxScene) -> None:
    await built(scene, "changing", "first")
    before = await scene.create(template="changing")
    await built(scene, "changing", "second")
    after = await scene.create(template="changing")
    assert await scene.said(before["id"], "tool") == "first\n"
    assert await scene.said(after["id"], "tool") == "second\n"
    # Begun anew after its keeper was killed, it still has what it was made of, also when that was deleted.
    await scene.change(before["id"], "pause")
    await killed(await scene.keeper(before["id"]))
    assert await delete(scene, "changing") == 204
    await scene.change(before["id"], "resume")
    assert await scene.said(before["id"], "tool") == "first\n"
    assert (await scene.create(template="changing", status=422))["code"] == "unknown_template"
    assert (await of(scene, "changing", 404))["code"] == "unknown_template"
    assert await delete(scene, "changing") == 404


async def test_it_belongs_to_its_project(scene: SandboxScene) -> None:
    await built(scene, "ours")
    stranger = await scene.http.sign_up()
    project = await scene.http.project(stranger)
    refused = await scene.http.post(
        SANDBOXES, json={"projectId": project, "template": "ours"}, headers=stranger
    )
    assert (refused.status_code, refused.json()["code"]) == (422, "unknown_template")
    for method in ("GET", "DELETE"):
        answer = await scene.http.request(
            method, f"{TEMPLATES}/ours", params={"projectId": scene.project}, headers=stranger
        )
        assert answer.status_code == 404
    made = await scene.create(builds=True)
    answer = await scene.http.post(
        f"{SANDBOXES}/{made['id']}/template", json={"name": "theirs"}, headers=stranger
    )
    assert answer.status_code == 404
    assert await scene.said(made["id"], "echo on") == "on\n"


async def test_what_cannot_be_kept(scene: SandboxScene) -> None:
    plain = await scene.create()
    assert (await scene.exec(plain["id"], "mkdir -p /opt/template"))["exitCode"] != 0
    assert (await keep(scene, plain["id"], "plain", 409))["code"] == "builds_nothing"
    builder = await scene.create(builds=True)
    assert (await keep(scene, builder["id"], "base", 422))["code"] == "template_reserved"
    assert (await keep(scene, builder["id"], "No Name", 422))["code"] == "validation_failed"
    assert (await keep(scene, str(uuid.uuid4()), "nowhere", 404))["code"] == "sandbox_not_found"
    await built(scene, "stacked")
    stacked = await scene.create(template="stacked", builds=True, status=422)
    assert stacked["code"] == "builds_on_base"
    await scene.change(builder["id"], "destroy")
    assert (await keep(scene, builder["id"], "late", 409))["code"] == "sandbox_ended"


async def test_a_tree_that_is_hard_to_walk_is_kept(scene: SandboxScene) -> None:
    """However deep it is, and whatever is closed in it."""
    made = await scene.create(builds=True)
    script = (
        "import os\nos.chdir('/opt/template')\n"
        "open('tool', 'w').write('found'); os.mkfifo('pipe'); os.mkdir('closed', 0)\n"
        "for _ in range(60):\n    os.mkdir('d' * 200); os.chdir('d' * 200)"
    )
    await scene.said(made["id"], f'python3 -c "{script}"')
    await keep(scene, made["id"], "deep")
    deep = await scene.create(template="deep")
    assert await scene.said(deep["id"], "cat /opt/template/tool") == "found"


async def test_asked_for_by_many_at_once_it_is_kept_once(scene: SandboxScene) -> None:
    made = await scene.create(builds=True)
    await scene.said(made["id"], INSTALL.format("once"))
    before = len(layers(scene))
    answers = await asyncio.gather(
        *(
            scene.http.post(
                f"{SANDBOXES}/{made['id']}/template", json={"name": "raced"}, headers=scene.headers
            )
            for _ in range(5)
        )
    )
    codes = sorted(answer.status_code for answer in answers)
    assert codes == [201, 409, 409, 409, 409]
    assert len(layers(scene)) == before + 1
    assert (await scene.get(made["id"]))["reason"] == "kept"
    await scene.nothing_is_left(made["id"])


async def test_a_service_that_dies_in_the_middle_keeps_it_once(
    scene: SandboxScene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The layer is there, and nothing is written down: the next look finds it done."""
    made = await scene.create(builds=True)
    await scene.said(made["id"], INSTALL.format("survivor"))
    before, real = len(layers(scene)), module.Layers.keep
    failed: list[int | None] = []

    async def dies(self: module.Layers, *arguments: Any) -> int | None:
        size = await real(self, *arguments)
        if not failed:
            failed.append(size)
            raise RuntimeError("cut off")
        return size

    monkeypatch.setattr(module.Layers, "keep", dies)
    kept = await keep(scene, made["id"], "survivor")
    assert failed == [kept["sizeBytes"]]
    assert len(layers(scene)) == before + 1
    again = await scene.create(template="survivor")
    assert await scene.said(again["id"], "tool") == "survivor\n"


@pytest.mark.fresh
async def test_what_nobody_has_any_more_goes_from_the_disk(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with sandboxes_of(installation) as scene, scene.service() as service:
        await built(scene, "gone")
        used = await scene.create(template="gone")
        assert await delete(scene, "gone") == 204
        monkeypatch.setattr(tidying, "_ABOUT_TO_BE_MADE", -1.0)

        async def tidied() -> None:
            async with service.database.transaction() as transaction:
                await service.tidy(transaction)

        await tidied()
        assert len(layers(scene)) == 1, "a sandbox is made of it"
        assert await scene.said(used["id"], "tool") == "one\n"
        await scene.change(used["id"], "destroy")

        async def gone() -> bool:
            await tidied()
            return layers(scene) == []

        await eventually(gone, what="the layer is removed")


@pytest.mark.fresh
async def test_those_of_a_deleted_project_go_after_a_while(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be restored until then."""
    async with sandboxes_of(installation) as scene, scene.service() as service:
        await built(scene, "kept")
        path = f"/api/v1/projects/{scene.project}"
        assert (await scene.http.delete(path, headers=scene.headers)).status_code in (200, 204)
        monkeypatch.setattr(tidying, "_ABOUT_TO_BE_MADE", -1.0)

        async def known() -> bool:
            return await scene.installation.count("sandbox.deleted_projects") == 1

        await eventually(known, what="the project is known to be deleted")

        async def tidied() -> None:
            async with service.database.transaction() as transaction:
                await service.tidy(transaction)

        await tidied()
        assert len(layers(scene)) == 1
        async with scene.installation.sql() as connection:
            await connection.execute(
                "update sandbox.deleted_projects set deleted_at = deleted_at - interval '31 days'"
            )

        async def gone() -> bool:
            await tidied()
            return layers(scene) == []

        await eventually(gone, what="its layers are removed")
