"""What tokens, delegations and grants open of two projects."""

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from signalbox_common.bus import Bus, Envelope
from signalbox_common.contracts import auth
from signalbox_common.contracts import catalog as contract
from signalbox_common.contracts.base import Ask, Query
from signalbox_common.errors import SignalboxError
from signalbox_common.keys import uuid7
from tests.security.scene import (
    ALPHA,
    BETA,
    Scene,
    bot,
    ghost,
    two_projects,
)
from tests.support.catalog import KINDS
from tests.support.factories import bearer
from tests.support.forgery import Signer, grant_claims
from tests.support.installation import Installation
from tests.support.pace import promptly

pytestmark = pytest.mark.fresh  # its people and projects have the same names in each test


@pytest.fixture
async def scene(installation: Installation) -> AsyncIterator[Scene]:
    async with two_projects(installation) as scene:
        yield scene


# -- tokens -----------------------------------------------------------------------------------------------
READS = ("GET /ghosts", "GET /ghosts/own", "GET /ghosts/own/resolved", "GET /ghosts/own/history", "GET ")
WRITES = (
    "POST /ghosts",
    "PUT /ghosts/own",
    "PATCH /ghosts/own",
    "DELETE /ghosts/nobody",
    "POST /ghosts/nobody/restore",
    "POST /ghosts/own/history/1/rollback",
    "APPLY",
    "DRY RUN",
    "PRUNE",
)


@pytest.mark.parametrize(
    ("scopes", "reads", "writes"),
    [
        (["catalog:read"], True, False),
        (["catalog:write"], True, True),
        (["catalog:*"], True, True),
        (["*"], True, True),
        (["projects:*", "auth:*", "audit:read", "users:read"], False, False),
        (["tasks:write"], False, False),
    ],
)
async def test_a_token_does_what_its_scopes_say(
    scene: Scene, subtests: pytest.Subtests, scopes: list[str], reads: bool, writes: bool
) -> None:
    await scene.good("alice", "POST", "ghosts", ghost("own"))
    body = {"name": "t", "scopes": scopes}
    made = await scene.http.post("/api/v1/auth/tokens", json=body, headers=scene.headers("alice"))
    assert made.status_code == 201, made.text
    headers = bearer(made.json()["token"])
    for allowed, routes in ((reads, READS), (writes, WRITES)):
        for route in routes:
            with subtests.test(route):
                answer = await _with_token(scene, route, headers)
                assert (answer.status_code == 403) is not allowed, answer.text
                if not allowed:
                    assert answer.json()["code"] == "insufficient_scope"


async def _with_token(scene: Scene, route: str, headers: dict[str, str]) -> httpx.Response:
    query = {"namespace": ALPHA}
    if " /" not in route and not route.startswith("GET"):
        more = {"DRY RUN": {"dryRun": "true"}, "PRUNE": {"prune": "true", "labelSelector": "no=no"}}
        return await scene.http.post(
            "/api/v1/apply",
            content=json.dumps(ghost("applied")),
            params=query | more.get(route, {}),
            headers=headers | {"Content-Type": "application/json"},
        )
    method, _, path = route.partition(" ")
    body = {"POST": ghost("new"), "PUT": ghost("own"), "PATCH": {}}.get(method)
    bare = path.count("/") > 2
    return await scene.http.request(
        method, f"{KINDS}{path}", json=None if bare else body, params=query if path else {}, headers=headers
    )


# -- delegations ------------------------------------------------------------------------------------------
DELEGATED = ("catalog.create", "catalog.apply", "catalog.resolve", "catalog.get", "catalog.list")


async def _ask(bus: Bus, ask: Ask[Any], grant: str) -> Any:
    return (await bus.ask(ask, Envelope(uuid7(), "digest", grant=grant))).value()


