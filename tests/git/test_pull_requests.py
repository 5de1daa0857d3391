"""Pull requests: opened once for what was delivered, whatever the forge does meanwhile."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from signalbox_common.contracts.git import ChangeDelivery, DeliveryState
from signalbox_common.runtime import Service
from signalbox_common.testing import eventually, running
from signalbox_git.app import build
from tests.support.checkouts import git
from tests.support.commits import Asked, packed
from tests.support.forge_simulator import ForgeSimulator
from tests.support.git_person import GitPerson, Place
from tests.support.installation import Installation
from tests.support.remotes import TOKEN, Behaviour
from tests.support.repositories import GitScene, git_scene, settings_in

CHANGES: Asked = {b"README.md": ("100644", b"changed\n")}
OTHERS: Asked = {b"README.md": ("100644", b"changed again\n")}
WANTED = {"target": "main", "title": "Change it", "body": "As asked."}
PULLS = "/api/v1/pull-requests"


@pytest.fixture(scope="module")
async def there(
    shared_installation: Installation, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[GitPerson]:
    async with (
        git_scene(shared_installation, tmp_path_factory.mktemp("git")) as scene,
        scene.service(),
        shared_installation.bus() as bus,
    ):
        yield GitPerson(scene, bus)


@pytest.fixture(scope="module")
def forge(there: GitPerson) -> ForgeSimulator:
    return ForgeSimulator.beside(there.scene.remote)


async def delivered(there: GitPerson, place: Place, asked: Asked = CHANGES, **more: Any) -> ChangeDelivery:
    given = {"pull_request": WANTED} | more
    return await there.delivered(place.repository, place.base, packed(place.base, asked), **given)


def of(forge: ForgeSimulator, place: Place) -> list[dict[str, Any]]:
    return forge.pulls.get(place.remote.stem, [])


async def ask(scene: GitScene, method: str, path: str, status: int = 200, **more: Any) -> Any:
    headers = more.pop("headers", scene.headers)
    answer = await scene.http.request(method, path, headers=headers, **more)
    assert answer.status_code == status, answer.text
    return answer.json()


@contextmanager
def meeting(hooks: list[Behaviour], hook: Behaviour) -> Iterator[None]:
    hooks.append(hook)
    try:
        yield
    finally:
        hooks.remove(hook)


# -- of deliveries -----------------------------------------------------------------------------------------


async def test_a_delivery_ends_as_a_pull_request(there: GitPerson, forge: ForgeSimulator) -> None:
    place = await Place.at_forge(there.scene)
    wanted = WANTED | {"draft": True, "labels": ["agent"], "reviewers": ["alice"]}
    done = await delivered(there, place, pull_request=wanted)
    assert (done.state, done.final, done.error) == (DeliveryState.OPENED, True, None)
    (pull,) = of(forge, place)
    assert done.pull_request is not None
    assert (done.pull_request.number, done.pull_request.url) == (1, pull["html_url"])
    assert (pull["title"], pull["draft"], pull["head"]["ref"]) == ("Change it", True, "task/1")
    assert pull["body"] == f"As asked.\n\n<!-- signalbox:{done.delivery} -->"
    assert [each["name"] for each in pull["labels"]] == ["agent"]
    assert [each["login"] for each in pull["requested_reviewers"]] == ["alice"]
    assert pull["head"]["sha"] == done.commit
    told = [
        each["state"]
        for each in await there.scene.facts("delivery.changed")
        if each["delivery"] == str(done.delivery)
    ]
    assert told == ["pending", "committed", "pushed", "opened"]
    (fact,) = [
        each
        for each in await there.scene.facts("pull-request.changed")
        if each["pullRequest"] == str(done.pull_request.id)
    ]
    assert (fact["number"], fact["state"], fact["head"], fact["base"]) == (1, "draft", "task/1", "main")
    assert TOKEN not in str(told) + str(fact)
    assert forge.shown[-1] == f"Bearer {TOKEN}"


async def test_a_retry_has_the_same_branch_and_the_same_pull_request(
    there: GitPerson, forge: ForgeSimulator
) -> None:
    place = await Place.at_forge(there.scene)
    first = await delivered(there, place)
    again = await delivered(
        there, place, OTHERS, expected=first.commit, pull_request=WANTED | {"title": "Change it well"}
    )
    assert again.pull_request == first.pull_request
    (pull,) = of(forge, place)
    assert (pull["title"], pull["head"]["sha"]) == ("Change it well", again.commit)
    assert place.branches() == {"task/1": again.commit}


async def test_what_somebody_opened_by_hand_keeps_what_it_says(
    there: GitPerson, forge: ForgeSimulator
) -> None:
    place = await Place.at_forge(there.scene)
    first = await there.delivered(place.repository, place.base, packed(place.base, CHANGES))
    by_hand = {"head": "task/1", "base": "main", "title": "By hand"}
    made = await ask(
        there.scene, "POST", f"/api/v1/repositories/{place.repository}/pull-requests", 201, json=by_hand
    )
    of(forge, place)[0]["body"] = "Mine."
    again = await delivered(there, place, OTHERS, expected=first.commit)
    assert again.pull_request is not None
    assert str(again.pull_request.id) == made["id"]
    (pull,) = of(forge, place)
    assert (pull["title"], pull["body"]) == ("By hand", "Mine.")


@pytest.mark.parametrize("squash", [False, True])
async def test_what_was_merged_while_nobody_heard_of_it(
    there: GitPerson, forge: ForgeSimulator, squash: bool
) -> None:
    """The forge has acted, its answer was lost, and somebody has merged it and removed the branch."""
    place = await Place.at_forge(there.scene)

    def merge_and_go(handler: Any) -> bool:
        if handler.command != "POST" or not handler.path.endswith("/pulls") or lost:
            return False
        lost.append(True)
        forge.merge(place.remote.stem, 1, squash=squash)
        return _drop(handler)

    lost: list[bool] = []
    with meeting(forge.afterwards, merge_and_go):
        done = await delivered(there, place)
    assert lost
    assert done.state is DeliveryState.OPENED
    assert len(of(forge, place)) == 1
    assert place.branches() == {}
    assert done.pull_request is not None
    found = await ask(there.scene, "GET", f"{PULLS}/{done.pull_request.id}")
    assert (found["state"], found["number"]) == ("merged", 1)


async def test_one_that_was_merged_or_closed_is_not_written_to(
    there: GitPerson, forge: ForgeSimulator
) -> None:
    place = await Place.at_forge(there.scene)
    first = await delivered(there, place)
    of(forge, place)[0]["state"] = "closed"
    second = await delivered(there, place, OTHERS, expected=first.commit)
    assert [each["number"] for each in of(forge, place)] == [1, 2]
    assert second.pull_request is not None
    assert second.pull_request.number == 2


async def test_plain_git_says_that_it_has_none(there: GitPerson) -> None:
    place = await Place.make(there.scene)
    done = await delivered(there, place)
    assert (done.state, done.final, done.pull_request) == (DeliveryState.PUSHED, True, None)
    assert "no pull requests" in str(done.note)
    assert done.error is None


def _drop(handler: Any) -> bool:
    """The connection ends, and nothing was said."""
    handler.close_connection = True
    handler.connection.shutdown(2)
    return True


def _failing(times: list[float], answer: Behaviour, handler: Any) -> bool:
    """The first two that open one."""
    if handler.command != "POST" or not handler.path.endswith("/pulls") or len(times) >= 2:
        return False
    times.append(time.monotonic())
    return answer(handler)


def _answered(status: int, body: bytes, headers: dict[str, str], handler: Any) -> bool:
    handler.answer(status, body, **headers)
    return True


PASSING: dict[str, tuple[Behaviour, bool]] = {
    "500": (partial(_answered, 500, b"{}", {}), False),
    "502 of something before it": (partial(_answered, 502, b"<html>", {}), False),
    "a secondary limit": (
        partial(
            _answered, 403, b'{"message": "You have exceeded a secondary rate limit"}', {"Retry_After": "5"}
        ),
        False,
    ),
    "too many": (partial(_answered, 429, b"{}", {"Retry_After": "5"}), False),
    "dropped": (_drop, False),
    "dropped after it has acted": (_drop, True),
    "500 after it has acted": (partial(_answered, 500, b"{}", {}), True),
}


@pytest.mark.parametrize("fault", PASSING)
async def test_a_forge_in_trouble_is_asked_again_alone(
    there: GitPerson, forge: ForgeSimulator, fault: str
) -> None:
    """The branch is pushed once; the pull request is there once."""
    answer, acted = PASSING[fault]
    times: list[float] = []
    place = await Place.at_forge(there.scene)
    pushes = len([each for each in there.scene.remote.requests if "POST" in each and "receive-pack" in each])
    with meeting(forge.afterwards if acted else forge.before, partial(_failing, times, answer)):
        done = await delivered(there, place)
    assert (done.state, len(of(forge, place))) == (DeliveryState.OPENED, 1)
    assert len(times) == (1 if acted else 2)
    again = [each for each in there.scene.remote.requests if "POST" in each and "receive-pack" in each]
    assert len(again) == pushes + 1
    if "limit" in fault or fault == "too many":
        assert times[1] - times[0] >= 5.0


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (partial(_answered, 401, b'{"message": "Bad credentials"}', {}), "unauthorized"),
        (partial(_answered, 403, b'{"message": "Resource not accessible"}', {}), "unauthorized"),
        (partial(_answered, 422, b'{"message": "Validation Failed"}', {}), "refused"),
        (partial(_answered, 429, b"{}", {"Retry_After": "3600"}), "pull_request_failed"),
    ],
)
async def test_a_forge_that_refuses(
    there: GitPerson, forge: ForgeSimulator, answer: Behaviour, code: str
) -> None:
    """The branch is there, and delivering it again, by hand, opens it."""
    place = await Place.at_forge(there.scene)

    def refuse(handler: Any) -> bool:
        return handler.command == "POST" and handler.path.endswith("/pulls") and answer(handler)

    with meeting(forge.before, refuse):
        done = await delivered(there, place)
    assert (done.state, done.branch) == (DeliveryState.FAILED, "task/1")
    assert done.error is not None
    assert (done.error.code, done.error.retryable) == (code, True)
    assert place.branches() == {"task/1": done.commit}
    again = await delivered(there, place, expected=done.commit)
    assert (again.state, len(of(forge, place))) == (DeliveryState.OPENED, 1)
    assert git(place.remote, "rev-list", "--count", f"{place.base}..task/1").strip() == "1"


async def test_what_was_pushed_before_its_pull_request_failed_is_ours(
    there: GitPerson, forge: ForgeSimulator
) -> None:
    """The next attempt has done other work: it takes the place of what is there, on the same branch."""
    place = await Place.at_forge(there.scene)

    def refuse(handler: Any) -> bool:
        opens = handler.command == "POST" and handler.path.endswith("/pulls")
        return opens and _answered(422, b'{"message": "Validation Failed"}', {}, handler)

    with meeting(forge.before, refuse):
        first = await delivered(there, place)
    assert first.state is DeliveryState.FAILED
    again = await delivered(there, place, OTHERS, expected=first.commit)
    assert (again.state, again.branch) == (DeliveryState.OPENED, "task/1")
    assert place.branches() == {"task/1": again.commit}
    assert place.show("task/1", "%P") == place.base
    assert len(of(forge, place)) == 1


# -- of people ---------------------------------------------------------------------------------------------


async def test_a_person_opens_changes_and_closes_one(there: GitPerson, forge: ForgeSimulator) -> None:
    scene, place = there.scene, await Place.at_forge(there.scene)
    await there.delivered(place.repository, place.base, packed(place.base, CHANGES))
    path = f"/api/v1/repositories/{place.repository}/pull-requests"
    wanted = {"head": "task/1", "base": "main", "title": "Look at this", "body": "Please."}
    made = await ask(scene, "POST", path, 201, json=wanted)
    assert (made["number"], made["state"], made["repositoryId"]) == (1, "open", place.repository)
    assert (await ask(scene, "POST", path, 201, json=wanted))["id"] == made["id"]
    changed = await ask(scene, "PATCH", f"{PULLS}/{made['id']}", json={"body": "Please!", "labels": ["x"]})
    assert changed["title"] == "Look at this"
    (pull,) = of(forge, place)
    assert pull["body"].startswith("Please!\n\n<!-- signalbox:")
    assert [each["name"] for each in pull["labels"]] == ["x"]
    listed = await ask(scene, "GET", PULLS, params={"repositoryId": place.repository})
    assert [each["id"] for each in listed["items"]] == [made["id"]]
    assert (await ask(scene, "POST", f"{PULLS}/{made['id']}/close"))["state"] == "closed"
    assert pull["state"] == "closed"
    assert (await ask(scene, "GET", path, params={"state": "open"}))["items"] == []
    await ask(scene, "PATCH", f"{PULLS}/{made['id']}", 422, json={})


async def test_what_happens_at_the_forge_is_seen(there: GitPerson, forge: ForgeSimulator) -> None:
    scene, place = there.scene, await Place.at_forge(there.scene)
    done = await delivered(there, place)
    assert done.pull_request is not None
    forge.merge(place.remote.stem, 1)
    path = f"{PULLS}/{done.pull_request.id}"
    assert (await ask(scene, "GET", path))["state"] == "open"
    assert (await ask(scene, "POST", f"{path}/refresh"))["state"] == "merged"
    told = [
        (each["state"], each["version"])
        for each in await scene.facts("pull-request.changed")
        if each["pullRequest"] == str(done.pull_request.id)
    ]
    assert told == [("open", 1), ("merged", 2)]


async def test_one_that_is_open_is_looked_at_by_itself(there: GitPerson, forge: ForgeSimulator) -> None:
    scene, place = there.scene, await Place.at_forge(there.scene)
    done = await delivered(there, place)
    assert done.pull_request is not None
    forge.merge(place.remote.stem, 1)
    async with scene.installation.sql() as connection:  # the minute until then
        await connection.execute(
            "update git.work set due_at = git.clock() where kind = 'look-at-pull-request' and key = $1",
            str(done.pull_request.id),
        )

    async def merged() -> bool:
        assert done.pull_request is not None
        found = await ask(scene, "GET", f"{PULLS}/{done.pull_request.id}")
        return bool(found["state"] == "merged")

    await eventually(merged, within=20.0)


async def test_a_forge_that_refuses_a_person_says_so(there: GitPerson, forge: ForgeSimulator) -> None:
    place = await Place.at_forge(there.scene)
    path = f"/api/v1/repositories/{place.repository}/pull-requests"
    wanted = {"head": "nowhere", "base": "main", "title": "Nothing"}
    refused = await ask(there.scene, "POST", path, 409, json=wanted)
    assert refused["code"] == "forge_refused"
    plain = await Place.make(there.scene)
    path = f"/api/v1/repositories/{plain.repository}/pull-requests"
    assert (await ask(there.scene, "POST", path, 409, json=wanted))["code"] == "no_forge"


# -- credentials of a host ---------------------------------------------------------------------------------


async def test_a_host_has_one_credential_for_all_its_repositories(
    there: GitPerson, forge: ForgeSimulator
) -> None:
    scene = there.scene
    host = f"127.0.0.1:{scene.remote.port}"
    given = {"projectId": scene.project, "host": host, "forge": "github", "apiUrl": forge.url, "token": TOKEN}
    made = await ask(scene, "POST", "/api/v1/git-credentials", 201, json=given)
    assert TOKEN not in str(made)
    place = await Place.at_forge(scene, credential=None, forge=None)
    found = await scene.ready(place.repository)
    assert (found["forge"], found["hasCredential"]) == ("github", False)
    assert (await delivered(there, place)).state is DeliveryState.OPENED
    visible = await ask(scene, "GET", f"/api/v1/git-credentials/{made['id']}/repositories")
    assert f"acme/{place.remote.stem}" in [each["name"] for each in visible["items"]]
    # What it is may leave in no file either.
    leaked = packed(place.base, {b"a.txt": ("100644", f"my {TOKEN}\n".encode())})
    refused = await there.delivered(place.repository, place.base, leaked, branch="task/2")
    assert (refused.state, refused.error and refused.error.code) == (DeliveryState.REFUSED, "findings")
    listed = await ask(scene, "GET", "/api/v1/git-credentials", params={"projectId": scene.project})
    assert [each["host"] for each in listed["items"]] == [host]
    other = await scene.http.project(scene.headers)
    assert (await ask(scene, "GET", "/api/v1/git-credentials", params={"projectId": other}))["items"] == []
    answer = await scene.http.request(
        "DELETE", f"/api/v1/git-credentials/{made['id']}", headers=scene.headers
    )
    assert answer.status_code == 204
    gone = await ask(scene, "POST", f"/api/v1/repositories/{place.repository}/test")
    assert (gone["ok"], gone["reason"]) == (False, "unauthorized")


async def test_another_api_is_not_shown_the_credential(there: GitPerson) -> None:
    place = await Place.at_forge(there.scene)
    path = f"/api/v1/repositories/{place.repository}"
    elsewhere = {"apiUrl": "https://elsewhere.example/api"}
    refused = await ask(there.scene, "PATCH", path, 422, json=elsewhere)
    assert refused["code"] == "credential_needed"
    given = elsewhere | {"credential": {"token": "another"}}
    assert (await ask(there.scene, "PATCH", path, json=given))["apiUrl"] == elsewhere["apiUrl"]


@pytest.mark.fresh  # nobody has been there before
async def test_the_token_of_the_environment_is_the_first_administrators(
    installation: Installation, tmp_path: Path
) -> None:
    """What somebody sets for that host stays."""
    async with installation.running_auth(admin=True), installation.gateway() as http:
        headers = await http.administrator()

        def serving(token: str) -> AbstractAsyncContextManager[Service]:
            settings = settings_in(installation, tmp_path, github_token=token)
            return running(build(settings))

        async def kept() -> list[Any]:
            answer = await http.get("/api/v1/git-credentials", headers=headers)
            return [(each["host"], each["createdBy"] is None) for each in answer.json()["items"]]

        async with serving("first"):
            await eventually(kept, what="it is stored")
            assert await kept() == [("github.com", True)]
            given = {"host": "github.com", "token": "by-hand"}
            made = await http.post("/api/v1/git-credentials", json=given, headers=headers)
            assert made.status_code == 201, made.text
        async with serving("second") as service:
            taken = [task for task in asyncio.all_tasks() if task.get_name() == "given token"]
            await asyncio.wait(taken, timeout=20.0)
            assert not [task for task in taken if not task.done()]
            assert service.bus.connection.is_up
            assert await kept() == [("github.com", False)]
