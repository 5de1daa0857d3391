"""The keys of resources: for tasks alone, under a run's delegation, as they are now, and written down."""

import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
from pydantic import SecretStr

from signalbox_common.bus import Bus, Envelope
from signalbox_common.contracts import auth
from signalbox_common.contracts.catalog import RevealKeys
from signalbox_common.errors import SignalboxError
from signalbox_common.keys import uuid7
from signalbox_common.testing import eventually
from tests.support.catalog import Catalog, catalog_of
from tests.support.factories import document
from tests.support.installation import Installation
from tests.support.sealed import API_KEY, applied, model

KEY = "sk-ForTasksAlone01"
VERB = "catalog.reveal"


@dataclass
class Scene:
    """Somebody with a model that has a key, and the buses of the services."""

    catalog: Catalog
    gateway: Bus
    tasks: Bus
    uid: uuid.UUID
    namespace: str

    async def grant_of(
        self, catalog: Catalog, service: Bus, name: str = "tasks", verbs: tuple[str, ...] = (VERB,)
    ) -> str:
        """What a run of that person gets for the catalog."""
        token = SecretStr(catalog.headers["Authorization"].removeprefix("Bearer "))
        where = auth.GetGrant(token=token, audience=name, namespace="default")
        proof = (await self.gateway.query(where)).value().grant
        asked = auth.Delegate(service=name, proof=SecretStr(proof), run="run-1", verbs=verbs)
        secret = (await service.ask(asked, Envelope(uuid7(), "digest"))).value().delegation
        wanted = auth.DelegatedGrant(delegation=SecretStr(secret), audience="catalog")
        return (await service.query(wanted)).value().grant

    def asked(self, **changes: Any) -> RevealKeys:
        given: dict[str, Any] = {
            "namespace": self.namespace,
            "plural": "models",
            "name": "secret-model",
            "uid": self.uid,
            "pointers": (API_KEY,),
        }
        return RevealKeys(**(given | changes))

    async def reveal(self, grant: str | None, by: Bus | None = None, **changes: Any) -> dict[str, Any]:
        answer = await (by or self.tasks).ask(self.asked(**changes), Envelope(uuid7(), "digest", grant))
        return answer.value().values.get_secret_value()


@pytest.fixture
async def scene(installation: Installation) -> AsyncIterator[Scene]:
    async with (
        catalog_of(installation) as catalog,
        installation.bus() as gateway,
        installation.bus("tasks") as tasks,
    ):
        await applied(catalog, document("Model", "secret-model", model(KEY)))
        metadata = (await catalog.get("models/secret-model"))["metadata"]
        yield Scene(catalog, gateway, tasks, uuid.UUID(metadata["uid"]), metadata["namespace"])


async def lines(scene: Scene) -> list[dict[str, Any]]:
    project = (await scene.catalog.http.get("/api/v1/projects", headers=scene.catalog.headers)).json()[
        "items"
    ][0]
    page = await scene.catalog.http.get(
        f"/api/v1/projects/{project['id']}/audit?action={VERB}", headers=scene.catalog.headers
    )
    found: list[dict[str, Any]] = page.json()["items"]
    return found


async def test_a_run_gets_the_keys_as_they_are_now(scene: Scene) -> None:
    grant = await scene.grant_of(scene.catalog, scene.tasks)
    assert await scene.reveal(grant) == {API_KEY: KEY}
    await applied(scene.catalog, document("Model", "secret-model", model(f"{KEY}-new")))
    assert await scene.reveal(grant) == {API_KEY: f"{KEY}-new"}

    async def both() -> bool:
        return len(await lines(scene)) == 2

    await eventually(both, what="each time is written down")
    for line in await lines(scene):
        assert (line["outcome"], line["act"]) == ("succeeded", "tasks")
        assert "secret-model" in line["resource"]


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"uid": uuid.UUID(int=7)}, "resource_not_found"),
        ({"name": "another"}, "resource_not_found"),
        ({"plural": "nothings"}, "kind_not_found"),
        ({"namespace": "of-somebody-else"}, "resource_not_found"),
        ({"pointers": ("/modelConfig/env/model",)}, "key_not_found"),
        ({"pointers": (API_KEY, "/nowhere")}, "key_not_found"),
    ],
)
async def test_what_is_no_key_of_that_resource(scene: Scene, changes: dict[str, Any], code: str) -> None:
    grant = await scene.grant_of(scene.catalog, scene.tasks)
    with pytest.raises(SignalboxError) as refused:
        await scene.reveal(grant, **changes)
    assert refused.value.code == code


async def test_nobody_else_is_answered(installation: Installation, scene: Scene) -> None:
    """The gateway, git, sandbox and an operator may not even ask; and no other grant is good for it."""
    token = SecretStr(scene.catalog.headers["Authorization"].removeprefix("Bearer "))
    own = (
        await scene.gateway.query(auth.GetGrant(token=token, audience="catalog", namespace="default"))
    ).value()
    run = await scene.grant_of(scene.catalog, scene.tasks)
    for name in ("gateway", "git", "sandbox"):
        async with installation.bus(name) as bus:
            for grant in (own.grant, run):
                with pytest.raises(SignalboxError) as unheard:
                    await scene.reveal(grant, bus)
                assert unheard.value.status in (503, 504)
    with pytest.raises(TimeoutError):
        async with installation.nats("operator") as client:
            await client.request(RevealKeys.subject, scene.asked().encode(), timeout=0.5)
    async with installation.bus("git") as git:
        of_git = await scene.grant_of(scene.catalog, git, "git")
    other_verbs = await scene.grant_of(scene.catalog, scene.tasks, verbs=("catalog.resolve",))
    for grant, code in ((own.grant, "reserved"), (of_git, "reserved"), (other_verbs, "not_delegated")):
        with pytest.raises(SignalboxError) as refused:
            await scene.reveal(grant)
        assert refused.value.code == code
    with pytest.raises(SignalboxError) as anonymous:
        await scene.reveal(None)
    assert anonymous.value.status == 401

    async def written() -> bool:
        found = [line["code"] for line in await lines(scene)]
        return sorted(found) == ["not_delegated", "reserved", "reserved"]

    await eventually(written)


@pytest.mark.parametrize(("role", "good"), [("viewer", False), ("developer", True)])
async def test_another_project_opens_to_its_developers(
    installation: Installation, scene: Scene, role: str, good: bool
) -> None:
    """A run in one's own project refers to a model of another one."""
    http = scene.catalog.http
    project = (await http.get("/api/v1/projects", headers=scene.catalog.headers)).json()["items"][0]
    other = await http.sign_up()
    name = (await http.me(other))["username"]
    added = await http.post(
        f"/api/v1/projects/{project['id']}/members",
        json={"username": name, "role": role},
        headers=scene.catalog.headers,
    )
    assert added.status_code in (201, 202), added.text
    theirs = Catalog(http, scene.catalog.service, other, name)
    grant = await scene.grant_of(theirs, scene.tasks)
    if good:
        assert await scene.reveal(grant) == {API_KEY: KEY}
    else:
        with pytest.raises(SignalboxError) as refused:
            await scene.reveal(grant)
        assert refused.value.code == "resource_not_found"