async def test_a_delegation_writes_in_its_project_alone(scene: Scene, subtests: pytest.Subtests) -> None:
    """Whatever else its person may do, and whatever they have at home; it reads what they may read."""
    await scene.good("writer", "POST", "bots", bot())
    async with scene.installation.bus() as gateway, scene.installation.bus("tasks") as tasks:
        proof = await scene.grant(gateway, "writer", audience="tasks")
        wanted = auth.Delegate(
            service="tasks", proof=SecretStr(proof), run="run", verbs=DELEGATED, role_needed="developer"
        )
        delegation = (await tasks.ask(wanted, Envelope(uuid7(), "digest"))).value().delegation
        question = auth.DelegatedGrant(delegation=SecretStr(delegation), audience="catalog")
        grant = (await tasks.query(question)).value().grant

        with subtests.test("its own project"):
            made = await _ask(gateway, _create("ghosts", ghost("delegated")), grant)
            assert made.metadata.namespace == ALPHA
        with subtests.test("a reference elsewhere"), pytest.raises(SignalboxError) as error:
            await _ask(gateway, _create("bots", bot("other")), grant)
        assert [flaw.code for flaw in error.value.errors] == ["reference_not_found"]
        for namespace in (BETA, "default", "writer", "gamma"):
            with subtests.test("apply elsewhere", namespace=namespace):
                apply = contract.Apply(text=SecretStr(json.dumps(ghost("x", namespace))), namespace=ALPHA)
                with pytest.raises(SignalboxError) as error:
                    await _ask(gateway, apply, grant)
                assert error.value.code == "project_not_found"
            with subtests.test("create elsewhere", namespace=namespace):
                with pytest.raises(SignalboxError) as error:
                    await _ask(gateway, _create("ghosts", ghost("x", namespace)), grant)
                assert error.value.errors[0].code == "wrong_namespace"
        with subtests.test("what lies behind a reference"):
            tree = (await gateway.query(_resolve("bots", "bot"), grant=grant)).value()
            assert isinstance(tree.root.references["ghostRef"], contract.ResourceTree)
        with subtests.test("another verb"), pytest.raises(SignalboxError) as error:
            await gateway.send(_delete("ghosts", "delegated"), Envelope(uuid7(), "digest", grant=grant))
        assert error.value.code == "not_delegated"
        with subtests.test("reading what is not in it"), pytest.raises(SignalboxError) as error:
            await gateway.query(contract.ListChanges(plural="ghosts", after="0"), grant=grant)
        assert error.value.code == "not_delegated"
        async with scene.installation.bus("catalog") as catalog:
            reached = await _reached(catalog, grant)
        assert reached.items() >= {ALPHA: ALPHA, BETA: BETA}.items()


def _create(plural: str, manifest: dict[str, Any]) -> Any:
    return contract.CreateResource(plural=plural, manifest=manifest)


def _resolve(plural: str, name: str) -> contract.ResolveResource:
    return contract.ResolveResource(plural=plural, name=name)


def _delete(plural: str, name: str) -> contract.DeleteResource:
    return contract.DeleteResource(plural=plural, name=name)


async def _reached(
    bus: Bus, proof: str, service: str = "catalog", names: tuple[str, ...] = (ALPHA, BETA, "default", "bob")
) -> dict[str, str]:
    """What auth says is open with that proof: how it was asked for, and how it is called."""
    question = auth.GetNamespaces(service=service, proof=SecretStr(proof), namespaces=names)
    return {item.namespace: item.slug for item in (await bus.query(question)).value().items}


# -- straight on the bus ----------------------------------------------------------------------------------


async def test_reach_believes_only_a_grant_for_the_very_service(
    scene: Scene, subtests: pytest.Subtests
) -> None:
    signer = Signer()
    await signer.publish(scene.installation)
    writer = scene.people["writer"]
    of_catalog = {"aud": "catalog", "ver": 99}
    async with scene.installation.bus() as gateway, scene.installation.bus("catalog") as catalog:
        good = await scene.grant(gateway, "writer")
        assert await _reached(catalog, good) == {ALPHA: ALPHA, BETA: BETA, "default": "writer"}
        person = await scene.grant(gateway, "writer", None)
        assert await _reached(catalog, person) == {ALPHA: ALPHA, BETA: BETA, "default": "writer"}
        assert await _reached(catalog, signer.grant(writer, of_catalog)), "the test signs soundly"
        for what, proof, service in (
            ("a grant for auth", await scene.grant(gateway, "writer", audience="auth"), "catalog"),
            ("a grant for tasks", await scene.grant(gateway, "writer", audience="tasks"), "catalog"),
            ("a grant for the catalog, as tasks", good, "tasks"),
            ("a grant for the catalog, as auth", good, "auth"),
            ("as a service that there is not", good, "gateway"),
            ("an access token", writer.access_token, "catalog"),
            ("nothing", "", "catalog"),
            ("expired", signer.grant(writer, of_catalog | {"exp": 1_000_000_000}), "catalog"),
            ("from tomorrow", signer.grant(writer, of_catalog | {"iat": 4_000_000_000}), "catalog"),
            ("of two services", signer.grant(writer, of_catalog | {"aud": ["auth", "catalog"]}), "catalog"),
            ("with another key", Signer("kother").grant(writer, of_catalog), "catalog"),
            ("of an older version of the user", signer.grant(writer, of_catalog | {"ver": 1}), "catalog"),
        ):
            with subtests.test(what), pytest.raises(SignalboxError) as error:
                await _reached(catalog, proof, service)
            assert error.value.status in (401, 403, 422, 503), what
        done = await scene.http.post("/api/v1/auth/logout", headers=writer.headers)
        assert done.status_code == 204

        async def refused() -> bool:
            try:
                await _reached(catalog, good)
            except SignalboxError as error:
                return error.status == 401
            return False

        await promptly(refused)


