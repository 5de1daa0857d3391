"""What one project has is not there for another, which knows every id of it, and where its remote is."""

import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest

from signalbox_common.contracts import git as contract
from signalbox_common.contracts.base import Query
from signalbox_common.contracts.dataplane import DataRoute
from signalbox_common.contracts.git import ChangeDelivery, Checkout
from signalbox_common.errors import SignalboxError
from tests.support.commits import packed
from tests.support.forge_simulator import ForgeSimulator
from tests.support.git_person import GitPerson, Place
from tests.support.installation import Installation
from tests.support.operations import OperationPerson
from tests.support.remotes import TOKEN
from tests.support.repositories import git_scene

SECRET = "what only the first project may read\n"


@dataclass(frozen=True)
class Owned:
    """By the first project: one of each kind."""

    owner: GitPerson
    stranger: GitPerson
    place: Place
    digest: str
    checkout: Checkout
    delivery: ChangeDelivery
    operation: str

    @property
    def pull_request(self) -> uuid.UUID:
        assert self.delivery.pull_request is not None
        return self.delivery.pull_request.id

    @property
    def names(self) -> dict[str, str]:
        """As paths have them."""
        return {
            "repository": self.place.repository,
            "delivery": str(self.delivery.delivery),
            "pull_request": str(self.pull_request),
            "operation": self.operation,
        }


@pytest.fixture(scope="module")
async def owned(
    shared_installation: Installation, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Owned]:
    async with (
        git_scene(shared_installation, tmp_path_factory.mktemp("git")) as scene,
        scene.service(),
        shared_installation.bus() as bus,
    ):
        ForgeSimulator.beside(scene.remote)
        owner = GitPerson(scene, bus)
        place = await Place.at_forge(scene, {"secret.txt": SECRET})
        digest = await owner.put(packed(place.base, {b"new.txt": ("100644", b"as well\n")}))
        wanted = {"target": "main", "title": "Ours"}
        delivery = await owner.delivered(place.repository, place.base, digest, pull_request=wanted)
        operation = await OperationPerson(scene).done(place, type="fetch")
        checkout = await owner.prepared(place.repository)
        headers = await scene.http.sign_up()
        stranger = GitPerson(scene, bus, headers, await scene.http.project(headers))
        yield Owned(owner, stranger, place, digest, checkout, delivery, operation["id"])


PATHS = [
    ("GET", "/repositories/{repository}"),
    ("PATCH", "/repositories/{repository}"),
    ("DELETE", "/repositories/{repository}"),
    ("POST", "/repositories/{repository}/test"),
    ("POST", "/repositories/{repository}/fetch"),
    ("GET", "/repositories/{repository}/branches"),
    ("GET", "/repositories/{repository}/tags"),
    ("GET", "/repositories/{repository}/commits"),
    ("GET", "/repositories/{repository}/commit"),
    ("GET", "/repositories/{repository}/tree"),
    ("GET", "/repositories/{repository}/file?path=secret.txt"),
    ("GET", "/repositories/{repository}/blame?path=secret.txt"),
    ("GET", "/repositories/{repository}/diff"),
    ("GET", "/repositories/{repository}/deliveries"),
    ("GET", "/repositories/{repository}/operations"),
    ("POST", "/repositories/{repository}/operations"),
    ("GET", "/repositories/{repository}/operations/{operation}"),
    ("POST", "/repositories/{repository}/operations/{operation}/cancel"),
    ("GET", "/repositories/{repository}/pull-requests"),
    ("POST", "/repositories/{repository}/pull-requests"),
    ("GET", "/deliveries/{delivery}"),
    ("GET", "/deliveries/{delivery}/diff"),
    ("POST", "/deliveries/{delivery}/retry"),
    ("GET", "/pull-requests/{pull_request}"),
    ("PATCH", "/pull-requests/{pull_request}"),
    ("POST", "/pull-requests/{pull_request}/close"),
    ("POST", "/pull-requests/{pull_request}/refresh"),
]
BODIES: dict[str, Any] = {
    "/repositories/{repository}": {"name": "taken"},
    "/repositories/{repository}/operations": {"type": "fetch"},
    "/repositories/{repository}/pull-requests": {"head": "task/1", "base": "main", "title": "Mine"},
    "/deliveries/{delivery}/retry": {},
    "/pull-requests/{pull_request}": {"title": "Mine"},
}


@pytest.mark.parametrize(("method", "path"), PATHS, ids=[" ".join(each) for each in PATHS])
async def test_its_ids_are_not_there(owned: Owned, method: str, path: str) -> None:
    """Answered as ids that nobody has are: so nobody learns by asking which there are."""
    body = {"json": BODIES[path]} if path in BODIES and method != "GET" else {}
    nobody = {name: str(uuid.uuid4()) for name in owned.names}
    answers = [
        await owned.owner.scene.http.request(
            method, f"/api/v1{path.format(**names)}", headers=owned.stranger.headers, **body
        )
        for names in (owned.names, nobody)
    ]
    assert [each.status_code for each in answers] == [404, 404], answers[0].text
    assert answers[0].json()["code"] == answers[1].json()["code"]
    assert SECRET.strip() not in answers[0].text
    if method == "GET":
        scene = owned.owner.scene
        answer = await scene.http.request(
            method, f"/api/v1{path.format(**owned.names)}", headers=scene.headers
        )
        assert answer.status_code == 200


