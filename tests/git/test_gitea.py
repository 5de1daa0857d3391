"""A delivery to a real Gitea: the branch first, then one pull request, whenever the service dies."""

import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from signalbox_common.contracts.git import DeliveryState
from tests.support import forges
from tests.support.commits import Asked, packed
from tests.support.git_deaths import killed_after, served
from tests.support.git_person import GitPerson
from tests.support.installation import Installation
from tests.support.repositories import GitScene, git_scene

pytestmark = [pytest.mark.proof, pytest.mark.timeout(1800)]

CHANGES: Asked = {b"README.md": ("100644", b"changed\n")}
PULL = {"target": "main", "title": "Change it", "body": "As asked.", "labels": ["agent"]}


@pytest.fixture(scope="module")
async def scene(
    shared_installation: Installation, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[GitScene]:
    async with git_scene(shared_installation, tmp_path_factory.mktemp("git")) as found:
        yield found


@pytest.fixture(scope="module")
async def gitea() -> AsyncIterator[forges.GiteaServer]:
    async with forges.gitea() as found:
        yield found


async def added(scene: GitScene, gitea: forges.GiteaServer) -> tuple[forges.ServedForge, str, str]:
    """A repository there and here, and the commit that it begins with."""
    served = await gitea.repository()
    url, credential = gitea.remote(served), {"token": gitea.token}
    made = await scene.add(url=url, forge="gitea", credential=credential)
    await scene.ready(made["id"])
    main = await served.ask("GET", f"/repos/{served.owner}/{served.name}/branches/main")
    return served, made["id"], main["commit"]["id"]


async def pulls(served: forges.ServedForge) -> list[dict[str, Any]]:
    path = f"/repos/{served.owner}/{served.name}/pulls?state=all"
    found: list[dict[str, Any]] = await served.ask("GET", path)
    return found


async def test_branch_first_then_pull_request(scene: GitScene, gitea: forges.GiteaServer) -> None:
    async with scene.service(), scene.installation.bus() as bus:
        person = GitPerson(scene, bus)
        served, repository, base = await added(scene, gitea)
        done = await person.delivered(repository, base, packed(base, CHANGES), pull_request=PULL)
        assert (done.state, done.error) == (DeliveryState.OPENED, None)
        (pull,) = await pulls(served)
        assert (pull["title"], pull["head"]["ref"], pull["head"]["sha"]) == (
            "Change it",
            "task/1",
            done.commit,
        )
        other = packed(base, {b"README.md": ("100644", b"otherwise\n")})
        again = await person.delivered(
            repository, base, other, expected=done.commit, pull_request=PULL | {"title": "Change it well"}
        )
        assert again.pull_request == done.pull_request
        (pull,) = await pulls(served)
        assert (pull["title"], pull["head"]["sha"]) == ("Change it well", again.commit)
        await served.merge(pull["number"], squash=True)
        assert again.pull_request is not None
        path = f"/api/v1/pull-requests/{again.pull_request.id}/refresh"
        answer = await scene.http.request("POST", path, headers=scene.headers)
        assert (answer.status_code, answer.json()["state"]) == (200, "merged")


async def test_one_of_each_however_often_it_dies(
    scene: GitScene, gitea: forges.GiteaServer, tmp_path: Path
) -> None:
    begun, kills, rounds = time.monotonic(), 0, 30
    async with served(scene, tmp_path) as (person, service):
        try:
            for number in range(rounds):
                there, repository, base = await added(scene, gitea)
                changes = await person.put(packed(base, CHANGES))
                delivery = await person.deliver(repository, base, changes, pull_request=PULL)
                kills += await killed_after(scene, service, (number % 15) * 0.06)
                done = await person.ended(delivery, within=120)
                assert (done.state, done.error) == (DeliveryState.OPENED, None)
                (pull,) = await pulls(there)
                assert pull["head"]["sha"] == done.commit
                path = f"/repos/{there.owner}/{there.name}/pulls/{pull['number']}/commits"
                assert len(await there.ask("GET", path)) == 1
        except AssertionError:
            print((tmp_path / "git.log").read_text()[-4000:], gitea.log.read_text()[-4000:])
            raise
    took = time.monotonic() - begun
    print(f"\nGitea: {rounds} deliveries with {kills} SIGKILLs in {took:.0f} s, one pull request each")