async def test_reach_answers_for_the_bearer_and_nobody_else(scene: Scene) -> None:
    """Names that are not open are left out, whether they are there or not."""
    async with scene.installation.bus() as gateway, scene.installation.bus("catalog") as catalog:
        grant = await scene.grant(gateway, "developer")
        names = (BETA, "gamma", "bob", "alice", "writer", ALPHA, "%", "_", "default", "' or 1=1 --")
        assert await _reached(catalog, grant, names=names) == {ALPHA: ALPHA, "default": "developer"}


async def test_only_the_catalog_and_the_gateway_may_ask_for_reach(scene: Scene) -> None:
    for service in ("tasks", "sandbox", "git"):
        complaints: list[str] = []

        async def heard(error: Exception, to: list[str] = complaints) -> None:
            to.append(str(error).lower())

        async with scene.installation.nats(service, error_cb=heard) as client:
            for subject in (
                auth.GetNamespaces.subject,
                contract.GetResource.subject,
                contract.Apply.subject,
            ):
                await client.publish(subject, b"{}")
            await client.flush()
            await client.flush()
        assert len(complaints) == 3, complaints


async def test_a_grant_opens_the_project_that_it_names(scene: Scene, subtests: pytest.Subtests) -> None:
    """Past the gateway, too: what a document says of its namespace moves nothing there."""
    signer = Signer()
    await signer.publish(scene.installation)
    await scene.good("alice", "POST", "ghosts", ghost("own"))
    async with scene.installation.bus() as gateway:
        grant = await scene.grant(gateway, "writer")
        for namespace in (BETA, "default", "writer", "gamma", scene.projects[BETA]):
            for ask in (
                _create("ghosts", ghost("smuggled", namespace)),
                contract.ReplaceResource(plural="ghosts", name="own", manifest=ghost("own", namespace)),
                contract.PatchResource(
                    plural="ghosts",
                    name="own",
                    patch={"metadata": {"namespace": namespace}},
                ),
            ):
                with subtests.test(type(ask).__name__, namespace=namespace):
                    with pytest.raises(SignalboxError) as error:
                        await _ask(gateway, ask, grant)
                    assert error.value.errors[0].code == "wrong_namespace"
        with subtests.test("what is in beta only"), pytest.raises(SignalboxError) as error:
            await gateway.query(contract.GetResource(plural="ghosts", name="spirit"), grant=grant)
        assert error.value.code == "resource_not_found"
        with subtests.test("deleted past its own project"), pytest.raises(SignalboxError) as error:
            await gateway.send(_delete("ghosts", "spirit"), Envelope(uuid7(), "digest", grant=grant))
        assert error.value.code == "resource_not_found"
        person = await scene.grant(gateway, "writer", None)
        reads: tuple[Query[Any], ...] = (
            contract.GetResource(plural="ghosts", name="own"),
            contract.ListResources(plural="ghosts"),
        )
        for request in reads:
            with subtests.test("a grant for no project"), pytest.raises(SignalboxError) as error:
                await gateway.query(request, grant=person)
            assert error.value.status == 403
        viewer = await scene.grant(gateway, "writer", BETA)
        with subtests.test("a viewer's grant"), pytest.raises(SignalboxError) as error:
            await _ask(gateway, _create("ghosts", ghost("new")), viewer)
        assert error.value.code == "role_too_low"
        claims = grant_claims(scene.people["writer"]) | {"aud": "catalog", "ver": 99}
        forged = {
            "for auth": await scene.grant(gateway, "writer", audience="auth"),
            "expired": signer.grant(scene.people["writer"], claims | {"exp": 1_000_000_000}),
            "another key": Signer("kother").grant(scene.people["writer"], claims),
            "an access token": scene.people["writer"].access_token,
            "nothing": "",
        }
        for what, wrong in forged.items():
            with subtests.test(what), pytest.raises(SignalboxError) as error:
                await _ask(gateway, _create("ghosts", ghost("new")), wrong)
            assert error.value.status in (401, 403, 503)
    names = [item["metadata"]["name"] for item in (await scene.good("alice", "GET", "ghosts"))["items"]]
    assert names == ["own"]