async def test_nor_in_what_is_listed(owned: Owned) -> None:
    for path in ("/repositories", "/pull-requests"):
        for params in ({}, {"projectId": str(owned.stranger.project)}):
            answer = await owned.owner.scene.http.request(
                "GET", f"/api/v1{path}", headers=owned.stranger.headers, params=params
            )
            assert (answer.status_code, answer.json()["items"]) == (200, [])
        of_theirs = await owned.owner.scene.http.request(
            "GET",
            f"/api/v1{path}",
            headers=owned.stranger.headers,
            params={"projectId": owned.owner.scene.project},
        )
        assert of_theirs.status_code in (403, 404)


def _queries(owned: Owned) -> list[Query[Any]]:
    repository = uuid.UUID(owned.place.repository)
    return [
        contract.GetRepository(repository=repository),
        contract.ListBranches(repository=repository),
        contract.ListTags(repository=repository),
        contract.ListCommits(repository=repository),
        contract.ShowCommit(repository=repository, ref="main"),
        contract.ListTree(repository=repository),
        contract.GetBlame(repository=repository, path="secret.txt"),
        contract.GetCheckout(checkout=owned.checkout.checkout),
        contract.GetDelivery(delivery=owned.delivery.delivery),
        contract.GetGitOperation(operation=uuid.UUID(owned.operation)),
        contract.GetPullRequest(pull_request=owned.pull_request),
    ]


async def test_nor_over_the_bus(owned: Owned, subtests: pytest.Subtests) -> None:
    grant = await owned.stranger.grant()
    for query in _queries(owned):
        with subtests.test(type(query).__name__):
            (await owned.owner.bus.query(query, grant=await owned.owner.grant())).value()
            with pytest.raises(SignalboxError) as refusal:
                (await owned.owner.bus.query(query, grant=grant)).value()
            assert refusal.value.status == 404


async def test_nor_can_anything_be_made_of_it(owned: Owned) -> None:
    stranger, place = owned.stranger, owned.place
    with pytest.raises(SignalboxError) as refusal:
        await stranger.prepare(place.repository)
    assert refusal.value.code == "repository_not_found"
    with pytest.raises(SignalboxError) as refusal:
        await stranger.deliver(place.repository, place.base, owned.digest)
    assert refusal.value.status == 404


async def test_nor_as_bytes(owned: Owned, subtests: pytest.Subtests) -> None:
    where = {"repository": owned.place.repository, "base": owned.place.base}
    asked: list[tuple[DataRoute, dict[str, str]]] = [
        (contract.READ_BLOB, {"repository": owned.place.repository, "path": "secret.txt"}),
        (contract.READ_DIFF, {"repository": owned.place.repository}),
        (contract.READ_CHANGES_DIFF, {"sha256": owned.digest} | where),
        (contract.READ_DELIVERY_DIFF, {"delivery": str(owned.delivery.delivery)}),
        (contract.GET_TREE, {"checkout": str(owned.checkout.checkout)}),
    ]
    for route, names in asked:
        with subtests.test(route.path):
            assert await owned.owner.read(route, **names)
            with pytest.raises(SignalboxError) as refusal:
                await owned.stranger.read(route, **names)
            assert refusal.value.status == 404


@pytest.mark.parametrize("credential", [None, {"token": "a guess"}], ids=["none", "a guess"])
async def test_the_address_of_its_remote_opens_nothing(
    owned: Owned, credential: dict[str, str] | None
) -> None:
    """Everything of it is on our disk; who names the same remote still has to be let in there."""
    scene, headers = owned.owner.scene, await owned.owner.scene.http.sign_up()
    project = await scene.http.project(headers)
    person = GitPerson(scene, owned.owner.bus, headers, project)
    body = {
        "projectId": project,
        "url": scene.remote.url(f"{owned.place.remote.parent.name}/{owned.place.remote.name}"),
    }
    given = body | ({"credential": credential} if credential is not None else {})
    added = await scene.ask("POST", status=201, headers=headers, json=given)
    refused = await scene.ask("POST", f"/{added['id']}/fetch", status=409, headers=headers)
    assert refused["code"] == "fetch_failed"
    found = await scene.ask("GET", f"/{added['id']}", headers=headers)
    assert (found["status"], found["reason"]) == ("failed", "unauthorized")
    for path in (
        "branches",
        "commits",
        "tree",
        "diff",
        "file?path=secret.txt",
        f"commit?ref={owned.place.base}",
    ):
        answer = await scene.ask("GET", f"/{added['id']}/{path}", status=409, headers=headers)
        assert answer["code"] == "fetch_failed"
    checkout = await person.settled(await person.prepare(added["id"], ref=owned.place.base))
    assert checkout.error is not None
    assert (checkout.error.code, checkout.error.retryable) == ("checkout_failed", False)
    assert TOKEN not in str(checkout)
    with pytest.raises(SignalboxError) as refusal:
        await person.deliver(added["id"], owned.place.base, owned.digest)
    assert refusal.value.code == "changes_not_found"
